package rules_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/rules"
)

// firstFault compiles faulty rules and returns the first fault without its place.
func firstFault(t *testing.T, text string) string {
	t.Helper()
	_, err := rules.Compile([]byte(text), rules.Options{Name: "R", Files: files()})
	all, ok := errors.AsType[rules.Errors](err)
	if !ok {
		t.Fatalf("error %v of\n%s", err, text)
	}
	_, after, _ := strings.Cut(all[0].Text, ": ")
	return after
}

// Mistakes of users who know another language or have not read the page, and the hints that they get.
func TestExpressionHints(t *testing.T) {
	for _, tt := range []struct{ when, want string }{
		{`time + 14d > resource.created`, `bad number syntax: "14d" at character 10; write duration("14d")`},
		{`time - 2weeks > resource.created`, `bad number syntax: "2w" at character 9; write duration("2w")`},
		{`time - resource.created > 24h`, `bad number syntax: "24h" at character 29; write duration("24h")`},
		{`time + "14d" > resource.created`,
			`invalid operation: + (mismatched types time.Time and string) at character 6; write duration("14d")`},

		// Words and operators of other languages
		{`resource.name = "x"`, `unexpected token Operator("=") at character 15; did you mean ==?`},
		{`resource.name === "x"`, `unexpected token Operator("=") at character 17; did you mean ==?`},
		{`resource.name <> "x"`, `unexpected token Operator(">") at character 16; did you mean !=?`},
		{`resource.name =~ "x"`, `unexpected token Operator("=") at character 15; did you mean matches?`},
		{`resource.name ~ "x"`, `unrecognized character: U+007E '~' at character 15; did you mean matches?`},
		{`data.a AND data.b`, `unexpected token Identifier("AND") at character 8; did you mean and?`},
		{`data.a Or data.b`, `unexpected token Identifier("Or") at character 8; did you mean or?`},
		{`data.a & data.b`, `unexpected token Operator("&") at character 8; did you mean and?`},
		{`NOT data.a`, `unexpected token Identifier("data") at character 5; did you mean not?`},
		{`NOT (data.a)`, `unknown name NOT at character 1; did you mean not?`},
		{`resource.flavor is nil`, `unexpected token Identifier("is") at character 17; did you mean ==?`},
		{`resource.flavor == null`, `unknown name null at character 20; did you mean nil?`},
		{`resource.flavor == None`, `unknown name None at character 20; did you mean nil?`},
		{`data.a == True`, `unknown name True at character 11; did you mean true?`},
		{`resource.name startswith "x"`,
			`unexpected token Identifier("startswith") at character 15; did you mean startsWith?`},
		{`resource.name starts_with "x"`,
			`unexpected token Identifier("starts_with") at character 15; did you mean startsWith?`},
		{`resource.name LIKE "x%"`, `unexpected token Identifier("LIKE") at character 15; did you mean matches?`},
		{`startsWith(resource.name, "x")`,
			`unexpected token Operator("startsWith") at character 1; startsWith needs a value on each side`},
		{`resource.name.startsWith("x")`, `type string has no method startsWith at character 15; write text startsWith "…"`},
		{`resource.name == “x”`, `unrecognized character: U+201C '“' at character 18; use straight quotes`},

		// Types
		{`resource.name`, `expected bool, but got string; compare it with something, such as == "…"`},
		{`not resource.name startsWith "x"`,
			`invalid operation: not (mismatched type string) at character 1; put ( ) around the negated condition: not (…)`},
		{`time > time + 14`, `invalid operation: + (mismatched types time.Time and int) at character 13; use ` +
			`days(14) or hours(14)`},
		{`time > time + "14d"`, `invalid operation: + (mismatched types time.Time and string) at character 13; ` +
			`write duration("14d")`},
		{`time > time - 1.5`, `invalid operation: - (mismatched types time.Time and float64) at character 13; use ` +
			`days(…) or hours(…)`},
		{`time > "2026-01-01"`, `invalid operation: > (mismatched types time.Time and string) at character 6; ` +
			`date(…) turns a time into a text such as "2026-11-21"`},
		{`resource.name in "prod-web"`,
			`invalid operation: in (mismatched types string and string) at character 15; in searches a list; to ` +
				`search a text, write text contains part`},
		{`actor == "alice"`, `invalid operation: == (mismatched types object and string) at character 7; compare ` +
			`one of its fields`},

		// Names
		{`resource["tags"] == "x"`, `unknown field tags at character 10; did you mean resource.metadata?`},
		{`resource.owner_department == "x"`,
			`unknown field owner_department at character 10; known: created, flavor, id, image, kind, metadata, ` +
				`name, project, project_name, region, volume, zone`},
		{`actor.department == "x"`, `unknown field department at character 7; known: id, kind, name`},
		{`event?.sorce == "x"`, `unknown field sorce at character 8; did you mean source?`},
		{`tables.cots.x == "x"`, `unknown field cots at character 8; did you mean cost?`},
		{`name == "x"`, `unknown name name at character 1; did you mean actor.name or parent.name or project.name ` +
			`or resource.name?`},
		{`uper(resource.name) == "X"`, `unknown name uper at character 1; did you mean upper?`},
		{`resource.kind == baremetal`, `unknown name baremetal at character 18; put a text in quotes`},
	} {
		got := firstFault(t, "tables: {cost: {a: b}}\nrules:\n- on: server.created\n  when: '"+
			strings.ReplaceAll(tt.when, "'", "''")+"'\n  set: {a: b}\n")
		if want := "expression " + tt.when + ": " + tt.want; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	got := firstFault(t, "rules:\n- {on: server.created, set: {a: '${{ actor.name }}'}}\n")
	if want := `a: expression { actor.name }: unexpected token Operator(".") at character 8; leave out the inner { }`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestYAMLHints(t *testing.T) {
	const (
		quoted = "did not find expected key; a value that begins with a quoted text and continues after it must be in " +
			"quotes, or in ( ), as a whole"
		condition = `; a condition that contains ": " or begins with one of [ { * & % @ must be in quotes, or in ( )`
	)
	for _, tt := range []struct{ body, want string }{
		{`when: "prod-" in resource.name`, quoted},
		{`when: 'prod' == resource.zone`, quoted},
		{`set: {a: "x" y}`, strings.Replace(quoted, "key", "',' or '}'", 1)},
		{`when: resource.name == "x: y"`, "mapping values are not allowed in this context" + condition},
		{`when: [1] == data.x`, "did not find expected key" + condition},
		{`when: @x`, "found character that cannot start any token" + condition},
		{`name: a: b`, "mapping values are not allowed in this context (is the indentation right?)"},
	} {
		if got := firstFault(t, "rules:\n- on: server.created\n  "+tt.body+"\n  add: {a: b}\n"); got != tt.want {
			t.Errorf("%s\ngot  %s\nwant %s", tt.body, got, tt.want)
		}
	}
}

func TestKeysAndLists(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{`when: [data.a, data.b]`, "when: want one expression, found a list; join conditions with and"},
		{`set: {"": b}`, "set: a key is empty"},
		{`set: {~: b}`, "set: a key is empty"},
		{`remove: [""]`, "remove: a key is empty"},
		{`remove: ""`, "remove: a key is empty"},
		{`remove:`, "remove: a key is empty"},
	} {
		_, err := rules.Compile([]byte("rules:\n- on: server.created\n  "+tt.body+"\n  add: {a: b}\n"),
			rules.Options{Name: "R"})
		if want := `R:3: rule "rule-1": ` + tt.want; err == nil || err.Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", tt.body, err, want)
		}
	}
	plan := compile(t, "rules: [{on: server.created, remove: stopped-at}]", "").Plan(change(), sample(t), rules.Readings{})
	if diff := cmp.Diff([]string{"stopped-at"}, plan.Remove); diff != "" {
		t.Errorf("a single key to remove: %s", diff)
	}
}

// tagPlaces has a @ at each place where a node of rules begins.
const tagPlaces = `@
@tables:
  @cost: @{@p-1: @CC-17}
  @team: @{@file: @team.yaml}
@rules:
- @
  @name: @first
  @on: @[@server.created, @server.started]
  @when: @resource.name startsWith "prod-"
  @add: @{@owner: @"${actor.name}"}
- @on: @server.created
  @set: @
    @env: @'dev'
    ? @mode
    : @|-
      text
  @remove: @[@scratch]
- @{@on: @snapshot.created, @remove: @scratch}
`

// withTag puts a tag at one of the places.
func withTag(tag string, place int) string {
	parts := strings.Split(tagPlaces, "@")
	place = 1 + place%(len(parts)-1)
	return strings.Join(parts[:place], "") + tag + " " + strings.Join(parts[place:], "")
}

// Tags are rejected everywhere, above all the lone !: YAML drops it, which would invert a condition.
func TestTagsAreRefused(t *testing.T) {
	compile(t, strings.ReplaceAll(tagPlaces, "@", ""), "")
	for place := range strings.Count(tagPlaces, "@") {
		for _, tag := range []string{"!", "!!str", "!!map", "!x", "!<tag:yaml.org,2002:str>", "!<!>", "!!null"} {
			text := withTag(tag, place)
			if _, err := rules.Compile([]byte(text), rules.Options{Name: "R", Files: files()}); err == nil ||
				!strings.Contains(err.Error(), " as a tag, not as a part of the text; ") {
				t.Errorf("error %v of\n%s", err, text)
			}
		}
	}
	beside := files()
	beside["tagged.yaml"] = beside["team.yaml"]
	beside["tagged.yaml"].Data = []byte("alice: ! blue\n")
	_, err := rules.Compile([]byte("tables: {team: {file: tagged.yaml}}\nrules: [{on: server.created, set: {a: b}}]\n"),
		rules.Options{Name: "R", Files: beside})
	if err == nil || !strings.HasPrefix(err.Error(), `tagged.yaml:1: YAML reads "!" as a tag`) {
		t.Errorf("error %v", err)
	}
}

// A node that begins with ! does not compile.
func FuzzTags(f *testing.F) {
	for place, tag := range []string{"", "!str", "x", "<tag:x>", "\n", " # y\n", "x,", "|", " &a", "!!"} {
		f.Add(tag, uint8(place*3))
	}
	f.Fuzz(func(t *testing.T, tag string, place uint8) {
		text := withTag("!"+tag, int(place))
		if _, err := rules.Compile([]byte(text), rules.Options{Name: "R", Files: files()}); err == nil {
			t.Errorf("compiles:\n%s", text)
		}
	})
}

func TestCSVOfSpreadsheets(t *testing.T) {
	beside := files()
	for _, text := range []string{"p-1;CC-17\n", "p-1\tCC-17\n"} {
		beside["sheet.csv"] = beside["cost.csv"]
		beside["sheet.csv"].Data = []byte(text)
		_, err := rules.Compile([]byte("tables: {cost: {file: sheet.csv}}\nrules: [{on: server.created, set: {a: b}}]\n"),
			rules.Options{Name: "R", Files: beside})
		want := "R:1: tables: cost: read sheet.csv: line 1: want two columns, or more with a heading, found 1; they are " +
			"separated by a comma, not by a semicolon or a tab"
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
