package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	// A block that must equal a command's output or a file.
	outputBlock = regexp.MustCompile("(?s)(<!-- output: ([^\n]*) -->\n```text\n)(.*?)(```)")
	fileBlock   = regexp.MustCompile("(?s)(<!-- rules: ([^\n]*) -->\n```yaml\n)(.*?)(```)")
	// Pauses are jittered, so they differ from run to run.
	looking = regexp.MustCompile(`(?m)^ {12}waiting \S+: vm_state building\n( {12}GET +servers/8c1f0a6e… 200\n)?`)
	counted = regexp.MustCompile(`\(\d+ calls, waited [1-9][^)]*\)`)
)

func withoutJitter(s string) string {
	return counted.ReplaceAllString(looking.ReplaceAllString(s, ""), "(N calls, waited a while)")
}

// The output in the docs is what the commands print.
func TestDocumentation(t *testing.T) {
	clearEnv(t)
	t.Chdir("../..")
	makefile := readFile(t, "Makefile")
	for _, tt := range []struct {
		file   string
		blocks int
	}{{"README.md", 3}, {"docs/operations.md", 1}, {"docs/inheritance.md", 1},
		{"docs/reconcile.md", 1}} {
		t.Run(tt.file, func(t *testing.T) {
			text := readFile(t, tt.file)
			blocks := 0
			got := outputBlock.ReplaceAllStringFunc(text, func(block string) string {
				blocks++
				m := outputBlock.FindStringSubmatch(block)
				command := m[2]
				if command == "make run" {
					command = regexp.MustCompile(`(?m)^\t@go run \./cmd/(tagger invoke .*)$`).FindStringSubmatch(makefile)[1]
				}
				out, errOut, status := taggerCommand(t, "", strings.Fields(command)[1:]...)
				if status != exitDone || errOut != "" {
					t.Errorf("%s: status %d: %s", command, status, errOut)
				}
				if withoutJitter(out) == withoutJitter(m[3]) {
					return block
				}
				return m[1] + out + m[4]
			})
			got = fileBlock.ReplaceAllStringFunc(got, func(block string) string {
				blocks++
				m := fileBlock.FindStringSubmatch(block)
				return m[1] + readFile(t, m[2]) + m[4]
			})
			if blocks != tt.blocks {
				t.Errorf("%d blocks, want %d", blocks, tt.blocks)
			}
			if got == text {
				return
			}
			if !*update {
				t.Errorf("%s (-is +should be), -update rewrites it:\n%s", tt.file, cmp.Diff(text, got))
				return
			}
			if err := os.WriteFile(tt.file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}
