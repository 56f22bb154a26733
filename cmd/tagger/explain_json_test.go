package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// explain as JSON has the outcome, and for each key its value, who decides it and why.
func TestExplainJSON(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	t.Setenv("TAGGER_RULES", `
required: [{key: owner, kinds: [server]}, {key: cost-center, kinds: [server, volume]}]
exemptions: [{name: octavia, match: {name: "amphora-*"}, keys: [owner], reason: its own, by: m.weber, until: `+
		time.Now().AddDate(0, 1, 0).Format(time.DateOnly)+`}]
rules:
- {name: owner, on: server.created, add: {owner: ann}}
- {name: lease, on: server.created, add: {expires: "${date(time + days(14))}"}}
- {name: prod, on: server.created, when: 'resource.name startsWith "prod-"', set: {tier: gold}}`)
	put := func(name string, keys map[string]string) string {
		return sim.PutServer(simcloud.Server{Name: name, Created: time.Now().Add(-2 * time.Hour), Metadata: keys})
	}
	bare := put("bare", nil)
	put("mine", map[string]string{"owner": "bob", "mine": "1"})
	put("amphora-1", nil)
	put("done", map[string]string{"owner": "ann", "cost-center": "7"})
	put("prod-1", map[string]string{"owner": "ann", "tier": ""})
	put("twins", nil)
	put("twins", nil)
	sim.PutVolume(simcloud.Volume{Name: "disk", Size: 5})
	log := fmt.Sprintf(`{"time":"2026-11-20T09:15:04Z","msg":"event deferred","resource_id":%q,"action":"server.created",`+
		`"outcome":"deferred","reason":"404"}`+"\n", bare)
	for _, tt := range []struct {
		wanted, log string
		status      int
		outcome     string
		keys        []string // each: key wanted value decided_by status
	}{
		{"bare", log, exitUndone, "lacking", []string{
			"owner ann null rules missing", "expires null null event unknown", "cost-center null null required missing",
		}},
		{"mine", "", exitUndone, "lacking", []string{
			"owner ann bob rules differs", "expires null null event unknown", "mine null 1 others unknown",
			"cost-center null null required missing",
		}},
		{"amphora-1", "", exitDone, "complete", []string{
			"owner ann null rules exempt", "expires null null event unknown", "cost-center null null required missing",
		}},
		{"done", "", exitDone, "complete", []string{
			"owner ann ann rules ok", "expires null null event unknown", "cost-center null 7 others unknown",
		}},
		{"prod-1", "", exitUndone, "lacking", []string{
			"owner ann ann rules ok", `tier gold "" rules missing`, "expires null null event unknown",
			"cost-center null null required missing",
		}},
		{"disk", "", exitDone, "no_rule", []string{"cost-center null null required missing"}},
		{"twins", "", exitUsage, "ambiguous", nil},
		{"nothing", "", exitUndone, "not_found", nil},
	} {
		t.Run(tt.wanted, func(t *testing.T) {
			args := []string{"explain", tt.wanted, "-o", "json"}
			if tt.log != "" {
				args = append(args, "--log", "-")
			}
			out, errOut, status := taggerCommand(t, tt.log, args...)
			var got explanationView
			if err := json.Unmarshal([]byte(out), &got); err != nil || strings.Count(out, "\n") != 1 {
				t.Fatalf("%v: %s%s", err, out, errOut)
			}
			var keys []string
			text := func(value *string) string {
				switch {
				case value == nil:
					return "null"
				case *value == "":
					return `""`
				}
				return *value
			}
			for _, k := range got.Keys {
				keys = append(keys, strings.Join([]string{k.Key, text(k.Wanted), text(k.Value), k.DecidedBy, k.Status}, " "))
			}
			slices.Sort(keys)
			slices.Sort(tt.keys)
			if status != tt.status || got.Outcome != tt.outcome || !cmp.Equal(keys, tt.keys) {
				t.Errorf("status %d, %s: %s\n%s", status, got.Outcome, cmp.Diff(tt.keys, keys), out)
			}
			if found := tt.keys != nil; (got.Resource != nil) != found || (got.RulesHash != "") != found {
				t.Errorf("%s", out)
			}
			if (len(got.Candidates) == 2) != (tt.outcome == "ambiguous") || (len(got.Events) == 1) != (tt.log != "") {
				t.Errorf("%s", out)
			}
		})
	}
	sim.Inject(simcloud.Fault{Path: "/servers", Answer: simcloud.ServerError()})
	out, _, status := taggerCommand(t, "", "explain", bare, "-o", "json")
	var got explanationView
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != exitUnread || got.Outcome != "unknown" ||
		len(got.Errors) == 0 {
		t.Errorf("status %d, %v: %s", status, err, out)
	}
}

// A name from the cloud is quoted in the suggested command.
func TestExplainQuotesNames(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	t.Setenv("TAGGER_RULES", "rules: [{on: server.created, add: {owner: ann}}]")
	id := sim.PutServer(simcloud.Server{Name: "a'; reboot #", Created: time.Now().Add(-2 * time.Hour)})
	if out, _, _ := taggerCommand(t, "", "explain", id); !strings.Contains(out, `--name 'a'\''; reboot #' --out`) {
		t.Error(out)
	}
}
