// Package deploy has what the homes of Tagger need: templates, manifests, packages, and pages about them. Its tests
// hold the pages and files against each other and against the command.
package deploy
