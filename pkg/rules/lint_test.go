package rules_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		api        metadata.API
		want       []string
	}{
		{"nothing", designRules, "", nil},
		{"never matches", "rules:\n- {name: a, on: server.created, when: 'false', set: {k: v}}\n", "",
			[]string{`2: rule "a": warning: it never matches: when is always false`}},
		{"always matches", "rules:\n- {name: a, on: server.created, when: 'true', set: {k: v}}\n", "",
			[]string{`2: rule "a": warning: when is always true; leave it out`}},
		{"overwritten", "rules:\n- {name: a, on: server.created, set: {k: v, l: w}}\n- {name: b, on: [server.created, " +
			"snapshot.created], remove: [k]}\n", "", []string{
			`2: rule "a": warning: key "k" is always overwritten by rule "b"`,
		}},
		{"without effect", "rules:\n- {name: a, on: server.created, add: {k: v}}\n- {name: b, on: server.created, set: {k: " +
			"w}}\n", "", []string{
			`2: rule "a": warning: key "k" is always overwritten by rule "b"`,
			`2: rule "a": warning: it never has an effect: later rules overwrite each of its keys`,
		}},
		{"not always overwritten", `rules:
- {name: a, on: [server.created, snapshot.created], set: {k: v}}
- {name: only for servers, on: server.created, set: {k: w}}
- {name: only sometimes, on: [server.created, snapshot.created], when: resource.name == "x", set: {k: w}}
- {name: only where known, on: [server.created, snapshot.created], set: {k: "${resource.flavor}"}}
`, "", nil},
		{"overwritten by a pattern",
			"rules:\n- {name: a, on: server.created, set: {k-1: v, l: w}}\n- {name: b, on: server.created, remove: ['k-*']}\n",
			"", []string{
				`2: rule "a": warning: key "k-1" is always overwritten by rule "b"`,
			}},
		{"inherited and renamed", `rules:
- {name: a, on: snapshot.created, add: {owner: x, team: y}}
- {name: b, on: snapshot.created, inherit: [owner]}
- {name: c, on: snapshot.created, rename: {team: group}}
`, "", nil},
		{"an empty value", "rules:\n- {name: a, on: server.created, set: {k: ''}}\n- {name: s, on: snapshot.created, set: " +
			"{k: ''}}\n", metadata.HuaweiCloud, []string{
			`2: rule "a": warning: key "k" is left out on baremetal: its values must not be empty`,
		}},
		{"bare metal", "rules:\n- {name: a, on: server.created, set: {'a:b': v}}\n- {name: s, on: snapshot.created, set: " +
			"{'a:b': v}}\n", metadata.HuaweiCloud, []string{
			"2: rule \"a\": warning: key \"a:b\" is left out on baremetal: BMS key \"a:b\": accepts any character but " +
				":`~!@#$%^&*()=+<,>?/'\";{[]}|\\; ':' is not among them",
		}},
	} {
		var got []string
		for _, w := range compile(t, tt.text, tt.api).Warnings() {
			got = append(got, w.String())
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// A text that looks like an expression without ${…} is the most likely mistake.
func TestForgottenExpressions(t *testing.T) {
	for text, meant := range map[string]string{
		"actor.name":                            "${actor.name}",
		" resource.created ":                    "${resource.created}",
		"data.anything":                         "${data.anything}",
		"event.extensions.team":                 "${event.extensions.team}",
		"tables.cost[resource.project]":         "${tables.cost[resource.project]}",
		`tables.cost["p-1"]`:                    `${tables.cost["p-1"]}`,
		"first(actor.name, actor.id)":           "${first(actor.name, actor.id)}",
		"date(time + days(14))":                 "${date(time + days(14))}",
		`resource.flavor ?? "none"`:             `${resource.flavor ?? "none"}`,
		"$actor.name":                           "${actor.name}",
		"$(actor.name)":                         "${actor.name}",
		"$(date(time))":                         "${date(time)}",
		"{{ actor.name }}":                      "${actor.name}",
		"{{action}}":                            "${action}",
		"{resource.zone}":                       "${resource.zone}",
		"by {{ actor.name }}, $(time), $data.x": "by ${actor.name}, ${time}, ${data.x}",

		"time":                   "",
		"action":                 "",
		"data-action":            "",
		"actor.nmae":             "",
		"resource.name is unset": "",
		"costs $5":               "",
		"{{ .Values.owner }}":    "",
		"{data}":                 "",
		"$${actor.name}":         "",
		"$${{ actor.name }}":     "",
		"see event.log":          "",
		"production":             "",
	} {
		var got, want []string
		for _, w := range compile(t, "tables: {cost: {a: b}}\nrules:\n- on: server.created\n  set:\n    k: '"+text+"'\n",
			"").Warnings() {
			got = append(got, w.String())
		}
		if meant != "" {
			want = []string{fmt.Sprintf(`5: rule "rule-1": warning: key k is the text %q; did you mean %s?`, text, meant)}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// Comparisons that can never be true, because of on: or because of a field's possible values.
func TestImpossibleComparisons(t *testing.T) {
	for _, tt := range []struct{ on, when, want string }{
		{"server.created", `action == "server.deleted"`,
			`it never matches: action is never "server.deleted" in a rule for server.created`},
		{"server.created", `"server.craeted" == action`,
			`it never matches: action is never "server.craeted"; did you mean server.created?`},
		{"snapshot.created", `resource.kind == "server"`,
			`it never matches: resource.kind is never "server" in a rule for snapshot.created`},
		{"[server.created, server.started]", `resource.kind == "snapshot"`,
			`it never matches: resource.kind is never "snapshot" in a rule for server.created and server.started`},
		{"server.created", `resource?.kind == "bare-metal"`,
			`it never matches: resource.kind is never "bare-metal"; did you mean baremetal?`},
		{"server.created", `actor.kind == "person"`,
			`it never matches: actor.kind is never "person"; known: user, service, agency, unknown`},
		{"server.created", `action == "server.deleted" and data.x`,
			`it never matches: action is never "server.deleted" in a rule for server.created`},
		{"server.created", `data.x && actor.kind in ["usr", "sevice"]`,
			`it never matches: actor.kind is never "usr"; did you mean user?; actor.kind is never "sevice"; did you mean service?`},
		{"server.created", `actor.kind == "usr" or data.x`, `actor.kind is never "usr"; did you mean user?`},
		{"server.created", `actor.kind == "usr" || action == "x"`,
			`it never matches: actor.kind is never "usr"; did you mean user?; action is never "x"`},
		{"server.created", `actor.kind in ["user", "sevice"]`, `actor.kind is never "sevice"; did you mean service?`},
		{"server.created", `not (actor.kind == "sevice")`, `actor.kind is never "sevice"; did you mean service?`},
		{"server.created", `data.x and not (resource.kind in ["snapshot"])`,
			`resource.kind is never "snapshot" in a rule for server.created`},

		{"server.created", `actor.kind != "sevice"`, ""},
		{"server.created", `resource.kind == "baremetal" or resource.kind == "server"`, ""},
		{"[server.created, snapshot.created]", `resource.kind in ["baremetal", "snapshot"] and action == "snapshot.created"`,
			""},
		{"server.created", `resource.name == "sevice" or resource.kind == data.kind`, ""},
		{"server.created", `actor.kind in ["user", data.kind]`, ""},
	} {
		var got, want []string
		for _, w := range compile(t, "rules:\n- on: "+tt.on+"\n  when: '"+tt.when+"'\n  set: {k: v}\n", "").Warnings() {
			got = append(got, w.Text)
		}
		if tt.want != "" {
			want = []string{tt.want}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.when, diff)
		}
	}
	got := compile(t, "rules:\n- on: server.created\n  set:\n    k: '${actor.kind == \"usr\" ? 1 : 2}'\n", "").Warnings()
	if len(got) != 1 ||
		got[0].String() != `4: rule "rule-1": warning: key k: actor.kind is never "usr"; did you mean user?` {
		t.Errorf("in a value: %v", got)
	}
}
