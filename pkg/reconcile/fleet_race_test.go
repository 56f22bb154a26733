//go:build race

package reconcile

// largeFleet is how many servers the test of a large fleet has. The race detector makes each ten times as slow, and
// finds nothing in the hundred thousandth that it does not find in the first.
const largeFleet = 10_000
