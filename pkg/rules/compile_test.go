package rules_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// files are in the directory of the rules.
func files() fstest.MapFS {
	return fstest.MapFS{
		"cost.csv":    {Data: []byte("\ufeffp-1,CC-17\np-2, CC-40\np-3,\n")},
		"wide.csv":    {Data: []byte("p-1,CC-17\np-2,CC-40,extra\n")},
		"project.csv": {Data: []byte("project,cost_center,owner\np-1,CC-17,team-shop\np-2,CC-40,\n")},
		"named.csv":   {Data: []byte("project,cost_center\np-1,CC-17\n")},
		"unnamed.csv": {Data: []byte("p-1,CC-17,shop\n")},
		"doubled.csv": {Data: []byte("p,cc,cc\n")},
		"people.yaml": {Data: []byte("p-1: {cost_center: CC-17, owner: team-shop}\np-2: {cost_center: CC-40}\n")},
		"people.json": {Data: []byte(
			`{"p-1": {"cost_center": "CC-17", "owner": "team-shop"}, "p-2": {"cost_center": "CC-40"}}`)},
		"twice.csv":     {Data: []byte("p-1,CC-17\np-1,CC-40\n")},
		"keyless.csv":   {Data: []byte(",CC-17\n")},
		"quote.csv":     {Data: []byte("p-1,\"CC\n")},
		"team.yaml":     {Data: []byte("alice: blue\nbob: 007\n")},
		"team.json":     {Data: []byte(`{"alice": "green"}`)},
		"list.yaml":     {Data: []byte("- a\n")},
		"secret.txt":    {Data: []byte("x")},
		"deep/cost.csv": {Data: []byte("p-1,deep\n")},
	}
}

func TestCompileRefuses(t *testing.T) {
	rule := func(body string) string { return "rules:\n- on: server.created\n" + body }
	for _, tt := range []struct{ name, text, want string }{
		// The document
		{"nothing", "", "R: is empty; want at least one rule under rules:"},
		{"only a comment", "# soon\n", "R: is empty; want at least one rule under rules:"},
		{"no rules", "tables: {}\n", "R:1: no rules: section; write rules: [] if there are none"},
		{"cases", "rules: rules.yaml\ncases:\n- name: a\n", "R: is a file of cases; use tagger rules test"},
		{"cases without rules", "cases:\n- name: a\n", "R: is a file of cases; use tagger rules test"},
		{"cases among rules", "rules: []\ncases: []\n", `R:2: unknown field "cases"`},
		{"rules without a value", "rules:\n", "R:1: rules: want a list, found nothing"},
		{"UTF-16", "\xff\xfer\x00u\x00", "R: is UTF-16; save it as UTF-8"},
		{"UTF-16 without a mark", "r\x00u\x00", "R: is UTF-16; save it as UTF-8"},
		{"a list", "- on: x\n", "R:1: want a mapping with rules:, found a list"},
		{"a sentence", "please tag everything", "R:1: want a mapping with rules:, found a single value"},
		{"rules is a mapping", "rules:\n  on: server.created\n", "R:2: rules: want a list, found a mapping"},
		{"unknown section", "rule:\n- on: server.created\n", `R:1: unknown field "rule"; did you mean rules?`},
		{"second document", rule("  set: {a: b}\n") + "---\nrules: []\n",
			"R:4: a second document (---); put all rules under one rules:"},
		{"broken second document", rule("  set: {a: b}\n") + "---\n{\n", "R:6: not YAML: did not find expected node content"},
		{"not YAML", "rules:\n- on: [server.created\n  set: {a: b}\n", "R:3: not YAML: did not find expected ',' or ']'"},
		{"tabs", "rules:\n\t- on: server.created\n", "R:2: not YAML: found character that cannot start any token"},

		// A rule
		{"a rule that is text", "rules:\n- everything\n",
			`R:2: rule "rule-1": want a mapping with on: and one of add:, set:, remove:, rename:, inherit:, found ` +
				`a single value`},
		{"unknown field", rule("  wehn: true\n  set: {a: b}\n"),
			`R:3: rule "rule-1": unknown field "wehn"; did you mean when?`},
		{"unknown field, nothing near", rule("  annotations: {a: b}\n  set: {a: b}\n"),
			`R:3: rule "rule-1": unknown field "annotations"; known: name, on, when, add, set, remove`},
		{"on rewritten", "rules:\n- name: a\n  true: server.created\n  set: {a: b}\n",
			`R:3: rule "a": unknown field "true"; another tool has rewritten on:, which YAML 1.1 reads as true; ` +
				`write "on": in quotes`},
		{"on rewritten and quoted", "rules:\n- name: a\n  \"True\": server.created\n  set: {a: b}\n",
			`R:3: rule "a": unknown field "True"; another tool has rewritten on:`},
		{"no on", "rules:\n- name: x\n  set: {a: b}\n", `R:2: rule "x": no on: name the actions that it is for`},
		{"empty on", "rules:\n- on: []\n  set: {a: b}\n",
			`R:2: rule "rule-1": on: is empty; want at least one action; known: server.created`},
		{"unknown action", "rules:\n- on: server.craeted\n  set: {a: b}\n",
			`R:2: rule "rule-1": on: unknown action "server.craeted"; did you mean server.created?`},
		{"unknown action in a list", "rules:\n- on:\n  - server.created\n  - share.created\n  set: {a: b}\n",
			`R:4: rule "rule-1": on: unknown action "share.created"`},
		{"deleted", "rules:\n- on: server.deleted\n  set: {a: b}\n",
			`R:2: rule "rule-1": on: server.deleted: a deleted resource cannot be written`},
		{"action twice", "rules:\n- on: [server.created, server.created]\n  set: {a: b}\n",
			`R:2: rule "rule-1": on: server.created is given twice`},
		{"nothing to do", "rules:\n- on: server.created\n",
			`R:2: rule "rule-1": nothing to do: it has none of add:, set:, remove:, rename:, inherit:`},
		{"name twice", "rules:\n- {name: a, on: server.created, set: {a: b}}\n- {name: a, on: server.created, set: {a: b}}\n",
			`R:3: rule "a": line 2 already has a rule of this name`},
		{"field twice", rule("  set: {a: b}\n  set: {c: d}\n"), `R:4: rule "rule-1": set is given twice`},
		{"key twice", rule("  set:\n    a: b\n    a: c\n"), `R:5: rule "rule-1": a is given twice`},
		{"key in two sections", rule("  set: {a: b}\n  remove: [a]\n"),
			`R:4: rule "rule-1": key "a" is in set: and in remove:`},
		{"set is a list", rule("  set: [a]\n"), `R:3: rule "rule-1": set: want a mapping of keys to values, found a list`},
		{"set is empty", rule("  set: {}\n"),
			`R:3: rule "rule-1": set: want a mapping of keys to values, found an empty mapping`},
		{"remove is a mapping", rule("  remove: {a: b}\n"),
			`R:3: rule "rule-1": remove: want a list of keys, found a mapping`},
		{"remove is empty", rule("  remove: []\n"), `R:3: rule "rule-1": remove: want a list of keys, found an empty list`},
		{"value is a list", rule("  set: {a: [b]}\n"), `R:3: rule "rule-1": set: a: want one value, found a list`},
		{"value is missing", rule("  set:\n    a:\n"), `R:4: rule "rule-1": set: a: is empty; write "" for an empty value`},
		{"value is null", rule("  set: {a: null}\n"), `R:3: rule "rule-1": set: a: is empty; write "" for an empty value`},
		{"an empty text to add", rule("  add: {a: \"\"}\n"),
			`R:3: rule "rule-1": add: a: is empty, and add: only fills empty keys; leave it out, or write it with set:`},
		{"tag", rule("  set: {a: !!int 5}\n"),
			`R:3: YAML reads "!!int" as a tag, not as a part of the text; write not (…) for "not", or put the ` +
				`whole value in quotes`},

		// when
		{"when is a tag", rule("  when: !x\n  set: {a: b}\n"),
			`R:3: YAML reads "!x" as a tag, not as a part of the text; write not (…) for "not", or put the whole ` +
				`value in quotes`},
		{"when is empty", rule("  when:\n  set: {a: b}\n"), `R:3: rule "rule-1": when: is empty`},
		{"when is blank", rule("  when: ' '\n  set: {a: b}\n"), `R:3: rule "rule-1": when: expression is empty`},
		{"when in braces", rule("  when: ${true}\n  set: {a: b}\n"),
			`R:3: rule "rule-1": when: is already an expression; leave out ${ and }`},
		{"when is a text", rule("  when: resource.name\n  set: {a: b}\n"),
			`R:3: rule "rule-1": when: expression resource.name: expected bool, but got string`},
		{"misspelt field", rule("  when: resource.nmae == \"x\"\n  set: {a: b}\n"),
			`R:3: rule "rule-1": when: expression resource.nmae == "x": unknown field nmae at character 10; did you mean name?`},
		{"misspelt variable", rule("  when: resuorce.name == \"x\"\n  set: {a: b}\n"),
			`unknown name resuorce at character 1; did you mean resource?`},
		{"senseless comparison", rule("  when: resource.name == 3\n  set: {a: b}\n"),
			`invalid operation: == (mismatched types string and int) at character 15`},
		{"broken expression", rule("  when: resource.name ==\n  set: {a: b}\n"), `unexpected token EOF`},
		{"bad pattern", rule("  when: resource.name matches \"[\"\n  set: {a: b}\n"), "error parsing regexp"},

		// ${…}
		{"braces in braces", rule("  set: {a: ${resource.name}}\n"), `must be in quotes`},
		{"colon", rule("  set:\n    a: ${true ? \"b\" : \"c\"}\n"),
			`R:4: not YAML: mapping values are not allowed in this context; a value with ${…} in { } or that ` +
				`contains ": " or " #" must be in quotes`},
		{"hash", rule("  set:\n    a: ${first(\"x\") + \" # y\"}\n"),
			`set: a: ${ is not closed by }; where the expression contains # or : , put the whole value in quotes`},
		{"not closed", rule("  set:\n    a: ${resource.name\n"), `R:4: rule "rule-1": set: a: ${ is not closed by }`},
		{"empty expression", rule("  set: {a: \"${}\"}\n"), `set: a: expression is empty`},
		{"misspelt", rule("  add: {owner: '${actor.nme}'}\n"),
			`R:3: rule "rule-1": add: owner: expression actor.nme: unknown field nme at character 7; did you mean name?`},
		{"unknown table", "tables: {cost: {a: b}}\n" + rule("  add: {owner: '${tables.cots[\"a\"]}'}\n"),
			`unknown field cots at character 8; did you mean cost?`},
		{"now", rule("  set: {a: '${now()}'}\n"),
			`unknown name now at character 1; use time, the event's time, so that a replay gives the same plan`},
		{"the whole environment", rule("  set: {a: '${toJSON($env)}'}\n"),
			`expression toJSON($env): $env cannot be used; name what is read: action,`},
		{"date of a number", rule("  set: {a: '${date(5)}'}\n"), `cannot use int as argument`},
		{"date of a text that is none", rule("  set: {a: '${date(\"2026-13-01\")}'}\n"),
			`expression date("2026-13-01"): date() wants a time, or a text such as 2026-12-31 or ` +
				`2026-12-31T09:15:04Z; found the text "2026-13-01"`},
		{"unknown zone", rule("  set: {a: '${time.In(timezone(\"Europe/Berln\"))}'}\n"),
			`timezone(): unknown zone "Europe/Berln"; want an IANA name, such as Europe/Berlin or UTC`},
		{"unknown zone in a pipe", rule("  set: {a: '${time.In(\"CEST\" | timezone())}'}\n"),
			`timezone(): unknown zone "CEST"`},
		{"the machine's zone", rule("  set: {a: '${time.In(timezone(\"Local\"))}'}\n"),
			`timezone("Local") depends on the machine`},
		{"a zone of the file system", rule("  set: {a: '${time.In(timezone(\"../etc/passwd\"))}'}\n"),
			`timezone(): unknown zone "../etc/passwd"`},
		{"unknown duration", rule("  set: {a: '${date(time + duration(\"14 days\"))}'}\n"),
			`duration() wants a text such as 14d, 2w, 36h or 1d12h; found the text "14 days"`},
		{"endless duration", rule("  set: {a: '${date(time + duration(\"36501d\"))}'}\n"),
			`duration() accepts at most 36500d, found the text "36501d"`},
		{"computed key", rule("  set: {'${resource.name}': b}\n"), `key "${resource.name}": a key cannot be computed`},

		// Keys and values
		{"bad key", rule("  set: {a/b: c}\n"),
			`R:3: rule "rule-1": set: Nova key "a/b": accepts letters A-Z a-z, digits, - _ : . and space; '/' is ` +
				`not among them`},
		{"dot dot", rule("  remove: ['..']\n"), `".." is a step in a path`},
		{"privilege escalation", rule("  set: {agency_name: admin}\n"),
			`Nova key "agency_name": is written by the cloud itself`},
		{"keys that differ in case",
			"rules:\n- {on: server.created, set: {owner: a}}\n- {on: server.created, remove: [Owner]}\n",
			`R:3: rule "rule-2": remove: key "Owner": another rule writes it "owner"; the cloud confuses keys`},
		{"long value", rule("  set: {a: " + strings.Repeat("v", 300) + "}\n"),
			`R:3: rule "rule-1": set: Nova value of key "a": at most 255 characters, has 300`},
		{"emoji", rule("  set: {a: 😀}\n"), `accepts characters up to U+FFFF`},
		{"only a snapshot refuses", "rules:\n- on: [server.created, snapshot.created]\n  set: {a.json: b}\n",
			`Cinder key "a.json": must not end in .json`},

		// Tables
		{"tables is a list", "tables: []\n" + rule("  set: {a: b}\n"),
			"R:1: tables: want a mapping of names to tables, found an empty list"},
		{"table is a text", "tables: {a: b}\n" + rule("  set: {a: b}\n"),
			"R:1: tables: a: want a mapping, found a single value"},
		{"table name", "tables: {cost-center: {a: b}}\n" + rule("  set: {a: b}\n"),
			`R:1: tables: "cost-center" cannot be used as tables.cost-center; take letters, digits and _`},
		{"table of rows and texts", "tables:\n  a:\n    b: {c: d}\n    e: f\n" + rule("  set: {a: b}\n"),
			`R:4: tables: a: e: want a mapping of columns, like the row in line 3, found a single value`},
		{"table of texts and rows", "tables:\n  a:\n    b: c\n    d: {e: f}\n" + rule("  set: {a: b}\n"),
			`R:4: tables: a: d: want one value, found a mapping`},
		{"table of tables", "tables: {a: {b: {c: {d: e}}}}\n" + rule("  set: {a: b}\n"),
			`R:1: tables: a: b: c: want one value, found a mapping`},
		{"column name", "tables: {a: {b: {cost-center: d}}}\n" + rule("  set: {a: b}\n"),
			`R:1: tables: a: b: "cost-center" cannot be used as .cost-center; take letters, digits and _`},
		{"unknown column", "tables: {a: {b: {team: d, cc: e}}}\n" +
			rule("  set: {a: '${tables.a[resource.project].taem}'}\n"),
			`unknown field taem at character 28; did you mean team?`},
		{"column of a table without", "tables: {a: {b: d}}\n" + rule("  set: {a: '${tables.a[resource.project].team}'}\n"),
			`type string has no field team`},
		{"heading of YAML", "tables: {a: {file: team.yaml, heading: true}}\n" + rule("  set: {a: b}\n"),
			`R:1: tables: a: heading: want true or false, for a .csv file`},
		{"heading that is neither", "tables: {a: {file: cost.csv, heading: maybe}}\n" + rule("  set: {a: b}\n"),
			`R:1: tables: a: heading: want true or false`},
		{"heading that is no name", "tables: {a: {file: unnamed.csv}}\n" + rule("  set: {a: b}\n"),
			`line 1: the heading of column 2 is "CC-17"; want a name of letters, digits and _, to be used as .name`},
		{"heading twice", "tables: {a: {file: doubled.csv}}\n" + rule("  set: {a: b}\n"),
			`line 1: two columns are named "cc"`},
		{"no heading for three", "tables: {a: {file: project.csv, heading: false}}\n" + rule("  set: {a: b}\n"),
			`line 1: want two columns, found 3; more need a heading`},

		// Anchors
		{"merge of a text", "rules:\n- <<: x\n  on: server.created\n  set: {a: b}\n",
			`R:2: <<: want a mapping to merge, found a single value`},
		{"an alias of itself", "tables: &t {a: *t}\n" + rule("  set: {a: b}\n"),
			`R:1: an alias refers to a value that contains it`},
		{"aliases of aliases", "x-a: &a [1,1,1,1,1,1,1,1,1]\nx-b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nx-c: &c " +
			"[*b,*b,*b,*b,*b,*b,*b,*b,*b]\nx-d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n" +
			"x-e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nx-f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\nx-g: [*f,*f,*f]\n" +
			rule("  set: {a: b}\n"), `R:1: its aliases expand it to more than 1000000 values`},
		{"unknown alias", rule("  set: {a: *b}\n"), "not YAML: unknown anchor"},

		// Conditions
		{"conditions are a list", "conditions: [a]\n" + rule("  set: {a: b}\n"),
			`R:1: conditions: want a mapping of names to conditions, found a list`},
		{"condition is a text", "conditions: {prod: resource.name}\n" + rule("  set: {a: b}\n"),
			`R:1: conditions: prod: expression resource.name: expected bool, but got string`},
		{"condition that is none", "conditions:\n  prod: resource.nmae == \"x\"\n" + rule("  when: prod\n  set: {a: b}\n"),
			`R:2: conditions: prod: expression resource.nmae == "x": unknown field nmae`},
		{"condition with a taken name", "conditions: {resource: true}\n" + rule("  set: {a: b}\n"),
			`R:1: conditions: resource is already a name in expressions`},
		{"condition named as a function", "conditions: {first: true}\n" + rule("  set: {a: b}\n"),
			`R:1: conditions: first is already a name in expressions`},
		{"condition named with a dash", "conditions: {is-prod: true}\n" + rule("  set: {a: b}\n"),
			`R:1: conditions: "is-prod" cannot be used as a name`},
		{"condition of itself", "conditions: {prod: prod}\n" + rule("  set: {a: b}\n"),
			`R:1: conditions: prod: expression prod: unknown name prod`},
		{"condition below", "conditions: {a: b, b: true}\n" + rule("  set: {a: b}\n"),
			`R:1: conditions: a: expression b: unknown name b`},
		{"misspelt condition", "conditions: {production: true}\n" + rule("  when: not prodcution\n  set: {a: b}\n"),
			`unknown name prodcution at character 5; did you mean production?`},
		{"ignore is a mapping", "ignore: {a: b}\n" + rule("  set: {a: b}\n"), `R:1: ignore: want one value, found a mapping`},
		{"ignore is empty", "ignore: []\n" + rule("  set: {a: b}\n"),
			`R:1: ignore: is empty; want a condition, or a list of them`},
		{"ignore is a text", "ignore:\n- true\n- resource.name\n" + rule("  set: {a: b}\n"),
			`R:3: ignore: expression resource.name: expected bool, but got string`},

		// remove, rename, inherit, priority
		{"remove everything", rule("  remove: ['*']\n"),
			`R:3: rule "rule-1": remove: "*" matches every key; make the pattern narrower`},
		{"remove what the cloud writes", rule("  remove: ['cascaded.*']\n"),
			`remove: "cascaded.*": Nova key "cascaded.x": is written by the cloud itself`},
		{"remove no key", rule("  remove: ['a/*']\n"), `'/' is not among them`},
		{"set a pattern", rule("  set: {'a*': b}\n"),
			`R:3: rule "rule-1": set: key "a*": only remove: and inherit: accept * and ?`},
		{"rename is a list", rule("  rename: [a]\n"),
			`R:3: rule "rule-1": rename: want a mapping of old keys to new ones, found a list`},
		{"rename to itself", rule("  rename: {a: a}\n"), `rename: a: the new key is the old one`},
		{"rename in a chain", rule("  rename: {a: b, b: c}\n"), `rename: a: "b" is also an old key; a value moves only once`},
		{"rename two to one", rule("  rename: {a: c, b: c}\n"), `rename: b: "c" is already the new key of "a"`},
		{"rename a pattern", rule("  rename: {'a*': b}\n"), `rename: a*: * and ? are not accepted; name each key`},
		{"rename to what the cloud writes", rule("  rename: {a: agency_name}\n"),
			`Nova key "agency_name": is written by the cloud itself`},
		{"rename from what the cloud writes", rule("  rename: {agency_name: a}\n"),
			`rename: Nova key "agency_name": is written by the cloud itself`},
		{"rename and set", rule("  rename: {a: b}\n  set: {a: c}\n"), `key "a" is in set: and in rename:`},
		{"inherit by a server", rule("  inherit: [owner]\n"),
			`R:3: rule "rule-1": inherit: a server has no parent; a volume has its server, a snapshot has its volume`},
		{"inherit what is never copied", "rules:\n- on: snapshot.created\n  inherit: [openshiftClusterID]\n",
			`R:3: rule "rule-1": inherit: "openshiftClusterID" is never copied: it is valid only on the parent`},
		{"inherit a pattern of them", "rules:\n- on: snapshot.created\n  inherit: ['kubernetes.io*']\n",
			`"kubernetes.io*" is never copied`},
		{"inherit what is never copied by pattern",
			"rules:\n- on: snapshot.created\n  inherit: [cinder.csi.openstack.org/cluster]\n", `is never copied`},
		{"inherit everything", "rules:\n- on: snapshot.created\n  inherit: ['*']\n", `inherit: "*" matches every key`},
		{"inherit what the cloud writes", "rules:\n- on: snapshot.created\n  inherit: [agency_name]\n",
			`is written by the cloud itself`},
		{"priority twice", "priority: [a, a]\n" + rule("  set: {a: b}\n"), `R:1: priority: a is given twice`},
		{"priority is a mapping", "priority: {a: b}\n" + rule("  set: {a: b}\n"),
			`R:1: priority: want a list of keys, found a mapping`},
		{"reserve_items of all", "reserve_items: 128\n" + rule("  set: {a: b}\n"),
			`R:1: reserve_items: want a number from 0 to 127, found "128"`},
		{"reserve_items is a word", "reserve_items: some\n" + rule("  set: {a: b}\n"),
			`R:1: reserve_items: want a number from 0 to 127, found "some"`},
		{"table file is missing", "tables: {a: {file: no.csv}}\n" + rule("  set: {a: b}\n"),
			`R:1: tables: a: read no.csv: file does not exist`},
		{"table file climbs", "tables: {a: {file: ../cost.csv}}\n" + rule("  set: {a: b}\n"),
			`R:1: tables: a: file ../cost.csv: want a path below the rules' directory`},
		{"table file of another kind", "tables: {a: {file: secret.txt}}\n" + rule("  set: {a: b}\n"),
			`want a name that ends in .csv, .yaml, .yml or .json`},
		{"wide CSV", "tables: {a: {file: wide.csv}}\n" + rule("  set: {a: b}\n"),
			`R:1: tables: a: read wide.csv: line 2: want 2 columns, found 3`},
		{"CSV row twice", "tables: {a: {file: twice.csv}}\n" + rule("  set: {a: b}\n"), `line 2: p-1 is given twice`},
		{"CSV without a key", "tables: {a: {file: keyless.csv}}\n" + rule("  set: {a: b}\n"),
			`line 1: the first column is empty`},
		{"CSV with an open quote", "tables: {a: {file: quote.csv}}\n" + rule("  set: {a: b}\n"),
			`extraneous or missing " in quoted-field`},
		{"table file is a list", "tables: {a: {file: list.yaml}}\n" + rule("  set: {a: b}\n"), `list.yaml:1: want a mapping`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := rules.Compile([]byte(tt.text), rules.Options{Name: "R", Files: files()})
			var all rules.Errors
			if !errors.As(err, &all) {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(err.Error(), tt.want) || strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
		})
	}
}

func TestCompileFindsEveryFault(t *testing.T) {
	_, err := rules.Compile([]byte("rules:\n- on: server.craeted\n  set: {a/b: c}\n- on: server.created\n"),
		rules.Options{Name: "rules.yaml"})
	var all rules.Errors
	if !errors.As(err, &all) {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		got = append(got, e.Error())
	}
	want := []string{
		`rules.yaml:2: rule "rule-1": on: unknown action "server.craeted"; did you mean server.created?`,
		`rules.yaml:4: rule "rule-2": nothing to do: it has none of add:, set:, remove:, rename:, inherit:`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTablesNeedAFile(t *testing.T) {
	_, err := rules.Compile([]byte("tables: {a: {file: cost.csv}}\nrules:\n- {on: server.created, set: {a: b}}\n"),
		rules.Options{Name: "TAGGER_RULES"})
	if err == nil || !strings.Contains(err.Error(), "these rules are not from a file") {
		t.Errorf("error %v", err)
	}
}

// A quoted "on", which the hint for a rewritten on: suggests, compiles.
func TestQuotedOn(t *testing.T) {
	set, err := rules.Compile([]byte("rules:\n- \"on\": server.created\n  set: {a: b}\n"), rules.Options{})
	if err != nil || set.Len() != 1 {
		t.Error(err)
	}
}

// One API accepts a literal that another rejects at compile time.
func TestCompileKeepsTheAPIsLimits(t *testing.T) {
	text := []byte("rules:\n- {on: server.created, set: {a b: c}}\n")
	if _, err := rules.Compile(text, rules.Options{API: metadata.OpenStack}); err != nil {
		t.Error(err)
	}
	_, err := rules.Compile(text, rules.Options{API: metadata.HuaweiCloud})
	if err == nil || !strings.Contains(err.Error(), `ECS key "a b"`) {
		t.Errorf("error %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	set, err := rules.Compile(
		[]byte("rules:\n- {name: s, on: server.created, set: {a: b}}\n- {name: both, on: [server.created, "+
			"snapshot.created], set: {a: b}}\n- {name: v, on: snapshot.created, set: {a: b}}\n"), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"v"}, set.Unreachable([]lifecycle.Action{lifecycle.ServerCreated})); diff != "" {
		t.Error(diff)
	}
	if set.Len() != 3 {
		t.Errorf("Len = %d", set.Len())
	}
}

// Compile returns a one-line error or a set for any text.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		"", "rules:", "rules:\n- on: server.created\n  set: {a: b}\n", designRules,
		"rules:\n- on: server.created\n  set: {a: '${{}}'}\n",
		"rules: [{on: [server.created], add: {a: \"$${x}${\\\"}\\\"}\"}}]",
		companyPolicy, inheriting,
		"conditions: {a: true, b: not a}\nignore: [a and b]\npriority: [a, 'b*']\nreserve_items: 3\nrules: [{on: " +
			"server.created, when: b, remove: ['a*'], rename: {c: d}, set: {e: ''}}]",
		"tables: {a: {file: project.csv}, b: {file: people.yaml}}\nrules: [{on: server.created, set: {a: " +
			"'${tables.a[resource.project].owner + tables.b[\"p-1\"].owner}'}}]",
		"x: &a [*a]\nrules: [{<<: {on: server.created}, add: {<<: [&b {c: d}, *b]}}]",
		"tables: {a: {file: cost.csv}}\nrules:\n- on: &a server.created\n  when: *a\n", "a: !!binary x\n<<: {}\n", "!%0A",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := rules.Compile(text, rules.Options{Name: "R", Files: files()})
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("more than one line: %q", err)
			}
			return
		}
		for _, w := range set.Warnings() {
			if strings.ContainsAny(w.String(), "\n\r") {
				t.Errorf("a warning of more than one line: %q", w)
			}
		}
		plan := set.Plan(change(), sample(t), rules.Readings{})
		for key, value := range plan.Set {
			if err := plan.Family.Check(key, value); err != nil {
				t.Errorf("planned what cannot be written: %v", err)
			}
		}
	})
}

// 50,000 rows took 22 s when each was compared with all earlier ones.
func BenchmarkCompileLargeTable(b *testing.B) {
	var text strings.Builder
	text.WriteString("tables:\n  cost:\n")
	for i := range 50_000 {
		fmt.Fprintf(&text, "    p-%d: CC-%d\n", i, i)
	}
	text.WriteString("rules:\n- {on: server.created, set: {cost: '${tables.cost[\"p-7\"]}'}}\n")
	b.ReportAllocs()
	for b.Loop() {
		compile(b, text.String(), "")
	}
}

// One mistake is one fault, with the name of its rule.
func TestOneMistakeIsOneFault(t *testing.T) {
	rule := func(body string) string { return "rules:\n- name: owner\n  on: server.created\n" + body }
	long := strings.Repeat("k", 300)
	for _, tt := range []struct{ name, text, want string }{
		{"rules", "rulez:\n- on: server.created\n  set: {a: b}\n", `R:1: unknown field "rulez"; did you mean rules?`},
		{"set", rule("  sett: {a: b}\n"), `R:4: rule "owner": unknown field "sett"; did you mean set?`},
		{"another word for set", rule("  write: {a: b}\n"),
			`R:4: rule "owner": unknown field "write"; known: name, on, when, add, set, remove, rename, inherit, reconcile`},
		{"on", "rules:\n- name: owner\n  onn: server.created\n  set: {a: b}\n",
			`R:3: rule "owner": unknown field "onn"; did you mean on?`},
		{"before the name", "rules:\n- on: server.created\n  on: server.created\n  set: {a: b}\n  name: owner\n",
			`R:3: rule "owner": on is given twice`},
		{"name", "rules:\n- nmae: owner\n  on: server.created\n  set: {a: b}\n",
			`R:2: rule "rule-1": unknown field "nmae"; did you mean name?`},
		{"a condition", "conditions: {prod: resource.nmae == \"x\"}\n" + rule("  when: prod\n  set: {a: b}\n"),
			`R:1: conditions: prod: expression resource.nmae == "x": unknown field nmae at character 10; did you mean name?`},
		{"a table", "tables: {cost: {file: no.csv}}\n" + rule("  set: {a: \"${tables.cost[resource.project].centre}\"}\n"),
			`R:1: tables: cost: read no.csv: file does not exist`},
		{"a table that is a list", "tables: {cost: [a]}\n" +
			rule("  set: {a: \"${tables.cost[resource.project].centre}\"}\n"),
			`R:1: tables: cost: want a mapping, found a list`},
		{"a required key", "required: [{kye: owner}]\n" + rule("  set: {a: b}\n"),
			`R:1: unknown field "kye"; did you mean key?`},
		{"what is expected", "required: [{key: a, expct: b, on_differs: report}]\n" + rule("  set: {a: b}\n"),
			`R:1: unknown field "expct"; did you mean expect?`},
		{"a long key", rule("  set: {" + long + ": b}\n"),
			`R:4: rule "owner": set: Nova key "` + long[:60] + `…": at most 255 characters, has 300`},
		{"no such name", rule("  set: {a: \"${nope}\"}\n"),
			`R:4: rule "owner": set: a: expression nope: unknown name nope at character 1; put a text in quotes`},
		{"no such function", rule("  set: {a: \"${uper(action)}\"}\n"),
			`R:4: rule "owner": set: a: expression uper(action): unknown name uper at character 1; did you mean upper?`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := rules.Compile([]byte(tt.text), rules.Options{Name: "R", Files: files()})
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}
