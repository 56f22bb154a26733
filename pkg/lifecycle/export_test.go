package lifecycle

// The dialects' tables, for the tests that compare the documentation with them.
var (
	OpenStackActions = openstackActions
	OpenStackNothing = openstackNothing
	OpenStackUpdates = openstackUpdates
	TraceActions     = traceActions
	TraceNothing     = traceNothing
)
