package lifecycle

import (
	"slices"
	"strings"
	"testing"
)

// TestKinds checks the table for consistency, because every other package relies on it.
func TestKinds(t *testing.T) {
	for _, k := range kinds {
		creations := 0
		for _, a := range k.actions {
			if !strings.HasPrefix(string(a.action), k.noun+".") {
				t.Errorf("%s: action %s does not begin with %q", k.kind, a.action, k.noun+".")
			}
			if !slices.Contains(a.action.Kinds(), k.kind) || !slices.Contains(Actions(), a.action) {
				t.Errorf("%s: Kinds or Actions lacks action %s", k.kind, a.action)
			}
			if a.creates {
				creations++
			}
			if a.creates && a.final || a.final == a.action.Writable() {
				t.Errorf("%s: action %s creates: %t, final: %t, writable: %t",
					k.kind, a.action, a.creates, a.final, a.action.Writable())
			}
		}
		if creations != 1 {
			t.Errorf("%s has %d actions that create it, want 1", k.kind, creations)
		}
	}
	if got := ServerStarted.Kinds(); !slices.Equal(got, []Kind{Server, BareMetal}) {
		t.Errorf("kinds of a start: %v", got)
	}
	if got := Action("server.exploded").Kinds(); got != nil {
		t.Errorf("kinds of an unknown action: %v", got)
	}
}

func TestContradicts(t *testing.T) {
	for _, tt := range []struct {
		action Action
		state  string
		want   bool
	}{
		{ServerStarted, "active", false},
		{ServerStarted, "stopped", true},
		{ServerStopped, "active", true},
		{ServerStopped, "stopped", false},
		{ServerStopped, "paused", false},
		{ServerStopped, "", false},
		{ServerCreated, "stopped", false},
		{SnapshotCreated, "active", false},
	} {
		if got := tt.action.contradicts(tt.state); got != tt.want {
			t.Errorf("%s contradicts %q: %t", tt.action, tt.state, got)
		}
	}
}
