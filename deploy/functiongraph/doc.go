// Package functiongraph checks the Terraform module: its resources and arguments are those that the provider documents
// (provider.json has them, with their source), its rights are those of the calls that Tagger makes, and its traces and
// settings are those of the documentation. It has tests only, in a module of its own, for HCL's library.
package functiongraph
