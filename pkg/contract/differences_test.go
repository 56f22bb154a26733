package contract_test

// difference is a response of the embedded cloud that differs from the real one's.
type difference struct {
	// Real and Embedded summarise the responses.
	Real, Embedded string
	// Reason says why the difference is accepted.
	Reason string
}

// differences holds all accepted differences, by group and case.
var differences = map[string]difference{
	"paused/GET server":            {"OS-EXT-STS:power_state 1", "OS-EXT-STS:power_state 3", fakeDriver},
	"paused/GET server, latest":    {"OS-EXT-STS:power_state 1", "OS-EXT-STS:power_state 3", fakeDriver},
	"suspended/GET server":         {"OS-EXT-STS:power_state 1", "OS-EXT-STS:power_state 4", fakeDriver},
	"suspended/GET server, latest": {"OS-EXT-STS:power_state 1", "OS-EXT-STS:power_state 4", fakeDriver},
	"rescued/GET server":           {"OS-EXT-STS:power_state 4", "OS-EXT-STS:power_state 1", fakeDriver},
	"rescued/GET server, latest":   {"OS-EXT-STS:power_state 4", "OS-EXT-STS:power_state 1", fakeDriver},
	"server bodies/POST body NaN": {
		"message Invalid input for field/attribute a. Value: nan. nan is not of type 'string'",
		"message Malformed request body", notANumber,
	},
	"snapshot bodies/PUT body NaN": {
		"message Invalid metadata: Invalid input received: Value for metadata key: a is not a string or unicode",
		"message Malformed request body", notANumber,
	},
	"volume bodies/POST body NaN": {
		"message Invalid input for field/attribute a. Value: nan. nan is not of type 'string'",
		"message Malformed request body", notANumber,
	},
	"volume values/POST value lone surrogate": {"500", "200", surrogate},
	"volume bodies/POST type multipart/form-data": {
		"500", "415",
		"Cinder fails to parse a form without a boundary before it checks the type. Metadata clients send no forms.",
	},
	"server values/POST value lone surrogate":  {"500", "200", surrogate},
	"snapshot values/PUT value lone surrogate": {"500", "200", surrogate},
	"server bodies/POST type multipart/form-data": {
		"500", "415",
		"Nova fails to parse a form without a boundary before it checks the type. Metadata clients send no forms.",
	},
}

const (
	fakeDriver = "The real cloud runs Nova's fake virt driver, which does not track these states; " +
		"the embedded one reports what libvirt does."
	notANumber = "Python's JSON parser accepts NaN, which is not JSON; the schema then rejects the value. Both answer 400."
	surrogate  = "A lone surrogate is not a character. Python keeps it until the database rejects it; " +
		"Go's JSON parser replaces it by U+FFFD. Tagger never sends one, because Go writes its JSON."
)
