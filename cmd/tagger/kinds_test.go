package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// No file but the two tables depends on which kind a resource has. The dialects name the kinds and actions that their
// events report, and the functions those that they handle; the embedded cloud and its test suite have tables of their
// own.
func TestKindsStayInTheirTables(t *testing.T) {
	names, words := kindNames(t)
	root := filepath.Join("..", "..")
	mayName := func(file string) bool {
		for _, pattern := range []string{
			"pkg/lifecycle/kinds.go", "pkg/metadata/kinds.go",
			"pkg/lifecycle/openstack*.go", "pkg/lifecycle/huaweicloud*.go", "functions/*/main.go",
		} {
			if ok, _ := filepath.Match(pattern, file); ok {
				return true
			}
		}
		return strings.HasPrefix(file, "pkg/simcloud/") || strings.HasPrefix(file, "pkg/contract/")
	}
	checked := 0
	for _, top := range []string{"pkg", "cmd", "functions"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := filepath.Rel(root, path)
			if file = filepath.ToSlash(file); err != nil || mayName(file) {
				return err
			}
			checked++
			files := token.NewFileSet()
			parsed, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, found := range kindsIn(parsed, names, words) {
				t.Errorf("%s:%d: %s: what depends on the kind belongs into a table of kinds", file,
					files.Position(found.at).Line, found.what)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if checked < 100 {
		t.Errorf("looked at %d files only", checked)
	}
}

// The check finds each way to ask for a kind.
func TestKindsIn(t *testing.T) {
	names, words := kindNames(t)
	for _, want := range []string{"Server", "BareMetal", "Volume", "Snapshot", "ServerStarted", "VolumeTransferred"} {
		if !slices.Contains(names, want) {
			t.Errorf("the tables lack %s: %q", want, names)
		}
	}
	for _, tt := range []struct {
		pkg, body string
		want      string
	}{
		{"x", `_ = k == lifecycle.Server`, "lifecycle.Server"},
		{"x", `_ = map[metadata.Kind]int{metadata.Volume: 1}`, "metadata.Volume"},
		{"x", `switch a { case lifecycle.ServerDeleted: }`, "lifecycle.ServerDeleted"},
		{"x", `_ = string(k) != "snapshot"`, `"snapshot"`},
		{"x", `switch k { case "baremetal": }`, `"baremetal"`},
		{"x", `_ = strings.HasPrefix(string(a), "server.")`, `"server."`},
		{"x", `_ = []string{"server", "volume"}`, `"server" "volume"`},
		{"x", `_ = []string{"block-storage", "volume"}`, ""}, // the API's types
		{"x", `_ = session.Service("volume")`, ""},
		{"metadata", `_ = r.kind == Snapshot`, "Snapshot"},
		{"metadata", `_ = View{Volume: 1}`, ""},
		{"metadata", `_ = v.Volume`, ""},
		{"x", `_ = n.Server + "a server"`, ""},
		{"x", `_ = Server`, ""},
	} {
		source := "package " + tt.pkg + "\nfunc _() { " + tt.body + " }"
		parsed, err := parser.ParseFile(token.NewFileSet(), "x.go", source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, found := range kindsIn(parsed, names, words) {
			got = append(got, found.what)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: found %q, want %q", tt.body, got, tt.want)
		}
	}
}

// kindNames returns the names of the constants of type Kind and Action, and the values of the kinds.
func kindNames(t *testing.T) (names, words []string) {
	t.Helper()
	for _, pkg := range []string{"lifecycle", "metadata"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "pkg", pkg, "kinds.go"), nil,
			parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			constants, ok := decl.(*ast.GenDecl)
			if !ok || constants.Tok != token.CONST {
				continue
			}
			for _, spec := range constants.Specs {
				value := spec.(*ast.ValueSpec)
				of, _ := value.Type.(*ast.Ident)
				if of == nil || of.Name != "Kind" && of.Name != "Action" {
					continue
				}
				for i, name := range value.Names {
					names = append(names, name.Name)
					if literal, ok := value.Values[i].(*ast.BasicLit); ok && of.Name == "Kind" {
						word, _ := strconv.Unquote(literal.Value)
						words = append(words, word)
					}
				}
			}
		}
	}
	return names, words
}

// mention is a place that names a kind.
type mention struct {
	at   token.Pos
	what string
}

// kindsIn returns the mentions of kinds and actions in a file: their constants, and strings that are a kind's name or a
// prefix of its actions where they are compared, or listed with others.
func kindsIn(file *ast.File, names, words []string) (found []mention) {
	inside := file.Name.Name == "lifecycle" || file.Name.Name == "metadata"
	notConstants := map[*ast.Ident]bool{} // members and fields
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.SelectorExpr:
			notConstants[n.Sel] = true
			pkg, ok := n.X.(*ast.Ident)
			if ok && (pkg.Name == "lifecycle" || pkg.Name == "metadata") && slices.Contains(names, n.Sel.Name) {
				found = append(found, mention{n.Pos(), pkg.Name + "." + n.Sel.Name})
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok {
				notConstants[key] = true
			}
		case *ast.Field:
			for _, name := range n.Names {
				notConstants[name] = true
			}
		case *ast.Ident:
			if inside && slices.Contains(names, n.Name) && !notConstants[n] {
				found = append(found, mention{n.Pos(), n.Name})
			}
		case *ast.BinaryExpr:
			if n.Op == token.EQL || n.Op == token.NEQ {
				found = append(found, kindWords(words, n.X, n.Y)...)
			}
		case *ast.CaseClause:
			found = append(found, kindWords(words, n.List...)...)
		case *ast.CallExpr:
			if of, ok := n.Fun.(*ast.SelectorExpr); ok && fmt.Sprint(of.X) == "strings" {
				found = append(found, kindWords(words, n.Args...)...)
			}
		case *ast.CompositeLit:
			if listed := kindWords(words, n.Elts...); len(listed) > 1 {
				found = append(found, listed...)
			}
		}
		return true
	})
	return found
}

// kindWords returns the expressions that are strings with a kind's name or the prefix of its actions.
func kindWords(words []string, all ...ast.Expr) (found []mention) {
	for _, e := range all {
		literal, ok := e.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			continue
		}
		word, _ := strconv.Unquote(literal.Value)
		if slices.Contains(words, strings.TrimSuffix(word, ".")) {
			found = append(found, mention{literal.Pos(), literal.Value})
		}
	}
	return found
}
