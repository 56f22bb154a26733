package ingress

// The limits, for the test that compares them with the documentation.
const (
	MaxRecords       = maxRecords
	MaxEvents        = maxEvents
	MaxWraps         = maxWraps
	MaxExtensions    = maxExtensions
	MaxAttribute     = maxAttribute
	MaxAttributeName = maxAttributeName
)
