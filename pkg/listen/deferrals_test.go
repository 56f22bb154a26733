package listen

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/backoff"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// requestOf returns the options of a request with a metadata map.
func requestOf(keys map[string]string) *gophercloud.RequestOpts {
	return &gophercloud.RequestOpts{JSONBody: map[string]any{"metadata": keys}, OkCodes: []int{200}}
}

// started publishes that the server was started.
func (b *bus) started(id string) {
	b.tellAs("instance.power_on.end", "instance.unrescue.end", id, "req-start", "bob-id", "bob", nil)
}

// As soon as Nova reports that a server can be written again, its deferred message is retried unchanged: the owner is
// who created the server. The copy in the delay queue then needs no call.
func TestRetryOnceUnblocked(t *testing.T) {
	for _, tt := range []struct {
		name    string
		state   string
		locked  bool
		cues    []string
		applied bool
	}{
		{"unlock", "active", true, []string{"instance.unlock"}, true},
		{"unrescue, in both formats", "error", false, []string{"compute.instance.unrescue.end", "instance.unrescue.end"},
			true},
		{"unshelve", "error", false, []string{"instance.unshelve.end"}, true},
		{"confirmed resize", "error", false, []string{"compute.instance.resize.confirm.end", "instance.resize_confirm.end"},
			true},
		{"another notification", "error", false, []string{"instance.lock", "compute.instance.update.unrescued"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t, twoKeys, true, simcloud.Options{})
				id := b.server(1)
				b.sim.PutServer(simcloud.Server{ID: id, ProjectID: b.project, VMState: tt.state, Locked: tt.locked})
				b.tell("compute.instance.create.end.from-image", id, "req-create", "alice-id", "alice", nil)
				b.settle()
				if got := len(b.delayed); got != 1 {
					t.Fatalf("%d messages in the delay queues:\n%s", got, b.log.String())
				}
				b.sim.SetServerState(id, "active", "")
				b.sim.SetServerLocked(id, false)
				b.sim.ForgetRequests()
				for _, cue := range tt.cues {
					b.tell(cue, id, "req-cue", "admin-id", "admin", nil)
				}
				b.settle()
				want := map[string]string{"owner": "alice", "cost-center": "CC-17"}
				if diff := cmp.Diff(want, b.metadata(id)); (diff == "") != tt.applied {
					t.Errorf("metadata:\n%s\n%s", diff, b.log.String())
				}
				b.expire()
				if diff := cmp.Diff(want, b.metadata(id)); diff != "" {
					t.Errorf("metadata, after the delay (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff([]string{"POST /metadata", "GET /metadata"}, b.sent(id)); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
				if unchanged := strings.Contains(b.log.String(), "event unchanged"); unchanged != tt.applied {
					t.Errorf("unchanged: %t\n%s", unchanged, b.log.String())
				}
			})
		})
	}
}

// If the server still cannot be written, the message stays in its delay queue. Each unblocking request causes one
// retry.
func TestRetryOfServerStillNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, twoKeys, true, simcloud.Options{})
		id := b.server(1)
		b.sim.PutServer(simcloud.Server{ID: id, ProjectID: b.project, VMState: "error"})
		b.tell("compute.instance.create.end.from-image", id, "req-create", "alice-id", "alice", nil)
		b.settle()
		b.sim.ForgetRequests()
		for range 3 {
			b.tell("instance.unlock", id, "req-unlock", "admin-id", "admin", nil)
			b.settle()
		}
		if got := len(b.sent(id)); got != 2 { // the write that is refused, and the state
			t.Errorf("%d calls: %q", got, b.sent(id))
		}
		if len(b.delayed) != 1 {
			t.Errorf("%d messages in the delay queues", len(b.delayed))
		}
	})
}

// Held messages have limits in number, bytes and time.
func TestHeldLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeferrals()
		put := func(id string, bytes int) {
			m := read(delivered(nil, 1, id), time.Now())
			m.Raw = make([]byte, bytes)
			d.note(m, delivery.Decision{
				Decision: apply.Decision{Outcome: apply.Deferred},
				Results:  []*tagger.Result{{Plan: tagger.Plan{Resource: tagger.ResourceRef{Kind: "server", ID: "s"}}}},
			})
		}
		for i := range maxHeld + 5 {
			put(strconv.Itoa(i), 10)
		}
		if got := len(d.of("s", "r-1")); got != maxHeld || d.bytes != 10*maxHeld {
			t.Errorf("%d messages, %d bytes", got, d.bytes)
		}
		put("long", maxHeldBytes-5)
		if got := d.of("s", "r-2"); len(got) != 1 || len(d.held) != 1 || d.bytes != maxHeldBytes-5 {
			t.Errorf("%d messages, %d bytes", len(got), d.bytes)
		}
		backoff.Sleep(t.Context(), heldFor)
		if got := d.of("s", "r-3"); len(got) != 0 {
			t.Errorf("%d messages are held too long", len(got))
		}
		put("new", 10)
		if len(d.held) != 1 || d.bytes != 10 {
			t.Errorf("%d messages, %d bytes", len(d.held), d.bytes)
		}
	})
}
