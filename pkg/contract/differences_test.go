package contract_test

// difference is an answer of the embedded cloud that is not the real one's.
type difference struct {
	// Real and Embedded are the answers' summaries.
	Real, Embedded string
	// Reason is why it stays.
	Reason string
}

// differences is every difference that there is, by group and case.
var differences = map[string]difference{
	"paused/GET server":            {"OS-EXT-STS:power_state 1", "OS-EXT-STS:power_state 3", fakeDriver},
	"paused/GET server, latest":    {"OS-EXT-STS:power_state 1", "OS-EXT-STS:power_state 3", fakeDriver},
	"suspended/GET server":         {"OS-EXT-STS:power_state 1", "OS-EXT-STS:power_state 4", fakeDriver},
	"suspended/GET server, latest": {"OS-EXT-STS:power_state 1", "OS-EXT-STS:power_state 4", fakeDriver},
	"rescued/GET server":           {"OS-EXT-STS:power_state 4", "OS-EXT-STS:power_state 1", fakeDriver},
	"rescued/GET server, latest":   {"OS-EXT-STS:power_state 4", "OS-EXT-STS:power_state 1", fakeDriver},
	"server bodies/POST body NaN":  {"message Invalid input for field/attribute a. Value: nan. nan is not of type 'string'", "message Malformed request body", notANumber},
	"snapshot bodies/PUT body NaN": {
		"message Invalid metadata: Invalid input received: Value for metadata key: a is not a string or unicode",
		"message Malformed request body", notANumber,
	},
	"volume bodies/POST body NaN": {
		"message Invalid input for field/attribute a. Value: nan. nan is not of type 'string'",
		"message Malformed request body",
		notANumber,
	},
	"volume values/POST value lone surrogate": {"500", "200", surrogate},
	"volume bodies/POST type multipart/form-data": {
		"500",
		"415",
		"Cinder stumbles over a form without a boundary before it looks at the type. No client of metadata sends a form.",
	},
	"server values/POST value lone surrogate":  {"500", "200", surrogate},
	"snapshot values/PUT value lone surrogate": {"500", "200", surrogate},
	"server bodies/POST type multipart/form-data": {
		"500", "415",
		"Nova stumbles over a form without a boundary before it looks at the type. No client of metadata sends a form.",
	},
}

const (
	fakeDriver = "The real cloud runs Nova's fake virt driver, which does not follow these states; the embedded one " +
		"reports what libvirt does."
	notANumber = "Python's JSON reader takes NaN, which is not JSON, and refuses it as a value. Both answer 400."
	surrogate  = "Half a surrogate pair in JSON is no character. Python keeps it until the database refuses it, Go's " +
		"JSON reader puts U+FFFD in its place. " +
		"Tagger never sends one: it writes JSON with Go."
)
