package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/journal"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// tagging invokes the event of a server's creation with rules, and returns the number of API calls.
func tagging(t *testing.T, id, rules string) (calls int, errOut string) {
	t.Helper()
	t.Setenv("TAGGER_RULES", rules)
	event := fmt.Sprintf(`{"specversion": "1.0", "id": "e-1", "source": "/test", "subject": %q,
		"type": "io.github.cloudtagger.server.created", "time": %q, "data": {}}`, id, time.Now().Format(time.RFC3339))
	out, errOut, status := taggerCommand(t, event, "invoke", "--cloud", "env", "-o", "json", "-")
	var result struct {
		Outcome string
		Calls   int
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil || status != exitDone || result.Outcome != "tagged" {
		t.Fatalf("status %d, %v: %s%s", status, err, out, errOut)
	}
	return result.Calls, errOut
}

// records reads an audit file.
func records(t *testing.T, path string) (headers []journal.Header, all []journal.Record) {
	t.Helper()
	if _, err := journal.Read(path, func(h journal.Header, r journal.Record) error {
		headers, all = append(headers, h), append(all, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return headers, all
}

// The audit file has what events wrote and the values before. A revert by rules restores only what these rules wrote.
func TestAuditFile(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	before := map[string]string{"tier": "old", "junk": "1", "keep": "x"}
	id := sim.PutServer(simcloud.Server{Name: "web", Metadata: before})
	here := func() map[string]string { return sim.Metadata("server", id) }
	const (
		first  = `rules: [{on: server.created, set: {tier: gold}, add: {owner: alice, keep: y}, remove: [junk]}]`
		second = `rules: [{on: server.created, set: {tier: platinum}, add: {owner: bob, zone: z}}]`
	)
	without, _ := tagging(t, id, first)
	sim.PutServer(simcloud.Server{Name: "web", ID: id, Metadata: before})

	file := filepath.Join(t.TempDir(), "audit.jsonl")
	t.Setenv("TAGGER_AUDIT_FILE", file)
	if calls, _ := tagging(t, id, first); calls != without {
		t.Errorf("%d calls with an audit file, %d without", calls, without)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	headers, all := records(t, file)
	if len(all) < 2 || all[0].Phase != journal.Begin || all[len(all)-1].Phase != journal.End {
		t.Fatalf("%+v", all)
	}
	end, header := all[len(all)-1], headers[0]
	text := func(s string) *string { return &s }
	want := map[string]journal.Replacement{
		"tier": {From: text("old"), To: text("gold")}, "owner": {To: text("alice")}, "junk": {From: text("1")},
	}
	if diff := cmp.Diff(want, end.Keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if end.Outcome != "tagged" || len(end.Requests) != 2 || end.Event != "e-1" || end.Action != "server.created" ||
		len(end.Rules) < 8 || header.Operator != "demo" || header.Cloud == "" || len(end.Unknown) > 0 {
		t.Errorf("%+v\n%+v", header, end)
	}

	tagging(t, id, second)
	revert := func(want string, flags ...string) {
		t.Helper()
		out, errOut, status := taggerCommand(t, "", append([]string{"reconcile", "--revert", file}, flags...)...)
		if status != exitDone || !strings.Contains(out, want) {
			t.Errorf("%v: status %d: %s%s", flags, status, out, errOut)
		}
	}
	// Revert the first rules. The second rules own the tier by now.
	revert("1 of 1 tried: 1 restored", "--written-by", end.Rules[:8])
	if diff := cmp.Diff(map[string]string{"tier": "platinum", "junk": "1", "keep": "x", "zone": "z"}, here()); diff != "" {
		t.Errorf("(-want +there):\n%s", diff)
	}
	// Revert everything else, across two values of tier.
	revert("1 of 1 tried: 1 restored")
	if diff := cmp.Diff(before, here()); diff != "" {
		t.Errorf("(-before +there):\n%s", diff)
	}
	if _, errOut, status := taggerCommand(t, "", "reconcile", "--revert", file, "--written-by", "0000"); status != exitUsage {
		t.Errorf("nothing selected: status %d: %s", status, errOut)
	}
}

// A value that was never read is recorded as unknown, and a revert does not guess it.
func TestAuditFileUnknown(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	id := sim.PutServer(simcloud.Server{Name: "web", Metadata: map[string]string{"tier": "old"}})
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	t.Setenv("TAGGER_AUDIT_FILE", file)
	tagging(t, id, `rules: [{on: server.created, set: {tier: gold}}]`)
	_, all := records(t, file)
	if end := all[len(all)-1]; !cmp.Equal(end.Unknown, []string{"tier"}) || end.Keys["tier"].From != nil {
		t.Errorf("%+v", end)
	}
	out, errOut, status := taggerCommand(t, "", "reconcile", "--revert", file)
	if status != exitDone || !strings.Contains(out, "1 resource with keys whose values before were not read") ||
		sim.Metadata("server", id)["tier"] != "gold" {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
}

// A full disk loses the audit record, but not the event.
func TestAuditFileFull(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Fatal(err)
	}
	sim := onSimcloud(t, simcloud.Options{})
	id := sim.PutServer(simcloud.Server{Name: "web"})
	t.Setenv("TAGGER_AUDIT_FILE", full)
	if _, errOut := tagging(t, id, `rules: [{on: server.created, add: {tier: gold}}]`); !strings.Contains(errOut,
		"warning: a write is not in the audit file: write the audit file: ") {
		t.Errorf("no warning: %s", errOut)
	}
	t.Setenv("TAGGER_AUDIT_FILE", filepath.Join(t.TempDir(), "not", "there"))
	if _, errOut, status := taggerCommand(t, "", "invoke", "--cloud", "env", "../../events/server-created.json"); status != exitUsage ||
		!strings.Contains(errOut, "TAGGER_AUDIT_FILE: ") {
		t.Errorf("a directory that is not there: status %d: %s", status, errOut)
	}
}
