package metadata

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// API is the cloud API whose limits apply.
type API string

// The APIs.
const (
	OpenStack   API = "openstack"
	HuaweiCloud API = "huaweicloud"
)

// Family is a group of operations with the same limits for keys and values. The table in this file has everything that
// depends on the family.
type Family string

// The families, with the source of their limits.
const (
	Nova   Family = "Nova"   // nova/api/validation/parameter_types.py, metadata
	Cinder Family = "Cinder" // the same pattern; its URLs accept less, see CheckKey
	ECS    Family = "ECS"    // the ECS page of package metadata's documentation
	BMS    Family = "BMS"    // the BMS page
	EVS    Family = "EVS"    // Cinder's, since the EVS page states none
	// CinderVolume and EVSVolume are those of volumes: keys may hold a slash, since they are written in a request's body.
	CinderVolume Family = "Cinder volume" // cinder/api/validation/parameter_types.py, extra_specs and metadata
	EVSVolume    Family = "EVS volume"
)

// maxLength is the length of the longest key and the longest value: characters, and bytes for BMS.
const maxLength = 255

// limits holds everything that depends on a family.
type limits struct {
	family Family
	// keyMarks are the characters of a key besides the letters A-Z a-z and the digits. If notInKey is set, a key may
	// contain any character of the Basic Multilingual Plane but these. keyRule describes them in words.
	keyMarks, notInKey, keyRule string
	// notInValue are the characters that a value must not contain, besides those that no family accepts. valueRule
	// describes them in words.
	notInValue, valueRule string
	// bytes means that lengths count in bytes, otherwise in characters.
	bytes bool
	// noEmptyValue means that a value must not be empty.
	noEmptyValue bool
	// stripsJSON means that the service takes .json at the end of a path for the format of the response.
	stripsJSON bool
	// reserved and reservedPrefixes are the keys that the cloud itself writes, besides those that no family accepts.
	reserved, reservedPrefixes []string
}

const (
	marks          = "-_:. "
	marksRule      = "accepts letters A-Z a-z, digits, - _ : . and space"
	slashMarks     = "-_:. /"
	slashMarksRule = "accepts letters A-Z a-z, digits, - _ : . / and space"
	// bmsForbidden are the characters that the BMS page excludes from keys.
	bmsForbidden = ":`~!@#$%^&*()=+<,>?/'\";{[]}|\\"
)

var (
	// reservedServerKeys are written by ECS and BMS.
	reservedServerKeys = []string{"vpc_id", "image_name", "os_bit", "os_type"}
	// metering is the prefix of Huawei Cloud's billing. On OpenStack, Ceilometer copies only keys with this prefix.
	metering = []string{"metering."}
)

// families is only read.
var families = []limits{
	{family: Nova, keyMarks: marks, keyRule: marksRule},
	{family: Cinder, keyMarks: marks, keyRule: marksRule, stripsJSON: true},
	{family: CinderVolume, keyMarks: slashMarks, keyRule: slashMarksRule, stripsJSON: true},
	{
		family: ECS, keyMarks: "-_:.", keyRule: "accepts letters A-Z a-z, digits, - _ : and .",
		reserved: reservedServerKeys, reservedPrefixes: metering,
	},
	{
		family: BMS, notInKey: bmsForbidden, keyRule: "accepts any character but " + bmsForbidden,
		notInValue: `\"`, valueRule: `accepts any character but \ and "`, bytes: true, noEmptyValue: true,
		reserved: reservedServerKeys, reservedPrefixes: metering,
	},
	{
		family: EVS, keyMarks: marks, keyRule: marksRule, stripsJSON: true,
		reserved: []string{"full_clone"}, reservedPrefixes: metering,
	},
	{
		family: EVSVolume, keyMarks: slashMarks, keyRule: slashMarksRule, stripsJSON: true,
		reserved: []string{"full_clone"}, reservedPrefixes: metering,
	},
}

// limits returns the family's row. Any other family has Nova's limits.
func (f Family) limits() *limits {
	for i := range families {
		if families[i].family == f {
			return &families[i]
		}
	}
	return &families[0]
}

// LimitError is a rule that a key or a value breaks.
type LimitError struct {
	Family Family
	// Key is the key. Value reports that the key's value breaks the rule, not the key.
	Key   string
	Value bool
	// Rule is the rule with its limit and the actual figure.
	Rule string
	// Reserved reports that the cloud itself writes the key.
	Reserved bool
}

func (e *LimitError) Error() string {
	what := "key"
	if e.Value {
		what = "value of key"
	}
	return fmt.Sprintf("%s %s %s: %s", e.Family, what, quoted(e.Key), e.Rule)
}

// quoted is a key in quotes, cut after longestShown characters.
func quoted(key string) string {
	const longestShown = 60
	text := []rune(key)
	if len(text) <= longestShown {
		return strconv.Quote(key)
	}
	return strconv.Quote(string(text[:longestShown]) + "…")
}

// Check returns a *LimitError unless the family accepts both key and value.
func (f Family) Check(key, value string) error {
	if err := f.CheckKey(key); err != nil {
		return err
	}
	return f.CheckValue(key, value)
}

// CheckKey returns a *LimitError unless the family accepts the key, also in a URL.
func (f Family) CheckKey(key string) error {
	fail := func(format string, args ...any) error {
		return &LimitError{Family: f, Key: key, Rule: fmt.Sprintf(format, args...)}
	}
	if key == "" {
		return fail("must not be empty")
	}
	if n, unit := f.length(key); n > maxLength {
		return fail("at most %d %s, has %d", maxLength, unit, n)
	}
	l := f.limits()
	for _, r := range key {
		if !l.keyTakes(r) {
			return fail("%s; %q is not among them", l.keyRule, r)
		}
	}
	switch {
	case key == "." || key == "..":
		// A proxy that cleans paths turns DELETE …/metadata/.. into DELETE …/{server_id}.
		return fail("%q is a step in a path, not a key", key)
	case l.stripsJSON && len(key) > len(".json") && strings.HasSuffix(key, ".json"):
		return fail("must not end in .json: Cinder reads that as the response's format, and %q as the key",
			strings.TrimSuffix(key, ".json"))
	}
	if why := l.reservedWhy(key); why != "" {
		return &LimitError{Family: f, Key: key, Rule: why, Reserved: true}
	}
	return nil
}

// CheckValue returns a *LimitError unless the family accepts the value. The key is only for the message.
func (f Family) CheckValue(key, value string) error {
	fail := func(format string, args ...any) error {
		return &LimitError{Family: f, Key: key, Value: true, Rule: fmt.Sprintf(format, args...)}
	}
	l := f.limits()
	if value == "" && l.noEmptyValue {
		return fail("must not be empty")
	}
	if !utf8.ValidString(value) {
		return fail("is not UTF-8")
	}
	if n, unit := f.length(value); n > maxLength {
		return fail("at most %d %s, has %d", maxLength, unit, n)
	}
	for _, r := range value {
		if !l.valueTakes(r) {
			return fail("%s", l.whyNotInValue(r))
		}
	}
	return nil
}

// FitValue returns the value in a form that the family accepts. Characters that it does not accept become "_". A long
// value is cut and ends in a short hash of the whole, so that different long values stay different. changed reports
// whether the result differs from the value.
func (f Family) FitValue(value string) (fit string, changed bool) {
	var b strings.Builder
	l := f.limits()
	for _, r := range strings.ToValidUTF8(value, "_") {
		if !l.valueTakes(r) {
			r = '_'
		}
		b.WriteRune(r)
	}
	fit = b.String()
	if n, _ := f.length(fit); n > maxLength {
		sum := sha256.Sum256([]byte(value))
		suffix := "-" + hex.EncodeToString(sum[:4])
		fit = f.cut(fit, maxLength-len(suffix)) + suffix
	}
	return fit, fit != value
}

// cut returns the prefix of s that fits into n of the family's units.
func (f Family) cut(s string, n int) string {
	used, bytes := 0, f.limits().bytes
	for i, r := range s {
		size := 1
		if bytes {
			size = utf8.RuneLen(r)
		}
		if used += size; used > n {
			return s[:i]
		}
	}
	return s
}

func (f Family) length(s string) (n int, unit string) {
	if f.limits().bytes {
		return len(s), "bytes"
	}
	return utf8.RuneCountInString(s), "characters"
}

func (l *limits) keyTakes(r rune) bool {
	switch {
	case l.notInKey != "":
		return r >= ' ' && r != 0x7f && r != utf8.RuneError && r <= 0xffff && !strings.ContainsRune(l.notInKey, r)
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return true
	}
	return strings.ContainsRune(l.keyMarks, r)
}

// valueTakes reports whether a value may contain a character. The databases of Nova and Cinder have no room for
// characters beyond U+FFFF, which need four bytes; the APIs answer 500 to them. The APIs accept control characters, but
// these would affect the terminals and logs of readers.
func (l *limits) valueTakes(r rune) bool {
	return r <= 0xffff && !unicode.IsControl(r) && !strings.ContainsRune(l.notInValue, r)
}

// whyNotInValue returns why a value must not contain a character.
func (l *limits) whyNotInValue(r rune) string {
	switch {
	case unicode.IsControl(r):
		return fmt.Sprintf("accepts no control characters; found %+q", r)
	case r > 0xffff:
		return fmt.Sprintf("accepts characters up to U+FFFF; found %+q", r)
	}
	return fmt.Sprintf("%s; found %q", l.valueRule, r)
}

// reservedWhy returns the reason why Tagger must not write a key, "" if it may. These keys steer the cloud: setting
// agency_name gives the server another IAM agency. Harmful ones are rejected for every family, because
// TAGGER_API=openstack can reach Huawei Cloud too.
func (l *limits) reservedWhy(key string) string {
	const why = "is written by the cloud itself"
	// Case and surrounding spaces are ignored: databases that distinguish neither read Agency_Name and "agency_name " as
	// agency_name.
	key = strings.ToLower(strings.TrimSpace(key))
	for _, prefixes := range [...][]string{{"__system__", "cascaded."}, l.reservedPrefixes} {
		for _, prefix := range prefixes {
			if strings.HasPrefix(key, prefix) {
				return why + " (prefix " + prefix + ")"
			}
		}
	}
	if slices.Contains(l.reserved, key) {
		return why
	}
	switch key {
	case "metering.order_id", "metering.product_id", "metering.image_id", "metering.imagetype",
		"metering.resourcespeccode",
		"metering.resourcetype": // Huawei Cloud's
		return why
	case "metering.server_group": // Heat's autoscaling uses it
		return why
	case "agency_name", "op_svc_userid", "__support_agent_list", "lockcheckendpoint", "locksource", "locksourceid",
		"lockscene", "charging_mode",
		"ecmresstatus", "virtual_env_type", "hw:passthrough":
		return why
	}
	return ""
}
