package rules_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// A table with columns, in each notation.
func TestTablesWithColumns(t *testing.T) {
	for name, table := range map[string]string{
		"written out":        `{p-1: {cost_center: CC-17, owner: team-shop}, p-2: {cost_center: CC-40}}`,
		"CSV with a heading": `{file: project.csv}`,
		"it says so":         `{file: project.csv, heading: true}`,
		"YAML":               `{file: people.yaml}`,
		"JSON":               `{file: people.json}`,
	} {
		t.Run(name, func(t *testing.T) {
			set := compile(t, `tables: {project: `+table+`}
rules:
- on: server.created
  set:
    cost-center: '${tables.project[resource.project].cost_center ?? "CC-0"}'
    owner: '${tables.project[resource.project].owner ?? "none"}'
    other: '${tables.project["p-2"]["cost_center"]}'
`, "")
			for project, want := range map[string]map[string]string{
				"p-1": {"cost-center": "CC-17", "owner": "team-shop", "other": "CC-40"},
				"p-2": {"cost-center": "CC-40", "owner": "none", "other": "CC-40"},
				"p-3": {"cost-center": "CC-0", "owner": "none", "other": "CC-40"},
				"":    {"cost-center": "CC-0", "owner": "none", "other": "CC-40"},
			} {
				c := change()
				c.Resource.Project = project
				plan := set.Plan(c, sample(t), rules.Readings{})
				if diff := cmp.Diff(want, plan.Set); diff != "" || len(plan.Problems) > 0 {
					t.Errorf("%s (-want +got):\n%s%v", project, diff, plan.Problems)
				}
			}
		})
	}
}

// A table of two columns has no heading unless the rules declare one.
func TestTableOfTwoNamedColumns(t *testing.T) {
	plan := compile(t, "tables: {p: {file: named.csv, heading: true}, q: {file: cost.csv, heading: false}}\nrules:\n- "+
		"{on: server.created, set: {a: '${tables.p[resource.project].cost_center}', b: '${tables.q[resource.project]}'}}\n",
		"").
		Plan(change(), sample(t), rules.Readings{})
	if diff := cmp.Diff(map[string]string{"a": "CC-17", "b": "CC-17"}, plan.Set); diff != "" {
		t.Errorf("(-want +got):\n%s%v", diff, plan.Problems)
	}
}

// A rule can write an empty value if it is written as "" and the API accepts it.
func TestEmptyValues(t *testing.T) {
	text := "rules:\n- on: server.created\n  set: {backup: \"\", single: '', padded: ' '}\n"
	plan := compile(t, text, metadata.HuaweiCloud).Plan(change(), sample(t), rules.Readings{})
	if diff := cmp.Diff(map[string]string{"backup": "", "single": "", "padded": " "}, plan.Set); diff != "" ||
		len(plan.Problems) > 0 {
		t.Errorf("(-want +got):\n%s%v", diff, plan.Problems)
	}
	metal := change()
	metal.Resource.Kind = lifecycle.BareMetal
	plan = compile(t, text, metadata.HuaweiCloud).Plan(metal, sample(t), rules.Readings{})
	if len(plan.Set) != 1 || len(plan.Problems) != 2 ||
		plan.Problems[0].Why != `left out: BMS value of key "backup": must not be empty` {
		t.Errorf("set %v, problems %v", plan.Set, plan.Problems)
	}
}

// Anchors, aliases and merge keys.
func TestAliases(t *testing.T) {
	set := compile(t, `x-defaults: &defaults
  on: &acts [server.created, snapshot.created]
  add: &own {owner: "${actor.name}", tier: &tier gold}
tables:
  cost: &cost {p-1: CC-1, p-2: CC-2}
  again: {<<: *cost, p-1: own}
rules:
- name: a
  <<: *defaults
  when: "true"
- name: b
  on: *acts
  add: {<<: [*own, {owner: later, third: 3}], tier2: *tier}
  when: resource.name startsWith "x"
- name: c
  on: *acts
  add: {<<: *own, owner: written out, cost: '${tables.again[resource.project] + tables.again["p-2"]}'}
`, "")
	if diff := cmp.Diff([]string{"a", "b", "c"}, set.Names()); diff != "" {
		t.Error(diff)
	}
	plan := set.Plan(change(), sample(t), rules.Readings{})
	want := map[string]string{"owner": "written out", "tier": "gold", "cost": "ownCC-2"}
	if diff := cmp.Diff(want, plan.Add); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c := change()
	c.Resource.Name = "x"
	plan = set.Plan(c, sample(t), rules.Readings{})
	if plan.Add["third"] != "3" || plan.Add["tier2"] != "gold" {
		t.Errorf("add %v", plan.Add)
	}
}

// A named condition means the same as its expression, everywhere.
func TestConditions(t *testing.T) {
	set := compile(t, `conditions:
  production: resource.name startsWith "prod-"
  robot: actor.name in ["ci", "bot"] or actor.kind == "service"
  attended: production and not robot
ignore:
- robot and data.dry == true
- resource.project == "sandbox"
rules:
- {name: attended, on: server.created, when: attended, set: {attended: "yes"}}
- {name: other, on: server.created, when: not attended, set: {attended: "no"}}
- name: value
  on: server.created
  set: {env: '${production ? "production" : "other"}', all: '${all(data.list, production)}'}
`, "")
	for _, tt := range []struct {
		name    string
		edit    func(*lifecycle.Change)
		want    map[string]string
		ignored string
	}{
		{"attended", func(*lifecycle.Change) {}, map[string]string{"attended": "yes", "env": "production", "all": "true"},
			""},
		{"a robot", func(c *lifecycle.Change) { c.Actor.Name = "ci" },
			map[string]string{"attended": "no", "env": "production", "all": "true"}, ""},
		{"no production", func(c *lifecycle.Change) { c.Resource.Name = "x" },
			map[string]string{"attended": "no", "env": "other", "all": "false"}, ""},
		{"a robot's dry run", func(c *lifecycle.Change) {
			c.Actor.Kind = lifecycle.Service
			c.Data.(map[string]any)["dry"] = true
		}, map[string]string{}, "ignored: robot and data.dry == true"},
		{"a project", func(c *lifecycle.Change) { c.Resource.Project = "sandbox" }, map[string]string{},
			`ignored: resource.project == "sandbox"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := change()
			tt.edit(&c)
			plan := set.Plan(c, sample(t), rules.Readings{})
			if diff := cmp.Diff(tt.want, plan.Set); diff != "" || plan.Ignored != tt.ignored || len(plan.Problems) > 0 {
				t.Errorf("(-want +got):\n%signored %q, problems %v", diff, plan.Ignored, plan.Problems)
			}
			if (plan.Ignored != "") != (len(plan.Rules)+len(plan.Skipped) == 0) {
				t.Errorf("rules %v, skipped %v", plan.Rules, plan.Skipped)
			}
		})
	}
	if plan := set.Plan(change(), sample(t), rules.Readings{}); plan.Skipped[0].Why != "when is false: not attended" {
		t.Errorf("skipped %v", plan.Skipped)
	}
}

// A condition of ignore: without a value ignores nothing and is reported as a problem.
func TestIgnoreWithoutValue(t *testing.T) {
	plan := compile(t, "ignore: [data.size > 'x', data.missing > 5, data.quote]\nrules:\n- {on: server.created, set: "+
		"{k: v}}\n", "").Plan(change(), sample(t), rules.Readings{})
	var why []string
	for _, p := range plan.Problems {
		why = append(why, p.String())
	}
	want := []string{
		"rule ignore: data.size > 'x': invalid operation: int64 > string",
		"rule ignore: data.missing > 5: data.missing is absent: the event does not have it",
		"rule ignore: is neither true nor false: data.quote",
	}
	if diff := cmp.Diff(want, why); diff != "" || plan.Set["k"] != "v" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Conditions cannot make an expression arbitrarily large.
func TestConditionsAreBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString("conditions:\n  c0: resource.name == \"x\"\n")
	for i := range 30 {
		fmt.Fprintf(&text, "  c%d: c%d or c%d\n", i+1, i, i)
	}
	text.WriteString("rules:\n- {on: server.created, when: c30, set: {a: b}}\n")
	_, err := rules.Compile([]byte(text.String()), rules.Options{Name: "R"})
	if err == nil || !strings.Contains(err.Error(), "its conditions make it too large: more than 10000 parts") {
		t.Errorf("error %v", err)
	}
}

// The keys of existing metadata that remove: deletes.
func TestRemovals(t *testing.T) {
	there := map[string]string{
		"tmp-1": "a", "tmp-2": "b", "tmp": "c", "Tmp-3": "d", "x-old": "e", "owner": "al", "agency_name": "x",
		"metering.server_group": "g", "billing-a": "1", "billing-b": "2",
	}
	for _, tt := range []struct {
		name, rules string
		want        []string
	}{
		{"a key", "{remove: [tmp-1, absent]}", []string{"tmp-1"}},
		{"a pattern", "{remove: ['tmp*']}", []string{"tmp", "tmp-1", "tmp-2"}},
		{"one character", "{remove: ['tmp-?']}", []string{"tmp-1", "tmp-2"}},
		{"at the end", "{remove: ['*-old']}", []string{"x-old"}},
		{"in the middle", "{remove: ['t*p-*2']}", []string{"tmp-2"}},
		{"never what the cloud writes", "{remove: ['*e*']}", []string{"owner"}},
		{"not what a later rule sets", "{remove: ['tmp*']}, {set: {tmp-1: new}}", []string{"tmp", "tmp-2"}},
		{"not what a later rule adds", "{remove: ['tmp*']}, {add: {tmp-1: new}}", []string{"tmp", "tmp-2"}},
		{"what an earlier rule sets", "{set: {tmp-1: new}}, {remove: ['tmp*']}", []string{"tmp", "tmp-1", "tmp-2"}},
		{"not what is renamed", "{remove: ['billing-*']}, {rename: {billing-a: cost-a}}", []string{"billing-b"}},
		{"not the new key of a rename", "{remove: ['billing-*']}, {rename: {owner: billing-b}}", []string{"billing-a"}},
		{"a renamed key of an earlier rule", "{rename: {billing-a: cost-a}}, {remove: ['billing-*']}",
			[]string{"billing-a", "billing-b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := "rules:\n- " + strings.ReplaceAll(strings.ReplaceAll(tt.rules, "}, {", "}\n- {"), "- {",
				"- {on: server.created, ")
			text = strings.Replace(text, "- {", "- {on: server.created, ", 1)
			text = strings.ReplaceAll(text, "on: server.created, on: server.created, ", "on: server.created, ")
			plan := compile(t, text, "").Plan(change(), sample(t), rules.Readings{})
			if diff := cmp.Diff(tt.want, plan.Removals(there)); diff != "" || plan.Empty() {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRenames(t *testing.T) {
	plan := compile(t, "rules:\n- {on: server.created, rename: {Owner: owner, cc: cost-center, costs: budget, gone: "+
		"lost, e: env}}\n- {on: server.created, add: {owner: none}, set: {env: prod}}\n", "").Plan(change(), sample(t),
		rules.Readings{})
	if diff := cmp.Diff(map[string]string{"Owner": "owner", "cc": "cost-center", "costs": "budget", "gone": "lost",
		"e": "env"}, plan.Rename); diff != "" || plan.Empty() {
		t.Errorf("(-want +got):\n%s", diff)
	}
	all, problems := plan.Renames(map[string]string{"Owner": "al", "cc": "CC-1", "cost-center": "", "costs": "1",
		"budget": "2", "e": "dev"})
	want := []rules.Renaming{{From: "Owner", To: "owner", Value: "al", CaseOnly: true},
		{From: "cc", To: "cost-center", Value: "CC-1"}, {From: "e", To: "env", Value: "prod"}}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(problems) != 1 ||
		problems[0].String() != `key costs: not renamed: "budget" exists too, with another value` {
		t.Errorf("problems %v", problems)
	}
}

// The order of importance, and the keys that are left out if not all fit.
func TestOrderAndFit(t *testing.T) {
	plan := compile(t, `priority: [cost-center, "billing-*", owner]
reserve_items: 2
rules:
- {on: server.created, add: {note: n, owner: al, billing-b: "2"}, set: {there: new}}
- {on: server.created, set: {billing-a: "1", cost-center: CC-1}, remove: [old], rename: {was: is}}
`, "").Plan(change(), sample(t), rules.Readings{})
	order := []string{"cost-center", "billing-b", "billing-a", "owner", "note", "there", "is"}
	if diff := cmp.Diff(order, plan.Order); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	there := map[string]string{"there": "x", "old": "x", "was": "x", "1": "x", "2": "x"} // 4 remain
	for most, want := range map[int][]string{
		0:   {"billing-a", "billing-b", "cost-center", "note", "owner", "there"},
		128: {"billing-a", "billing-b", "cost-center", "note", "owner", "there"},
		11:  {"billing-a", "billing-b", "cost-center", "note", "owner", "there"},
		10:  {"billing-a", "billing-b", "cost-center", "owner", "there"},
		8:   {"billing-b", "cost-center", "there"},
		6:   {"there"},
		1:   {"there"},
	} {
		fit, problems := plan.Fit(there, most)
		got := slices.Sorted(maps.Keys(fit.Set))
		got = append(got, slices.Sorted(maps.Keys(fit.Add))...)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" || len(problems) != 6-len(want) {
			t.Errorf("%d (-want +got):\n%s%v", most, diff, problems)
		}
	}
	_, problems := plan.Fit(there, 10)
	if len(problems) != 1 ||
		problems[0].String() != "key note: left out: the resource has 5 of 10 items, and reserve_items keeps 2 free; "+
			"priority: decides which keys come first" {
		t.Errorf("problems %v", problems)
	}
	if len(plan.Set)+len(plan.Add) != 6 {
		t.Error("Fit changed the plan that it is called on")
	}
}

func snapshotOf(parent lifecycle.Parent) lifecycle.Change {
	c := change()
	c.Action, c.Resource.Kind, c.Parent = lifecycle.SnapshotCreated, lifecycle.Snapshot, parent
	return c
}

const inheriting = `tables:
  cost: {p-1: CC-17}
rules:
- name: creator
  on: snapshot.created
  add: {owner: '${actor.name}', cost-center: '${tables.cost[resource.project] ?? "CC-0"}', note: mine}
- name: handed down
  on: snapshot.created
  inherit: [owner, cost-center, "billing-*", absent]
`

func TestInherit(t *testing.T) {
	volume := lifecycle.Parent{Kind: lifecycle.Volume, ID: "v-1", Name: "data-1"}
	with := func(m map[string]string) *lifecycle.Parent {
		p := volume
		p.Metadata = m
		return &p
	}
	for _, tt := range []struct {
		name      string
		project   string
		parent    *lifecycle.Parent
		others    []lifecycle.Parent
		want      map[string]string
		inherited []string
		lacking   []string
		problems  []string
	}{
		{"all", "p-9", with(map[string]string{"owner": "team", "cost-center": "CC-3", "billing-a": "1", "billing-b": "2",
			"other": "x", "absent": "y"}), nil,
			map[string]string{"owner": "team", "cost-center": "CC-3", "note": "mine", "billing-a": "1", "billing-b": "2",
				"absent": "y"},
			[]string{"absent", "billing-a", "billing-b", "cost-center", "owner"}, nil, nil},
		{"a table comes before the parent", "p-1",
			with(map[string]string{"owner": "team", "cost-center": "CC-3", "absent": "y"}), nil,
			map[string]string{"owner": "team", "cost-center": "CC-17", "note": "mine", "absent": "y"},
			[]string{"absent", "owner"}, nil, nil},
		{"the creator where the parent has nothing", "p-9", with(map[string]string{"owner": "", "absent": "y"}), nil,
			map[string]string{"owner": "alice", "cost-center": "CC-0", "note": "mine", "absent": "y"}, []string{"absent"},
			[]string{"cost-center", "owner"}, nil},
		{"no parent", "p-9", nil, nil,
			map[string]string{"owner": "alice", "cost-center": "CC-0", "note": "mine"}, nil, nil, []string{
				"rule handed down, key owner: not inherited: parent is absent: parent is unknown here: not asked",
				"rule handed down, key cost-center: not inherited: parent is absent: parent is unknown here: not asked",
				"rule handed down, key billing-*: not inherited: parent is absent: parent is unknown here: not asked",
				"rule handed down, key absent: not inherited: parent is absent: parent is unknown here: not asked",
			}},
		{"never copied, and not writable", "p-9",
			with(map[string]string{"billing-x": "1", "billing-/": "2", "billing-y.json": "3", "owner": strings.Repeat("x", 300),
				"cost-center": "c", "absent": "y"}), nil,
			map[string]string{"owner": strings.Repeat("x", 246) + "-0d4e2ca9", "cost-center": "c", "note": "mine",
				"billing-x": "1", "absent": "y"},
			[]string{"absent", "billing-x", "cost-center", "owner"}, nil, []string{
				`rule handed down, key owner: shortened to fit: Cinder value of key "owner": at most 255 characters, has 300`,
				`rule handed down, key billing-/: not inherited: Cinder key "billing-/": accepts letters A-Z a-z, ` +
					`digits, - _ : . and space; '/' is not among them`,
				`rule handed down, key billing-y.json: not inherited: Cinder key "billing-y.json": must not end in ` +
					`.json: Cinder reads that as the response's format, and "billing-y" as the key`,
			}},
		{"servers disagree", "p-9", with(map[string]string{"owner": "team-a", "cost-center": "CC-3", "absent": "y"}),
			[]lifecycle.Parent{{Metadata: map[string]string{"owner": "team-b", "cost-center": "CC-3", "absent": "y"}}},
			map[string]string{"cost-center": "CC-3", "note": "mine", "absent": "y"}, []string{"absent", "cost-center"}, nil,
			[]string{
				"rule handed down, key owner: left out: volumes disagree on owner: team-a, team-b",
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := snapshotOf(lifecycle.Parent{Kind: lifecycle.Volume, ID: "v-1"})
			c.Resource.Project = tt.project
			r := rules.Readings{Parent: tt.parent, OtherParents: tt.others}
			if tt.parent == nil {
				r.Unknown = map[string]string{"parent": "not asked"}
			}
			plan := compile(t, inheriting, "").Plan(c, sample(t), r)
			var problems []string
			for _, p := range plan.Problems {
				problems = append(problems, p.String())
			}
			if diff := cmp.Diff(tt.want, plan.Add); diff != "" {
				t.Errorf("add (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.problems, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if !slices.Equal(plan.Inherited, tt.inherited) || !slices.Equal(plan.Lacking, tt.lacking) {
				t.Errorf("inherited %q, lacking %q", plan.Inherited, plan.Lacking)
			}
		})
	}
}

// A pattern never copies keys that belong to the parent itself.
func TestNeverCopied(t *testing.T) {
	set := compile(t, "rules:\n- {on: snapshot.created, inherit: ['*r*', 'o*']}\n", "")
	parent := lifecycle.Parent{Kind: lifecycle.Volume, ID: "v-1", Metadata: map[string]string{
		"openshiftClusterID": "x", "cinder.csi.openstack.org/cluster": "x", "kubernetes.io-created-for": "x",
		"metering.server_group": "g", "owner": "al", "agency_name": "x",
	}}
	plan := set.Plan(snapshotOf(parent), sample(t), rules.Readings{})
	if diff := cmp.Diff(map[string]string{"owner": "al"}, plan.Add); diff != "" || len(plan.Problems) > 0 {
		t.Errorf("(-want +got):\n%s%v", diff, plan.Problems)
	}
}

// Keys that rules set or remove are not inherited, in any order.
func TestInheritComesUnderSetAndRemove(t *testing.T) {
	for _, order := range []string{"%[1]s%[2]s", "%[2]s%[1]s"} {
		text := "rules:\n" + fmt.Sprintf(order, "- {on: snapshot.created, set: {owner: set}, remove: [note]}\n",
			"- {on: snapshot.created, inherit: [owner, note]}\n")
		parent := lifecycle.Parent{Kind: lifecycle.Volume, ID: "v-1", Metadata: map[string]string{"owner": "al", "note": "n"}}
		plan := compile(t, text, "").Plan(snapshotOf(parent), sample(t), rules.Readings{})
		if len(plan.Add) > 0 || plan.Set["owner"] != "set" || !slices.Equal(plan.Remove, []string{"note"}) {
			t.Errorf("%s: %v %v %v", text, plan.Set, plan.Add, plan.Remove)
		}
	}
}

// The readings as expressions see them. The event's own values take precedence.
func TestReadings(t *testing.T) {
	text := `rules:
- on: snapshot.created
  set:
    mine: '${resource.metadata.env ?? "absent"}'
    odd: '${resource.metadata["a b"] ?? "absent"}'
    empty: '${resource.metadata.empty ?? "absent"}'
    parent: '${parent.kind}/${parent.id}/${parent.name ?? "absent"}'
    parents: '${parent.metadata.owner ?? "absent"}'
    actor: '${actor.name ?? "absent"}'
    project: '${project.id}/${project.name ?? "absent"}/${resource.project_name ?? "absent"}'
    description: '${project.description ?? "absent"}'
    tagged: '${"prod" in (project.tags ?? [])}'
    extra: '${project.cost_center ?? "absent"}'
- on: snapshot.created
  when: resource.metadata.protected == "yes"
  set: {mine: protected}
`
	bare := snapshotOf(lifecycle.Parent{Kind: lifecycle.Volume, ID: "v-1"})
	bare.Actor.Name = ""
	full := rules.Readings{
		Metadata: map[string]string{"env": "dev", "a b": "odd", "empty": ""},
		Parent: &lifecycle.Parent{Kind: lifecycle.Volume, ID: "v-1", Name: "data-1",
			Metadata: map[string]string{"owner": "team"}},
		ActorName: "alice",
		Project: &rules.Project{Name: "shop", Description: "The shop", Tags: []string{"prod"},
			Extra: map[string]string{"cost_center": "CC-17"}},
	}
	inEvent := bare
	inEvent.Resource.Metadata, inEvent.Actor.Name, inEvent.Resource.ProjectName = map[string]string{"env": "own",
		"protected": "yes"}, "bob", "own"
	inEvent.Parent.Name, inEvent.Parent.Metadata = "own", map[string]string{"owner": "own"}
	absent := map[string]string{
		"mine": "absent", "odd": "absent", "empty": "absent", "parent": "volume/v-1/absent", "parents": "absent",
		"actor": "absent", "project": "p-1/absent/absent",
		"description": "absent", "tagged": "false", "extra": "absent",
	}
	read := map[string]string{
		"mine": "dev", "odd": "odd", "empty": "absent", "parent": "volume/v-1/data-1", "parents": "team", "actor": "alice",
		"project":     "p-1/shop/shop",
		"description": "The shop", "tagged": "true", "extra": "CC-17",
	}
	own := maps.Clone(read)
	maps.Copy(own, map[string]string{"mine": "protected", "odd": "absent", "parent": "volume/v-1/own", "parents": "own",
		"actor": "bob", "project": "p-1/own/own"})
	set := compile(t, text, "")
	for _, tt := range []struct {
		name   string
		change lifecycle.Change
		r      rules.Readings
		want   map[string]string
	}{{"nothing read", bare, rules.Readings{}, absent}, {"all read", bare, full, read},
		{"from the event", inEvent, full, own}} {
		if diff := cmp.Diff(tt.want, set.Plan(tt.change, sample(t), tt.r).Set); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if diff := cmp.Diff(tt.want, set.WithReadings(tt.r).Plan(tt.change, sample(t), rules.Readings{}).Set); diff != "" {
			t.Errorf("%s, given to the rules (-want +got):\n%s", tt.name, diff)
		}
	}
}

// Problems name the readings that failed, with the reason.
func TestUnknownReadings(t *testing.T) {
	c := snapshotOf(lifecycle.Parent{Kind: lifecycle.Volume, ID: "v-1"})
	r := rules.Readings{Unknown: map[string]string{"parent": "GET volumes/v-1 was answered 503",
		"resource.metadata": "read with --cloud env"}}
	for expression, want := range map[string]string{
		`parent.metadata.owner`: `parent.metadata.owner is absent: parent is unknown here: GET volumes/v-1 ` +
			`was answered 503`,
		`upper(parent.metadata.owner)`: `upper(parent.metadata.owner): parent.metadata.owner is absent: parent is ` +
			`unknown here: GET volumes/v-1 was answered 503`,
		`resource.metadata.env`: `resource.metadata.env is absent: resource.metadata is unknown here: read with --cloud env`,
		`project.description`:   `project.description is absent`,
		`resource.flavor`:       `resource.flavor is absent`,
	} {
		plan := compile(t, "rules:\n- {on: snapshot.created, set: {k: '${"+expression+"}'}}\n", "").Plan(c, sample(t), r)
		if len(plan.Problems) != 1 || plan.Problems[0].Why != "left out: "+want {
			t.Errorf("%s: %v", expression, plan.Problems)
		}
	}
}

// A change needs only the readings that a rule which can match uses and the event lacks.
func TestNeeds(t *testing.T) {
	bare := snapshotOf(lifecycle.Parent{Kind: lifecycle.Volume, ID: "v-1"})
	bare.Actor.Name = ""
	inEvent := snapshotOf(lifecycle.Parent{Kind: lifecycle.Volume, ID: "v-1", Metadata: map[string]string{}})
	inEvent.Resource.Metadata = map[string]string{}
	server := change()
	server.Actor.Name = ""
	for _, tt := range []struct {
		rule   string
		change lifecycle.Change
		want   rules.Needs
	}{
		{`set: {k: v}`, bare, rules.Needs{}},
		{`set: {k: '${resource.metadata.x}'}`, bare, rules.Needs{Metadata: true}},
		{`set: {k: '${resource.metadata[resource.name] ?? "x"}'}`, bare, rules.Needs{Metadata: true}},
		{`set: {k: '${let r = resource; r.metadata.x}'}`, bare, rules.Needs{Metadata: true, Project: true}},
		{`set: {k: '${resource.metadata.x}'}`, inEvent, rules.Needs{}},
		{`set: {k: '${parent.metadata.x}'}`, bare, rules.Needs{Parent: true}},
		{`set: {k: '${parent.metadata.x}'}`, inEvent, rules.Needs{}},
		{`set: {k: '${parent.metadata.x ?? "x"}'}`, server, rules.Needs{}},
		{`set: {k: '${parent.id} ${parent.kind}'}`, bare, rules.Needs{}},
		{`inherit: [owner]`, bare, rules.Needs{Parent: true}},
		{`inherit: [owner]`, inEvent, rules.Needs{}},
		{`add: {k: '${first(actor.name, actor.id)}'}`, bare, rules.Needs{ActorName: true}},
		{`add: {k: '${first(actor.name, actor.id)}'}`, inEvent, rules.Needs{}},
		{`add: {k: '${project.tags[0]}'}`, inEvent, rules.Needs{Project: true}},
		{`add: {k: '${project.id}'}`, inEvent, rules.Needs{}},
		{`add: {k: '${resource.project_name}'}`, inEvent, rules.Needs{Project: true}},
		{`when: resource.name == "other" and parent.metadata.x == "y"
  set: {k: v}`, bare, rules.Needs{}},
		{`when: parent.metadata.x == "y" and not prod
  set: {k: '${resource.metadata.x}'}`, bare, rules.Needs{}},
		{`when: resource.name == "prod-web-1" and parent.metadata.x == "y"
  set: {k: '${resource.metadata.x}'}`, bare, rules.Needs{Parent: true, Metadata: true}},
		{`when: resource.name == "other" or parent.metadata.x == "y"
  set: {k: v}`, bare, rules.Needs{Parent: true}},
		{`when: resource.name == "other"
  set: {k: '${resource.metadata.x}'}`, bare, rules.Needs{}},
		{`when: resource.name == "prod-web-1"
  set: {k: '${resource.metadata.x}'}`, bare, rules.Needs{Metadata: true}},
		{`when: shared
  set: {k: v}`, bare, rules.Needs{Project: true}},
		{`when: data.missing > 5
  set: {k: '${resource.metadata.x}'}`, bare, rules.Needs{}},
	} {
		on := "[snapshot.created, server.created]"
		text := "conditions: {prod: resource.name startsWith \"prod-\", shared: '\"shared\" in project.tags'}\nrules:\n- on: " + on + "\n  " + tt.rule + "\n- {on: server.started, set: {k: '${parent.metadata.x}'}}\n"
		set := compile(t, text, "")
		if got := set.Needs(tt.change, sample(t)); got != tt.want || got.Any() != (tt.want != rules.Needs{}) {
			t.Errorf("%s: %+v, want %+v", tt.rule, got, tt.want)
		}
	}
	all := compile(t, "rules: [{on: server.created, set: {a: '${parent.name}', b: '${actor.name}', c: "+
		"'${project.tags[0]}', d: '${resource.metadata.x}'}}]", "").Reads()
	if diff := cmp.Diff([]string{"resource.metadata", "parent", "actor.name", "project"}, all.Names()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	ignoring := compile(t, "ignore: [resource.name == \"prod-web-1\"]\nrules: [{on: snapshot.created, set: {k: "+
		"'${resource.metadata.x}'}}]\n", "")
	if got := ignoring.Needs(bare, sample(t)); got.Any() {
		t.Errorf("an ignored event needs %+v", got)
	}
	ignoring = compile(t, "ignore: [parent.metadata.x == \"y\"]\nrules: [{on: snapshot.created, set: {k: v}}]\n", "")
	if got := ignoring.Needs(bare, sample(t)); got != (rules.Needs{Parent: true}) {
		t.Errorf("ignore: needs %+v", got)
	}
}

func TestGives(t *testing.T) {
	set := compile(t, inheriting+"- {on: server.created, rename: {Team: team}, remove: [old]}\n", "")
	for _, tt := range []struct {
		action lifecycle.Action
		key    string
		want   bool
	}{
		{lifecycle.SnapshotCreated, "owner", true}, {lifecycle.SnapshotCreated, "billing-x", true},
		{lifecycle.SnapshotCreated, "x", false},
		{lifecycle.ServerCreated, "owner", false}, {lifecycle.ServerCreated, "team", true},
		{lifecycle.ServerCreated, "Team", false}, {lifecycle.ServerCreated, "old", false},
	} {
		if got := set.Gives(tt.action, tt.key); got != tt.want {
			t.Errorf("%s %s: %v", tt.action, tt.key, got)
		}
	}
}

// A pattern matches the same keys as a simpler implementation.
func FuzzGlob(f *testing.F) {
	for _, s := range [][2]string{{"a*", "abc"}, {"*a*b*", "xaybz"}, {"?", "é"}, {"a?c*", "abc"}, {"*-*", "--"}} {
		f.Add(s[0], s[1])
	}
	parentOf := func(key string) lifecycle.Parent {
		return lifecycle.Parent{Kind: lifecycle.Volume, ID: "v", Metadata: map[string]string{key: "v"}}
	}
	f.Fuzz(func(t *testing.T, pattern, key string) {
		set, err := rules.Compile(fmt.Appendf(nil, "rules: [{on: snapshot.created, remove: [%q]}]", pattern), rules.Options{})
		if err != nil || !strings.ContainsAny(pattern, "*?") || len(pattern) > 60 {
			return
		}
		if metadata.Cinder.CheckKey(key) != nil {
			return
		}
		plan := set.Plan(snapshotOf(parentOf(key)), sample(t), rules.Readings{})
		if got, want := len(plan.Removals(map[string]string{key: "v"})) == 1, slowGlob(pattern, key); got != want {
			t.Errorf("%q matches %q: %v", pattern, key, got)
		}
	})
}

// slowGlob tries every text that a * can stand for.
func slowGlob(pattern, key string) bool {
	reach := map[int]bool{0: true}
	runes := []rune(key)
	for _, p := range pattern {
		next := map[int]bool{}
		for i := range reach {
			switch {
			case p == '*':
				for j := i; j <= len(runes); j++ {
					next[j] = true
				}
			case i < len(runes) && (p == '?' || p == runes[i]):
				next[i+1] = true
			}
		}
		reach = next
	}
	return reach[len(runes)]
}
