package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Rules is the text of tagging rules, not yet compiled.
type Rules struct {
	// Name is where they came from, for errors.
	Name string
	Text []byte
	// Files is the folder of the rules' file, nil where they came from a variable.
	Files fs.FS
}

// ReadRules reads the rules that the settings name.
func (s Settings) ReadRules() (Rules, error) {
	switch {
	case s.Rules != "" && s.RulesFile != "":
		return Rules{}, errors.New("read the rules: both TAGGER_RULES and TAGGER_RULES_FILE are set; unset one")
	case s.RulesFile != "":
		return ReadRulesFile(s.RulesFile)
	case s.Rules != "":
		return Rules{Name: "TAGGER_RULES", Text: []byte(s.Rules)}, nil
	}
	return Rules{}, errors.New("read the rules: there are none; set TAGGER_RULES to the rules or TAGGER_RULES_FILE to a file of them")
}

// ReadRulesFile reads rules from a file.
func ReadRulesFile(path string) (Rules, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Rules{}, fmt.Errorf("read the rules: %w", err)
	}
	return Rules{Name: path, Text: text, Files: os.DirFS(filepath.Dir(path))}, nil
}
