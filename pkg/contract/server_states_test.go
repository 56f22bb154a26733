package contract_test

import (
	"context"
	"strings"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

const (
	serverMetadata = "{nova}/v2.1/servers/{server}/metadata"
	oneServer      = "{nova}/v2.1/servers/{server}"
)

// serverSteps returns all operations on a server with the metadata kept.
func serverSteps() []step {
	return []step{
		{name: "GET server", method: "GET", path: oneServer},
		{name: "GET server, latest", method: "GET", path: oneServer,
			header: map[string]string{"OpenStack-API-Version": "compute 2.93"}},
		{name: "GET metadata", method: "GET", path: serverMetadata},
		{name: "GET key", method: "GET", path: serverMetadata + "/env"},
		{name: "GET missing key", method: "GET", path: serverMetadata + "/missing"},
		{name: "POST", method: "POST", path: serverMetadata, body: `{"metadata": {"env": "prod", "stage": "1"}}`},
		{name: "POST what is there", method: "POST", path: serverMetadata, body: `{"metadata": {"owner": "alice"}}`},
		{name: "POST invalid", method: "POST", path: serverMetadata, body: `{"metadata": {"a/b": "1"}}`},
		{name: "PUT key", method: "PUT", path: serverMetadata + "/env", body: `{"meta": {"env": "test"}}`},
		{name: "DELETE missing key", method: "DELETE", path: serverMetadata + "/missing"},
		{name: "DELETE key", method: "DELETE", path: serverMetadata + "/owner"},
	}
}

// newServer creates an active server.
func newServer(ctx context.Context, s *session, names map[string]string) error {
	id, err := s.createServer(ctx, "", kept)
	names["server"] = id
	if err != nil {
		return err
	}
	return s.awaitServer(ctx, id, "active", "")
}

// afterAction creates an active server and performs an action that ends in another vm_state.
func afterAction(
	who, action string, argument any, vmState string,
) func(context.Context, *session, map[string]string) error {
	return func(ctx context.Context, s *session, names map[string]string) error {
		if err := newServer(ctx, s, names); err != nil {
			return err
		}
		id := names["server"]
		if err := s.act(ctx, who, id, action, argument); err != nil {
			return err
		}
		return s.awaitServer(ctx, id, vmState, "")
	}
}

// serverStates returns the metadata operations in every reachable state.
func serverStates() []group {
	writable := ourServerOperations("", "", "", metadata.KeyNotFound)
	refused := ourServerOperations("", metadata.NotReady, metadata.NotReady, metadata.KeyNotFound)
	locked := ourServerOperations("", metadata.Locked, metadata.Locked, metadata.KeyNotFound)
	gone := ourServerOperations(metadata.Gone, metadata.Gone, metadata.Gone, metadata.Gone)
	groups := []group{
		{name: "building", knob: builds, enter: func(ctx context.Context, s *session, names map[string]string) (err error) {
			names["server"], err = s.cloud.building(ctx, s)
			return err
		}, ours: refused},
		{name: "powering off", prepare: newServer, knob: stops,
			enter: func(ctx context.Context, s *session, names map[string]string) error {
				id := names["server"]
				if err := s.act(ctx, "member", id, "os-stop", nil); err != nil {
					return err
				}
				return s.awaitServer(ctx, id, "active", "powering-off")
			}, ours: writable},
		{name: "deleting", prepare: newServer, knob: deletions,
			enter: func(ctx context.Context, s *session, names map[string]string) error {
				id := names["server"]
				if err := s.send(ctx, "DELETE", s.server(id), "member", nil, nil); err != nil {
					return err
				}
				return s.awaitServer(ctx, id, "active", "deleting")
			}, ours: writable},
		{name: "active", prepare: newServer, ours: writable},
		{name: "stopped", prepare: afterAction("member", "os-stop", nil, "stopped"), ours: writable},
		{name: "paused", prepare: afterAction("member", "pause", nil, "paused"), ours: writable},
		{name: "suspended", prepare: afterAction("member", "suspend", nil, "suspended"), ours: writable},
		{name: "rescued", prepare: afterAction("member", "rescue", map[string]any{}, "rescued"), ours: refused},
		{name: "shelved offloaded", prepare: afterAction("member", "shelve", nil, "shelved_offloaded"), ours: refused},
		{name: "resized", prepare: func(ctx context.Context, s *session, names map[string]string) error {
			_, large := s.cloud.flavors()
			return afterAction("member", "resize", map[string]any{"flavorRef": large}, "resized")(ctx, s, names)
		}, ours: refused},
		{name: "error after active", prepare: afterAction("admin", "os-resetState", map[string]any{"state": "error"},
			"error"), ours: refused},
		{name: "error after building", prepare: func(ctx context.Context, s *session, names map[string]string) (err error) {
			names["server"], err = s.cloud.unbuilt(ctx, s)
			return err
		}, ours: refused},
		{name: "locked", prepare: afterAction("member", "lock", nil, "active"), ours: locked},
		{name: "locked by an administrator", prepare: afterAction("admin", "lock", nil, "active"), ours: locked},
		{name: "locked and stopped", prepare: func(ctx context.Context, s *session, names map[string]string) error {
			if err := afterAction("member", "os-stop", nil, "stopped")(ctx, s, names); err != nil {
				return err
			}
			return s.act(ctx, "member", names["server"], "lock", nil)
		}, ours: locked},
		{name: "deleted", prepare: func(ctx context.Context, s *session, names map[string]string) error {
			if err := newServer(ctx, s, names); err != nil {
				return err
			}
			id := names["server"]
			if err := s.send(ctx, "DELETE", s.server(id), "member", nil, nil); err != nil {
				return err
			}
			return s.awaitServer(ctx, id, "", "")
		}, ours: gone},
	}
	for i := range groups {
		groups[i].metadata, groups[i].steps = serverMetadata, serverSteps()
		if strings.HasPrefix(groups[i].name, "locked") {
			groups[i].steps = append(groups[i].steps,
				step{name: "POST as an administrator", as: "admin", method: "POST", path: serverMetadata,
					body: `{"metadata": {"by": "admin"}}`},
				step{name: "DELETE as an administrator", as: "admin", method: "DELETE", path: serverMetadata + "/by"})
		}
	}
	return groups
}
