package contract_test

import (
	"context"
	"net/url"
	"strings"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

type ctx = context.Context

const (
	snapshotMetadata = "{cinder}/v3/{demo}/snapshots/{snapshot}/metadata"
	oneSnapshot      = "{cinder}/v3/{demo}/snapshots/{snapshot}"
)

// snapshotSteps returns all operations on a snapshot with the metadata kept.
func snapshotSteps() []step {
	return []step{
		{name: "GET snapshot", method: "GET", path: oneSnapshot},
		{name: "GET metadata", method: "GET", path: snapshotMetadata},
		{name: "GET key", method: "GET", path: snapshotMetadata + "/env"},
		{name: "GET missing key", method: "GET", path: snapshotMetadata + "/missing"},
		{name: "PUT key", method: "PUT", path: snapshotMetadata + "/env", body: `{"meta": {"env": "prod"}}`},
		{name: "PUT what is there", method: "PUT", path: snapshotMetadata + "/env", body: `{"meta": {"env": "prod"}}`},
		{name: "PUT invalid", method: "PUT", path: snapshotMetadata + "/env", body: `{"meta": {"env": 1}}`},
		{name: "POST", method: "POST", path: snapshotMetadata, body: `{"metadata": {"env": "test", "stage": "1"}}`},
		{name: "DELETE missing key", method: "DELETE", path: snapshotMetadata + "/missing"},
		{name: "DELETE key", method: "DELETE", path: snapshotMetadata + "/owner"},
	}
}

func newVolume(ctx ctx, s *session, names map[string]string) (err error) {
	names["volume"], err = s.createVolume(ctx)
	return err
}

// newSnapshot creates an available snapshot.
func newSnapshot(ctx ctx, s *session, names map[string]string) error {
	err := newVolume(ctx, s, names)
	if err != nil {
		return err
	}
	if names["snapshot"], err = s.createSnapshot(ctx, names["volume"]); err != nil {
		return err
	}
	return s.awaitVolume(ctx, "snapshot", names["snapshot"], "available")
}

// snapshotStates returns the metadata operations in every reachable status.
func snapshotStates() []group {
	writable := ourSnapshotOperations("", "", metadata.KeyNotFound)
	gone := ourSnapshotOperations(metadata.Gone, metadata.Gone, metadata.Gone)
	groups := []group{
		{name: "snapshot creating", prepare: newVolume, knob: snapshots,
			enter: func(ctx ctx, s *session, names map[string]string) (err error) {
				if names["snapshot"], err = s.createSnapshot(ctx, names["volume"]); err != nil {
					return err
				}
				return s.awaitVolume(ctx, "snapshot", names["snapshot"], "creating")
			}, ours: writable},
		{name: "snapshot deleting", prepare: newSnapshot, knob: snapshotRemovals,
			enter: func(ctx ctx, s *session, names map[string]string) error {
				if err := s.send(ctx, "DELETE", s.volumes()+"/snapshots/"+names["snapshot"], "member", nil, nil); err != nil {
					return err
				}
				return s.awaitVolume(ctx, "snapshot", names["snapshot"], "deleting")
			}, ours: writable},
		{name: "snapshot available", prepare: newSnapshot, ours: writable},
		{name: "snapshot in error", prepare: func(ctx ctx, s *session, names map[string]string) error {
			if err := newSnapshot(ctx, s, names); err != nil {
				return err
			}
			return s.cloud.setSnapshotStatus(ctx, s, names["snapshot"], "error")
		}, ours: writable},
		{name: "snapshot deleted", prepare: func(ctx ctx, s *session, names map[string]string) error {
			if err := newSnapshot(ctx, s, names); err != nil {
				return err
			}
			if err := s.send(ctx, "DELETE", s.volumes()+"/snapshots/"+names["snapshot"], "member", nil, nil); err != nil {
				return err
			}
			return s.awaitVolume(ctx, "snapshot", names["snapshot"], "")
		}, ours: gone},
	}
	for i := range groups {
		groups[i].metadata, groups[i].steps = snapshotMetadata, snapshotSteps()
	}
	return groups
}

// snapshotEdges returns requests at the limits of what Cinder accepts.
func snapshotEdges() []group {
	return []group{
		{name: "snapshot keys", metadata: snapshotMetadata, prepare: newSnapshot, steps: snapshotKeys()},
		{name: "snapshot values", metadata: snapshotMetadata, prepare: newSnapshot, steps: snapshotValues()},
		{name: "snapshot bodies", metadata: snapshotMetadata, prepare: newSnapshot, steps: snapshotBodies()},
		{name: "snapshot paths", metadata: snapshotMetadata, prepare: newSnapshot, steps: snapshotPaths(),
			ours: snapshotPathsOurs()},
		{name: "snapshot roles", metadata: snapshotMetadata, prepare: newSnapshot, steps: snapshotRoles(),
			ours: snapshotRolesOurs()},
		{name: "snapshot versions", metadata: snapshotMetadata, prepare: newSnapshot, steps: snapshotVersions()},
	}
}

func snapshotKeys() []step {
	steps := []step{post("POST key empty", snapshotMetadata, map[string]any{"": "1"})}
	for _, k := range oddKeys {
		path := snapshotMetadata + "/" + url.PathEscape(k.key)
		steps = append(steps,
			put("PUT key "+k.name, snapshotMetadata, k.key, "1"),
			post("POST key "+k.name, snapshotMetadata, map[string]any{k.key: "1"}),
			step{name: "GET key " + k.name, method: "GET", path: path},
			step{name: "DELETE key " + k.name, method: "DELETE", path: path})
	}
	return append(steps,
		put("PUT Owner where owner is", snapshotMetadata, "Owner", "bob"),
		step{name: "GET OWNER where owner is", method: "GET", path: snapshotMetadata + "/OWNER"},
		step{name: "DELETE OWNER where owner is", method: "DELETE", path: snapshotMetadata + "/OWNER"},
		post("POST TEAM and team", snapshotMetadata, map[string]any{"TEAM": "bob", "team": "alice"}),
		step{name: "DELETE TEAM where both are", method: "DELETE", path: snapshotMetadata + "/TEAM"},
		put("PUT 200 keys by POST", snapshotMetadata, "before", "1"),
		post("POST 200 keys", snapshotMetadata, manyKeys(200)),
	)
}

func snapshotValues() []step {
	var steps []step
	for _, v := range oddValues {
		steps = append(steps, put("PUT value "+v.name, snapshotMetadata, "v", v.value))
	}
	for _, i := range []int{0, 3, 7, 14, 17} {
		steps = append(steps, post("POST value "+oddValues[i].name, snapshotMetadata,
			map[string]any{"v": oddValues[i].value}))
	}
	return steps
}

func snapshotBodies() []step {
	return append(oddBodies(snapshotMetadata+"/a", "PUT", "meta"),
		step{name: "PUT with another key", method: "PUT", path: snapshotMetadata + "/a", body: `{"meta": {"b": "1"}}`},
		step{name: "PUT two keys", method: "PUT", path: snapshotMetadata + "/a", body: `{"meta": {"a": "1", "b": "1"}}`},
		step{name: "PUT metadata", method: "PUT", path: snapshotMetadata + "/a", body: `{"metadata": {"a": "1"}}`},
		step{name: "POST nothing", method: "POST", path: snapshotMetadata},
		step{name: "POST empty map", method: "POST", path: snapshotMetadata, body: `{"metadata": {}}`},
		step{name: "POST chunked", method: "POST", path: snapshotMetadata, body: `{"metadata": {"a": "1"}}`, chunked: true},
		step{name: "POST without a type", method: "POST", path: snapshotMetadata, body: `{"metadata": {"a": "1"}}`,
			header: map[string]string{"Content-Type": ""}},
		step{name: "DELETE with a body", method: "DELETE", path: snapshotMetadata + "/a", body: `{}`},
		step{name: "GET with a body", method: "GET", path: snapshotMetadata, body: `{"x": 1}`},
	)
}

func snapshotPaths() []step {
	var steps []step
	at := func(name, path string) {
		steps = append(steps,
			step{name: "GET " + name, method: "GET", path: path},
			step{name: "PUT " + name, method: "PUT", path: strings.TrimSuffix(path, "/") + "/a", body: `{"meta": {"a": "1"}}`},
			step{name: "DELETE " + name, method: "DELETE", path: strings.TrimSuffix(path, "/") + "/a"})
	}
	at("trailing slash", snapshotMetadata+"/")
	at("double slash", "{cinder}/v3/{demo}/snapshots/{snapshot}//metadata")
	at("no project", "{cinder}/v3/snapshots/{snapshot}/metadata")
	at("other project", "{cinder}/v3/{other}/snapshots/{snapshot}/metadata")
	at("unknown project", "{cinder}/v3/0123456789abcdef0123456789abcdef/snapshots/{snapshot}/metadata")
	at("project that is none", "{cinder}/v3/no-project/snapshots/{snapshot}/metadata")
	at("version 2", "{cinder}/v2/{demo}/snapshots/{snapshot}/metadata")
	at("no version", "{cinder}/{demo}/snapshots/{snapshot}/metadata")
	at("unknown id", "{cinder}/v3/{demo}/snapshots/"+unknownID+"/metadata")
	at("id is no UUID", "{cinder}/v3/{demo}/snapshots/nightly/metadata")
	at("id is a path", "{cinder}/v3/{demo}/snapshots/..%2F..%2Fsnapshots/metadata")
	at("id is non-ASCII", "{cinder}/v3/{demo}/snapshots/%C3%A9/metadata")
	at("upper case", "{cinder}/v3/{demo}/snapshots/{SNAPSHOT}/metadata")
	at("query", snapshotMetadata+"?a=b")
	for _, method := range []string{"PATCH", "OPTIONS", "HEAD"} {
		steps = append(steps,
			step{name: method + " metadata", method: method, path: snapshotMetadata},
			step{name: method + " key", method: method, path: snapshotMetadata + "/env"})
	}
	return append(steps,
		step{name: "GET format", method: "GET", path: snapshotMetadata + ".json"},
		step{name: "DELETE metadata", method: "DELETE", path: snapshotMetadata},
		step{name: "POST key", method: "POST", path: snapshotMetadata + "/env", body: `{"meta": {"env": "1"}}`},
		step{name: "PUT collection", method: "PUT", path: snapshotMetadata, body: `{"metadata": {"only": "this"}}`},
		step{name: "GET snapshot that is unknown", method: "GET", path: "{cinder}/v3/{demo}/snapshots/" + unknownID},
	)
}

func snapshotRoles() []step {
	return append(stepsAs(snapshotMetadata,
		"demo admin", "admin", "reader", "stranger", "anonymous", "wrong", "revoked", "expired"),
		step{name: "a stranger with the own project in the path", as: "stranger", method: "PUT",
			path: "{cinder}/v3/{other}/snapshots/{snapshot}/metadata/a",
			body: `{"meta": {"a": "1"}}`},
		step{name: "an admin with the own project in the path", as: "admin", method: "PUT",
			path: "{cinder}/v3/{admin}/snapshots/{snapshot}/metadata/a",
			body: `{"meta": {"a": "1"}}`},
		step{name: "an admin without a project in the path", as: "admin", method: "PUT",
			path: "{cinder}/v3/snapshots/{snapshot}/metadata/a",
			body: `{"meta": {"a": "2"}}`},
	)
}

func snapshotRolesOurs() []operation {
	set := func(who string, class metadata.Class) operation {
		return operation{name: "SetMetadatum as " + who, as: who, id: "snapshot", class: class,
			do: func(ctx ctx, api ourAPI, id string) error {
				return api.snapshots.SetMetadatum(ctx, id, "ours", "1")
			}}
	}
	return []operation{
		set("demo admin", ""), set("reader", ""), set("admin", metadata.Invalid), set("stranger", metadata.Invalid),
		set("anonymous", metadata.Unauthenticated), set("wrong", metadata.Unauthenticated),
		set("revoked", metadata.Unauthenticated), set("expired", metadata.Unauthenticated),
	}
}

// Wrong and unusual endpoints.
func snapshotPathsOurs() []operation {
	set := func(name, endpoint string, class metadata.Class) operation {
		return operation{name: "SetMetadatum at " + name, id: "snapshot", volume: endpoint, class: class,
			do: func(ctx ctx, api ourAPI, id string) error {
				return api.snapshots.SetMetadatum(ctx, id, "ours", "1")
			}}
	}
	return []operation{
		set("an endpoint without the project", "{cinder}/v3/", ""),
		set("another project's endpoint", "{cinder}/v3/{other}/", metadata.Invalid),
		set("a version that is gone", "{cinder}/v2/{demo}/", metadata.Unavailable),
		set("another service", "{nova}/v2.1/", metadata.Unavailable),
	}
}

func snapshotVersions() []step {
	var steps []step
	for _, v := range []string{"volume 3.0", "volume 3.70", "volume 3.71", "volume 2.0", "volume latest", "volume x",
		"volume", "3.70", "compute 2.93"} {
		h := map[string]string{"OpenStack-API-Version": v}
		steps = append(steps,
			step{name: "GET snapshot, " + v, method: "GET", path: oneSnapshot, header: h},
			step{name: "PUT, " + v, method: "PUT", path: snapshotMetadata + "/a", body: `{"meta": {"a": "1"}}`, header: h})
	}
	return steps
}
