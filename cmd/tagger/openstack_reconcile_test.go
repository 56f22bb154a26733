//go:build openstack

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/snapshots"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
)

// reconcileRules give each kind a key. A resource of a test is younger than the usual grace period.
const reconcileRules = `rules: [{on: [server.created, volume.created, snapshot.created], add: {reconciled: "${resource.kind}"}}]`

// metadataOfAll is the metadata of each resource of the project demo, by kind and id.
func (f *coverageFleet) metadataOfAll(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	serverPages, err := servers.List(f.compute, servers.ListOpts{}).AllPages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	serverList, err := servers.ExtractServers(serverPages)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range serverList {
		all["server "+s.ID] = s.Metadata
	}
	volumePages, err := volumes.List(f.volume, volumes.ListOpts{}).AllPages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	volumeList, err := volumes.ExtractVolumes(volumePages)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumeList {
		all["volume "+v.ID] = v.Metadata
	}
	snapshotPages, err := snapshots.List(f.volume, snapshots.ListOpts{}).AllPages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	snapshotList, err := snapshots.ExtractSnapshots(snapshotPages)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range snapshotList {
		all["snapshot "+s.ID] = s.Metadata
	}
	return all
}

// A dry run changes nothing, a run writes exactly what the dry run planned, a second dry run has nothing left that can
// be written, and a revert restores the metadata exactly: for 60 resources in every status.
func TestReconcileOfSixty(t *testing.T) {
	s, bin := newStand(t), buildTagger(t)
	env := append(s.member(reconcileRules), "TAGGER_GRACE=1s")
	dir := t.TempDir()
	tagger := func(status int, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bin, args...)
		cmd.Env, cmd.Dir = env, dir
		var errOut strings.Builder
		cmd.Stderr = &errOut
		out, _ := cmd.Output()
		if got := cmd.ProcessState.ExitCode(); got != status {
			t.Fatalf("tagger %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), got, status, out, errOut.String())
		}
		return string(out)
	}
	planned := func(file string) (resources int) {
		t.Helper()
		var summary struct {
			Resources int  `json:"resources"`
			Complete  bool `json:"complete"`
		}
		out := tagger(exitDone, "reconcile", "--scope", "own", "--settled", "1s", "--out", file, "-o", "json")
		if err := json.Unmarshal([]byte(out), &summary); err != nil || !summary.Complete {
			t.Fatalf("%v: %s", err, out)
		}
		return summary.Resources
	}

	f := newCoverageFleet(t, s)
	f.storage(t, f.servers(t))
	before := f.metadataOfAll(t)
	n := planned("plan.jsonl")
	if diff := cmp.Diff(before, f.metadataOfAll(t)); diff != "" {
		t.Fatalf("the dry run changed metadata:\n%s", diff)
	}
	tagger(exitCapped, "reconcile", "--apply", "plan.jsonl")
	if diff := cmp.Diff(before, f.metadataOfAll(t)); diff != "" {
		t.Fatalf("a run beyond its limits changed metadata:\n%s", diff)
	}

	tagger(exitDone, "reconcile", "--apply", "plan.jsonl", "--confirm", fmt.Sprint(n), "--max-per-project", "100%")
	written := map[string]int{}
	want := maps.Clone(before)
	after := f.metadataOfAll(t)
	for resource, metadata := range after {
		kind, _, _ := strings.Cut(resource, " ")
		if metadata["reconciled"] == "" {
			continue
		}
		written[kind]++
		changed := maps.Clone(before[resource])
		if changed == nil {
			changed = map[string]string{}
		}
		changed["reconciled"] = kind
		want[resource] = changed
	}
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("metadata after the run (-want +got):\n%s", diff)
	}
	if sum := written["server"] + written["volume"] + written["snapshot"]; sum != n {
		t.Errorf("%d planned, written %v", n, written)
	}
	if written["server"] == 0 || written["volume"] == 0 || written["snapshot"] < 6 {
		t.Errorf("written %v, want resources of every kind", written)
	}
	if again := planned("again.jsonl"); again != 0 {
		t.Errorf("%d resources are planned again", again)
	}
	t.Logf("%d resources, %d planned, written %v", len(before), n, written)

	for id, phrase := range f.explained(t) {
		status := exitUndone // it lacks a key
		if phrase == tagged {
			status = exitDone
		}
		answer, _, _ := strings.Cut(tagger(status, "explain", id), "\n")
		t.Logf("explain: %s", answer)
		if !strings.Contains(answer, phrase) {
			t.Errorf("explain does not mention %q: %s", phrase, answer)
		}
	}

	journals, err := filepath.Glob(filepath.Join(dir, "run-*.jsonl"))
	if err != nil || len(journals) != 1 {
		t.Fatalf("journals %v, error %v", journals, err)
	}
	tagger(exitDone, "reconcile", "--revert", journals[0])
	if diff := cmp.Diff(before, f.metadataOfAll(t)); diff != "" {
		t.Errorf("metadata after the revert (-want +got):\n%s", diff)
	}
}

// tagged is what explain reports of a server that lacks nothing.
const tagged = "has every key that the rules want"

// explained has a server in some states, and what the first line of explain has to mention.
func (f *coverageFleet) explained(t *testing.T) map[string]string {
	t.Helper()
	pages, err := servers.List(f.compute, servers.ListOpts{}).AllPages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list, err := servers.ExtractServers(pages)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, s := range list {
		switch s.Name {
		case "none-0":
			all[s.ID] = tagged
		case "none-4":
			all[s.ID] = "locked"
		case "none-6":
			all[s.ID] = "shelved"
		case "none-7":
			all[s.ID] = "error"
		case "none-building":
			all[s.ID] = "spawning"
		}
	}
	if len(all) != 5 {
		t.Fatalf("servers to explain: %v", all)
	}
	return all
}
