package metadata_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

// takes reports whether a family is in a list of names.
func takes(list string, f metadata.Family) bool {
	return slices.Contains(strings.Split(list, ", "), string(f))
}

const allFamilies = "Nova, Cinder, Cinder volume, ECS, BMS, EVS, EVS volume"

func TestFamilies(t *testing.T) {
	var names []string
	for _, f := range metadata.Families() {
		names = append(names, string(f))
	}
	for _, kind := range metadata.Kinds() {
		for _, api := range []metadata.API{metadata.OpenStack, metadata.HuaweiCloud} {
			if f := kind.Family(api); !slices.Contains(names, string(f)) {
				t.Errorf("%s on %s has the limits of %q, which the table of families lacks", kind, api, f)
			}
		}
	}
	slices.Sort(names)
	want := strings.Split(allFamilies, ", ")
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("families %q, want %q", names, want)
	}
}

func TestFamilyOfAPI(t *testing.T) {
	for api, want := range map[metadata.API][3]metadata.Family{
		metadata.OpenStack:   {metadata.Nova, metadata.Nova, metadata.Cinder},
		metadata.HuaweiCloud: {metadata.ECS, metadata.BMS, metadata.EVS},
	} {
		if got := [3]metadata.Family{metadata.Server.Family(api), metadata.BareMetal.Family(api),
			metadata.Snapshot.Family(api)}; got != want {
			t.Errorf("%s: got %v, want %v", api, got, want)
		}
	}
}

func TestCheckKey(t *testing.T) {
	const (
		all       = allFamilies
		openstack = "Nova, Cinder, Cinder volume"
		notBMS    = openstack + ", ECS, EVS, EVS volume"
	)
	for _, tt := range []struct {
		name, key string
		takenBy   string // families that take the key; the others must refuse it
		want      string // in the error of the others
	}{
		{"plain", "owner", all, ""},
		{"dots and dashes", "cost-center_1.b", all, ""},
		{"colon", "a:b", notBMS, "accepts any character but"},
		{"space", "a b", openstack + ", BMS, EVS, EVS volume", "accepts letters A-Z a-z, digits"},
		{"non-ASCII letter", "é", "BMS", `'é' is not among them`},
		{"slash", "a/b", "Cinder volume, EVS volume", `is not among them`},
		{"plus", "a+b", "", "is not among them"},
		{"percent", "a%b", "", "is not among them"},
		{"tab", "a\tb", "", "is not among them"},
		{"empty", "", "", "must not be empty"},
		{"one dot", ".", "", "a step in a path"},
		{"two dots", "..", "", "a step in a path"},
		{"three dots", "...", all, ""},
		{"json suffix", "a.json", "Nova, ECS, BMS", "must not end in .json"},
		{"only the suffix", ".json", all, ""},
		{"longest", strings.Repeat("k", 255), all, ""},
		{"too long", strings.Repeat("k", 256), "", "has 256"},
		{"BMS counts bytes", strings.Repeat("é", 128), "", "has 256"},
		{"privilege escalation", "agency_name", "", "is written by the cloud itself"},
		{"privilege escalation in capitals", "Agency_Name", "", "is written by the cloud itself"},
		{"Huawei Cloud's own, everywhere", "metering.order_id", "", "is written by the cloud itself"},
		{"Heat's own, everywhere", "metering.server_group", "", "is written by the cloud itself"},
		{"the way to OpenStack's bill", "metering.cost-center", openstack, "prefix metering."},
		{"reserved prefix of volumes", "__system__cmkid", "", "prefix __system__"},
		{"reserved on Huawei Cloud only", "os_type", openstack + ", EVS, EVS volume", "is written by the cloud itself"},
		{"reserved on EVS only", "full_clone", openstack + ", ECS, BMS", "is written by the cloud itself"},
	} {
		for _, f := range metadata.Families() {
			err := f.CheckKey(tt.key)
			if taken := takes(tt.takenBy, f); taken {
				if err != nil {
					t.Errorf("%s: %s refuses %q: %v", tt.name, f, tt.key, err)
				}
				continue
			}
			var limit *metadata.LimitError
			if !errors.As(err, &limit) || limit.Value {
				t.Errorf("%s: %s takes %q, error %v", tt.name, f, tt.key, err)
				continue
			}
			// The families word their alphabets differently; the named one is checked where only one refuses.
			if tt.name != "BMS counts bytes" && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %s: error %q does not say %q", tt.name, f, err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error of more than one line: %q", tt.name, err)
			}
		}
	}
}

func TestCheckValue(t *testing.T) {
	const (
		all    = allFamilies
		notBMS = "Nova, Cinder, Cinder volume, ECS, EVS, EVS volume"
	)
	for _, tt := range []struct{ name, value, takenBy, want string }{
		{"plain", "alice", all, ""},
		{"anything printable", "a/b c,d;e=f é 日本", all, ""},
		{"newline", "a\nb", "", `accepts no control characters; found '\n'`},
		{"escape", "a\x1b[2J", "", `accepts no control characters; found '\x1b'`},
		{"C1 control", "a\u009b", "", "accepts no control characters"},
		{"empty", "", notBMS, "must not be empty"},
		{"quote", `a"b`, notBMS, `any character but \ and "`},
		{"backslash", `a\b`, notBMS, `any character but \ and "`},
		{"longest", strings.Repeat("v", 255), all, ""},
		{"too long", strings.Repeat("v", 256), "", "has 256"},
		{"255 characters of two bytes", strings.Repeat("é", 255), notBMS, "at most 255 bytes, has 510"},
		{"four-byte character", "ok 😀", "", `U+FFFF; found '\U0001f600'`},
		{"not UTF-8", "a\xffb", "", "is not UTF-8"},
		{"NUL", "a\x00b", "", "found"},
	} {
		for _, f := range metadata.Families() {
			err := f.CheckValue("k", tt.value)
			if takes(tt.takenBy, f) != (err == nil) {
				t.Errorf("%s: %s: error %v", tt.name, f, err)
			}
			if err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %s: error %q does not say %q", tt.name, f, err, tt.want)
			}
		}
	}
}

func TestFitValue(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tt := range []struct {
		name   string
		family metadata.Family
		value  string
		want   string
	}{
		{"fits", metadata.ECS, "alice", "alice"},
		{"emoji", metadata.Nova, "hi 😀!", "hi _!"},
		{"escape", metadata.Nova, "a\x1b[2J\nb", "a_[2J_b"},
		{"quotes for BMS", metadata.BMS, `a"b\c`, "a_b_c"},
		{"not UTF-8", metadata.Nova, "a\xffb", "a_b"},
		{"too long", metadata.Nova, long, strings.Repeat("x", 246) + "-0d4e2ca9"},
	} {
		got, changed := tt.family.FitValue(tt.value)
		if got != tt.want || changed != (tt.want != tt.value) {
			t.Errorf("%s: FitValue(%.20q) = %q, %v; want %q", tt.name, tt.value, got, changed, tt.want)
		}
	}
	a, _ := metadata.Nova.FitValue(long + "a")
	b, _ := metadata.Nova.FitValue(long + "b")
	if a == b {
		t.Error("two long values became one")
	}
}

// A fitted value must pass the check.
func FuzzFitValue(f *testing.F) {
	for _, s := range []string{"", "alice", `a"b\c`, "😀", strings.Repeat("é", 300), "a\xff\x00b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, family := range metadata.Families() {
			fit, changed := family.FitValue(value)
			if !utf8.ValidString(fit) || changed != (fit != value) {
				t.Fatalf("%s: FitValue(%q) = %q, %v", family, value, fit, changed)
			}
			if err := family.CheckValue("k", fit); err != nil && value != "" {
				t.Fatalf("%s: FitValue(%q) = %q, and yet: %v", family, value, fit, err)
			}
			if family.CheckValue("k", value) == nil && changed {
				t.Fatalf("%s: %q is taken as it is, and became %q", family, value, fit)
			}
		}
	})
}

// A database that pads strings in comparisons treats "agency_name " as agency_name.
func TestReservedKeysWithBlanks(t *testing.T) {
	for _, key := range []string{"agency_name ", " Agency_Name", " __system__x", "op_svc_userid  "} {
		for _, f := range []metadata.Family{metadata.Nova, metadata.Cinder, metadata.EVS} { // ECS takes no blanks at all
			var limit *metadata.LimitError
			if err := f.CheckKey(key); !errors.As(err, &limit) || !limit.Reserved {
				t.Errorf("%s takes %q: %v", f, key, err)
			}
		}
	}
}
