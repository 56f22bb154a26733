package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/nearest"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// suite is a file of cases that rules are held to.
type suite struct {
	// Rules is the rules' file, relative to the suite's; the environment's rules where it is left out.
	Rules string     `yaml:"rules"`
	Cases []ruleCase `yaml:"cases"`
}

// ruleCase is an event and the plan that the rules must have for it.
type ruleCase struct {
	Name string `yaml:"name"`
	// Event is a file, relative to the suite's, or the event itself.
	Event  yaml.Node   `yaml:"event"`
	Expect expectation `yaml:"expect"`
}

type expectation struct {
	Rules   []string          `yaml:"rules"`
	Set     map[string]string `yaml:"set"`
	Add     map[string]string `yaml:"add"`
	Remove  []string          `yaml:"remove"`
	Outcome string            `yaml:"outcome"`
}

// openSuite reads a file of cases and the rules that it names.
func openSuite(ctx context.Context, settings config.Settings, file string) (suite, *tagger.Tagger, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return suite{}, nil, fmt.Errorf("read the cases: %w", err)
	}
	c, err := readSuite(text)
	if err != nil {
		return suite{}, nil, fmt.Errorf("read the cases: %s%w", file, err)
	}
	source, err := settings.ReadRules(ctx, nil)
	if c.Rules != "" {
		source, err = config.ReadRulesFile(filepath.Join(filepath.Dir(file), c.Rules))
	} else if err != nil {
		err = fmt.Errorf("%w, or name a file in rules: of %s", err, file)
	}
	if err != nil {
		return suite{}, nil, err
	}
	set, err := tagger.Compile(settings, source)
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
	t, err := tagger.Compose(ctx, settings, set, tagger.Parts{})
	return c, t, err
}

// check refuses what no plan can have, for a case that expects it is a mistake in itself.
func (e expectation) check(rules []string) error {
	for _, name := range e.Rules {
		if !slices.Contains(rules, name) {
			return fmt.Errorf("expect: rules: no rule is named %q%s", name, nearest.Hint(name, rules))
		}
	}
	switch apply.Outcome(e.Outcome) {
	case "", apply.Ignored, apply.Unrecognised, apply.Rejected:
		return nil
	}
	return fmt.Errorf("expect: outcome: %q is not a plan's; want ignored, unrecognised or rejected, or none where there is something to write", e.Outcome)
}

// readSuite reads the one document of a file of cases. An error begins with the place: ":9: …" or ": …".
func readSuite(text []byte) (suite, error) {
	var c suite
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return suite{}, suiteError(text, err)
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		return suite{}, fmt.Errorf(":%d: a second document (---); all cases belong under one cases: of one document", second.Line)
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

// suiteError says what is wrong in a file of cases, in the file's words instead of Go's.
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
		message = fmt.Sprintf("unknown field %s%s", m[1], nearest.Hint(m[1], members(m[2])))
	} else if m := wrongYAML.FindStringSubmatch(message); m != nil {
		message = fmt.Sprintf("want %s, found %s", yamlWord(m[2]), yamlWord(m[1]))
	}
	return fmt.Errorf(":%d: %s", first.Mark.Line, message)
}

// members are the fields of the mapping that a Go type stands for.
func members(name string) []string {
	var all []string
	for _, t := range []reflect.Type{reflect.TypeFor[suite](), reflect.TypeFor[ruleCase](), reflect.TypeFor[expectation]()} {
		for i := range t.NumField() {
			if t.Name() == name {
				all = append(all, t.Field(i).Tag.Get("yaml"))
			}
		}
	}
	return all
}

// yamlWord is a Go type or a YAML tag in words.
func yamlWord(t string) string {
	switch {
	case t == "!!seq" || strings.HasPrefix(t, "[]"):
		return "a list"
	case t == "!!map" || strings.HasPrefix(t, "map[") || strings.HasPrefix(t, "main."):
		return "a mapping"
	}
	return "one value"
}

// payload is the event: a file's content, or what stands in the case.
func (c ruleCase) payload(dir string) ([]byte, error) {
	event := &c.Event
	if event.Kind == yaml.AliasNode {
		event = event.Alias
	}
	switch event.Kind {
	case yaml.ScalarNode:
		text, err := os.ReadFile(filepath.Join(dir, event.Value))
		if err != nil {
			return nil, fmt.Errorf("read the event: %w", err)
		}
		return text, nil
	case yaml.MappingNode:
		var v map[string]any
		if err := event.Decode(&v); err != nil {
			return nil, fmt.Errorf("read the event: %w", err)
		}
		return json.Marshal(v)
	}
	return nil, errors.New("it has no event: want a file's name or the event itself")
}
