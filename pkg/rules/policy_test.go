package rules_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// today is the day of these tests.
var today = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

const companyPolicy = `tables:
  project: {p-1: {cost_center: CC-17}, p-2: {cost_center: CC-40}}
  cost_centres: {CC-17: shop, CC-40: crm}
required:
- key: cost-center
  kinds: [server, volume, snapshot]
  expect: ${tables.project[resource.project].cost_center}
  values: {table: cost_centres}
  placeholders: [CC-0, unknown, tbd]
  aliases: [costcenter, CostCenter]
  on_differs: report
  on_removed: restore
- key: stage
  values: {one_of: [dev, prod]}
- key: ticket
  kinds: server
  values: {pattern: '^CHG-\d{1,6}$'}
exemptions:
- name: amphorae
  match: {project: service, kind: server, name: "amphora-*"}
  keys: [owner]
  reason: Octavia's own servers
  allocate_to: CC-900
  by: m.weber
  ticket: FIN-311
  until: 2027-03-31
self_exemption: accept
protected_keys: [expires, DeleteOn, "openshift*", "cinder.csi.*", metering.server_group]
yield_to: [terraform-svc, "heat-*"]
volumes: {write: never}
rules:
- {on: server.created, add: {owner: a}}
`

func TestPolicy(t *testing.T) {
	set, err := rules.Compile([]byte(companyPolicy), rules.Options{Now: today})
	if err != nil {
		t.Fatal(err)
	}
	got := set.Policy()
	want := rules.Policy{
		Required: []rules.Required{
			{Key: "cost-center", Kinds: []lifecycle.Kind{lifecycle.Server, lifecycle.Volume, lifecycle.Snapshot},
				Table:        "cost_centres",
				Placeholders: []string{"CC-0", "unknown", "tbd"}, Aliases: []string{"costcenter", "CostCenter"}, Restore: true,
				Line: 5},
			{Key: "stage", Kinds: lifecycle.Kinds(), OneOf: []string{"dev", "prod"}, Line: 13},
			{Key: "ticket", Kinds: []lifecycle.Kind{lifecycle.Server}, Pattern: regexp.MustCompile(`^CHG-\d{1,6}$`), Line: 15},
		},
		Exemptions: []rules.Exemption{{
			Name: "amphorae", Match: map[string]string{"project": "service", "kind": "server", "name": "amphora-*"},
			Keys:   []string{"owner"},
			Reason: "Octavia's own servers", AllocateTo: "CC-900", By: "m.weber", Ticket: "FIN-311",
			Until: time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC), Line: 19,
		}},
		SelfExemption: rules.AcceptSelfExemption,
		ProtectedKeys: []string{"expires", "DeleteOn", "openshift*", "cinder.csi.*", "metering.server_group"},
		VolumesWrite:  rules.NoVolumes,
		YieldTo:       []string{"terraform-svc", "heat-*"},
	}
	compare := cmp.Comparer(func(a, b *regexp.Regexp) bool {
		return a == b ||
			a != nil && b != nil && a.String() == b.String()
	})
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(rules.Required{}), compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for actor, want := range map[lifecycle.Actor]bool{{ID: "terraform-svc"}: true, {ID: "3f", Name: "heat-1"}: true,
		{ID: "3f", Name: "bob"}: false, {}: false} {
		if got.YieldsTo(actor) != want {
			t.Errorf("yields to %+v: %v", actor, !want)
		}
	}
	if !got.Protects("openshiftClusterID") || got.Protects("owner") {
		t.Error("protects other keys than those of protected_keys:")
	}
	if w := set.Warnings(); len(w) > 0 {
		t.Errorf("warnings %v", w)
	}

	c := change()
	for project, want := range map[string]string{"p-1": "CC-17", "p-9": ""} {
		c.Resource.Project = project
		value, why, err := set.Expected(got.Required[0], c, sample(t), rules.Readings{})
		if value != want || (why == "") != (want != "") || err != nil {
			t.Errorf("%s: expected %q, %q, %v", project, value, why, err)
		}
	}
	if value, why, err := set.Expected(got.Required[1], c, sample(t), rules.Readings{}); value+why != "" || err != nil {
		t.Errorf("expected %q, %q, %v", value, why, err)
	}
	for i, values := range []map[string]bool{
		{"CC-17": true, "CC-40": true, "CC-1": false, "": false},
		{"dev": true, "prod": true, "test": false},
		{"CHG-1": true, "CHG-": false, "xCHG-1": false},
	} {
		for value, want := range values {
			if set.Allows(got.Required[i], value) != want {
				t.Errorf("%s: allows %q: %v", got.Required[i].Key, value, !want)
			}
		}
	}
	amphora := lifecycle.Resource{Project: "service", Kind: lifecycle.Server, Name: "amphora-1"}
	lastMoment := time.Date(2027, 3, 31, 23, 59, 0, 0, time.UTC)
	for _, tt := range []struct {
		edit func(*lifecycle.Resource)
		at   time.Time
		want bool
	}{
		{func(*lifecycle.Resource) {}, today, true},
		{func(*lifecycle.Resource) {}, lastMoment, true},
		{func(*lifecycle.Resource) {}, lastMoment.Add(2 * time.Minute), false},
		{func(r *lifecycle.Resource) { r.Name = "web-1" }, today, false},
		{func(r *lifecycle.Resource) { r.Project = "shop" }, today, false},
		{func(r *lifecycle.Resource) { r.Kind = lifecycle.BareMetal }, today, false},
	} {
		r := amphora
		tt.edit(&r)
		if covers := got.Exemptions[0].Covers(r, tt.at); covers != tt.want {
			t.Errorf("%+v at %s: %v", r, tt.at, covers)
		}
	}
}

// Without these sections, the policy has the safe defaults.
func TestPolicyDefaults(t *testing.T) {
	got := compile(t, designRules, "").Policy()
	want := rules.Policy{SelfExemption: rules.ReportSelfExemption, VolumesWrite: rules.UnmanagedVolumes}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The cost of an expectation is limited like that of a plan.
func TestExpectedIsBounded(t *testing.T) {
	set := compile(t, "required:\n- {key: k, expect: '${repeat(resource.name, 100000000)}'}\nrules: [{on: "+
		"server.created, set: {a: b}}]\n", "")
	_, _, err := set.Expected(set.Policy().Required[0], change(), sample(t), rules.Readings{})
	if over, ok := errors.AsType[*rules.BudgetError](err); !ok || over.Key != "k" {
		t.Errorf("error %v", err)
	}
}

func TestPolicyWarns(t *testing.T) {
	text := strings.Replace(companyPolicy, "2027-03-31", "2026-11-24", 1)
	set, err := rules.Compile([]byte(text), rules.Options{Now: today.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(set.Warnings()),
		"[26: warning: exemptions: amphorae: it ended with 2026-11-24; its keys count as missing]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestPolicyRefuses(t *testing.T) {
	exemption := func(fields string) string {
		return "exemptions:\n- {name: a, match: {project: p}, keys: [k], reason: r, by: b, until: 2027-03-31}\n- " + fields +
			"\n"
	}
	for _, tt := range []struct{ name, text, want string }{
		{"required is a mapping", "required: {key: a}", "R:1: required: want a list, found a mapping"},
		{"required without key", "required:\n- kinds: [server]", "R:2: required: no key: name the required key"},
		{"unknown field", "required:\n- key: a\n  kind: server", `R:3: unknown field "kind"; did you mean kinds?`},
		{"unknown kind", "required:\n- key: a\n  kinds: [servers]",
			`R:3: required: a: kinds: unknown kind "servers"; did you mean server?`},
		{"required twice", "required:\n- key: a\n- {key: a, kinds: [volume]}",
			"R:3: required: a: is already required of a volume"},
		{"a key that cannot be written", "required:\n- key: a/b", `R:2: required: Nova key "a/b": accepts letters`},
		{"a key of the cloud", "required:\n- key: agency_name", `is written by the cloud itself`},
		{"expect", "required:\n- key: a\n  expect: ${resource.nmae}",
			"R:3: required: a: expect: expression resource.nmae: unknown field nmae at character 10; did you mean name?"},
		{"differs from nothing", "required:\n- key: a\n  on_differs: report",
			"R:3: required: a: on_differs: needs expect:, the expected value"},
		{"on_differs", "required:\n- key: a\n  expect: b\n  on_differs: overwrit",
			`R:4: required: a: on_differs: want report or overwrite, found "overwrit"; did you mean overwrite?`},
		{"on_removed", "required:\n- key: a\n  on_removed: report",
			`R:3: required: a: on_removed: want leave or restore, found "report"`},
		{"values of a list", "required:\n- key: a\n  values: [b]", "R:3: required: a: values: want a mapping, found a list"},
		{"values of two", "required:\n- key: a\n  values: {table: t, one_of: [b]}",
			"R:3: required: a: values: want one of table:, one_of:, pattern:"},
		{"values of no table", "tables: {cost: {a: b}}\nrequired:\n- key: a\n  values: {table: cots}",
			`R:4: required: a: values: unknown table "cots"; did you mean cost?`},
		{"values of a bad pattern", "required:\n- key: a\n  values: {pattern: '^[$'}",
			"R:3: required: a: values: pattern: error parsing regexp"},
		{"values of a part", "required:\n- key: a\n  values: {pattern: 'CC-\\d+'}",
			"R:3: required: a: values: pattern: matches a part of a value; begin it with ^ and end it with $"},
		{"alias of itself", "required:\n- key: a\n  aliases: [b, a]", "R:3: required: a: aliases: names the key itself"},
		{"placeholders of a mapping", "required:\n- key: a\n  placeholders: {b: c}",
			"R:3: required: a: placeholders: want a list of texts, found a mapping"},

		{"no name", exemption("{match: {project: p}, keys: [k], reason: r, by: b, until: 2027-03-31}"),
			"R:3: exemptions: no name:"},
		{"no until", exemption("{name: b, match: {project: p}, keys: [k], reason: r, by: b}"), "R:3: exemptions: no until:"},
		{"no reason", exemption("{name: b, match: {project: p}, keys: [k], by: b, until: 2027-03-31}"),
			"R:3: exemptions: no reason:"},
		{"name twice", exemption("{name: a, match: {project: p}, keys: [k], reason: r, by: b, until: 2027-03-31}"),
			"R:3: exemptions: a: line 2 already has an exemption of this name"},
		{"longer than a year", exemption("{name: b, match: {project: p}, keys: [k], reason: r, by: b, until: 2027-12-31}"),
			"R:3: exemptions: b: until: 2027-12-31 is more than a year ahead"},
		{"until a word", exemption("{name: b, match: {project: p}, keys: [k], reason: r, by: b, until: forever}"),
			`R:3: exemptions: b: until: want a day such as 2027-03-31, found "forever"`},
		{"matches all", exemption("{name: b, match: {name: '*'}, keys: [k], reason: r, by: b, until: 2027-03-31}"),
			"R:3: exemptions: b: match: matches everything; name a project, a name or an id"},
		{"matches all of a kind",
			exemption("{name: b, match: {kind: server, project: '*'}, keys: [k], reason: r, by: b, until: 2027-03-31}"),
			"match: matches everything"},
		{"matches nothing", exemption("{name: b, match: {}, keys: [k], reason: r, by: b, until: 2027-03-31}"),
			"match: matches everything"},
		{"matches a kind that is none",
			exemption("{name: b, match: {kind: image, project: p}, keys: [k], reason: r, by: b, until: 2027-03-31}"),
			`R:3: exemptions: b: match: kind: unknown kind "image"`},
		{"matches by another field",
			exemption("{name: b, match: {flavor: x}, keys: [k], reason: r, by: b, until: 2027-03-31}"),
			`R:3: unknown field "flavor"; known: id, kind, name, project, project_name, region, zone`},

		{"self_exemption", "self_exemption: acept",
			`R:1: self_exemption: want report, ignore or accept, found "acept"; did you mean accept?`},
		{"protected_keys", "protected_keys: ['*']", `R:1: protected_keys: "*" matches every key`},
		{"protected_keys twice", "protected_keys: [a, a]", `R:1: protected_keys: a is given twice`},
		{"yield_to everyone", "yield_to: ['*']",
			`R:1: yield_to: "*" matches every user; set TAGGER_REPAIR=false to write nothing again`},
		{"yield_to twice", "yield_to: [a, a]", `R:1: yield_to: a is given twice`},
		{"yield_to a mapping", "yield_to: {a: b}", `R:1: yield_to: want a list of users, found a mapping`},
		{"yield_to misspelt", "yield_too: [a]", `R:1: unknown field "yield_too"; did you mean yield_to?`},
		{"volumes", "volumes: all", "R:1: volumes: want a mapping, found a single value"},
		{"volumes write", "volumes: {write: none}", `R:1: volumes: write: want unmanaged, never or all, found "none"`},
		{"another section", "exemption: []", `R:1: unknown field "exemption"; did you mean exemptions?`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := rules.Compile([]byte(tt.text+"\nrules:\n- {on: server.created, set: {a: b}}\n"),
				rules.Options{Name: "R", Now: today})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}
