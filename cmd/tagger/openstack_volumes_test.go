//go:build openstack

package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/snapshots"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/volumeattach"
)

// bootServers is small because a shared machine boots few servers from volumes in the time that a build has.
var bootServers = flag.Int("boot-servers", 4, "how many servers TestLoopFromVolumes boots from volumes")

const familyRules = `
volumes: {write: unmanaged}
rules:
- name: server
  on: server.created
  add: {owner: "${actor.name}"}
  set: {label: "tagged ${resource.name}"}
- name: volume
  on: volume.created
  set: {zone: "${resource.zone}"}
- name: snapshot
  on: snapshot.created
  set: {volume: "${resource.volume}"}
- name: handed down
  on: [volume.created, volume.attached, snapshot.created]
  inherit: [owner, cost-center]
`

// scriptKey is what a script writes to each server, once. Nova loses some of its writes, as it loses Tagger's, and only
// Tagger writes again. It does so twice a day at most: a script with three writes can undo three.
const scriptKey = "patched"

// tree is a server with what hangs on it.
type tree struct {
	name, costCenter   string
	server, boot, data string
	// terraform is what Terraform's configuration says of the data volume's metadata, nil for nothing.
	terraform map[string]string
}

// Servers that boot from volumes, with data volumes and snapshots of both, end exactly as planned, beside a script that
// writes to each server, and Terraform, which owns all metadata of the data volumes. It sets some of every fourth.
func TestLoopFromVolumes(t *testing.T) {
	s, bin := newStand(t), buildTagger(t)
	s.knob(t, "spawn_delay", "0 4")
	s.knob(t, "snapshot_delay", "1")
	env := append(ownQueue(t, s, bin, "volumes"), "TAGGER_RULES="+familyRules)
	l := startListener(t, bin, env)
	b := newBatch(t, s)
	f := &forest{batch: b}
	defer func() {
		if t.Failed() {
			f.explain(t, l)
		}
	}()

	start := time.Now()
	f.plant(t, *bootServers)
	t.Logf("%d servers with two volumes and two snapshots each asked for in %.1f s", *bootServers,
		time.Since(start).Seconds())
	b.awaitTags(t, 6*time.Minute+time.Duration(*bootServers)*5*time.Second)
	t.Logf("all as planned %.1f s after the first was asked for", time.Since(start).Seconds())
	until(t, "the queue is empty", time.Minute, time.Second, func() bool { return s.waiting(t, env.queue()) == 0 })
	for _, tr := range f.trees {
		f.terraformPlan(t, tr)
	}
	l.end(syscall.SIGTERM)
	wrong, missing := b.check(t, scriptKey)
	if wrong+missing > 0 {
		t.Errorf("%d keys wrong, %d missing", wrong, missing)
	}
	sum := b.tally(t, l)
	kinds := map[string]int{}
	for _, m := range b.made {
		kinds[m.kind]++
	}
	t.Logf("%v: %d keys wrong, %d missing; Terraform planned %d times, with %d differences", kinds, wrong, missing,
		f.plans.Load(), f.drifts.Load())
	repaired := 0
	for _, line := range l.log() {
		if strings.HasPrefix(line.Reason, "written again") {
			repaired++
		}
	}
	t.Logf("%d writes that the script undid were done again", repaired)
	t.Logf("events of theirs: %v; %d API calls; from the change to tagged: median %v, p95 %v, longest %v",
		sum.outcomes, sum.calls, sum.percentile(50), sum.percentile(95), sum.percentile(100))
	if n := f.drifts.Load(); n > 0 {
		t.Errorf("Terraform's plans had %d differences", n)
	}
}

// forest grows trees.
type forest struct {
	*batch
	trees         []*tree
	plans, drifts atomic.Int64
}

// explain logs what the listener says of the resources that are not as planned.
func (f *forest) explain(t *testing.T, l *listener) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for _, m := range f.made {
		got, err := f.metadata(ctx, m)
		if err == nil && !slices.ContainsFunc(slices.Collect(maps.Keys(m.want)), func(key string) bool {
			return got[key] != m.want[key]
		}) {
			continue
		}
		for line := range strings.Lines(l.output()) {
			if strings.Contains(line, m.id) {
				t.Logf("%s %s: %s", m.kind, m.id, line)
			}
		}
	}
}

// plant makes n trees, a few at a time.
func (f *forest) plant(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("family-%d", i+1)
		tr := &tree{name: name, costCenter: fmt.Sprintf("CC-%d", i%7)}
		if i%4 == 3 {
			tr.terraform = map[string]string{"app": name}
		}
		f.trees = append(f.trees, tr)
	}
	var wg sync.WaitGroup
	next := atomic.Int64{}
	for range 4 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := f.grow(t, f.trees[i]); err != nil {
					t.Errorf("%s: %v", f.trees[i].name, err)
				}
			}
		})
	}
	wg.Wait()
}

// grow makes a server with its volumes, writes to it as a script does, and takes the snapshots.
func (f *forest) grow(t *testing.T, tr *tree) error {
	ctx, s := t.Context(), f.stand
	server, err := servers.Create(ctx, s.compute, servers.CreateOpts{
		Name: tr.name, FlavorRef: s.creds.Flavor, Networks: "none",
		Metadata: map[string]string{"mine": tr.name, "cost-center": tr.costCenter},
		BlockDevice: []servers.BlockDevice{{
			SourceType: servers.SourceImage, DestinationType: servers.DestinationVolume, UUID: s.creds.Image, VolumeSize: 1,
			DeleteOnTermination: true,
		}},
	}, nil).Extract()
	if err != nil {
		return fmt.Errorf("create the server: %w", err)
	}
	tr.server = server.ID
	f.add(made{"server", server.ID, map[string]string{
		"mine": tr.name, "cost-center": tr.costCenter, "owner": "tagger", "label": "tagged " + tr.name,
	}})
	data, err := volumes.Create(ctx, s.volume, volumes.CreateOpts{Name: tr.name + "-data", Size: 1,
		Metadata: tr.terraform}, nil).Extract()
	if err != nil {
		return fmt.Errorf("create the data volume: %w", err)
	}
	tr.data = data.ID
	inherited := map[string]string{"owner": "tagger", "cost-center": tr.costCenter}
	ofData := maps.Clone(inherited)
	ofData["zone"] = "nova"
	if tr.terraform != nil {
		ofData, inherited = tr.terraform, map[string]string{} // left alone, so that its snapshot inherits nothing
	}
	f.add(made{"volume", data.ID, ofData})

	until(t, "the server is active", 4*time.Minute, time.Second, func() bool {
		f.terraformPlan(t, tr)
		v, err := servers.Get(ctx, s.compute, server.ID).Extract()
		if err == nil && v.Status == "ACTIVE" && len(v.AttachedVolumes) == 1 {
			tr.boot = v.AttachedVolumes[0].ID
		}
		return tr.boot != "" || err == nil && v.Status == "ERROR"
	})
	if tr.boot == "" {
		return fmt.Errorf("the server %s is in error", server.ID)
	}
	f.add(made{"volume", tr.boot, map[string]string{"owner": "tagger", "cost-center": tr.costCenter, "zone": "nova"}})
	if _, err := servers.UpdateMetadata(ctx, s.compute, server.ID, servers.MetadataOpts{scriptKey: "yes"}).Extract(); err != nil {
		return fmt.Errorf("write as a script: %w", err)
	}
	if _, err := volumeattach.Create(ctx, s.compute, server.ID, volumeattach.CreateOpts{VolumeID: data.ID}).Extract(); err != nil {
		return fmt.Errorf("attach the data volume: %w", err)
	}
	until(t, "the data volume is attached", time.Minute, time.Second, func() bool {
		f.terraformPlan(t, tr)
		v, err := volumes.Get(ctx, s.volume, data.ID).Extract()
		return err == nil && v.Status == "in-use"
	})
	f.terraformApply(t, tr)
	for volume, more := range map[string]map[string]string{
		tr.boot: {"owner": "tagger", "cost-center": tr.costCenter}, tr.data: inherited,
	} {
		name := tr.name + "-" + volume[:8]
		snapshot, err := snapshots.Create(ctx, s.volume, snapshots.CreateOpts{
			VolumeID: volume, Name: name, Force: true, Metadata: map[string]string{"mine": name},
		}).Extract()
		if err != nil {
			return fmt.Errorf("snapshot of %s: %w", volume, err)
		}
		want := map[string]string{"mine": name, "volume": volume}
		maps.Copy(want, more)
		f.add(made{"snapshot", snapshot.ID, want})
	}
	return nil
}

// terraformPlan compares what Terraform's configuration says with what is there, as openstack_blockstorage_volume_v3
// does: without metadata in the configuration nothing is compared.
func (f *forest) terraformPlan(t *testing.T, tr *tree) {
	v, err := volumes.Get(t.Context(), f.stand.volume, tr.data).Extract()
	if err != nil {
		t.Errorf("read %s: %v", tr.data, err)
		return
	}
	if f.plans.Add(1); tr.terraform != nil && !maps.Equal(v.Metadata, tr.terraform) {
		f.drifts.Add(1)
		t.Errorf("Terraform has %v, there is %v", tr.terraform, slices.Sorted(maps.Keys(v.Metadata)))
	}
}

// terraformApply gives the data volume another description. The request has no metadata if there is no difference.
func (f *forest) terraformApply(t *testing.T, tr *tree) {
	f.terraformPlan(t, tr)
	name, description := tr.name+"-data", "by Terraform"
	o := volumes.UpdateOpts{Name: &name, Description: &description}
	if _, err := volumes.Update(t.Context(), f.stand.volume, tr.data, o).Extract(); err != nil {
		t.Errorf("update %s: %v", tr.data, err)
	}
}
