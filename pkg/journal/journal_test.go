package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/journal"
)

func ExampleRead() {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "audit.jsonl")

	audit, err := journal.OpenAudit(path, func(err error) { panic(err) })
	if err != nil {
		panic(err)
	}
	alice := "alice"
	audit.Write(journal.Header{Cloud: "keystone.example", Operator: "tagger"}, journal.Record{
		Phase: journal.End, N: audit.Next(), Kind: "server", ID: "8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10", Outcome: "tagged",
		Keys: map[string]journal.Replacement{"owner": {To: &alice}},
	})
	_ = audit.Close()

	_, err = journal.Read(path, func(h journal.Header, r journal.Record) error {
		fmt.Println(h.Cloud, r.Kind, r.ID, *r.Keys["owner"].To)
		return nil
	})
	if err != nil {
		panic(err)
	}
	// Output: keystone.example server 8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10 alice
}

func audit(t *testing.T, path string) *journal.Audit {
	t.Helper()
	a, err := journal.OpenAudit(path, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func write(a *journal.Audit, id string) {
	a.Write(journal.Header{Cloud: "c", Operator: "o"}, journal.Record{Phase: journal.End, N: a.Next(), ID: id})
}

func read(t *testing.T, path string) (ids string, runs map[string]bool) {
	t.Helper()
	runs = map[string]bool{}
	if _, err := journal.Read(path, func(h journal.Header, r journal.Record) error {
		if h.Run != r.Run || h.Cloud != "c" {
			t.Errorf("header %+v of record %+v", h, r)
		}
		runs[r.Run] = true
		ids += r.ID
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return ids, runs
}

// Two processes share a file; each line names its run.
func TestAuditIsShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	first, second := audit(t, path), audit(t, path)
	write(first, "a")
	write(second, "b")
	write(first, "c")
	if ids, runs := read(t, path); ids != "abc" || len(runs) != 2 {
		t.Errorf("%s %v", ids, runs)
	}
}

// After a rename, the next record begins a new file with its own header.
func TestAuditIsRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a := audit(t, path)
	write(a, "a")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(a, "b")
	for file, want := range map[string]string{path + ".1": "a", path: "b"} {
		if ids, _ := read(t, file); ids != want {
			t.Errorf("%s: %s, want %s", file, ids, want)
		}
	}
}

// A process that is killed while writing leaves half a line, and another process begins a new run after it. Half a line
// within a run is an error because the file was changed.
func TestCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	write(audit(t, path), "a")
	cut := func() {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(`{"at":"2026-11-2`); err != nil {
			t.Fatal(err)
		}
	}
	cut()
	if ids, _ := read(t, path); ids != "a" {
		t.Errorf("cut off at the end: %s", ids)
	}
	write(audit(t, path), "b")
	if ids, _ := read(t, path); ids != "ab" {
		t.Errorf("another run after it: %s", ids)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	broken := strings.Join([]string{lines[0], `{"at":` + "\n", lines[1]}, "")
	if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = journal.Read(path, func(journal.Header, journal.Record) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("half a line within a run: %v", err)
	}
	for _, other := range []string{"", "{}\n", "no journal\n"} {
		if err := os.WriteFile(path, []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := journal.Read(path, func(journal.Header, journal.Record) error { return nil }); err == nil {
			t.Errorf("%q is accepted as a journal", other)
		}
	}
}
