//go:build !race

package reconcile

// largeFleet is how many servers the test of a large fleet has.
const largeFleet = 100_000
