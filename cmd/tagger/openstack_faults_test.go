//go:build openstack

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github.com/cloudtagger/tagger/internal/processtest"
)

const tokenLife = 20 * time.Second

// No message in the queue is lost by faults: two listeners, one of them killed; nova-api and the broker down; expired
// tokens.
func TestLoopUnderFaults(t *testing.T) {
	s, bin := newStand(t), buildTagger(t)
	s.stop(t, "keystone")
	s.start(t, fmt.Sprintf("OPENSTACK_DEV_TOKEN_TTL=%.0f", tokenLife.Seconds()))
	t.Cleanup(func() {
		s.stop(t, "keystone")
		s.start(t)
	})
	s.knob(t, "spawn_delay", "0 4")
	env := ownQueue(t, s, bin, "faults")
	b := newBatch(t, s)

	// A listener declares the queues and stops before anything happens.
	startListener(t, bin, env).Stop(t, syscall.SIGKILL)
	b.servers(t, "faults", 30)
	b.snapshots(t, "faults-snapshot", 5)
	processtest.Until(t, "all servers are active", 2*time.Minute, time.Second, func() bool {
		pages, err := servers.List(s.compute, servers.ListOpts{Name: "^faults-", Status: "BUILD"}).AllPages(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		building, err := servers.ExtractServers(pages)
		return err == nil && len(building) == 0
	})
	t.Logf("%d messages in the queue, nobody listens", s.waiting(t, env.queue()))

	start := time.Now()
	s.stop(t, "nova-api")
	one, two := startListener(t, bin, env), startListener(t, bin, env)
	deferred := func(l *processtest.Process) (n int) {
		for _, line := range l.Log() {
			if line.Outcome == "deferred" {
				n++
			}
		}
		return n
	}
	processtest.Until(t, "events wait in delay queues", time.Minute, 200*time.Millisecond, func() bool {
		return s.waiting(t, env.queue()+".delay.15s")+s.waiting(t, env.queue()+".delay.30s") >= 5
	})
	s.stop(t, "rabbitmq")
	t.Logf("%.1f s after nova-api: the broker is away too; %d events deferred", time.Since(start).Seconds(),
		deferred(one)+deferred(two))
	processtest.Until(t, "nova-api is away for 20 s", time.Minute, 200*time.Millisecond,
		func() bool { return time.Since(start) > 20*time.Second })
	up := make(chan error, 1)
	go func() { up <- s.script(t, nil, "up") }()
	processtest.Until(t, "a server is tagged again", 3*time.Minute, 20*time.Millisecond, func() bool {
		for _, l := range []*processtest.Process{one, two} {
			for _, line := range l.Log() {
				if line.Outcome == "tagged" && line.Kind == "server" && line.Time.After(start) {
					return true
				}
			}
		}
		return false
	})
	one.Stop(t, syscall.SIGKILL)
	if err := <-up; err != nil {
		t.Fatal(err)
	}
	three := startListener(t, bin, env)
	t.Logf("%.1f s: both are back; one of two listeners was killed after they had tagged %d, and another started",
		time.Since(start).Seconds(), b.tally(t, one, two).outcomes["tagged"])

	b.awaitTags(t, 5*time.Minute)
	wrong, missing := b.check(t)
	sum := b.tally(t, one, two, three)
	t.Logf("%.1f s: 30 servers and 5 snapshots: %d keys wrong, %d missing; events of theirs: %v; %d API calls",
		time.Since(start).Seconds(), wrong, missing, sum.outcomes, sum.calls)
	again, longest := 0, time.Duration(0)
	for _, l := range []*processtest.Process{one, two, three} {
		for _, line := range l.Log() {
			if line.Receives > 1 {
				again++
			}
			if line.Outcome == "tagged" {
				longest = max(longest, line.Time.Sub(l.Log()[0].Time))
			}
		}
	}
	t.Logf("%d events came back from a delay queue, which outlived the broker's restart; a token lives for %s, a "+
		"listener tagged %.0f s after its start",
		again, tokenLife, longest.Seconds())
	if again == 0 {
		t.Error("nothing came back from a delay queue")
	}
	if longest < tokenLife {
		t.Errorf("no listener lived longer than a token, %s", tokenLife)
	}
	if n := sum.outcomes["rejected"] + sum.outcomes["gone"] + sum.outcomes["blocked"]; n > 0 {
		t.Errorf("%d events given up", n)
	}
	for _, l := range []*processtest.Process{one, two, three} {
		if strings.Contains(l.Output(), s.creds.Password) {
			t.Error("the password is in what a listener wrote")
		}
	}
}

// Another writer on the same servers: Tagger cannot know about keys that are lost after it verified them. This test
// counts them.
func TestLoopBesideAnotherWriter(t *testing.T) {
	s, bin := newStand(t), buildTagger(t)
	s.knob(t, "spawn_delay", "0 4")
	env := ownQueue(t, s, bin, "writer")
	l := startListener(t, bin, env)
	b := newBatch(t, s)
	b.servers(t, "writer", 20)

	ctx, stop := context.WithCancel(t.Context())
	var writes atomic.Int64
	var writers sync.WaitGroup
	for _, m := range b.made {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				opts := servers.MetadataOpts{"foreign": fmt.Sprint(i)}
				if _, err := servers.UpdateMetadata(ctx, s.compute, m.id, opts).Extract(); err == nil {
					writes.Add(1)
				}
			}
		})
	}
	processtest.Until(t, "every server's event is done with", 4*time.Minute, time.Second, func() bool {
		done := map[string]bool{}
		for _, line := range l.Log() {
			if line.Outcome == "tagged" || line.Outcome == "unchanged" {
				done[line.ID] = true
			}
		}
		for _, m := range b.made {
			if !done[m.id] {
				return false
			}
		}
		return true
	})
	stop()
	writers.Wait()
	wrong, missing := b.check(t, "foreign")
	sum := b.tally(t, l)
	t.Logf("20 servers, another writer that wrote %d times meanwhile: %d keys wrong, %d of 100 lost after they had been "+
		"verified; events: %v, %d API calls",
		writes.Load(), wrong, missing, sum.outcomes, sum.calls)
	if wrong > 0 {
		t.Errorf("%d keys with a wrong value", wrong)
	}
}
