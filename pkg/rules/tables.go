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
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

var tableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// table is a lookup table for expressions: a text for each key or, with columns, a row of texts. It leaves out empty
// values.
type table struct {
	rows map[string]any // string, or map[string]any of strings
	// columns are the possible column names of a row, nil for a table of texts.
	columns []string
	// faulty reports that the table could not be read, so that its columns are unknown.
	faulty bool
}

// tables reads the tables: section: each is a mapping of texts to texts or to rows, or {file: …}.
func (c *compiler) tables(node *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		c.fail(node, "tables: want a mapping of names to tables, found %s", describe(node))
		return
	}
	for _, e := range c.mapping(node, "tables") {
		name, body, before := e.name, e.value, len(c.errors)
		if !tableName.MatchString(name) {
			c.fail(e.key, "tables: %q cannot be used as tables.%s; take letters, digits and _", name, name)
		}
		if body.Kind != yaml.MappingNode {
			c.fail(body, "tables: %s: want a mapping, found %s", name, describe(body))
		}
		var t table
		if file, heading, ok := fileOf(body); ok {
			t = c.tableFile(name, file, heading)
		} else {
			t = c.tableRows(name, body)
		}
		t.faulty = len(c.errors) > before
		c.set.scope.tables[name] = t
	}
}

// fileOf returns the nodes of file: and heading: in a table {file: path}. heading is nil if it is missing.
func fileOf(body *yaml.Node) (file, heading *yaml.Node, ok bool) {
	for i := 0; i+1 < len(body.Content) && len(body.Content) <= 4; i += 2 {
		switch value := body.Content[i+1]; {
		case body.Content[i].Value == "file" && value.Kind == yaml.ScalarNode:
			file = value
		case body.Content[i].Value == "heading" && value.Kind == yaml.ScalarNode:
			heading = value
		default:
			return nil, nil, false
		}
	}
	return file, heading, file != nil
}

// tableRows reads a table in YAML or JSON.
func (c *compiler) tableRows(name string, body *yaml.Node) table {
	t := table{rows: map[string]any{}}
	var first *yaml.Node
	for _, e := range c.mapping(body, "tables: "+name) {
		if first == nil {
			first = e.value
		}
		where := "tables: " + name + ": " + e.name
		if first.Kind == yaml.MappingNode && e.value.Kind != yaml.MappingNode {
			c.fail(e.value, "%s: want a mapping of columns, like the row in line %d, found %s", where, first.Line,
				describe(e.value))
			continue
		}
		if first.Kind != yaml.MappingNode {
			if text, ok := c.scalar(e.value, where); ok {
				t.rows[e.name] = text
			}
			continue
		}
		row := map[string]any{}
		for _, cell := range c.mapping(e.value, where) {
			if !slices.Contains(t.columns, cell.name) {
				if !tableName.MatchString(cell.name) {
					c.fail(cell.key, "%s: %q cannot be used as .%s; take letters, digits and _", where, cell.name, cell.name)
				}
				t.columns = append(t.columns, cell.name)
			}
			if text, ok := c.scalar(cell.value, where+": "+cell.name); ok {
				row[cell.name] = text
			}
		}
		t.rows[e.name] = row
		if len(t.columns) > maxColumns {
			c.fail(e.value, "tables: %s: more than %d columns", name, maxColumns)
			break
		}
	}
	return t
}

// maxColumns limits the columns of a table. A table with more probably has rows and columns swapped.
const maxColumns = 200

func (c *compiler) tableFile(name string, node, heading *yaml.Node) table {
	none := table{rows: map[string]any{}}
	file, ok := c.scalar(node, "tables: "+name+": file")
	if !ok {
		return none
	}
	if heading != nil && (heading.Value != "true" && heading.Value != "false" || path.Ext(file) != ".csv") {
		c.fail(heading, "tables: %s: heading: want true or false, for a .csv file", name)
		return none
	}
	if c.Files == nil {
		c.fail(node, "tables: %s: file %s: a table's file must be next to the rules file (TAGGER_RULES_FILE); these rules "+
			"are not from a file", name, file)
		return none
	}
	if !fs.ValidPath(file) {
		c.fail(node, "tables: %s: file %s: want a path below the rules' directory, without .. and without a leading /",
			name, file)
		return none
	}
	text, err := readFile(c.Files, file)
	if err != nil {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err
		}
		c.fail(node, "tables: %s: read %s: %v", name, file, err)
		return none
	}
	switch path.Ext(file) {
	case ".csv":
		choice := ""
		if heading != nil {
			choice = heading.Value
		}
		t, err := readCSV(text, choice)
		if err != nil {
			c.fail(node, "tables: %s: read %s: %v", name, file, err)
		}
		return t
	case ".yaml", ".yml", ".json":
		sub := &compiler{Options: Options{Name: file}}
		root := sub.parse(text)
		t := none
		if root != nil {
			t = sub.tableRows(name, root)
		}
		c.errors = append(c.errors, sub.errors...)
		return t
	}
	c.fail(node, "tables: %s: file %s: want a name that ends in .csv, .yaml, .yml or .json", name, file)
	return none
}

// readCSV reads a table. The first column is the lookup key. A table of more than two columns has a heading with their
// names; a table of two has one if heading is "true".
func readCSV(text []byte, heading string) (table, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	r.FieldsPerRecord = -1
	r.TrimLeadingSpace = true
	t := table{rows: map[string]any{}}
	width := 0
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return t, err
		}
		line, _ := r.FieldPos(0)
		if width == 0 {
			width = len(record)
			switch {
			case width == 1:
				hint := ""
				if strings.ContainsAny(record[0], ";\t") {
					hint = "; they are separated by a comma, not by a semicolon or a tab"
				}
				return t, fmt.Errorf("line %d: want two columns, or more with a heading, found 1%s", line, hint)
			case width > 2 && heading == "false":
				return t, fmt.Errorf("line %d: want two columns, found %d; more need a heading", line, width)
			case width > maxColumns:
				return t, fmt.Errorf("line %d: more than %d columns", line, maxColumns)
			case width > 2 || heading == "true":
				for i, column := range record[1:] {
					column = strings.TrimSpace(column)
					if !tableName.MatchString(column) {
						return t,
							fmt.Errorf("line %d: the heading of column %d is %q; want a name of letters, digits and _, to be used as .name",
								line, i+2, column)
					}
					if slices.Contains(t.columns, column) {
						return t, fmt.Errorf("line %d: two columns are named %q", line, column)
					}
					t.columns = append(t.columns, column)
				}
				continue
			}
		}
		if len(record) != width {
			return t, fmt.Errorf("line %d: want %d columns, found %d", line, width, len(record))
		}
		if record[0] == "" {
			return t, fmt.Errorf("line %d: the first column is empty", line)
		}
		if _, twice := t.rows[record[0]]; twice {
			return t, fmt.Errorf("line %d: %s is given twice", line, record[0])
		}
		if t.columns == nil {
			if record[1] != "" {
				t.rows[record[0]] = record[1]
			}
			continue
		}
		row := map[string]any{}
		for i, column := range t.columns {
			if record[i+1] != "" {
				row[column] = record[i+1]
			}
		}
		t.rows[record[0]] = row
	}
}
