package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/suggest"
)

// suite is a case file: tests of rules.
type suite struct {
	// Rules is the rules file, relative to the case file. Without it, the cases test the rules of the environment.
	Rules string     `yaml:"rules"`
	Cases []ruleCase `yaml:"cases"`
}

// ruleCase is an event and the plan that the rules must make for it.
type ruleCase struct {
	Name string `yaml:"name"`
	// Event is a file name, relative to the case file, or the event itself.
	Event yaml.Node `yaml:"event"`
	// Readings stand in for what Tagger would read from the cloud.
	Readings caseReadings `yaml:"readings"`
	Expect   expectation  `yaml:"expect"`
}

// caseReadings are [rules.Readings] in the syntax of a case file.
type caseReadings struct {
	Metadata  map[string]string `yaml:"metadata"`
	Parent    *caseParent       `yaml:"parent"`
	ActorName string            `yaml:"actor_name"`
	Project   *caseProject      `yaml:"project"`
}

type caseParent struct {
	ID       string            `yaml:"id"`
	Name     string            `yaml:"name"`
	Metadata map[string]string `yaml:"metadata"`
}

type caseProject struct {
	Name        string            `yaml:"name"`
	Description string            `yaml:"description"`
	Tags        []string          `yaml:"tags"`
	Extra       map[string]string `yaml:"extra"`
}

// readings returns the readings of a case. What the case does not set is unknown.
func (r caseReadings) readings() rules.Readings {
	all := rules.Readings{Metadata: r.Metadata, ActorName: r.ActorName, Unknown: map[string]string{}}
	if r.Metadata == nil {
		all.Unknown["resource.metadata"] = "the case has no readings: metadata"
	}
	if r.Parent == nil {
		all.Unknown["parent"] = "the case has no readings: parent"
	} else {
		metadata := r.Parent.Metadata
		if metadata == nil {
			metadata = map[string]string{}
		}
		all.Parent = &lifecycle.Parent{ID: r.Parent.ID, Name: r.Parent.Name, Metadata: metadata}
	}
	if r.Project != nil {
		all.Project = &rules.Project{Name: r.Project.Name, Description: r.Project.Description, Tags: r.Project.Tags,
			Extra: r.Project.Extra}
	}
	return all
}

type expectation struct {
	Rules   []string          `yaml:"rules" json:"rules,omitempty"`
	Set     map[string]string `yaml:"set" json:"set,omitempty"`
	Add     map[string]string `yaml:"add" json:"add,omitempty"`
	Remove  []string          `yaml:"remove" json:"remove,omitempty"`
	Rename  map[string]string `yaml:"rename" json:"rename,omitempty"`
	Outcome string            `yaml:"outcome" json:"outcome,omitempty"`
}

// openSuite reads a case file and the rules that it names.
func openSuite(ctx context.Context, settings config.Settings, file string) (suite, *rules.Set, error) {
	text, err := readCases(file)
	if err != nil {
		return suite{}, nil, fmt.Errorf("read the cases: %w", err)
	}
	c, err := readSuite(text)
	if err != nil {
		return suite{}, nil, fmt.Errorf("read the cases: %s%w", file, err)
	}
	source, err := settings.ReadRules(ctx, nil)
	if c.Rules != "" {
		source, err = config.ReadRulesFile(resolvePath(filepath.Dir(file), c.Rules))
	} else if err != nil {
		err = fmt.Errorf("%w, or name a file in rules: of %s", err, file)
	}
	if err != nil {
		return suite{}, nil, err
	}
	set, err := compileRules(settings, source)
	if err != nil {
		return suite{}, nil, err
	}
	for i := range c.Cases {
		if c.Cases[i].Name == "" {
			c.Cases[i].Name = fmt.Sprintf("case %d", i+1)
		}
		if err := c.Cases[i].Expect.check(set.Names()); err != nil {
			return suite{}, nil, fmt.Errorf("%s: %s: %w", file, c.Cases[i].Name, err)
		}
	}
	return c, set, nil
}

// readCases reads a case file, which has the limits of a rules file.
func readCases(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := rules.ReadFile(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return text, nil
}

// check rejects expectations that no plan can meet, because they are mistakes in the case.
func (e expectation) check(known []string) error {
	for _, name := range e.Rules {
		if !slices.Contains(known, name) {
			return fmt.Errorf("expect: rules: no rule is named %q%s", name, suggest.Hint(name, known))
		}
	}
	switch apply.Outcome(e.Outcome) {
	case "", apply.Ignored, apply.Unrecognised, apply.Rejected:
		return nil
	}
	return fmt.Errorf("expect: outcome: %q is not a plan's; want ignored, unrecognised or rejected, or none where there "+
		"is something to write", e.Outcome)
}

// readSuite parses a case file, which has one YAML document. An error begins with the place: ":9: …" or ": …".
func readSuite(text []byte) (suite, error) {
	var c suite
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return suite{}, suiteError(text, err)
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		return suite{}, fmt.Errorf(":%d: a second document (---); all cases belong under one cases: of one document",
			second.Line)
	} else if !errors.Is(err, io.EOF) {
		return suite{}, suiteError(text, err)
	}
	if len(c.Cases) == 0 {
		return suite{}, errors.New(" has none")
	}
	return c, nil
}

var (
	yamlFault   = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	unknownYAML = regexp.MustCompile(`^field (.+) not found in type main\.(\w+)$`)
	wrongYAML   = regexp.MustCompile(`(?s)^cannot construct (\S+).* into (\S+)$`)
)

// suiteError rewrites a YAML error about a case file in terms of YAML instead of Go types.
func suiteError(text []byte, err error) error {
	var probe struct{ Rules yaml.Node }
	if yaml.Unmarshal(text, &probe) == nil && probe.Rules.Kind == yaml.SequenceNode {
		return errors.New(" is a file of rules; want one of cases, whose rules: names it")
	}
	faults, ok := errors.AsType[*yaml.LoadErrors](err)
	if !ok {
		message := err.Error()
		m := yamlFault.FindStringSubmatch(message)
		if m == nil || m[1] == "" {
			return fmt.Errorf(": not YAML: %s", strings.TrimPrefix(message, "yaml: "))
		}
		return fmt.Errorf(":%s: not YAML: %s", m[1], message[len(m[0]):])
	}
	first := faults.Errors[0]
	message := first.Message
	if m := unknownYAML.FindStringSubmatch(message); m != nil {
		message = fmt.Sprintf("unknown field %s%s", m[1], suggest.Hint(m[1], members(m[2])))
	} else if m := wrongYAML.FindStringSubmatch(message); m != nil {
		message = fmt.Sprintf("want %s, found %s", yamlWord(m[2]), yamlWord(m[1]))
	}
	return fmt.Errorf(":%d: %s", first.Mark.Line, message)
}

// members returns the YAML fields of the Go type with this name.
func members(name string) []string {
	var all []string
	for _, t := range []reflect.Type{reflect.TypeFor[suite](), reflect.TypeFor[ruleCase](), reflect.TypeFor[expectation](),
		reflect.TypeFor[caseReadings](), reflect.TypeFor[caseParent](), reflect.TypeFor[caseProject]()} {
		for i := range t.NumField() {
			if t.Name() == name {
				all = append(all, t.Field(i).Tag.Get("yaml"))
			}
		}
	}
	return all
}

// yamlWord describes a Go type or a YAML tag in words.
func yamlWord(t string) string {
	switch {
	case t == "!!seq" || strings.HasPrefix(t, "[]"):
		return "a list"
	case t == "!!map" || strings.HasPrefix(t, "map[") || strings.HasPrefix(t, "main."):
		return "a mapping"
	}
	return "one value"
}

// resolvePath returns path, joined to dir if it is relative.
func resolvePath(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// payload returns the event: a file's content, or the event in the case itself.
func (c ruleCase) payload(dir string) ([]byte, error) {
	event := &c.Event
	if event.Kind == yaml.AliasNode {
		event = event.Alias
	}
	switch event.Kind {
	case yaml.ScalarNode:
		text, err := readPayload(resolvePath(dir, event.Value), strings.NewReader(""))
		if err != nil {
			return nil, fmt.Errorf("read the event: %w", err)
		}
		return text, nil
	case yaml.MappingNode:
		left := ingress.MaxPayload / 8
		v, err := jsonValue(event, &left)
		if err != nil {
			return nil, fmt.Errorf("read the event: %w", err)
		}
		return json.Marshal(v)
	}
	return nil, errors.New("it has no event: want a file's name or the event itself")
}

// jsonValue returns a node's value in the JSON of an event. A word without quotes is null, true, false or a number only
// if YAML 1.2 and JSON agree, and a number only in its canonical form. So 014, 3.10, 0x1F, 1e5, 12:30, 2026-12-31 and
// yes are strings, as they would be in the payload. left limits the nodes, because aliases can multiply them.
func jsonValue(node *yaml.Node, left *int) (any, error) {
	if *left--; *left < 0 {
		return nil, errors.New("its aliases make it too large")
	}
	if node.Style&yaml.TaggedStyle != 0 && node.Tag != "!!str" {
		return nil, fmt.Errorf("line %d: the tag %s: an event is JSON, which has none", node.Line, node.Tag)
	}
	switch node.Kind {
	case yaml.AliasNode:
		return jsonValue(node.Alias, left)
	case yaml.SequenceNode:
		list := make([]any, len(node.Content))
		for i, element := range node.Content {
			v, err := jsonValue(element, left)
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	case yaml.MappingNode:
		return jsonObject(node, left)
	}
	if node.Style == 0 {
		return plainScalar(node.Value), nil
	}
	return node.Value, nil
}

func jsonObject(node *yaml.Node, left *int) (map[string]any, error) {
	object := map[string]any{}
	for i := 0; i+1 < len(node.Content); i += 2 { // merge keys first: explicit keys override them
		if key, value := node.Content[i], node.Content[i+1]; isMerge(key) {
			merged := []*yaml.Node{value}
			if value.Kind == yaml.SequenceNode {
				merged = value.Content
			}
			for _, from := range slices.Backward(merged) { // the first wins
				v, err := jsonValue(from, left)
				if err != nil {
					return nil, err
				}
				members, ok := v.(map[string]any)
				if !ok {
					return nil, fmt.Errorf("line %d: <<: want a mapping to merge", from.Line)
				}
				maps.Copy(object, members)
			}
		}
	}
	written := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if isMerge(key) {
			continue
		}
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: a key must be one value", key.Line)
		}
		if written[key.Value] {
			return nil, fmt.Errorf("line %d: %s is given twice", key.Line, key.Value)
		}
		v, err := jsonValue(value, left)
		if err != nil {
			return nil, err
		}
		written[key.Value], object[key.Value] = true, v
	}
	return object, nil
}

func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Style == 0 && key.Value == "<<"
}

var jsonNumber = regexp.MustCompile(`^-?(?:0|[1-9]\d*)(?:\.\d+)?$`)

func plainScalar(text string) any {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "true", "True", "TRUE":
		return true
	case "false", "False", "FALSE":
		return false
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text {
		return json.Number(text)
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && jsonNumber.MatchString(text) &&
		strconv.FormatFloat(f, 'f', -1, 64) == text {
		return json.Number(text)
	}
	return text
}
