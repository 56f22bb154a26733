package rules_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

const designRules = `tables:
  cost: {"p-1": "CC-17", "p-2": "CC-40"}
rules:
- name: owner
  on: [server.created, snapshot.created]
  add:
    owner: ${first(actor.name, actor.id)}
    cost-center: ${tables.cost[resource.project] ?? "CC-0"}
    expires: ${date(time + days(14))}
- name: production
  on: server.created
  when: resource.name startsWith "prod-"
  set: {env: production}
- on: server.started
  remove: [stopped-at]
`

func change() lifecycle.Change {
	return lifecycle.Change{
		Action: lifecycle.ServerCreated,
		Resource: lifecycle.Resource{
			Kind: lifecycle.Server, ID: "95bf2490-5428-432c-ad9b-5e3406f869dd", Name: "prod-web-1", Project: "p-1", Zone: "az1",
			Created: time.Date(2026, 11, 20, 23, 0, 0, 0, time.UTC),
		},
		Actor: lifecycle.Actor{ID: "u-1", Name: "alice", Kind: lifecycle.User},
		Time:  time.Date(2026, 11, 21, 23, 54, 50, 0, time.FixedZone("", 3600)),
		Data: map[string]any{
			"size": int64(1700000000000), "days": int64(3), "ratio": 0.25, "big": 1e21, "ok": true, "empty": "", "null": nil,
			"list": []any{map[string]any{"a": "x"}}, "object": map[string]any{"deep": map[string]any{"name": "d"}},
			"long": strings.Repeat("x", 300), "emoji": "hi 😀", "quote": `say "hi"`,
		},
	}
}

func sample(t testing.TB) event.Event {
	t.Helper()
	e := event.New()
	e.SetID("e-1")
	e.SetSource("//test")
	e.SetType("test.created")
	e.SetExtension("team", "blue")
	e.SetExtension("sequence", 42)
	return e
}

func compile(t testing.TB, text string, api metadata.API) *rules.Set {
	t.Helper()
	set, err := rules.Compile([]byte(text), rules.Options{Name: "R", API: api, Files: files()})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestPlanOfTheDesignPage(t *testing.T) {
	got := compile(t, designRules, "").Plan(change(), sample(t), rules.Readings{})
	want := rules.Plan{
		Family: metadata.Nova,
		Set:    map[string]string{"env": "production"},
		Add:    map[string]string{"owner": "alice", "cost-center": "CC-17", "expires": "2026-12-05"},
		Order:  []string{"owner", "cost-center", "expires", "env"},
		Rules:  []string{"owner", "production"},
		Skipped: []rules.Skip{
			{Rule: "rule-3", Why: "it is for server.started, this is server.created", OtherAction: true},
		},
		Cost: 23,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPlanWithLittleKnown(t *testing.T) {
	c := lifecycle.Change{Action: lifecycle.SnapshotCreated, Resource: lifecycle.Resource{Kind: lifecycle.Snapshot,
		ID: "x"}, Actor: lifecycle.Actor{ID: "u-1"}}
	got := compile(t, designRules, "").Plan(c, sample(t), rules.Readings{})
	want := rules.Plan{
		Family: metadata.Cinder,
		Set:    map[string]string{},
		Add:    map[string]string{"owner": "u-1", "cost-center": "CC-0"},
		Order:  []string{"owner", "cost-center"},
		Rules:  []string{"owner"},
		Skipped: []rules.Skip{
			{Rule: "production", Why: "it is for server.created, this is snapshot.created", OtherAction: true},
			{Rule: "rule-3", Why: "it is for server.started, this is snapshot.created", OtherAction: true},
		},
		Problems: []rules.Problem{{
			Rule: "owner", Key: "expires", Why: "left out: date(time + days(14)): time is absent: the event does not have it",
		}},
		Cost: 7,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The value that an expression writes to a server, or why it writes none.
func TestValues(t *testing.T) {
	for _, tt := range []struct{ template, want, why string }{
		// Literals, exactly as written
		{`plain`, "plain", ""},
		{`014`, "014", ""},
		{`1.0`, "1.0", ""},
		{`1e3`, "1e3", ""},
		{`2026-01-02`, "2026-01-02", ""},
		{`yes`, "yes", ""},
		{`"  padded "`, "  padded ", ""},
		{`'$${literal}'`, "${literal}", ""},
		{`'$$${resource.name}'`, "$${resource.name}", ""},
		{`cost $5`, "cost $5", ""},

		// Text and expressions
		{`'${resource.zone}/${resource.name}'`, "az1/prod-web-1", ""},
		{`'${"}"}'`, "}", ""},
		{`'${{"a": "}"}.a}'`, "}", ""},
		{`"${\"a\\\"}\"}"`, `a"}`, ""},
		{"'${`}`}'", "}", ""},
		{`${actor.kind}`, "user", ""},
		{`${event.extensions.team}`, "blue", ""},
		{`${event.type}`, "test.created", ""},
		{`${action}`, "server.created", ""},
		{`${split(resource.name, "-")[-1]}`, "1", ""},
		{`${resource.name | upper()}`, "PROD-WEB-1", ""},

		// Numbers, dates and the rest
		{`${data.size}`, "1700000000000", ""},
		{`${data.ratio}`, "0.25", ""},
		{`${data.big}`, "1000000000000000000000", ""},
		{`${data.size / 0}`, "", "is not a number"},
		{`${data.ok}`, "true", ""},
		{`${1 + 2}`, "3", ""},
		{`${time}`, "2026-11-21T22:54:50Z", ""},
		{`${date(time)}`, "2026-11-21", ""},
		{`${date(time + hours(2))}`, "2026-11-22", ""},
		{`${time.Format("2006-01")}`, "2026-11", ""},
		{`${resource.created}`, "2026-11-20T23:00:00Z", ""},
		{`${time - resource.created}`, "23h54m50s", ""},
		{`${len(data.list)}`, "1", ""},

		{`${event.extensions.sequence}`, "42", ""},
		{`${date(time + days(200000))}`, "", "days() accepts at most 36500"},
		{`${date(time - hours(900001))}`, "", "hours() accepts at most 876000"},
		{`${date(time + days(data.none))}`, "", "data.none is absent: the event does not have it"},
		{`${date(time + days(data.ratio))}`, "", "days() wants a whole number, found the number 0.25"},
		{`${date(time + days(data.days))}`, "2026-11-24", ""},

		// Absence
		{`${resource.flavor}`, "", "resource.flavor is absent"},
		{`x-${resource.flavor}`, "", "resource.flavor is absent"},
		{`${data.empty}`, "", "data.empty is absent"},
		{`${data.null}`, "", "data.null is absent"},
		{`${data.no.such.path}`, "", "data.no.such.path is absent"},
		{`${data.list[7].a}`, "", "data.list[7].a is absent"},
		{`${data.list[0].a}`, "x", ""},
		{`${data.list["a"]}`, "", "data.list[\"a\"] is absent"},
		{`${data.object["deep"].name}`, "d", ""},
		{`${data?.object?.deep?.name}`, "d", ""},
		{`${data.empty ?? "e"}`, "e", ""},
		{`${data.no.such ?? "e"}`, "e", ""},
		{`${data.list[7].a ?? "e"}`, "e", ""},
		{`${resource.flavor ?? resource.image ?? "none"}`, "none", ""},
		{`${first(resource.flavor, data.empty, resource.zone)}`, "az1", ""},
		{`${first()}`, "", "first() is absent"},
		{`${upper(resource.flavor)}`, "", "upper(resource.flavor): resource.flavor is absent: the event does not have it"},
		{`${resource.flavor + "x"}`, "", "resource.flavor is absent: the event does not have it"},
		{`'${resource.flavor == "x" ? "y" : "n"}'`, "n", ""},
		{`'${resource.flavor != "x" ? "y" : "n"}'`, "y", ""},
		{`'${resource.flavor in ["x"] ? "y" : "n"}'`, "n", ""},
		{`'${resource.flavor startsWith "x" ? "y" : "n"}'`, "n", ""},
		{`${tables.cost[resource.project]}`, "CC-17", ""},
		{`${tables.cost[resource.flavor] ?? "CC-0"}`, "CC-0", ""},
		{`${tables.cost["p-3"] ?? "CC-0"}`, "CC-0", ""},
		{`${tables.cost["p-2"]}`, "CC-40", ""},
		{`${tables.team.bob}`, "007", ""},
		{`${tables.green.alice}`, "green", ""},
		{`${tables.deep["p-1"]}`, "deep", ""},

		// Values without a text form
		{`${data.list}`, "", "data.list is a list; select an element"},
		{`${data.object}`, "", "data.object is an object; select a member"},
		{`${resource}`, "", "resource is an object; select a member"},
	} {
		t.Run(tt.template, func(t *testing.T) {
			text := "tables: {cost: {file: cost.csv}, team: {file: team.yaml}, green: {file: team.json}, deep: {file: " +
				"deep/cost.csv}}\nrules:\n- on: server.created\n  set:\n    k: " + tt.template + "\n"
			plan := compile(t, text, "").Plan(change(), sample(t), rules.Readings{})
			value, ok := plan.Set["k"]
			if value != tt.want || ok != (tt.why == "") {
				t.Errorf("value %q, %v; want %q", value, ok, tt.want)
			}
			switch {
			case tt.why == "" && len(plan.Problems) != 0:
				t.Errorf("problems %+v", plan.Problems)
			case tt.why != "" && (len(plan.Problems) != 1 || !strings.HasPrefix(plan.Problems[0].Why, "left out: ") ||
				!strings.Contains(plan.Problems[0].Why, tt.why)):
				t.Errorf("problems %+v, want one with %q", plan.Problems, tt.why)
			}
		})
	}
}

// A path into a value without parts is absent, like a path into an absent value.
func TestPathsThatEndInNothing(t *testing.T) {
	for name, request := range map[string]any{
		"a text": "x", "an empty text": "", "a number": int64(7), "a fraction": 1.5, "a truth": true, "nothing": nil,
		"a list":        []any{"x"},
		"an empty list": []any{}, "an object without it": map[string]any{"other": "x"},
		"a text further on": map[string]any{"server": "x"},
		"a list further on": map[string]any{"server": map[string]any{"metadata": []any{}}},
	} {
		t.Run(name, func(t *testing.T) {
			text := `rules:
- on: server.created
  set:
    default: '${data.request.server.metadata.stage ?? "none"}'
    optional: '${data?.request?.server?.metadata?.stage ?? "none"}'
    first: '${first(data.request.server.metadata.stage, "none")}'
    index: '${data.request.server[3].stage ?? "none"}'
    quoted: '${data.request["server"]["metadata"]["stage"] ?? "none"}'
    computed: '${data.request[resource.zone].stage ?? "none"}'
    compared: '${data.request.server.metadata.stage == "x" ? "yes" : "none"}'
    every: '${len(filter([data.request], .server.metadata.stage == "x")) == 0 ? "none" : "yes"}'
    pick: '${get(data.request.server.metadata, "stage") ?? "none"}'
- on: server.created
  when: data.request.server.metadata.stage == "production"
  set: {default: production}
- on: server.created
  when: data.request.server.metadata.stage != "x"
  set: {unequal: none}
`
			c := change()
			c.Data = map[string]any{"request": request}
			plan := compile(t, text, "").Plan(c, sample(t), rules.Readings{})
			if len(plan.Problems) > 0 || len(plan.Set) != 10 {
				t.Errorf("set %v, problems %v", plan.Set, plan.Problems)
			}
			for key, value := range plan.Set {
				if value != "none" {
					t.Errorf("%s is %q", key, value)
				}
			}
		})
	}
}

// Where such a path is needed, the problem reports it as absent.
func TestPathsThatEndInNothingAreNamed(t *testing.T) {
	for expression, want := range map[string]string{
		`data.s.a.b`:                      "data.s.a.b is absent",
		`upper(data.s.a)`:                 "upper(data.s.a): data.s.a is absent: the event does not have it",
		`data.list.a + "x"`:               "data.list.a is absent: the event does not have it",
		`data.s.Format("2006")`:           `the text "x" has no method Format`,
		`data.none.Format("2006")`:        "data.none is absent: the event does not have it",
		`data.s.a.Format("2006")`:         "data.s.a is absent: the event does not have it",
		`data.none?.Format("2006") ?? ""`: " is absent",
	} {
		plan := planWith(t, expression, map[string]any{"s": "x", "list": []any{"x"}})
		if len(plan.Problems) != 1 || !strings.HasSuffix(plan.Problems[0].Why, want) {
			t.Errorf("%s: %v", expression, plan.Problems)
		}
	}
}

// The inputs of date(), duration(), days() and timezone(), and the errors for others.
func TestTimes(t *testing.T) {
	data := map[string]any{
		"day": "2026-12-31", "utc": "2026-12-31T00:00:00Z", "epoch": int64(1795166104), "n": int64(14), "ns": "14",
		"nf": 14.0, "half": 1.5,
		"big": int64(999_999), "dur": "72h", "obj": map[string]any{}, "list": []any{}, "soon": "soon",
		"zone": "Europe/Berlin", "nowhere": "Nowhere/At/All",
		"long": strings.Repeat("9", 200),
	}
	for _, tt := range []struct{ expression, want, why string }{
		{`date(data.day)`, "2026-12-31", ""},
		{`date(data.utc)`, "2026-12-31", ""},
		{`date("2026-12-31T23:30:00-02:00")`, "2027-01-01", ""},
		{`date("2026-12-31T23:30:00-0200")`, "2027-01-01", ""},
		{`date("2026-12-31t23:30:00.123456-02")`, "2027-01-01", ""},
		{`date("2026-12-31 23:30:00.5z")`, "2026-12-31", ""},
		{`date("2026-12-31T23:30:00,5+00:00")`, "2026-12-31", ""},
		{`date("2026-12-31T23:30")`, "2026-12-31", ""},
		{`date(" 2026-12-31 23:30:00.000000 ")`, "2026-12-31", ""},
		{`date(data.epoch)`, "2026-11-20", ""},
		{`date(data.epoch * 1000)`, "2026-11-20", ""},
		{`date(string(data.epoch))`, "2026-11-20", ""},
		{`date("20261120T091504Z")`, "2026-11-20", ""},
		{`date(data.n)`, "", "found the number 14"},
		{`date(data.ns)`, "", `found the text "14"`},
		{`date(data.obj)`, "", "found an object"},
		{`date(data.list)`, "", "found a list"},
		{`date(data.soon)`, "", `date() wants a time, or a text such as 2026-12-31 or 2026-12-31T09:15:04Z; found ` +
			`the text "soon"`},
		{`date(data.none)`, "", "data.none is absent: the event does not have it"},
		{`date(resource.name)`, "", `found the text "prod-web-1"`},
		{`date(time + days(data.n))`, "2026-12-05", ""},
		{`date(time + days(data.nf))`, "2026-12-05", ""},
		{`date(time + days(int(data.ns)))`, "2026-12-05", ""},
		{`date(time + days(data.ns))`, "", `days() wants a whole number, found the text "14"`},
		{`date(time + days(data.half))`, "", "found the number 1.5"},
		{`date(time + days(data.none))`, "", "data.none is absent: the event does not have it"},
		{`date(time + hours(data.none ?? 5))`, "2026-11-22", ""},
		{`date(time + days(data.big))`, "", "days() accepts at most 36500"},
		{`date(time + duration("14d"))`, "2026-12-05", ""},
		{`date(time + duration("2w"))`, "2026-12-05", ""},
		{`date(time + duration("1.5d12h"))`, "2026-11-23", ""},
		{`date(time - duration("14d"))`, "2026-11-07", ""},
		{`date(time + duration("-14d"))`, "2026-11-07", ""},
		{`date(time + duration(data.dur))`, "2026-11-24", ""},
		{`date(time + duration(data.soon))`, "",
			`duration() wants a text such as 14d, 2w, 36h or 1d12h; found the text "soon"`},
		{`date(time + duration(data.long))`, "", `duration() wants a text such as 14d`},
		{`date(time + duration(data.none))`, "", "data.none is absent"},
		{`time - resource.created > duration("1d") ? "old" : "new"`, "new", ""},
		{`time.In(timezone("Europe/Berlin")).Format("2006-01-02 15:04")`, "2026-11-21 23:54", ""},
		{`time.In(timezone(data.zone)).Format("15:04 MST")`, "23:54 CET", ""},
		{`time.In(timezone("America/Sao_Paulo")).Format("15:04")`, "19:54", ""},
		{`time.In(timezone("UTC")).Format("15:04")`, "22:54", ""},
		{`time.In(timezone(data.nowhere)).Format("15:04")`, "", `timezone(): unknown zone "Nowhere/At/All"`},
		{`time.In(timezone(data.n)).Format("15:04")`, "", "timezone() wants a text, found the number 14"},
		{`string(time.Weekday())`, "Saturday", ""},
		{`time.Day()`, "21", ""},
	} {
		plan := planWith(t, tt.expression, data)
		switch got := plan.Set["k"]; {
		case got != tt.want:
			t.Errorf("%s is %q, want %q: %v", tt.expression, got, tt.want, plan.Problems)
		case tt.why == "" && len(plan.Problems) > 0, tt.why != "" && (len(plan.Problems) != 1 ||
			!strings.Contains(plan.Problems[0].Why, tt.why)):
			t.Errorf("%s: %v, want %q", tt.expression, plan.Problems, tt.why)
		}
	}
}

// An event without an actor has an actor of unknown kind.
func TestUnknownActor(t *testing.T) {
	text := `rules:
- {name: unknown, on: server.created, when: 'actor.kind == "unknown"', set: {flag: unknown actor}}
- {name: no person, on: server.created, when: 'actor.kind != "user"', set: {kind: '${actor.kind}'}}
`
	for actor, want := range map[lifecycle.Actor]map[string]string{
		{}:                                {"flag": "unknown actor", "kind": "unknown"},
		{Kind: lifecycle.UnknownActor}:    {"flag": "unknown actor", "kind": "unknown"},
		{ID: "u", Kind: lifecycle.User}:   {},
		{ID: "s", Kind: lifecycle.Agency}: {"kind": "agency"},
	} {
		c := change()
		c.Actor = actor
		if diff := cmp.Diff(want, compile(t, text, "").Plan(c, sample(t), rules.Readings{}).Set); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", actor, diff)
		}
	}
}

func TestWhen(t *testing.T) {
	for _, tt := range []struct {
		when    string
		matches bool
		why     string
		problem bool
	}{
		{`true`, true, "", false},
		{`resource.name startsWith "prod-" and actor.kind == "user"`, true, "", false},
		{`resource.name startsWith "dev-"`, false, `when is false: resource.name startsWith "dev-"`, false},
		{`'not (resource.name startsWith "dev-")'`, true, "", false},
		{`resource.flavor == nil`, true, "", false},
		{`resource.flavor != "x"`, true, "", false},
		{`data.ok`, true, "", false},
		{`data.size > 5`, true, "", false},
		{`data.missing > 5`, false, "when has no value: data.missing > 5: data.missing is absent: the event does not have it",
			true},
		{`data.missing`, false, "when is absent: data.missing", true},
		{`data.size`, false, "when is neither true nor false: data.size", true},
		{`any(data.list, .a == "x")`, true, "", false},
		{`resource.created < time`, true, "", false},
		{`resource.flavor startsWith "c6"`, false,
			`when is false: resource.flavor startsWith "c6" (resource.flavor is absent: the event does not have it)`, false},
		{`resource.name startsWith "prod-" and resource.flavor == "x"`, false,
			`when is false: resource.name startsWith "prod-" and resource.flavor == "x" (resource.flavor is ` +
				`absent: the event does not have it)`, false},
		{`resource.flavor == "x" and resource.image == "y"`, false,
			`when is false: resource.flavor == "x" and resource.image == "y" (resource.flavor is absent: the event ` +
				`does not have it)`, false},
		{`resource.name startsWith "dev-" and resource.flavor == "x"`, false, // whatever the flavor is
			`when is false: resource.name startsWith "dev-" and resource.flavor == "x"`, false},
		{`resource.flavor == "x" or resource.image == "y"`, false,
			`when is false: resource.flavor == "x" or resource.image == "y" (resource.flavor and resource.image are absent)`,
			false},
		{`data.ticket != nil`, false, "when is false: data.ticket != nil", false},
		{`(resource.flavor ?? "none") == "x"`, false, `when is false: (resource.flavor ?? "none") == "x"`, false},
		{`action in ["server.created"]`, true, "", false},
	} {
		t.Run(tt.when, func(t *testing.T) {
			plan := compile(t, "rules:\n- name: r\n  on: server.created\n  when: "+tt.when+"\n  set: {k: v}\n",
				"").Plan(change(), sample(t), rules.Readings{})
			if matched := len(plan.Rules) == 1; matched != tt.matches || (len(plan.Set) == 1) != tt.matches {
				t.Errorf("matched %v, set %v", matched, plan.Set)
			}
			var why string
			for _, s := range plan.Skipped {
				why += s.Why
			}
			if why != tt.why {
				t.Errorf("skipped: %q, want %q", why, tt.why)
			}
			if got := len(plan.Problems) > 0; got != tt.problem {
				t.Errorf("problems %+v", plan.Problems)
			}
		})
	}
}

// For one key, the last matching rule wins, unless it has no value.
func TestLastRuleWins(t *testing.T) {
	for _, tt := range []struct {
		name, first, second string
		want                rules.Plan
	}{
		{"set then set", "set: {k: a}", "set: {k: b}", rules.Plan{Set: map[string]string{"k": "b"}}},
		{"set then add", "set: {k: a}", "add: {k: b}", rules.Plan{Add: map[string]string{"k": "b"}}},
		{"add then remove", "add: {k: a}", "remove: [k]", rules.Plan{Remove: []string{"k"}}},
		{"remove then set", "remove: [k]", "set: {k: b}", rules.Plan{Set: map[string]string{"k": "b"}}},
		{"set then nothing", "set: {k: a}", "set: {k: '${resource.flavor}'}", rules.Plan{
			Set:      map[string]string{"k": "a"},
			Problems: []rules.Problem{{Rule: "rule-2", Key: "k", Why: "left out: resource.flavor is absent"}},
		}},
		{"each its own", "remove: [b, a]", "set: {k: b}",
			rules.Plan{Set: map[string]string{"k": "b"}, Remove: []string{"a", "b"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := compile(t, "rules:\n- {on: server.created, "+tt.first+"}\n- {on: server.created, "+tt.second+"}\n",
				"").Plan(change(), sample(t), rules.Readings{})
			tt.want.Family, tt.want.Rules, tt.want.Order = metadata.Nova, []string{"rule-1", "rule-2"}, got.Order // TestOrder
			if tt.want.Set == nil {
				tt.want.Set = map[string]string{}
			}
			if tt.want.Add == nil {
				tt.want.Add = map[string]string{}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Computed values are adapted to the family's limits. A key that only bare metal rejects is left out there.
func TestLimits(t *testing.T) {
	text := `rules:
- name: r
  on: server.created
  set:
    long: ${data.long}
    emoji: ${data.emoji}
    quote: ${data.quote}
    a:b: colon
`
	server := compile(t, text, metadata.HuaweiCloud).Plan(change(), sample(t), rules.Readings{})
	if diff := cmp.Diff(map[string]string{"long": strings.Repeat("x", 246) + "-0d4e2ca9", "emoji": "hi _",
		"quote": `say "hi"`, "a:b": "colon"}, server.Set); diff != "" {
		t.Errorf("server (-want +got):\n%s", diff)
	}
	wantProblems := []rules.Problem{
		{Rule: "r", Key: "long", Why: `shortened to fit: ECS value of key "long": at most 255 characters, has 300`},
		{Rule: "r", Key: "emoji",
			Why: `shortened to fit: ECS value of key "emoji": accepts characters up to U+FFFF; found '\U0001f600'`},
	}
	if diff := cmp.Diff(wantProblems, server.Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}

	metal := change()
	metal.Resource.Kind = lifecycle.BareMetal
	plan := compile(t, text, metadata.HuaweiCloud).Plan(metal, sample(t), rules.Readings{})
	if plan.Family != metadata.BMS || plan.Set["quote"] != "say _hi_" {
		t.Errorf("bare metal: %s, %q", plan.Family, plan.Set)
	}
	if _, ok := plan.Set["a:b"]; ok {
		t.Error("bare metal got a key with a colon")
	}
	if last := plan.Problems[len(plan.Problems)-1]; last.Key != "a:b" || !strings.Contains(last.Why, "BMS key") {
		t.Errorf("last problem %+v", last)
	}
}

func TestJSONIsYAML(t *testing.T) {
	plan := compile(t, "{\n\t\"rules\": [{\"on\": \"server.created\", \"set\": {\"env\": \"${resource.zone}\"}}]\n}",
		"").Plan(change(), sample(t), rules.Readings{})
	if plan.Set["env"] != "az1" {
		t.Errorf("set %v", plan.Set)
	}
}

// The same event always gives the same plan.
func TestPlanIsPure(t *testing.T) {
	set := compile(t, designRules, "")
	first := set.Plan(change(), sample(t), rules.Readings{})
	for range 3 {
		if diff := cmp.Diff(first, set.Plan(change(), sample(t), rules.Readings{})); diff != "" {
			t.Fatal(diff)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	set, c, e := compile(b, designRules, ""), change(), sample(b)
	b.ReportAllocs()
	for b.Loop() {
		set.Plan(c, e, rules.Readings{})
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		compile(b, designRules, "")
	}
}
