package lifecycle_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// TestNotices reads captures of all notifications from a real Nova and Cinder. It lists those that report a save
// without a change of state, and those after which writes may succeed again.
func TestNotices(t *testing.T) {
	const captures = "../contract/testdata/notifications/"
	files, err := filepath.Glob(captures + "*.json")
	if err != nil || len(files) < 90 {
		t.Fatalf("%d captures, %v", len(files), err)
	}
	registry := lifecycle.New(lifecycle.Options{IgnoreActors: []string{"*"}})
	var saved, unblocks []string
	for _, file := range files {
		batch := ingress.Decode(readFile(t, file))
		n, ok := registry.Notice(batch.Records[0].Events[0])
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if ok && n.Saved {
			saved = append(saved, name)
		}
		if ok && n.Unblocks {
			unblocks = append(unblocks, name)
		}
		if update := strings.Contains(name, "instance.update."); ok != (update || n.Unblocks) {
			t.Errorf("%s: is a notice: %v", name, ok)
		}
		if !ok {
			continue
		}
		if n.Server == "" || n.Request == "" || n.Actor.ID == "" {
			t.Errorf("%s lacks a server, request or actor: %+v", name, n)
		}
		if n.Time.IsZero() || n.Metadata == nil {
			t.Errorf("%s lacks a time or metadata: %+v", name, n)
		}
	}
	want := []string{"compute.instance.update.metadata", "instance.update.metadata"}
	if diff := cmp.Diff(want, saved); diff != "" {
		t.Errorf("saved (-want +got):\n%s", diff)
	}
	want = []string{
		"compute.instance.resize.confirm.end", "compute.instance.unrescue.end", "compute.instance.unshelve.end",
		"instance.resize_confirm.end", "instance.unlock", "instance.unrescue.end", "instance.unshelve.end",
	}
	if diff := cmp.Diff(want, unblocks); diff != "" {
		t.Errorf("unblocks (-want +got):\n%s", diff)
	}

	tagger := lifecycle.Actor{ID: "42f2b196cadd40b99fc4a4ad90000704", Name: "tagger", Kind: lifecycle.User}
	admin := lifecycle.Actor{ID: "3e08f05972684057b476ee23d09ff829", Name: "admin", Kind: lifecycle.User}
	for name, actor := range map[string]lifecycle.Actor{
		"compute.instance.update.metadata": tagger, "instance.update.metadata": tagger, "instance.unlock": admin,
	} {
		n, _ := registry.Notice(ingress.Decode(readFile(t, captures+name+".json")).Records[0].Events[0])
		if n.Actor != actor {
			t.Errorf("%s: actor %+v", name, n.Actor)
		}
		if name == "instance.unlock" {
			continue
		}
		n.Time = n.Time.Truncate(time.Second)
		want := lifecycle.Notice{
			Server:   "66385ae3-03c2-4000-ae35-925a243d34d7",
			Request:  "req-e657a8de-fdc7-4804-835b-44b2dc0dfbc4",
			Actor:    actor,
			Saved:    true,
			Time:     time.Date(2026, 11, 25, 15, 52, 14, 0, time.UTC),
			Metadata: map[string]string{"owner": "alice", "env": "prod", "x": "y"},
		}
		if diff := cmp.Diff(want, n); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What a notice has remembered and logged is bounded.
func TestNoticeIsBounded(t *testing.T) {
	registry := lifecycle.New(lifecycle.Options{})
	for _, tt := range []struct {
		name, request, user string
		ok                  bool
	}{
		{"as Nova sends it", "req-1", "alice", true},
		{"a long request id", strings.Repeat("r", 1025), "alice", false},
		{"a long user name", "req-1", strings.Repeat("u", 1025), false},
	} {
		context := `"_context_request_id":"` + tt.request + `","_context_user_id":"u-1","_context_user_name":"` + tt.user +
			`",`
		e := rawEvent("org.openstack.compute.instance.update",
			notification("compute.instance.update", `{"instance_id":"`+serverID+`","metadata":{}}`, context))
		if n, ok := registry.Notice(e); ok != tt.ok || ok && n.Request != tt.request {
			t.Errorf("%s: a notice: %t, %+v", tt.name, ok, n)
		}
	}
}
