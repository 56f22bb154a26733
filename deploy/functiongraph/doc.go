// Package functiongraph tests the Terraform module: its resources and arguments match the provider's documentation
// (stored in provider.json with its source), its permissions match the calls that Tagger makes, and its traces and
// settings match the documentation. It has only tests, in its own module, because they need HCL's library.
package functiongraph
