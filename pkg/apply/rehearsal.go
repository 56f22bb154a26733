package apply

import (
	"context"
	"maps"
	"slices"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Requests returns what applying the plan sends to a resource that is ready and holds current: reads included, in their order, byte for
// byte. A nil current is a resource of which nothing is known; it is taken to have none of the keys to add and every key to remove.
//
// It is not a second account of how a plan is applied, which could differ from the first, but a run on a resource in memory.
func Requests(c lifecycle.Change, p rules.Plan, current map[string]string, verify bool) []metadata.Request {
	if p.Empty() {
		return nil
	}
	have := maps.Clone(current)
	if current == nil {
		have = map[string]string{}
		for _, key := range p.Remove {
			have[key] = ""
		}
	}
	t := &rehearsal{id: c.Resource.ID, metadata: have, vmState: "active", snapshot: c.Resource.Kind == lifecycle.Snapshot}
	if vmState, ok := vmStateAfter(c.Action); ok {
		t.vmState = vmState
	}
	r := newRun(t, Job{Change: c, Plan: p}, verify)
	if err := r.attempt(context.Background()); err != nil {
		panic("rehearse in memory: " + err.Error()) // cannot happen: nothing there fails
	}
	return t.sent
}

// rehearsal is a resource in memory that notes what would be sent.
type rehearsal struct {
	id, vmState string
	snapshot    bool
	metadata    map[string]string
	sent        []metadata.Request
}

func (t *rehearsal) name() string { return t.id }

func (t *rehearsal) note(ofServer, ofSnapshot metadata.Request) {
	if t.snapshot {
		ofServer = ofSnapshot
	}
	t.sent = append(t.sent, ofServer)
}

func (t *rehearsal) all(context.Context) (map[string]string, error) {
	t.note(metadata.GetServerMetadata(t.id), metadata.GetSnapshotMetadata(t.id))
	return maps.Clone(t.metadata), nil
}

func (t *rehearsal) one(_ context.Context, key string) (string, error) {
	t.note(metadata.GetServerMetadatum(t.id, key), metadata.GetSnapshotMetadata(t.id))
	if value, ok := t.metadata[key]; ok {
		return value, nil
	}
	return "", &metadata.Error{Class: metadata.KeyNotFound}
}

func (t *rehearsal) write(_ context.Context, m map[string]string) (map[string]string, error) {
	if t.snapshot {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			t.sent = append(t.sent, metadata.SetSnapshotMetadatum(t.id, key, m[key]))
		}
	} else {
		t.sent = append(t.sent, metadata.UpdateServer(t.id, m))
	}
	maps.Copy(t.metadata, m)
	return m, nil
}

func (t *rehearsal) remove(_ context.Context, key string) error {
	t.note(metadata.DeleteServerMetadatum(t.id, key), metadata.DeleteSnapshotMetadatum(t.id, key))
	if _, ok := t.metadata[key]; !ok {
		return &metadata.Error{Class: metadata.KeyNotFound}
	}
	delete(t.metadata, key)
	return nil
}

func (t *rehearsal) server(context.Context) (metadata.Server, error) {
	t.sent = append(t.sent, metadata.GetServer(t.id))
	return metadata.Server{ID: t.id, VMState: t.vmState, Metadata: maps.Clone(t.metadata)}, nil
}
