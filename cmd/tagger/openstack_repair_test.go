//go:build openstack

package main

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github.com/cloudtagger/tagger/internal/processtest"
)

// repairOn returns the environment variable that switches repair on or off.
func repairOn(on bool) string {
	if on {
		return "TAGGER_REPAIR=true"
	}
	return "TAGGER_REPAIR=false"
}

// A script that writes three keys one by one to each active server makes Nova lose keys that Tagger verified. With
// repair, none is lost in the end: the script's writes to a server count as one removal. Servers that the script leaves
// alone need the same API calls with and without it.
func TestLoopBesideAScript(t *testing.T) {
	const all, beside = 12, 9
	s, bin := newStand(t), buildTagger(t)
	s.knob(t, "spawn_delay", "0 4")
	for _, repair := range []bool{false, true} {
		t.Run(repairOn(repair), func(t *testing.T) {
			env := append(ownQueue(t, s, bin, "script"), repairOn(repair))
			l := startListener(t, bin, env)
			b := newBatch(t, s)
			b.servers(t, "script", all)
			var writers sync.WaitGroup
			for _, m := range b.made[:beside] {
				writers.Go(func() {
					processtest.Until(t, "the server is active", 4*time.Minute, 300*time.Millisecond, func() bool {
						v, err := servers.Get(t.Context(), s.compute, m.id).Extract()
						return err == nil && v.Status == "ACTIVE"
					})
					for _, key := range []string{"patched", "window", "contact"} {
						if _, err := servers.UpdateMetadata(t.Context(), s.compute, m.id, servers.MetadataOpts{key: "yes"}).Extract(); err != nil {
							t.Error(err)
						}
					}
				})
			}
			writers.Wait()
			processtest.Until(t, "every server's event is done with", 4*time.Minute, time.Second, func() bool {
				done := map[string]bool{}
				for _, line := range l.Log() {
					if line.Outcome == "tagged" || line.Outcome == "unchanged" {
						done[line.ID] = true
					}
				}
				for _, m := range b.made { // other tests have servers too
					if !done[m.id] {
						return false
					}
				}
				// an update that waits for a repair is in the second
				return s.waiting(t, env.queue())+s.waiting(t, env.queue()+".delay.15s") == 0
			})
			l.Stop(t, syscall.SIGTERM) // the listener finishes work in progress
			lost, touched, untouched, repaired := 0, 0, 0, 0
			for i, m := range b.made {
				got, err := b.metadata(t.Context(), m)
				if err != nil {
					t.Fatal(err)
				}
				for key, value := range m.want {
					if got[key] != value {
						lost++
						t.Logf("%s lacks %s: it has %v, wanted %v", m.id, key, got, m.want)
						for _, line := range l.Log() {
							if line.ID == m.id {
								t.Logf("%+v", line)
							}
						}
						break
					}
				}
				for _, line := range l.Log() {
					switch {
					case line.ID != m.id || line.Outcome == "":
					case i < beside:
						touched += line.Calls
					default:
						untouched += line.Calls
					}
					if line.ID == m.id && strings.HasPrefix(line.Reason, "written again") {
						repaired++
					}
				}
			}
			t.Logf("%s: %d of %d servers lost keys, %d repairs; %d calls for the %d servers that the script wrote to, %d for "+
				"the others",
				repairOn(repair), lost, all, repaired, touched, beside, untouched)
			if repair && lost > 0 {
				t.Errorf("%d servers lost keys", lost)
			}
			// an administrator's token: each server is read before a write
			if want := 3 * (all - beside); untouched != want {
				t.Errorf("%d calls for servers that nobody else touched, want %d", untouched, want)
			}
		})
	}
}
