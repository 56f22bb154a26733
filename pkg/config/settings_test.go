package config_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/config"
)

// clearEnv unsets every variable of the settings for the test.
func clearEnv(t *testing.T) {
	t.Helper()
	for _, v := range config.Variables[config.Settings]() {
		t.Setenv(v.Name, "") // restores the old value after the test
		if err := os.Unsetenv(v.Name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDefaults(t *testing.T) {
	clearEnv(t)
	got, err := config.SettingsFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	want := config.Settings{
		API: "openstack", Verify: true, RulesRefresh: time.Minute, Grace: 10 * time.Minute, GiveUpAfter: 24 * time.Hour,
		Concurrency: 10, Rate: 5, BytesInFlight: 8 << 20, LogLevel: "info",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestEmptyIsUnset: deployment templates set unused variables to the empty string.
func TestEmptyIsUnset(t *testing.T) {
	for _, v := range config.Variables[config.Settings]() {
		t.Setenv(v.Name, " ")
	}
	got, err := config.SettingsFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if got.Concurrency != 10 || got.Wait != nil || !got.Verify {
		t.Errorf("got %+v", got)
	}
}

func TestSettings(t *testing.T) {
	clearEnv(t)
	for name, value := range map[string]string{
		"TAGGER_API":         "huaweicloud",
		"TAGGER_VERIFY":      "false",
		"TAGGER_DRY_RUN":     "1",
		"TAGGER_WAIT":        "0s",
		"TAGGER_PROJECTS":    "p1, p2,,",
		"TAGGER_EVENT_TYPES": "ECS:CloudTrace:ApiCall=server.created, createSnapshotV2=snapshot.created,",
	} {
		t.Setenv(name, value)
	}
	got, err := config.SettingsFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	zero := time.Duration(0)
	want := config.Settings{
		API: "huaweicloud", DryRun: true, Wait: &zero, Projects: config.Projects{"p1", "p2"},
		EventTypes:   config.EventTypes{"ECS:CloudTrace:ApiCall": "server.created", "createSnapshotV2": "snapshot.created"},
		RulesRefresh: time.Minute, Grace: 10 * time.Minute, GiveUpAfter: 24 * time.Hour, Concurrency: 10, Rate: 5,
		BytesInFlight: 8 << 20, LogLevel: "info",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRefuses(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"TAGGER_API", "openstck", `TAGGER_API="openstck" is unknown; did you mean openstack?`},
		{"TAGGER_LOG_LEVEL", "loud", `TAGGER_LOG_LEVEL="loud" is unknown; known: debug, info, warn, error`},
		{"TAGGER_VERIFY", "maybe", `TAGGER_VERIFY="maybe" is not true or false`},
		{"TAGGER_CONCURRENCY", "many", `TAGGER_CONCURRENCY="many" is not a whole number`},
		{"TAGGER_CONCURRENCY", "0", "want at least 1"},
		{"TAGGER_CONCURRENCY", "65536", "at most 1000"},
		{"TAGGER_RULES_REFRESH", "0", "TAGGER_RULES_REFRESH=0s is out of bounds; want 1s to 24h0m0s"},
		{"TAGGER_RULES_REFRESH", "-1s", "is negative"},
		{"TAGGER_RULES_REFRESH", "999ms", "want 1s to"},
		{"TAGGER_GRACE", "25h", "want 0s to 24h0m0s"},
		{"TAGGER_GIVE_UP_AFTER", "337h", "want 0s to 336h0m0s"},
		{"TAGGER_WAIT", "61m", "want 0s to 1h0m0s"},
		{"TAGGER_RATE", "NaN", "TAGGER_RATE=NaN; want 0.1 to 1000 writes a second"},
		{"TAGGER_RATE", "-1", "want 0.1 to 1000"},
		{"TAGGER_RATE", "0.01", "or 0 for no limit"},
		{"TAGGER_RATE", "fast", `TAGGER_RATE="fast" is not a number`},
		{"TAGGER_PROJECTS", "role", `"role" is not a project id; did you mean roles?`},
		{"TAGGER_PROJECTS", "own,all", `"all" is not a project id; did you mean * (every project)?`},
		{"TAGGER_PROJECTS", "p1,domain:", "domain: needs the name of a domain"},
		{"TAGGER_PROJECTS", "p1 p2", `"p1 p2" is not a project id`},
		{"TAGGER_BYTES_IN_FLIGHT", "1000", "TAGGER_BYTES_IN_FLIGHT=1000; want at least 7340032"},
		{"TAGGER_METRICS_SECRET", "true", "TAGGER_METRICS_SECRET=true, but TAGGER_HTTP_SECRET is not set"},
		{"TAGGER_WAIT", "10", `TAGGER_WAIT="10" is not a duration such as 90s or 10m`},
		{"TAGGER_WAIT", "-1s", "TAGGER_WAIT=-1s is negative"},
		{"TAGGER_GRACE", "-1s", "TAGGER_GRACE=-1s is negative"},
		{"TAGGER_EVENT_TYPES", "a=b,c", `TAGGER_EVENT_TYPES="a=b,c" is not valid: "c" is not type=action`},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			clearEnv(t)
			t.Setenv(tt.name, tt.value)
			_, err := config.SettingsFromEnv()
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestUnknown(t *testing.T) {
	got := config.Unknown([]string{
		"PATH=/bin", "TAGGER_RULE=x", "TAGGER_FOO=x", "TAGGER_SERVICE_HOST=10.0.0.1", "TAGGER_API=openstack", "TAGGER_VERIFY",
	})
	want := []string{
		"unknown variable TAGGER_FOO", "unknown variable TAGGER_RULE; did you mean TAGGER_RULES?",
		"unknown variable TAGGER_SERVICE_HOST",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReadRules(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(file, []byte("rules: []"), 0o600); err != nil {
		t.Fatal(err)
	}
	parameter := func(_ context.Context, name string) (string, error) {
		if name != "/tagger/rules" {
			return "", errors.New("ParameterNotFound")
		}
		return "rules: []", nil
	}
	for _, tt := range []struct {
		name           string
		settings       config.Settings
		parameter      func(context.Context, string) (string, error)
		wantName, want string // in the error
	}{
		{"variable", config.Settings{Rules: "rules: []"}, nil, "TAGGER_RULES", ""},
		{"file", config.Settings{RulesFile: file}, nil, file, ""},
		{"parameter", config.Settings{RulesParameter: "/tagger/rules"}, parameter, "parameter /tagger/rules", ""},
		{"none", config.Settings{}, nil, "", "there are none; set TAGGER_RULES"},
		{"both", config.Settings{Rules: "x", RulesFile: file}, nil, "", "more than one of TAGGER_RULES, TAGGER_RULES_FILE"},
		{"no such file", config.Settings{RulesFile: filepath.Join(dir, "no.yaml")}, nil, "", "no.yaml: no such file"},
		{"no such parameter", config.Settings{RulesParameter: "/x"}, parameter, "", "ParameterNotFound"},
		{"no parameters", config.Settings{RulesParameter: "/x"}, nil, "",
			"only the functions, tagger serve and tagger listen"},
	} {
		r, err := tt.settings.ReadRules(t.Context(), tt.parameter)
		if r.Name != tt.wantName {
			t.Errorf("%s: rules of %q, want %q", tt.name, r.Name, tt.wantName)
		}
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
		if err == nil && string(r.Text) != "rules: []" {
			t.Errorf("%s: text %q", tt.name, r.Text)
		}
	}
}

func TestProjects(t *testing.T) {
	var p config.Projects
	if err := p.Decode("own, 4d8a, domain:Cloud Users,roles,*,domain:d1"); err != nil {
		t.Fatal(err)
	}
	if !p.Own() || !p.Roles() || !p.Any() {
		t.Errorf("own %t, roles %t, any %t, want all true", p.Own(), p.Roles(), p.Any())
	}
	for id, want := range map[string]bool{"4d8a": true, "own": false, "*": false, "roles": false} {
		if got := p.Listed(id); got != want {
			t.Errorf("Listed(%q) = %t", id, got)
		}
	}
	if diff := cmp.Diff([]string{"Cloud Users", "d1"}, p.Domains()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"4d8a"}, p.IDs()); diff != "" {
		t.Error(diff)
	}
	for _, id := range []string{
		"5f705ac7cdcc4c3a9ad67dcba5a7f5a1", "8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10", "demo", "all-hands", "a11", "ldap.42",
	} {
		if err := p.Decode(id); err != nil || !p.Listed(id) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	for address, warned := range map[string]bool{
		"http://keystone.example.com:5000/v3": true,
		" http://10.0.0.1/v3":                 true,
		"http://localhost.example.com":        true,
		"https://keystone.example.com/v3":     false,
		"http://localhost:5000/v3":            false,
		"http://127.1.2.3/v3":                 false,
		"http://[::1]:5000":                   false,
		"":                                    false,
	} {
		c := config.Credentials{AuthURL: address}.Warnings()
		s := config.Settings{ComputeEndpoint: address, VolumeEndpoint: address}.Warnings()
		wantC, wantS := 0, 0
		if warned {
			wantC, wantS = 1, 2
		}
		if len(c) != wantC || len(s) != wantS {
			t.Errorf("%q: %v, %v", address, c, s)
		}
	}
}

func TestWarnsAboutNamesOnly(t *testing.T) {
	for patterns, warned := range map[string]bool{
		"ci-*": true, "tagger,svc-?": true,
		"": false, "*6a10": false, "tagger,8c1f0a6e5b0d4a3e9f527f1c2d9b6a10": false,
	} {
		var s config.Settings
		if err := s.IgnoreActors.Decode(patterns); err != nil {
			t.Fatal(err)
		}
		if got := s.Warnings(); (len(got) == 1) != warned {
			t.Errorf("%q: %v", patterns, got)
		}
	}
}
