// Package kubernetes tests the Helm chart with Helm's lint and templates, the Kubernetes API's types and the command.
// It has only tests, in its own module, because Helm has many dependencies that Tagger does not need.
package kubernetes
