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

	"github.com/cloudtagger/tagger/internal/processtest"
)

// bootServers is small because a shared machine boots few servers from volumes in the time limit of a CI run.
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

// scriptKey is the key that a script writes to each server once. Nova loses some of these writes, as it loses Tagger's,
// and only Tagger writes again.
const scriptKey = "patched"

// bootedServer is a server with its boot volume and data volume.
type bootedServer struct {
	name, costCenter   string
	server, boot, data string
	// terraform is the data volume's metadata in Terraform's configuration, nil if it has none.
	terraform map[string]string
}

// Servers that boot from volumes, their data volumes and snapshots of both end exactly as planned, although a script
// writes to each server and Terraform manages the metadata of the data volumes. Terraform sets some on every fourth.
func TestLoopFromVolumes(t *testing.T) {
	s, bin := newStand(t), buildTagger(t)
	s.knob(t, "spawn_delay", "0 4")
	s.knob(t, "snapshot_delay", "1")
	env := append(ownQueue(t, s, bin, "volumes"), "TAGGER_RULES="+familyRules)
	l := startListener(t, bin, env)
	b := newBatch(t, s)
	f := &bootedServers{batch: b}
	defer func() {
		if t.Failed() {
			f.explain(t, l)
		}
	}()

	start := time.Now()
	f.createAll(t, *bootServers)
	t.Logf("%d servers with two volumes and two snapshots each asked for in %.1f s", *bootServers,
		time.Since(start).Seconds())
	b.awaitTags(t, 6*time.Minute+time.Duration(*bootServers)*5*time.Second)
	t.Logf("all as planned %.1f s after the first was asked for", time.Since(start).Seconds())
	processtest.Until(t, "the queue is empty", time.Minute, time.Second,
		func() bool { return s.waiting(t, env.queue()) == 0 })
	for _, server := range f.all {
		f.terraformPlan(t, server)
	}
	l.Stop(t, syscall.SIGTERM)
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
	for _, line := range l.Log() {
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

// bootedServers creates servers that boot from volumes.
type bootedServers struct {
	*batch
	all           []*bootedServer
	plans, drifts atomic.Int64
}

// explain logs the listener's log lines about resources that are not as planned.
func (f *bootedServers) explain(t *testing.T, l *processtest.Process) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for _, m := range f.made {
		got, err := f.metadata(ctx, m)
		if err == nil && !slices.ContainsFunc(slices.Collect(maps.Keys(m.want)), func(key string) bool {
			return got[key] != m.want[key]
		}) {
			continue
		}
		for line := range strings.Lines(l.Output()) {
			if strings.Contains(line, m.id) {
				t.Logf("%s %s: %s", m.kind, m.id, line)
			}
		}
	}
}

// createAll creates n servers, a few at a time.
func (f *bootedServers) createAll(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("family-%d", i+1)
		b := &bootedServer{name: name, costCenter: fmt.Sprintf("CC-%d", i%7)}
		if i%4 == 3 {
			b.terraform = map[string]string{"app": name}
		}
		f.all = append(f.all, b)
	}
	var wg sync.WaitGroup
	next := atomic.Int64{}
	for range 4 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := f.create(t, f.all[i]); err != nil {
					t.Errorf("%s: %v", f.all[i].name, err)
				}
			}
		})
	}
	wg.Wait()
}

// create creates a server with its volumes, writes to it as a script does, and creates the snapshots.
func (f *bootedServers) create(t *testing.T, b *bootedServer) error {
	ctx, s := t.Context(), f.stand
	server, err := servers.Create(ctx, s.compute, servers.CreateOpts{
		Name: b.name, FlavorRef: s.creds.Flavor, Networks: "none",
		Metadata: map[string]string{"mine": b.name, "cost-center": b.costCenter},
		BlockDevice: []servers.BlockDevice{{
			SourceType: servers.SourceImage, DestinationType: servers.DestinationVolume, UUID: s.creds.Image, VolumeSize: 1,
			DeleteOnTermination: true,
		}},
	}, nil).Extract()
	if err != nil {
		return fmt.Errorf("create the server: %w", err)
	}
	b.server = server.ID
	f.add(made{"server", server.ID, map[string]string{
		"mine": b.name, "cost-center": b.costCenter, "owner": "tagger", "label": "tagged " + b.name,
	}})
	data, err := volumes.Create(ctx, s.volume, volumes.CreateOpts{Name: b.name + "-data", Size: 1,
		Metadata: b.terraform}, nil).Extract()
	if err != nil {
		return fmt.Errorf("create the data volume: %w", err)
	}
	b.data = data.ID
	inherited := map[string]string{"owner": "tagger", "cost-center": b.costCenter}
	ofData := maps.Clone(inherited)
	ofData["zone"] = "nova"
	if b.terraform != nil {
		// Tagger leaves the volume alone, so its snapshot inherits nothing
		ofData, inherited = b.terraform, map[string]string{}
	}
	f.add(made{"volume", data.ID, ofData})

	processtest.Until(t, "the server is active", 4*time.Minute, time.Second, func() bool {
		f.terraformPlan(t, b)
		v, err := servers.Get(ctx, s.compute, server.ID).Extract()
		if err == nil && v.Status == "ACTIVE" && len(v.AttachedVolumes) == 1 {
			b.boot = v.AttachedVolumes[0].ID
		}
		return b.boot != "" || err == nil && v.Status == "ERROR"
	})
	if b.boot == "" {
		return fmt.Errorf("the server %s is in error", server.ID)
	}
	f.add(made{"volume", b.boot, map[string]string{"owner": "tagger", "cost-center": b.costCenter, "zone": "nova"}})
	if _, err := servers.UpdateMetadata(ctx, s.compute, server.ID, servers.MetadataOpts{scriptKey: "yes"}).Extract(); err != nil {
		return fmt.Errorf("write as a script: %w", err)
	}
	if _, err := volumeattach.Create(ctx, s.compute, server.ID, volumeattach.CreateOpts{VolumeID: data.ID}).Extract(); err != nil {
		return fmt.Errorf("attach the data volume: %w", err)
	}
	processtest.Until(t, "the data volume is attached", time.Minute, time.Second, func() bool {
		f.terraformPlan(t, b)
		v, err := volumes.Get(ctx, s.volume, data.ID).Extract()
		return err == nil && v.Status == "in-use"
	})
	f.terraformApply(t, b)
	for volume, more := range map[string]map[string]string{
		b.boot: {"owner": "tagger", "cost-center": b.costCenter}, b.data: inherited,
	} {
		name := b.name + "-" + volume[:8]
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

// terraformPlan compares the metadata with Terraform's configuration, as openstack_blockstorage_volume_v3 does: without
// metadata in the configuration, it compares nothing.
func (f *bootedServers) terraformPlan(t *testing.T, b *bootedServer) {
	v, err := volumes.Get(t.Context(), f.stand.volume, b.data).Extract()
	if err != nil {
		t.Errorf("read %s: %v", b.data, err)
		return
	}
	if f.plans.Add(1); b.terraform != nil && !maps.Equal(v.Metadata, b.terraform) {
		f.drifts.Add(1)
		t.Errorf("Terraform has %v, there is %v", b.terraform, slices.Sorted(maps.Keys(v.Metadata)))
	}
}

// terraformApply changes the data volume's description. The request has no metadata, because it did not change.
func (f *bootedServers) terraformApply(t *testing.T, b *bootedServer) {
	f.terraformPlan(t, b)
	name, description := b.name+"-data", "by Terraform"
	o := volumes.UpdateOpts{Name: &name, Description: &description}
	if _, err := volumes.Update(t.Context(), f.stand.volume, b.data, o).Extract(); err != nil {
		t.Errorf("update %s: %v", b.data, err)
	}
}
