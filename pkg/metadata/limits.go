package metadata

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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

// Family is a group of operations with the same limits for keys and values.
type Family string

// The families, with the source of their limits.
const (
	Nova   Family = "Nova"   // nova/api/validation/parameter_types.py, metadata
	Cinder Family = "Cinder" // the same pattern; its URLs take less, see CheckKey
	ECS    Family = "ECS"    // the ECS page of package metadata's documentation
	BMS    Family = "BMS"    // the BMS page
	EVS    Family = "EVS"    // Cinder's, since the EVS page states none
	// CinderVolume and EVSVolume are those of volumes: keys may hold a slash, since they are written in a request's body.
	CinderVolume Family = "Cinder volume" // cinder/api/validation/parameter_types.py, extra_specs and metadata
	EVSVolume    Family = "EVS volume"
)

// maxLength is the length of the longest key and the longest value: characters, and bytes for BMS.
const maxLength = 255

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
	for _, r := range key {
		if !f.keyTakes(r) {
			return fail("%s; %q is not among them", f.keyRule(), r)
		}
	}
	switch {
	case key == "." || key == "..":
		// A proxy that cleans paths turns DELETE …/metadata/.. into DELETE …/{server_id}.
		return fail("%q is a step in a path, not a key", key)
	case f.isBlockStorage() && len(key) > len(".json") && strings.HasSuffix(key, ".json"):
		return fail("must not end in .json: Cinder takes that for the format of the answer, and %q for the key",
			strings.TrimSuffix(key, ".json"))
	}
	if why := f.reserved(key); why != "" {
		return &LimitError{Family: f, Key: key, Rule: why, Reserved: true}
	}
	return nil
}

// CheckValue returns a *LimitError unless the family accepts the value. The key is only for the message.
func (f Family) CheckValue(key, value string) error {
	fail := func(format string, args ...any) error {
		return &LimitError{Family: f, Key: key, Value: true, Rule: fmt.Sprintf(format, args...)}
	}
	if value == "" && f == BMS {
		return fail("must not be empty")
	}
	if !utf8.ValidString(value) {
		return fail("is not UTF-8")
	}
	if n, unit := f.length(value); n > maxLength {
		return fail("at most %d %s, has %d", maxLength, unit, n)
	}
	for _, r := range value {
		if !f.valueTakes(r) {
			return fail("%s", f.valueRule(r))
		}
	}
	return nil
}

// FitValue returns the value in a form that the family accepts. Characters that it does not accept become "_". A long
// value is cut and ends in a short hash of the whole, so that different long values stay different. changed reports
// whether the result differs from the value.
func (f Family) FitValue(value string) (fit string, changed bool) {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(value, "_") {
		if !f.valueTakes(r) {
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
	used := 0
	for i, r := range s {
		size := 1
		if f == BMS {
			size = utf8.RuneLen(r)
		}
		if used += size; used > n {
			return s[:i]
		}
	}
	return s
}

func (f Family) length(s string) (n int, unit string) {
	if f == BMS {
		return len(s), "bytes"
	}
	return utf8.RuneCountInString(s), "characters"
}

// bmsForbidden are the characters that the BMS page excludes from keys.
const bmsForbidden = ":`~!@#$%^&*()=+<,>?/'\";{[]}|\\"

// isHuaweiCloud reports whether the family is one of Huawei Cloud's.
func (f Family) isHuaweiCloud() bool {
	return f == ECS || f == BMS || f == EVS || f == EVSVolume
}

// isBlockStorage reports whether the family is that of Cinder or of Huawei Cloud's fork of it.
func (f Family) isBlockStorage() bool {
	return f == Cinder || f == EVS || f == CinderVolume || f == EVSVolume
}

func (f Family) keyTakes(r rune) bool {
	switch {
	case f == BMS:
		return r >= ' ' && r != 0x7f && r != utf8.RuneError && r <= 0xffff && !strings.ContainsRune(bmsForbidden, r)
	case r == '/':
		return f == CinderVolume || f == EVSVolume
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-_:.", r):
		return true
	case r == ' ':
		return f != ECS
	}
	return false
}

func (f Family) keyRule() string {
	switch f {
	case BMS:
		return "takes any character but " + bmsForbidden
	case ECS:
		return "takes letters A-Z a-z, digits, - _ : and ."
	case CinderVolume, EVSVolume:
		return "takes letters A-Z a-z, digits, - _ : . / and space"
	}
	return "takes letters A-Z a-z, digits, - _ : . and space"
}

// valueTakes reports whether a value may contain a character. The databases of Nova and Cinder have no room for
// characters beyond U+FFFF, which need four bytes; the APIs answer 500 to them. The APIs accept control characters, but
// these would act on the terminals and logs of whoever reads the value.
func (f Family) valueTakes(r rune) bool {
	if r > 0xffff || unicode.IsControl(r) {
		return false
	}
	return f != BMS || (r != '\\' && r != '"')
}

func (f Family) valueRule(r rune) string {
	if f == BMS && r <= 0xffff && !unicode.IsControl(r) {
		return fmt.Sprintf(`takes any character but \ and "; found %q`, r)
	}
	if unicode.IsControl(r) {
		return fmt.Sprintf("takes no control characters; found %+q", r)
	}
	return fmt.Sprintf("takes characters up to U+FFFF; found %+q", r)
}

// reserved returns the reason why Tagger must not write a key, "" if it may. These keys steer the cloud: setting
// agency_name gives the server another IAM agency. The ones that could do harm are refused for every family, because
// Huawei Cloud can be reached with TAGGER_API=openstack too.
func (f Family) reserved(key string) string {
	const why = "is written by the cloud itself"
	// Whatever the case, and without blanks around it: to databases that distinguish neither, Agency_Name and
	// "agency_name " are agency_name.
	key = strings.ToLower(strings.TrimSpace(key))
	prefixes := []string{"__system__", "cascaded."}
	if f.isHuaweiCloud() {
		// On OpenStack the prefix is the way to the bill: Ceilometer copies only keys that begin with it.
		prefixes = append(prefixes, "metering.")
	}
	for _, prefix := range prefixes {
		if strings.HasPrefix(key, prefix) {
			return why + " (prefix " + prefix + ")"
		}
	}
	switch key {
	case "metering.order_id", "metering.product_id", "metering.image_id", "metering.imagetype",
		"metering.resourcespeccode",
		"metering.resourcetype": // Huawei Cloud's
		return why
	case "metering.server_group": // Heat's autoscaling goes by it
		return why
	case "agency_name", "op_svc_userid", "__support_agent_list", "lockcheckendpoint", "locksource", "locksourceid",
		"lockscene", "charging_mode",
		"ecmresstatus", "virtual_env_type", "hw:passthrough":
		return why
	case "vpc_id", "image_name", "os_bit", "os_type":
		if f == ECS || f == BMS {
			return why
		}
	case "full_clone":
		if f == EVS || f == EVSVolume {
			return why
		}
	}
	return ""
}
