//go:build race

package reconcile

// largeFleet is how many servers the test of a large fleet has. The race detector makes each server ten times as slow,
// and more servers do not find more races.
const largeFleet = 10_000
