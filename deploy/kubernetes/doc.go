// Package kubernetes checks the Helm chart: Helm's own lint and templates, the Kubernetes API's types, and whether the
// chart agrees with the command. It has tests only, in a module of its own, since Helm brings much that Tagger does not
// need.
package kubernetes
