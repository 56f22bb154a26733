package ingress

// The limits, for the test that compares the documentation with them.
const (
	MaxRecords       = maxRecords
	MaxEvents        = maxEvents
	MaxWraps         = maxWraps
	MaxExtensions    = maxExtensions
	MaxAttribute     = maxAttribute
	MaxAttributeName = maxAttributeName
)
