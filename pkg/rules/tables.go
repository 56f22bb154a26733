package rules

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

var tableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// tables reads the tables: section: each is a mapping of texts to texts, or {file: …}.
func (c *compiler) tables(node *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		c.fail(node, "tables: want a mapping of names to tables, found %s", describe(node))
		return
	}
	for _, e := range c.mapping(node, "tables") {
		name, body := e.name, e.value
		if !tableName.MatchString(name) {
			c.fail(e.key, "tables: %q cannot be used as tables.%s; take letters, digits and _", name, name)
		}
		if body.Kind != yaml.MappingNode {
			c.fail(body, "tables: %s: want a mapping, found %s", name, describe(body))
			continue
		}
		if file := fileOf(body); file != nil {
			c.set.tables[name] = c.tableFile(name, file)
			continue
		}
		c.set.tables[name] = c.tableRows(name, body)
	}
}

// fileOf returns the path of a table that is {file: path}, nil for a table written out.
func fileOf(body *yaml.Node) *yaml.Node {
	if len(body.Content) == 2 && body.Content[0].Value == "file" {
		return body.Content[1]
	}
	return nil
}

func (c *compiler) tableRows(name string, body *yaml.Node) map[string]any {
	rows := map[string]any{}
	for _, e := range c.mapping(body, "tables: "+name) {
		if text, ok := c.scalar(e.value, "tables: "+name+": "+e.name); ok {
			rows[e.name] = text
		}
	}
	return rows
}

func (c *compiler) tableFile(name string, node *yaml.Node) map[string]any {
	file, ok := c.scalar(node, "tables: "+name+": file")
	if !ok {
		return nil
	}
	if c.Files == nil {
		c.fail(node, "tables: %s: file %s: a table's file stands beside a file of rules (TAGGER_RULES_FILE); these rules are not in a file", name, file)
		return nil
	}
	if !fs.ValidPath(file) {
		c.fail(node, "tables: %s: file %s: want a path below the rules' own folder, without .. and without a / in front", name, file)
		return nil
	}
	text, err := fs.ReadFile(c.Files, file)
	if err != nil {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err
		}
		c.fail(node, "tables: %s: read %s: %v", name, file, err)
		return nil
	}
	switch path.Ext(file) {
	case ".csv":
		rows, err := readCSV(text)
		if err != nil {
			c.fail(node, "tables: %s: read %s: %v", name, file, err)
		}
		return rows
	case ".yaml", ".yml", ".json":
		sub := &compiler{Options: Options{Name: file}}
		root := sub.parse(text)
		var rows map[string]any
		if root != nil {
			rows = sub.tableRows(name, root)
		}
		c.errors = append(c.errors, sub.errors...)
		return rows
	}
	c.fail(node, "tables: %s: file %s: want a name that ends in .csv, .yaml, .yml or .json", name, file)
	return nil
}

// readCSV reads a table of two columns without a heading: what to look up, and what for.
func readCSV(text []byte) (map[string]any, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	r.FieldsPerRecord = 2
	r.TrimLeadingSpace = true
	rows := map[string]any{}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if errors.Is(err, csv.ErrFieldCount) {
			line, _ := r.FieldPos(0)
			hint := ""
			if len(record) == 1 && strings.ContainsAny(record[0], ";\t") {
				hint = "; they are separated by a comma, not by a semicolon or a tab"
			}
			return nil, fmt.Errorf("line %d: want two columns, found %d%s", line, len(record), hint)
		}
		if err != nil {
			return nil, err
		}
		line, _ := r.FieldPos(0)
		if record[0] == "" {
			return nil, fmt.Errorf("line %d: the first column is empty", line)
		}
		if _, twice := rows[record[0]]; twice {
			return nil, fmt.Errorf("line %d: %q stands there twice", line, record[0])
		}
		if record[1] != "" {
			rows[record[0]] = record[1]
		}
	}
}
