package lifecycle

// The tables of the dialects, for tests that compare them with the documentation.
var (
	OpenStackActions    = openstackActions
	OpenStackNonChanges = openstackNonChanges
	OpenStackUpdates    = openstackUpdates
	TraceActions        = traceActions
	TraceNonChanges     = traceNonChanges
)
