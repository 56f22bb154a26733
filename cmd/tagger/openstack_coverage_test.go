//go:build openstack

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/snapshots"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/volumeattach"

	"github.com/cloudtagger/tagger/internal/processtest"
	"github.com/cloudtagger/tagger/pkg/coverage"
)

// fleetPolicy requires keys of the 60 resources. The project's cost centre is CC-17.
const fleetPolicy = `
tables: {centres: {%q: CC-17}}
required:
- {key: cost-center, kinds: [server, volume, snapshot], expect: "${tables.centres[resource.project]}", values: {one_of: [CC-17, CC-40]}, placeholders: [tbd], aliases: [costcenter]}
- {key: owner, kinds: [server]}
exemptions:
- {name: lab, match: {name: "lab-*"}, keys: [cost-center], reason: research, allocate_to: CC-900, by: m.weber, until: %s}
rules: [{on: server.created, add: {a: b}}]
`

// coverageFleet is a fleet of 60 resources in every status, counted by hand.
type coverageFleet struct {
	*stand
	admin, adminVolume *gophercloud.ServiceClient
	batch              *batch
}

func newCoverageFleet(t *testing.T, s *stand) *coverageFleet {
	t.Helper()
	provider, err := openstack.AuthenticatedClient(t.Context(), gophercloud.AuthOptions{
		IdentityEndpoint: s.creds.AuthURL, Username: "admin", Password: s.creds.Password, DomainName: "Default",
		TenantID: s.creds.DemoProjectID,
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &coverageFleet{stand: s, batch: newBatch(t, s)}
	if f.admin, err = openstack.NewComputeV2(provider, gophercloud.EndpointOpts{}); err != nil {
		t.Fatal(err)
	}
	if f.adminVolume, err = openstack.NewBlockStorageV3(provider, gophercloud.EndpointOpts{}); err != nil {
		t.Fatal(err)
	}
	return f
}

// statuses returns the metadata of the servers in each status.
func statuses() map[string]map[string]string {
	return map[string]map[string]string{
		"right": {"cost-center": "CC-17", "owner": "ann"}, "other": {"cost-center": "CC-40"},
		"placeholder": {"cost-center": "tbd"}, "none": nil,
	}
}

func (f *coverageFleet) server(t *testing.T, name string, metadata map[string]string) string {
	t.Helper()
	server, err := servers.Create(t.Context(), f.compute, servers.CreateOpts{
		Name: name, FlavorRef: f.creds.Flavor, ImageRef: f.creds.Image, Networks: "none", Metadata: metadata,
	}, nil).Extract()
	if err != nil {
		t.Fatal(err)
	}
	f.batch.add(made{kind: "server", id: server.ID})
	return server.ID
}

func (f *coverageFleet) awaitServer(t *testing.T, id, status string) {
	t.Helper()
	processtest.Until(t, "server "+id+" is "+status, 5*time.Minute, 300*time.Millisecond, func() bool {
		s, err := servers.Get(t.Context(), f.compute, id).Extract()
		return err == nil && s.Status == status
	})
}

// servers creates four servers in each of nine states, four of the lab and two with an alias.
func (f *coverageFleet) servers(t *testing.T) (attachTo string) {
	t.Helper()
	ctx := t.Context()
	states := []struct {
		status string
		reach  func(id string) error // nil for none
	}{
		{"ACTIVE", nil},
		{"SHUTOFF", func(id string) error { return servers.Stop(ctx, f.compute, id).ExtractErr() }},
		{"PAUSED", func(id string) error { return servers.Pause(ctx, f.compute, id).ExtractErr() }},
		{"SUSPENDED", func(id string) error { return servers.Suspend(ctx, f.compute, id).ExtractErr() }},
		{"ACTIVE", func(id string) error {
			t.Cleanup(func() { // before the batch deletes it
				_ = servers.Unlock(context.WithoutCancel(ctx), f.compute, id).ExtractErr()
			})
			return servers.Lock(ctx, f.compute, id).ExtractErr()
		}},
		{"RESCUE", func(id string) error {
			_, err := servers.Rescue(ctx, f.compute, id, servers.RescueOpts{}).Extract()
			return err
		}},
		{"SHELVED_OFFLOADED", func(id string) error { return servers.Shelve(ctx, f.compute, id).ExtractErr() }},
		{"ERROR", func(id string) error { return servers.ResetState(ctx, f.admin, id, servers.StateError).ExtractErr() }},
	}
	ids := make([][]string, len(states))
	for i := range states {
		for name, metadata := range statuses() {
			ids[i] = append(ids[i], f.server(t, fmt.Sprintf("%s-%d", name, i), metadata))
		}
	}
	for i := range 4 {
		ids[0] = append(ids[0], f.server(t, fmt.Sprintf("lab-%d", i), nil))
	}
	for i := range 2 {
		ids[0] = append(ids[0], f.server(t, fmt.Sprintf("alias-%d", i), map[string]string{"costcenter": "CC-17"}))
	}
	for i, state := range states {
		for _, id := range ids[i] {
			f.awaitServer(t, id, "ACTIVE")
			if state.reach != nil {
				if err := state.reach(id); err != nil {
					t.Fatalf("%s: %v", state.status, err)
				}
			}
		}
	}
	for i, state := range states {
		for _, id := range ids[i] {
			f.awaitServer(t, id, state.status)
		}
	}
	f.knob(t, "spawn_delay", "600")
	for name, metadata := range statuses() {
		f.awaitServer(t, f.server(t, name+"-building", metadata), "BUILD")
	}
	return ids[0][0]
}

func (f *coverageFleet) awaitVolume(t *testing.T, id, status string) {
	t.Helper()
	processtest.Until(t, "volume "+id+" is "+status, time.Minute, 300*time.Millisecond, func() bool {
		v, err := volumes.Get(t.Context(), f.volume, id).Extract()
		return err == nil && v.Status == status
	})
}

// storage creates twelve volumes of 1 to 12 GiB, attaches the first, and creates six snapshots of the second.
func (f *coverageFleet) storage(t *testing.T, attachTo string) {
	t.Helper()
	ctx := t.Context()
	var ids []string
	for i, v := range []struct{ name, centre, status string }{
		{"attached", "CC-17", ""}, {"right", "CC-17", ""}, {"right", "CC-17", "error"}, // 1+2+3 ok
		{"none", "", ""}, {"none", "", "error"}, {"none", "", "reserved"}, // 4+5+6 missing
		{"placeholder", "tbd", ""}, {"placeholder", "tbd", "maintenance"}, // 7+8 placeholder
		{"other", "CC-40", ""},                                 // 9 differs
		{"held", "", "maintenance"}, {"held", "", "uploading"}, // 10+11 not writable
		{"lab-volume", "", ""}, // 12 exempt
	} {
		o := volumes.CreateOpts{Name: v.name, Size: i + 1}
		if v.centre != "" {
			o.Metadata = map[string]string{"cost-center": v.centre}
		}
		volume, err := volumes.Create(ctx, f.volume, o, nil).Extract()
		if err != nil {
			t.Fatal(err)
		}
		id := volume.ID
		f.batch.add(made{kind: "volume", id: id})
		f.awaitVolume(t, id, "available")
		if v.status != "" {
			t.Cleanup(func() { // before the batch deletes it
				_ = volumes.ResetStatus(context.WithoutCancel(ctx), f.adminVolume, id,
					volumes.ResetStatusOpts{Status: "available"}).ExtractErr()
			})
			if err := volumes.ResetStatus(ctx, f.adminVolume, id, volumes.ResetStatusOpts{Status: v.status}).ExtractErr(); err != nil {
				t.Fatal(err)
			}
		}
		ids = append(ids, id)
	}
	for i, s := range []struct{ name, centre string }{
		{"right", "CC-17"}, {"right", "CC-17"}, {"none", ""}, {"none", ""}, {"placeholder", "tbd"}, {"lab-snapshot", ""},
	} {
		o := snapshots.CreateOpts{VolumeID: ids[1], Name: s.name}
		if s.centre != "" {
			o.Metadata = map[string]string{"cost-center": s.centre}
		}
		snapshot, err := snapshots.Create(ctx, f.volume, o).Extract()
		if err != nil {
			t.Fatalf("snapshot %d: %v", i, err)
		}
		f.batch.add(made{kind: "snapshot", id: snapshot.ID})
	}
	if _, err := volumeattach.Create(ctx, f.compute, attachTo, volumeattach.CreateOpts{VolumeID: ids[0]}).Extract(); err != nil {
		t.Fatal(err)
	}
	f.awaitVolume(t, ids[0], "in-use")
	t.Cleanup(func() {
		_ = volumeattach.Delete(context.WithoutCancel(ctx), f.compute, attachTo, ids[0]).ExtractErr()
	})
}

// member returns the environment of the user tagger in the project demo.
func (s *stand) member(rules string) environment {
	return environment{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TAGGER_RULES=" + rules,
		"OS_AUTH_URL=" + s.creds.AuthURL, "OS_USERNAME=tagger", "OS_PASSWORD=" + s.creds.Password, "OS_PROJECT_NAME=demo",
		"OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default", "OS_REGION_NAME=RegionOne",
		"OS_IDENTITY_API_VERSION=3",
	}
}

// coverageReport runs "tagger coverage" as a process and returns its report.
func coverageReport(t *testing.T, bin string, env environment, stdin string, args ...string) coverage.Report {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, append([]string{"coverage", "-o", "json"}, args...)...)
	cmd.Env, cmd.Stdin = env, strings.NewReader(stdin)
	out, err := cmd.Output()
	var r coverage.Report
	if err != nil || json.Unmarshal(out, &r) != nil || !r.Complete {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

// figuresOf returns counts and sizes by key, kind and status.
func figuresOf(r coverage.Report) map[string]coverage.Amount {
	all := map[string]coverage.Amount{}
	for _, row := range r.Rows {
		of := row.Key + "/" + string(row.Kind) + " "
		all[of+"total"], all[of+"paid"], all[of+"aliases"] = row.Total, row.Paid, row.Aliases
		for status, a := range row.Status {
			all[of+string(status)] = a
		}
	}
	all["unattached"] = r.Orphans["volume"]
	return all
}

// The figures equal a count by hand and those of the commands in the docs.
func TestCoverageOfSixty(t *testing.T) {
	s, bin := newStand(t), buildTagger(t)
	env := s.member(fmt.Sprintf(fleetPolicy, s.creds.DemoProjectID, time.Now().AddDate(0, 1, 0).Format(time.DateOnly)))
	// Count first what other tests left.
	before := figuresOf(coverageReport(t, bin, env, "", "--scope", "own"))
	f := newCoverageFleet(t, s)
	f.storage(t, f.servers(t))
	r := coverageReport(t, bin, env, "", "--scope", "own")
	got := figuresOf(r)
	for name, a := range before {
		got[name] = coverage.Amount{Count: got[name].Count - a.Count, Size: got[name].Size - a.Size}
	}
	for name, a := range got {
		if a == (coverage.Amount{}) {
			delete(got, name)
		}
	}
	want := map[string]coverage.Amount{
		// Nine states with one of each, and two aliases.
		"cost-center/server total": {Count: 42, Size: 42}, "cost-center/server ok": {Count: 11, Size: 11},
		"cost-center/server aliases": {Count: 2, Size: 2},
		"cost-center/server differs": {Count: 9, Size: 9}, "cost-center/server placeholder": {Count: 9, Size: 9},
		// Active, stopped, paused, suspended; locked, rescued, shelved, error, building.
		"cost-center/server missing": {Count: 4, Size: 4}, "cost-center/server not_writable": {Count: 5, Size: 5},
		"cost-center/server exempt": {Count: 4, Size: 4}, "cost-center/server paid": {Count: 4, Size: 4},
		// Three servers in each state have no keys, nor have those of the lab and those with an alias.
		"owner/server total": {Count: 42, Size: 42}, "owner/server ok": {Count: 9, Size: 9},
		"owner/server missing":      {Count: 18, Size: 18},
		"owner/server not_writable": {Count: 15, Size: 15},
		"cost-center/volume total":  {Count: 12, Size: 78}, "cost-center/volume ok": {Count: 3, Size: 6},
		"cost-center/volume missing":     {Count: 3, Size: 15},
		"cost-center/volume placeholder": {Count: 2, Size: 15}, "cost-center/volume differs": {Count: 1, Size: 9},
		"cost-center/volume not_writable": {Count: 2, Size: 21}, "cost-center/volume exempt": {Count: 1, Size: 12},
		"cost-center/volume paid":    {Count: 1, Size: 12},
		"cost-center/snapshot total": {Count: 6, Size: 12}, "cost-center/snapshot ok": {Count: 2, Size: 4},
		"cost-center/snapshot missing":     {Count: 2, Size: 4},
		"cost-center/snapshot placeholder": {Count: 1, Size: 2}, "cost-center/snapshot exempt": {Count: 1, Size: 2},
		"cost-center/snapshot paid": {Count: 1, Size: 2},
		"unattached":                {Count: 11, Size: 77},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}

	all := figuresOf(r)
	status := func(name string) int { return all["cost-center/server "+name].Count }
	text, err := os.ReadFile("../../docs/coverage.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Check three numbers by hand\n")
	commands := regexp.MustCompile(`(?m)^    (openstack .*)$`).FindAllStringSubmatch(section, -1)
	numbers := []int{status("total"), status("ok") + status("differs") + status("placeholder") - status("aliases"),
		all["unattached"].Size}
	if len(commands) != len(numbers) {
		t.Fatalf("%d commands in the docs", len(commands))
	}
	for i, command := range commands {
		cmd := exec.CommandContext(t.Context(), "bash", "-c", "set -o pipefail; "+command[1])
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		n, convErr := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil || convErr != nil || n != numbers[i] {
			t.Errorf("%s\n%s: %v, want %d", command[1], out, err, numbers[i])
		}
		t.Logf("%d by: %s", n, command[1])
	}
}

// A key that a user removes from servers that a listener tagged counts as lost, and the log shows who removed it.
func TestCoverageNamesWhoRemovedKeys(t *testing.T) {
	s, bin := newStand(t), buildTagger(t)
	env := ownQueue(t, s, bin, "lost")
	l := startListener(t, bin, env)
	b := newBatch(t, s)
	b.servers(t, "lost", 3)
	b.awaitTags(t, 2*time.Minute)
	for _, m := range b.made[:2] {
		if err := servers.DeleteMetadatum(t.Context(), s.compute, m.id, "label").ExtractErr(); err != nil {
			t.Fatal(err)
		}
	}
	processtest.Until(t, "both removals are seen", time.Minute, 300*time.Millisecond, func() bool {
		return strings.Count(l.Output(), `"msg":"keys were removed"`) == 2
	})
	l.Stop(t, syscall.SIGTERM)
	file := filepath.Join(t.TempDir(), "tagger.log")
	if err := os.WriteFile(file, []byte(l.Output()), 0o600); err != nil {
		t.Fatal(err)
	}
	lost := coverageReport(t, bin,
		s.member(`{required: [{key: label, kinds: [server]}], rules: [{on: server.created, add: {a: b}}]}`), "", "--log",
		file).Lost
	if lost == nil || len(lost.By) != 1 {
		t.Fatalf("%+v\n%s", lost, l.Output())
	}
	if lost.Count != 2 || lost.Resources != 2 || lost.PerKey["label"] != 2 {
		t.Errorf("%+v\n%s", lost, l.Output())
	}
	if by := lost.By[0]; by.Name != "tagger" || by.ID == "" {
		t.Errorf("removed by %+v\n%s", by, l.Output())
	}
	t.Logf("compared %d keys: %+v", lost.Compared, lost.By)
}
