package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cloudtagger/tagger/pkg/rules"
)

// ParameterReader reads a parameter of AWS Systems Manager.
type ParameterReader func(ctx context.Context, name string) (string, error)

// ReadRules reads the rules from where the settings say. parameter is nil if parameters cannot be read.
func (s Settings) ReadRules(ctx context.Context, parameter ParameterReader) (rules.Source, error) {
	set := 0
	for _, v := range []string{s.Rules, s.RulesFile, s.RulesParameter} {
		if v != "" {
			set++
		}
	}
	switch {
	case set > 1:
		return rules.Source{}, errors.New("read the rules: " +
			"more than one of TAGGER_RULES, TAGGER_RULES_FILE and TAGGER_RULES_PARAMETER is set; keep one")
	case s.RulesFile != "":
		return ReadRulesFile(s.RulesFile)
	case s.Rules != "":
		return rules.Source{Name: "TAGGER_RULES", Text: []byte(s.Rules)}, nil
	case s.RulesParameter != "" && parameter == nil:
		return rules.Source{}, errors.New("read the rules: only the functions, tagger serve and tagger listen " +
			"read TAGGER_RULES_PARAMETER; set TAGGER_RULES_FILE to a file with the rules")
	case s.RulesParameter != "":
		text, err := parameter(ctx, s.RulesParameter)
		if err != nil {
			return rules.Source{}, fmt.Errorf("read the rules: %w", err)
		}
		return rules.Source{Name: "parameter " + s.RulesParameter, Text: []byte(text)}, nil
	}
	return rules.Source{}, errors.New(
		"read the rules: there are none; set TAGGER_RULES to the rules or TAGGER_RULES_FILE to a file of them")
}

// CanReloadRules reports whether the rules are in a file or parameter, which can change while the process runs.
func (s Settings) CanReloadRules() bool { return s.RulesFile != "" || s.RulesParameter != "" }

// unwrapPath removes the path from an error of the file system.
func unwrapPath(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// ReadRulesFile reads rules from a file.
func ReadRulesFile(path string) (rules.Source, error) {
	file, err := os.Open(path)
	if err != nil {
		return rules.Source{}, fmt.Errorf("read the rules: %w", err)
	}
	defer file.Close()
	text, err := rules.ReadFile(file)
	if err != nil {
		return rules.Source{}, fmt.Errorf("read the rules: %s: %w", path, unwrapPath(err))
	}
	return rules.Source{Name: path, Text: text, Files: os.DirFS(filepath.Dir(path))}, nil
}
