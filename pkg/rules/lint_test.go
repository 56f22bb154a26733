package rules_test

import (
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
		{"never matches", "rules:\n- {name: a, on: server.created, when: 'false', set: {k: v}}\n", "", []string{`2: rule "a": it never matches: when is always false`}},
		{"always matches", "rules:\n- {name: a, on: server.created, when: 'true', set: {k: v}}\n", "", []string{`2: rule "a": when is always true; leave it out`}},
		{"overwritten", "rules:\n- {name: a, on: server.created, set: {k: v, l: w}}\n- {name: b, on: [server.created, snapshot.created], remove: [k]}\n", "", []string{
			`2: rule "a": key "k" is always overwritten by rule "b"`,
		}},
		{"without effect", "rules:\n- {name: a, on: server.created, add: {k: v}}\n- {name: b, on: server.created, set: {k: w}}\n", "", []string{
			`2: rule "a": key "k" is always overwritten by rule "b"`, `2: rule "a": it never has an effect: later rules overwrite each of its keys`,
		}},
		{"not always overwritten", `rules:
- {name: a, on: [server.created, snapshot.created], set: {k: v}}
- {name: only for servers, on: server.created, set: {k: w}}
- {name: only sometimes, on: [server.created, snapshot.created], when: resource.name == "x", set: {k: w}}
- {name: only where known, on: [server.created, snapshot.created], set: {k: "${resource.flavor}"}}
`, "", nil},
		{"bare metal", "rules:\n- {name: a, on: server.created, set: {'a:b': v}}\n- {name: s, on: snapshot.created, set: {'a:b': v}}\n", metadata.HuaweiCloud, []string{
			"2: rule \"a\": key \"a:b\" is left out on bare metal: BMS key \"a:b\": takes any character but :`~!@#$%^&*()=+<,>?/'\";{[]}|\\; ':' is not among them",
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
