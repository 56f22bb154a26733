package contract_test

import (
	"fmt"
	"net/http"
	"net/url"
)

const (
	volumeMetadata = "{cinder}/v3/{demo}/volumes/{volume}/metadata"
	oneVolume      = "{cinder}/v3/{demo}/volumes/{volume}"
)

// at returns the header that requests a microversion.
func at(version string) map[string]string { return map[string]string{"OpenStack-API-Version": version} }

// volumeSteps returns all operations on a volume with the metadata kept.
func volumeSteps() []step {
	return []step{
		{name: "GET volume", method: "GET", path: oneVolume},
		{name: "GET volume, latest", method: "GET", path: oneVolume, header: at("volume 3.70")},
		{name: "GET metadata", method: "GET", path: volumeMetadata},
		{name: "GET key", method: "GET", path: volumeMetadata + "/env"},
		{name: "GET missing key", method: "GET", path: volumeMetadata + "/missing"},
		{name: "POST", method: "POST", path: volumeMetadata, body: `{"metadata": {"env": "prod", "stage": "1"}}`},
		{name: "POST what is there", method: "POST", path: volumeMetadata, body: `{"metadata": {"owner": "alice"}}`},
		{name: "POST invalid", method: "POST", path: volumeMetadata, body: `{"metadata": {"a%b": "1"}}`},
		{name: "PUT key", method: "PUT", path: volumeMetadata + "/env", body: `{"meta": {"env": "test"}}`},
		{name: "DELETE missing key", method: "DELETE", path: volumeMetadata + "/missing"},
		{name: "DELETE key", method: "DELETE", path: volumeMetadata + "/owner"},
	}
}

// volumeOf creates an available volume with the metadata kept and additional members.
func volumeOf(more map[string]any) func(ctx, *session, map[string]string) error {
	return func(ctx ctx, s *session, names map[string]string) (err error) {
		if names["volume"], err = s.createVolumeWith(ctx, more); err != nil {
			return err
		}
		return s.awaitVolume(ctx, "volume", names["volume"], "available")
	}
}

// createVolumeWith creates a volume without waiting for it.
func (s *session) createVolumeWith(ctx ctx, more map[string]any) (string, error) {
	volume := map[string]any{"name": "contract", "size": 1, "metadata": kept}
	for name, value := range more {
		volume[name] = value
	}
	var answer struct{ Volume struct{ ID string } }
	err := s.send(ctx, http.MethodPost, s.volumes()+"/volumes", "member", map[string]any{"volume": volume}, &answer)
	if err == nil {
		s.remember("volume", answer.Volume.ID)
	}
	return answer.Volume.ID, err
}

// actOnVolume performs an action of Cinder.
func (s *session) actOnVolume(ctx ctx, who, id, action string, argument any) error {
	return s.send(
		ctx,
		http.MethodPost,
		s.volumes()+"/volumes/"+id+"/action",
		who,
		map[string]any{action: argument},
		nil,
	)
}

// attach has Nova attach a volume to a server, without waiting for it.
func (s *session) attach(ctx ctx, server, volume string) error {
	return s.send(ctx, http.MethodPost, s.server(server)+"/os-volume_attachments", "member", map[string]any{
		"volumeAttachment": map[string]any{"volumeId": volume},
	}, nil)
}

// settled waits for the status of the named volume.
func settled(volume, status string) func(ctx, *session, map[string]string) error {
	return func(ctx ctx, s *session, names map[string]string) error {
		return s.awaitVolume(ctx, "volume", names[volume], status)
	}
}

// volumeAndServer creates an available volume and an active server.
func volumeAndServer(ctx ctx, s *session, names map[string]string) error {
	if err := newServer(ctx, s, names); err != nil {
		return err
	}
	return volumeOf(nil)(ctx, s, names)
}

func attached(ctx ctx, s *session, names map[string]string) error {
	if err := volumeAndServer(ctx, s, names); err != nil {
		return err
	}
	if err := s.attach(ctx, names["server"], names["volume"]); err != nil {
		return err
	}
	return s.awaitVolume(ctx, "volume", names["volume"], "in-use")
}

// inStatus creates a volume and sets its status.
func inStatus(status string) func(ctx, *session, map[string]string) error {
	return func(ctx ctx, s *session, names map[string]string) error {
		if err := volumeOf(nil)(ctx, s, names); err != nil {
			return err
		}
		return s.cloud.setVolumeStatus(ctx, s, names["volume"], status)
	}
}

// afterVolumeAction performs an action on the volume and waits for its status.
func afterVolumeAction(action string, argument any, status string) func(ctx, *session, map[string]string) error {
	return func(ctx ctx, s *session, names map[string]string) error {
		if err := s.actOnVolume(ctx, "member", names["volume"], action, argument); err != nil {
			return err
		}
		return s.awaitVolume(ctx, "volume", names["volume"], status)
	}
}

// volumeStates returns the metadata operations in every reachable status.
func volumeStates() []group {
	groups := []group{
		{name: "volume creating", knob: volumes, enter: func(ctx ctx, s *session, names map[string]string) (err error) {
			if names["volume"], err = s.createVolumeWith(ctx, nil); err != nil {
				return err
			}
			return s.awaitVolume(ctx, "volume", names["volume"], "creating")
		}},
		{
			name:    "volume attaching",
			prepare: volumeAndServer,
			knob:    attaching,
			enter: func(ctx ctx, s *session, names map[string]string) error {
				if err := s.attach(ctx, names["server"], names["volume"]); err != nil {
					return err
				}
				return s.awaitVolume(ctx, "volume", names["volume"], "attaching")
			},
		},
		{
			name:    "volume detaching",
			prepare: attached,
			knob:    detaching,
			enter: func(ctx ctx, s *session, names map[string]string) error {
				if err := s.send(
					ctx,
					"DELETE",
					s.server(names["server"])+"/os-volume_attachments/"+names["volume"],
					"member",
					nil,
					nil,
				); err != nil {
					return err
				}
				return s.awaitVolume(ctx, "volume", names["volume"], "detaching")
			},
		},
		{
			name:    "volume extending",
			prepare: volumeOf(nil),
			knob:    extending,
			enter:   afterVolumeAction("os-extend", map[string]any{"new_size": 2}, "extending"),
		},
		{
			name:    "volume uploading",
			prepare: volumeOf(nil),
			knob:    uploading,
			enter: func(ctx ctx, s *session, names map[string]string) error {
				var answer map[string]struct {
					Image string `json:"image_id"`
				}
				if err := s.send(
					ctx,
					http.MethodPost,
					s.volumes()+"/volumes/"+names["volume"]+"/action",
					"member",
					map[string]any{
						"os-volume_upload_image": map[string]any{
							"image_name":       "contract",
							"disk_format":      "raw",
							"container_format": "bare",
						},
					},
					&answer,
				); err != nil {
					return err
				}
				s.remember("image", answer["os-volume_upload_image"].Image)
				return s.awaitVolume(ctx, "volume", names["volume"], "uploading")
			},
		},
		{
			name:    "volume deleting",
			prepare: volumeOf(nil),
			knob:    volumeRemovals,
			enter: func(ctx ctx, s *session, names map[string]string) error {
				if err := s.send(
					ctx,
					"DELETE",
					s.volumes()+"/volumes/"+names["volume"],
					"member",
					nil,
					nil,
				); err != nil {
					return err
				}
				return s.awaitVolume(ctx, "volume", names["volume"], "deleting")
			},
		},
		{name: "volume available", prepare: volumeOf(nil)},
		{name: "volume in use", prepare: attached},
		{name: "volume reserved", prepare: func(ctx ctx, s *session, names map[string]string) error {
			if err := volumeOf(nil)(ctx, s, names); err != nil {
				return err
			}
			return afterVolumeAction("os-reserve", nil, "attaching")(ctx, s, names)
		}},
		{name: "volume awaiting transfer", prepare: func(ctx ctx, s *session, names map[string]string) error {
			if err := volumeOf(nil)(ctx, s, names); err != nil {
				return err
			}
			return s.send(ctx, http.MethodPost, s.volumes()+"/os-volume-transfer", "member", map[string]any{
				"transfer": map[string]any{"volume_id": names["volume"]},
			}, nil)
		}},
		{name: "volume in maintenance", prepare: inStatus("maintenance")},
		{name: "volume in error", prepare: inStatus("error")},
		{name: "volume deleted", prepare: func(ctx ctx, s *session, names map[string]string) error {
			if err := volumeOf(nil)(ctx, s, names); err != nil {
				return err
			}
			if err := s.send(ctx, "DELETE", s.volumes()+"/volumes/"+names["volume"], "member", nil, nil); err != nil {
				return err
			}
			return s.awaitVolume(ctx, "volume", names["volume"], "")
		}},
	}
	for i := range groups {
		groups[i].metadata, groups[i].steps = volumeMetadata, volumeSteps()
	}
	return groups
}

// volumeEdges returns requests at the limits of what Cinder accepts.
func volumeEdges() []group {
	return []group{
		{name: "volume keys", metadata: volumeMetadata, prepare: volumeOf(nil), steps: volumeKeys()},
		{name: "volume values", metadata: volumeMetadata, prepare: volumeOf(nil), steps: volumeValues()},
		{name: "volume bodies", metadata: volumeMetadata, prepare: volumeOf(nil), steps: volumeBodies()},
		{name: "volume paths", metadata: volumeMetadata, prepare: volumeOf(nil), steps: volumePaths()},
		{name: "volume roles", metadata: volumeMetadata, prepare: volumeOf(nil), steps: volumeRoles()},
		{name: "volume versions", metadata: volumeMetadata, prepare: volumeOf(nil), steps: volumeVersions()},
		{name: "server case", metadata: serverMetadata, prepare: newServer, steps: keysInAnotherCase(serverMetadata)},
		{
			name:     "volume case",
			metadata: volumeMetadata,
			prepare:  volumeOf(nil),
			steps:    keysInAnotherCase(volumeMetadata),
		},
		{
			name:     "snapshot case",
			metadata: snapshotMetadata,
			prepare:  newSnapshot,
			steps:    keysInAnotherCase(snapshotMetadata),
		},
	}
}

// keysInAnotherCase returns requests with keys that differ only in case or in a trailing space.
func keysInAnotherCase(metadata string) []step {
	replace := func(name string, all map[string]any) step {
		return step{name: name, method: "PUT", path: metadata, body: jsonText(map[string]any{"metadata": all})}
	}
	remove := func(key, where string) step {
		return step{name: "DELETE " + key + where, method: "DELETE", path: metadata + "/" + key}
	}
	return []step{
		post("POST Owner", metadata, map[string]any{"Owner": "bob"}),
		{name: "GET OWNER", method: "GET", path: metadata + "/OWNER"},
		put("PUT OWNER", metadata, "OWNER", "carol"),
		remove("OwNeR", ", which is none of them"),
		remove("owner", ", one of three"),
		replace("PUT two of one key", map[string]any{"Owner": "alice", "owner": "bob"}),
		remove("Owner", ", one of two"),
		replace("PUT Team", map[string]any{"Team": "a"}),
		post("POST two of one key", metadata, map[string]any{"TEAM": "b", "team": "c"}),
		post("POST the first again", metadata, map[string]any{"Team": "d"}),
		replace("PUT another case alone", map[string]any{"teaM": "e"}),
		replace("PUT nothing", map[string]any{}),
		post("POST with a space at the end and without", metadata, map[string]any{"a ": "1", "a": "2"}),
		remove("a", ", the one without the space"),
		remove("a%20", ", the one with the space"),
	}
}

func volumeKeys() []step {
	steps := []step{post("POST key empty", volumeMetadata, map[string]any{"": "1"})}
	for _, k := range oddKeys {
		path := volumeMetadata + "/" + url.PathEscape(k.key)
		steps = append(steps,
			post("POST key "+k.name, volumeMetadata, map[string]any{k.key: "1"}),
			step{name: "GET key " + k.name, method: "GET", path: path},
			step{name: "DELETE key " + k.name, method: "DELETE", path: path})
	}
	for _, i := range []int{1, 2, 9, 15, 21} {
		steps = append(steps, put("PUT key "+oddKeys[i].name, volumeMetadata, oddKeys[i].key, "1"))
	}
	return append(steps,
		post("POST two bad keys", volumeMetadata, map[string]any{"a%b": "1", "c%d": "2"}),
		post("POST a good and a bad key", volumeMetadata, map[string]any{"good": "1", "c%d": "2"}),
		post("POST 200 keys", volumeMetadata, manyKeys(200)),
	)
}

func volumeValues() []step {
	var steps []step
	for _, v := range oddValues {
		steps = append(steps, post("POST value "+v.name, volumeMetadata, map[string]any{"v": v.value}))
	}
	for _, i := range []int{0, 3, 14, 17} {
		steps = append(steps, put("PUT value "+oddValues[i].name, volumeMetadata, "v", oddValues[i].value))
	}
	return append(steps, post("POST a good and a bad value", volumeMetadata, map[string]any{"good": "1", "v": 1}))
}

func volumeBodies() []step {
	return append(oddBodies(volumeMetadata, "POST", "metadata"),
		step{name: "PUT with another key", method: "PUT", path: volumeMetadata + "/a", body: `{"meta": {"b": "1"}}`},
		step{name: "PUT two keys", method: "PUT", path: volumeMetadata + "/a", body: `{"meta": {"a": "1", "b": "1"}}`},
		step{name: "PUT metadata", method: "PUT", path: volumeMetadata + "/a", body: `{"metadata": {"a": "1"}}`},
		step{name: "PUT no key", method: "PUT", path: volumeMetadata + "/a", body: `{"meta": {}}`},
		step{name: "DELETE with a body", method: "DELETE", path: volumeMetadata + "/a", body: `{}`},
		step{name: "GET with a body", method: "GET", path: volumeMetadata, body: `{"x": 1}`},
	)
}

func volumePaths() []step {
	var steps []step
	at := func(name, path string) {
		steps = append(steps,
			step{name: "GET " + name, method: "GET", path: path},
			step{name: "POST " + name, method: "POST", path: path, body: `{"metadata": {"a": "1"}}`},
			step{name: "DELETE " + name, method: "DELETE", path: path + "/a"})
	}
	at("trailing slash", volumeMetadata+"/")
	at("no project", "{cinder}/v3/volumes/{volume}/metadata")
	at("other project", "{cinder}/v3/{other}/volumes/{volume}/metadata")
	at("version 2", "{cinder}/v2/{demo}/volumes/{volume}/metadata")
	at("unknown id", "{cinder}/v3/{demo}/volumes/"+unknownID+"/metadata")
	at("id is no UUID", "{cinder}/v3/{demo}/volumes/data/metadata")
	at("upper case", "{cinder}/v3/{demo}/volumes/{VOLUME}/metadata")
	at("without hyphens", "{cinder}/v3/{demo}/volumes/{volume without hyphens}/metadata")
	at("query", volumeMetadata+"?a=b")
	for _, method := range []string{"PATCH", "OPTIONS", "HEAD"} {
		steps = append(steps,
			step{name: method + " metadata", method: method, path: volumeMetadata},
			step{name: method + " key", method: method, path: volumeMetadata + "/env"})
	}
	return append(
		steps,
		step{name: "GET format", method: "GET", path: volumeMetadata + ".json"},
		step{name: "DELETE metadata", method: "DELETE", path: volumeMetadata},
		step{name: "POST key", method: "POST", path: volumeMetadata + "/env", body: `{"meta": {"env": "1"}}`},
		step{name: "PUT collection", method: "PUT", path: volumeMetadata, body: `{"metadata": {"only": "this"}}`},
		step{name: "GET volume that is unknown", method: "GET", path: "{cinder}/v3/{demo}/volumes/" + unknownID},
		step{
			name:   "PUT volume with metadata",
			method: "PUT",
			path:   oneVolume,
			body:   `{"volume": {"metadata": {"by": "terraform"}}}`,
		},
		step{
			name:   "PUT volume with a name",
			method: "PUT",
			path:   oneVolume,
			body:   `{"volume": {"name": "renamed", "description": null}}`,
		},
		step{name: "PUT volume with nothing", method: "PUT", path: oneVolume, body: `{"volume": {}}`},
		step{name: "PUT volume with more", method: "PUT", path: oneVolume, body: `{"volume": {"size": 2}}`},
	)
}

func volumeRoles() []step {
	steps := stepsAs(volumeMetadata,
		"demo admin", "admin", "reader", "stranger", "anonymous", "wrong", "revoked", "expired")
	for _, who := range []string{"demo admin", "reader", "stranger", "anonymous"} {
		steps = append(steps, step{name: "GET volume as " + who, as: who, method: "GET", path: oneVolume})
	}
	return append(
		steps,
		step{
			name:   "GET volume as demo admin, latest",
			as:     "demo admin",
			method: "GET",
			path:   oneVolume,
			header: at("volume 3.70"),
		},
		step{
			name:   "GET snapshots as demo admin, none",
			as:     "demo admin",
			method: "GET",
			path:   "{cinder}/v3/{demo}/snapshots?volume_id={volume}",
		},
		step{
			name:   "a stranger with the own project in the path",
			as:     "stranger",
			method: "POST",
			path:   "{cinder}/v3/{other}/volumes/{volume}/metadata",
			body:   `{"metadata": {"a": "1"}}`,
		},
		step{
			name:   "an admin with the own project in the path",
			as:     "admin",
			method: "POST",
			path:   "{cinder}/v3/{admin}/volumes/{volume}/metadata",
			body:   `{"metadata": {"a": "1"}}`,
		},
		step{
			name:   "an admin without a project in the path",
			as:     "admin",
			method: "POST",
			path:   "{cinder}/v3/volumes/{volume}/metadata",
			body:   `{"metadata": {"a": "2"}}`,
		},
	)
}

func volumeVersions() []step {
	var steps []step
	for _, v := range []string{
		"volume 3.0", "volume 3.14", "volume 3.15", "volume 3.70", "volume 3.71", "volume latest", "volume",
	} {
		steps = append(
			steps,
			step{name: "GET volume, " + v, method: "GET", path: oneVolume, header: at(v)},
			step{name: "GET metadata, " + v, method: "GET", path: volumeMetadata, header: at(v)},
			step{
				name:   "POST, " + v,
				method: "POST",
				path:   volumeMetadata,
				body:   `{"metadata": {"a": "1"}}`,
				header: at(v),
			},
		)
	}
	matching := func(etag, version string) map[string]string {
		return map[string]string{"If-Match": etag, "OpenStack-API-Version": version}
	}
	for i, version := range []string{"volume 3.14", "volume 3.15"} {
		value := func(n int) string { return fmt.Sprintf(`{"meta": {"a": "%d%d"}}`, i, n) }
		steps = append(
			steps,
			step{
				name:   "GET before " + version,
				method: "GET",
				path:   volumeMetadata,
				header: at("volume 3.15"),
				keep:   map[string]string{"etag": "ETag"},
			},
			step{
				name:   "PUT key if another, " + version,
				method: "PUT",
				path:   volumeMetadata + "/a",
				body:   value(1),
				header: matching(`"x"`, version),
			},
			step{
				name:   "PUT key if it matches, " + version,
				method: "PUT",
				path:   volumeMetadata + "/a",
				body:   value(2),
				header: matching("{etag}", version),
			},
			step{
				name:   "PUT key if it did match, " + version,
				method: "PUT",
				path:   volumeMetadata + "/a",
				body:   value(3),
				header: matching("{etag}", version),
			},
			step{
				name:   "POST if it did match, " + version,
				method: "POST",
				path:   volumeMetadata,
				body:   fmt.Sprintf(`{"metadata": {"a": "4%d"}}`, i),
				header: matching("{etag}", version),
			},
			step{
				name:   "PUT collection if it did match, " + version,
				method: "PUT",
				path:   volumeMetadata,
				body:   fmt.Sprintf(`{"metadata": {"a": "5%d"}}`, i),
				header: matching("{etag}", version),
			},
			step{
				name:   "DELETE if it did match, " + version,
				method: "DELETE",
				path:   volumeMetadata + "/a",
				header: matching("{etag}", version),
			},
		)
	}
	return steps
}
