package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/cloudtagger/tagger/"

// The diagram in docs/architecture.md has every package once, and no package imports one above it.
func TestLayers(t *testing.T) {
	layers := readLayers(t)
	imports := packageImports(t)
	for _, name := range slices.Sorted(maps.Keys(imports)) {
		layer, ok := layers[name]
		if !ok {
			t.Errorf("package %s is not in the diagram of docs/architecture.md", name)
			continue
		}
		for _, imported := range imports[name] {
			if below, ok := layers[imported]; ok && below <= layer {
				t.Errorf("%s (line %d) imports %s (line %d): imports point down", name, layer, imported, below)
			}
		}
	}
	for name := range layers {
		if _, ok := imports[name]; !ok {
			t.Errorf("docs/architecture.md has a package %s, which does not exist", name)
		}
	}
}

// readLayers returns the line of each package in the diagram. The packages of a line end where two spaces and more than
// one word follow.
func readLayers(t *testing.T) map[string]int {
	t.Helper()
	page, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "```layers\n")
	block, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("docs/architecture.md has no block of layers")
	}
	layers := map[string]int{}
	for i, line := range strings.Split(strings.TrimSpace(block), "\n") {
		names, _, ok := strings.Cut(line, "   ")
		if !ok {
			t.Errorf("line %q has no description", line)
		}
		for _, name := range regexp.MustCompile(` +`).Split(strings.TrimSpace(names), -1) {
			if _, twice := layers[name]; twice {
				t.Errorf("package %s is in the diagram twice", name)
			}
			layers[name] = i + 1
		}
	}
	return layers
}

// packageImports returns the imports between packages of this module, without tests. All functions count as one
// package.
func packageImports(t *testing.T) map[string][]string {
	t.Helper()
	root := filepath.Join("..", "..")
	imports := map[string][]string{}
	for _, top := range []string{"pkg", "cmd", "functions"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			relative, err := filepath.Rel(root, filepath.Dir(file))
			if err != nil {
				return err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			name := layerName(filepath.ToSlash(relative))
			if _, ok := imports[name]; !ok {
				imports[name] = nil
			}
			for _, spec := range parsed.Imports {
				imported, _ := strconv.Unquote(spec.Path.Value)
				if after, ours := strings.CutPrefix(imported, modulePath); ours {
					imports[name] = append(imports[name], layerName(after))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return imports
}

func layerName(directory string) string {
	if path.Dir(directory) == "functions" {
		return "functions/*"
	}
	return strings.TrimPrefix(directory, "pkg/")
}
