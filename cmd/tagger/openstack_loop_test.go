//go:build openstack

package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/snapshots"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github.com/cloudtagger/tagger/internal/processtest"
)

const loopRules = `
rules:
- name: owner
  on: [server.created, snapshot.created]
  add:
    owner: ${first(actor.name, actor.id)}
    project: ${resource.project}
- name: name
  on: [server.created, snapshot.created]
  set:
    label: tagged ${resource.name}
- name: server
  on: server.created
  set:
    flavor: ${resource.flavor}
- name: volume
  on: snapshot.created
  set:
    volume: ${resource.volume}
`

// made is a resource that a test created, and the metadata that it must have in the end, or nil for any.
type made struct {
	kind, id string
	want     map[string]string
}

// batch has the resources that one test created.
type batch struct {
	stand  *stand
	flavor string

	mu   sync.Mutex
	made []made
}

func newBatch(t *testing.T, s *stand) *batch {
	t.Helper()
	flavor, err := flavors.Get(t.Context(), s.compute, s.creds.Flavor).Extract()
	if err != nil {
		t.Fatal(err)
	}
	b := &batch{stand: s, flavor: flavor.Name}
	t.Cleanup(func() { b.delete(context.WithoutCancel(t.Context())) })
	return b
}

func (b *batch) add(m made) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.made = append(b.made, m)
}

// servers creates n servers, a few at a time, and does not wait until they are active.
func (b *batch) servers(t *testing.T, prefix string, n int) {
	t.Helper()
	var wg sync.WaitGroup
	next := atomic.Int64{}
	for range 5 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				name := fmt.Sprintf("%s-%d", prefix, i)
				server, err := servers.Create(t.Context(), b.stand.compute, servers.CreateOpts{
					Name: name, FlavorRef: b.stand.creds.Flavor, ImageRef: b.stand.creds.Image, Networks: "none",
					Metadata: map[string]string{"mine": name},
				}, nil).Extract()
				if err != nil {
					t.Errorf("create %s: %v", name, err)
					continue
				}
				b.add(made{"server", server.ID, map[string]string{
					"mine": name, "owner": "tagger", "project": b.stand.creds.DemoProjectID, "label": "tagged " + name,
					"flavor": b.flavor,
				}})
			}
		})
	}
	wg.Wait()
}

// snapshots creates a volume and n snapshots of it.
func (b *batch) snapshots(t *testing.T, prefix string, n int) {
	t.Helper()
	volume, err := volumes.Create(t.Context(), b.stand.volume, volumes.CreateOpts{Name: prefix, Size: 1}, nil).Extract()
	if err != nil {
		t.Fatal(err)
	}
	b.add(made{kind: "volume", id: volume.ID})
	processtest.Until(t, "the volume is available", time.Minute, 500*time.Millisecond, func() bool {
		v, err := volumes.Get(t.Context(), b.stand.volume, volume.ID).Extract()
		return err == nil && v.Status == "available"
	})
	for i := range n {
		name := fmt.Sprintf("%s-%d", prefix, i+1)
		snapshot, err := snapshots.Create(t.Context(), b.stand.volume, snapshots.CreateOpts{
			VolumeID: volume.ID, Name: name, Metadata: map[string]string{"mine": name},
		}).Extract()
		if err != nil {
			t.Fatal(err)
		}
		// Cinder's notifications have only the user's id. Tagger reads the name from Keystone.
		b.add(made{"snapshot", snapshot.ID, map[string]string{
			"mine": name, "owner": "tagger", "project": b.stand.creds.DemoProjectID, "label": "tagged " + name,
			"volume": volume.ID,
		}})
	}
}

// metadata returns a resource's current metadata.
func (b *batch) metadata(ctx context.Context, m made) (map[string]string, error) {
	switch m.kind {
	case "volume":
		v, err := volumes.Get(ctx, b.stand.volume, m.id).Extract()
		if err != nil {
			return nil, err
		}
		return v.Metadata, nil
	case "snapshot":
		s, err := snapshots.Get(ctx, b.stand.volume, m.id).Extract()
		if err != nil {
			return nil, err
		}
		return s.Metadata, nil
	}
	return servers.Metadata(ctx, b.stand.compute, m.id).Extract()
}

// awaitTags waits until all resources have the planned metadata. It stops reading a resource once it has it.
func (b *batch) awaitTags(t *testing.T, longest time.Duration) {
	t.Helper()
	rest := slices.DeleteFunc(slices.Clone(b.made), func(m made) bool { return m.want == nil })
	defer func() {
		for _, m := range rest {
			got, _ := b.metadata(context.WithoutCancel(t.Context()), m)
			t.Logf("without all of its tags: %s %s has %v, want %v", m.kind, m.id, got, m.want)
		}
	}()
	processtest.Until(t, "everything is tagged", longest, time.Second, func() bool {
		rest = slices.DeleteFunc(rest, func(m made) bool {
			got, err := b.metadata(t.Context(), m)
			maps.DeleteFunc(got, func(key, value string) bool { return m.want[key] != value })
			return err == nil && len(got) == len(m.want)
		})
		return len(rest) == 0
	})
}

// check compares every resource with the plan, except the keys in ignore, which another writer sets.
func (b *batch) check(t *testing.T, ignore ...string) (wrong, missing int) {
	t.Helper()
	for _, m := range b.made {
		if m.want == nil {
			continue
		}
		got, err := b.metadata(t.Context(), m)
		if err != nil {
			t.Errorf("%s %s: %v", m.kind, m.id, err)
			continue
		}
		maps.DeleteFunc(got, func(key, _ string) bool { return slices.Contains(ignore, key) })
		for key, value := range m.want {
			if _, there := got[key]; !there {
				missing++
			} else if got[key] != value {
				wrong++
			}
		}
		if diff := cmp.Diff(m.want, got); diff != "" && len(ignore) == 0 {
			t.Errorf("%s %s (-want +got):\n%s", m.kind, m.id, diff)
		} else if len(got) > len(m.want) {
			t.Errorf("%s %s has %v", m.kind, m.id, got)
		}
	}
	return wrong, missing
}

func (b *batch) delete(ctx context.Context) {
	for _, m := range b.made {
		if m.kind == "snapshot" {
			_ = snapshots.Delete(ctx, b.stand.volume, m.id).ExtractErr()
		}
	}
	for _, m := range b.made {
		if m.kind == "server" {
			_ = servers.Delete(ctx, b.stand.compute, m.id).ExtractErr()
		}
	}
	for _, m := range b.made {
		if m.kind != "volume" {
			continue
		}
		for range 60 { // a volume with snapshots or attached to a server cannot be deleted yet
			err := volumes.Delete(ctx, b.stand.volume, m.id, nil).ExtractErr()
			if err == nil || gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
				break
			}
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}
}

// environment has the environment variables of a listener.
type environment []string

// queue returns the queue that the listener consumes.
func (e environment) queue() string {
	const variable = "TAGGER_AMQP_QUEUE="
	i := slices.IndexFunc(e, func(v string) bool { return strings.HasPrefix(v, variable) })
	return strings.TrimPrefix(e[i], variable)
}

// ownQueue returns the environment of a listener with a queue of its own, which is deleted after the test.
func ownQueue(t *testing.T, s *stand, bin, name string) environment {
	t.Helper()
	env := s.env(fmt.Sprintf("tagger-%s-%d", name, time.Now().UnixNano()), loopRules)
	t.Cleanup(func() {
		cmd := exec.Command(bin, "queues", "delete", "--yes")
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if lines := strings.Count(string(out), "\n"); err != nil || lines != 11 {
			t.Errorf("delete the topology: %v: %d queues, want 11:\n%s", err, lines, out)
		}
	})
	return env
}

// tally has what the logs of several listeners say about the changes of one batch.
type tally struct {
	outcomes map[string]int
	calls    int
	latency  []time.Duration // from the change to its resource being tagged
	tagged   map[string]int  // by resource
}

func (b *batch) tally(t *testing.T, listeners ...*processtest.Process) tally {
	t.Helper()
	ours := map[string]bool{}
	for _, m := range b.made {
		ours[m.id] = true
	}
	sum := tally{outcomes: map[string]int{}, tagged: map[string]int{}}
	for _, l := range listeners {
		for _, line := range l.Log() {
			if line.Outcome == "" || !ours[line.ID] {
				continue
			}
			sum.outcomes[line.Outcome]++
			sum.calls += line.Calls
			if line.Outcome == "tagged" && !strings.HasPrefix(line.Reason, "written again") {
				sum.tagged[line.ID]++
				age, err := time.ParseDuration(line.Age)
				if err != nil {
					t.Errorf("age %q: %v", line.Age, err)
				}
				sum.latency = append(sum.latency, age)
			}
		}
	}
	slices.Sort(sum.latency)
	return sum
}

func (s tally) percentile(p int) time.Duration {
	if len(s.latency) == 0 {
		return 0
	}
	return s.latency[(len(s.latency)-1)*p/100]
}

// End to end: Nova and Cinder create resources and notify on their bus, and the listener writes the metadata.
func TestLoop(t *testing.T) {
	s, bin := newStand(t), buildTagger(t)
	s.knob(t, "spawn_delay", "1 15")
	s.knob(t, "snapshot_delay", "2")
	env := ownQueue(t, s, bin, "loop")
	l := startListener(t, bin, env)
	b := newBatch(t, s)

	start := time.Now()
	b.servers(t, "loop", 50)
	b.snapshots(t, "loop-snapshot", 10)
	t.Logf("50 servers and 10 snapshots asked for in %.1f s", time.Since(start).Seconds())
	b.awaitTags(t, 4*time.Minute)
	t.Logf("all tagged %.1f s after the first was asked for", time.Since(start).Seconds())
	b.check(t)

	drained := func() {
		t.Helper()
		processtest.Until(t, "the queue is empty", time.Minute, time.Second,
			func() bool { return s.waiting(t, env.queue()) == 0 })
	}
	drained()
	_, _, before := notifications(l)

	// Nova notifies of each write of metadata in both formats. 50 more writes, such as Tagger's own, make 100 updates
	// that need no change.
	for _, m := range b.made {
		if m.kind == "server" {
			if _, err := servers.UpdateMetadata(t.Context(), s.compute, m.id,
				servers.MetadataOpts{"mine": m.want["mine"]}).Extract(); err != nil {
				t.Fatal(err)
			}
		}
	}
	processtest.Until(t, "the updates have come", time.Minute, time.Second, func() bool {
		_, _, updates := notifications(l)
		return updates >= before+100
	})
	drained()
	l.Stop(t, syscall.SIGTERM)
	sum := b.tally(t, l)
	duplicates, ignored, updates := notifications(l)
	t.Logf("from active to tagged: median %v, p95 %v, longest %v", sum.percentile(50), sum.percentile(95),
		sum.percentile(100))
	t.Logf("events of these 60 resources: %v; %d API calls", sum.outcomes, sum.calls)
	t.Logf("%d duplicates; %d notifications ignored, %d of them updates of servers, %d of these after 50 writes",
		duplicates, ignored, updates, updates-before)
	for id, n := range sum.tagged {
		if n != 1 {
			t.Errorf("%s was tagged %d times: both formats of its creation counted, or we fed ourselves", id, n)
		}
	}
	if len(sum.tagged) != 60 {
		t.Errorf("%d of 60 logged as tagged", len(sum.tagged))
	}
	if duplicates < 50 {
		t.Errorf("%d duplicates, want one of each server's creation", duplicates)
	}
}

// notifications returns the listener's last counts of skipped notifications.
func notifications(l *processtest.Process) (duplicates, ignored, updates int) {
	for _, line := range l.Log() {
		switch {
		case line.Msg == "event duplicate":
			duplicates++
		case line.Outcome == "ignored":
			ignored++
			if strings.HasSuffix(line.Type, "instance.update") {
				updates++
			}
		}
	}
	return duplicates, ignored, updates
}
