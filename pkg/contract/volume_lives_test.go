package contract_test

import (
	"net/http"
	"time"
)

// volumeLives returns the operations on volumes beside metadata: create, extend, transfer, delete with snapshots.
func volumeLives() []group {
	return []group{
		{name: "volume creation", prepare: newSnapshot, steps: volumeCreation()},
		{name: "volume actions", metadata: volumeMetadata, prepare: volumeAndServer, steps: volumeActions()},
		{name: "snapshot actions", metadata: snapshotMetadata, prepare: newSnapshot, steps: snapshotActions()},
		{name: "volume transfers", metadata: volumeMetadata, prepare: volumeOf(nil), steps: volumeTransfers()},
		{name: "volume cascade", prepare: newSnapshot, steps: volumeCascade()},
	}
}

const oneVolumeAction = oneVolume + "/action"

func volumeCreation() []step {
	const all = "{cinder}/v3/{demo}/volumes"
	available := func(volume string) func(ctx, *session, map[string]string) error {
		return func(ctx ctx, s *session, names map[string]string) error {
			s.remember("volume", names[volume])
			return s.awaitVolume(ctx, "volume", names[volume], "available")
		}
	}
	return []step{
		{
			name:   "POST",
			method: "POST",
			path:   all,
			body:   `{"volume": {"size": 1, "name": "data", "metadata": {"owner": "alice"}}}`,
			keep:   map[string]string{"made": "volume/id"},
			settle: available("made"),
		},
		{name: "GET", method: "GET", path: all + "/{made}"},
		{name: "POST, latest", method: "POST", path: all, body: `{"volume": {"size": 1}}`, header: at("volume 3.70"),
			keep: map[string]string{"made": "volume/id"}, settle: available("made")},
		{
			name:   "POST from a snapshot",
			method: "POST",
			path:   all,
			body:   `{"volume": {"snapshot_id": "{snapshot}", "size": 2}}`,
			keep:   map[string]string{"copy": "volume/id"},
			settle: available("copy"),
		},
		{name: "GET from a snapshot", method: "GET", path: all + "/{copy}"},
		{name: "POST from a volume", method: "POST", path: all, body: `{"volume": {"source_volid": "{volume}"}}`,
			keep: map[string]string{"clone": "volume/id"}, settle: available("clone")},
		{name: "GET from a volume", method: "GET", path: all + "/{clone}"},
		{name: "POST from an image", method: "POST", path: all, body: `{"volume": {"imageRef": "{image}", "size": 1}}`,
			keep: map[string]string{"disk": "volume/id"}, settle: available("disk")},
		{name: "GET from an image", method: "GET", path: all + "/{disk}"},
		{
			name:   "POST from a snapshot that is larger",
			method: "POST",
			path:   all,
			body:   `{"volume": {"snapshot_id": "{copy}", "size": 1}}`,
		},
		{
			name:   "POST from a volume that is larger",
			method: "POST",
			path:   all,
			body:   `{"volume": {"source_volid": "{copy}", "size": 1}}`,
		},
		{
			name:   "POST from a volume that is not there",
			method: "POST",
			path:   all,
			body:   `{"volume": {"source_volid": "` + unknownID + `"}}`,
		},
		{
			name:   "POST from two",
			method: "POST",
			path:   all,
			body:   `{"volume": {"source_volid": "{copy}", "snapshot_id": "{snapshot}", "size": 2}}`,
		},
		{name: "POST without a size", method: "POST", path: all, body: `{"volume": {}}`},
		{
			name:   "POST with a bad key",
			method: "POST",
			path:   all,
			body:   `{"volume": {"size": 1, "metadata": {"a%b": "1"}}}`,
		},
		{name: "POST as anonymous", as: "anonymous", method: "POST", path: all, body: `{"volume": {"size": 1}}`},
	}
}

func volumeActions() []step {
	act := func(name, who, body string) step {
		return step{name: name, as: who, method: "POST", path: oneVolumeAction, body: body}
	}
	show := func(name string) step { return step{name: name, method: "GET", path: oneVolume} }
	extended := act("os-extend", "member", `{"os-extend": {"new_size": 2}}`)
	extended.settle = settled("volume", "available")
	again := act("os-extend with a number in quotes", "member", `{"os-extend": {"new_size": "3"}}`)
	again.settle = settled("volume", "available")
	attachedByCinder := act(
		"os-attach to a server",
		"member",
		`{"os-attach": {"instance_uuid": "{server}", "mountpoint": "/dev/vdb", "mode": "rw"}}`,
	)
	attachedByCinder.settle = settled("volume", "in-use")
	detached := act("os-detach", "member", `{"os-detach": {}}`)
	detached.settle = settled("volume", "available")
	return []step{
		extended,
		show("GET after os-extend"),
		act("os-extend to the same size", "member", `{"os-extend": {"new_size": 2}}`),
		act("os-extend to less", "member", `{"os-extend": {"new_size": 1}}`),
		act("os-extend to nothing", "member", `{"os-extend": {}}`),
		act("os-extend to a word", "member", `{"os-extend": {"new_size": "big"}}`),
		act("os-extend as a reader", "reader", `{"os-extend": {"new_size": 2}}`),
		act("os-extend as a stranger", "stranger", `{"os-extend": {"new_size": 4}}`),
		again,
		act("os-reset_status as a member", "member", `{"os-reset_status": {"status": "error"}}`),
		act("os-reset_status", "demo admin", `{"os-reset_status": {"status": "error"}}`),
		show("GET after os-reset_status"),
		act("os-reset_status in upper case", "demo admin", `{"os-reset_status": {"status": "MAINTENANCE"}}`),
		show("GET in maintenance"),
		act("os-reset_status to nonsense", "demo admin", `{"os-reset_status": {"status": "broken"}}`),
		act("os-reset_status to uploading", "demo admin", `{"os-reset_status": {"status": "uploading"}}`),
		act("os-reset_status to deleting", "demo admin", `{"os-reset_status": {"status": "deleting"}}`),
		act("os-reset_status to in-use", "demo admin", `{"os-reset_status": {"status": "in-use"}}`),
		act("os-reset_status to nothing", "demo admin", `{"os-reset_status": {}}`),
		act("os-reset_status back", "demo admin", `{"os-reset_status": {"status": "available"}}`),
		act("os-reserve", "member", `{"os-reserve": null}`),
		act("os-reserve again", "member", `{"os-reserve": null}`),
		act("os-unreserve", "member", `{"os-unreserve": null}`),
		act("os-begin_detaching", "member", `{"os-begin_detaching": null}`),
		act("os-set_bootable", "member", `{"os-set_bootable": {"bootable": true}}`),
		show("GET bootable"),
		act("os-set_bootable to nothing", "member", `{"os-set_bootable": {}}`),
		attachedByCinder,
		show("GET attached"),
		act(
			"os-attach again",
			"member",
			`{"os-attach": {"instance_uuid": "{server}", "mountpoint": "/dev/vdb", "mode": "rw"}}`,
		),
		act("os-begin_detaching while attached", "member", `{"os-begin_detaching": null}`),
		act("os-roll_detaching", "member", `{"os-roll_detaching": null}`),
		detached,
		show("GET detached"),
		act("os-detach again", "member", `{"os-detach": {}}`),
		act("no action", "member", `{}`),
		act("an unknown action", "member", `{"os-explode": null}`),
		act("two actions", "member", `{"os-reserve": null, "os-unreserve": null}`),
		act("no body", "member", ``),
	}
}

func snapshotActions() []step {
	act := func(name, who, body string) step {
		return step{name: name, as: who, method: "POST", path: oneSnapshot + "/action", body: body}
	}
	show := func(name string) step { return step{name: name, method: "GET", path: oneSnapshot} }
	return []step{
		act("os-reset_status as a member", "member", `{"os-reset_status": {"status": "error"}}`),
		act("os-reset_status as a stranger", "stranger", `{"os-reset_status": {"status": "error"}}`),
		act("os-reset_status", "demo admin", `{"os-reset_status": {"status": "error"}}`),
		show("GET after os-reset_status"),
		act("os-reset_status to deleting", "demo admin", `{"os-reset_status": {"status": "deleting"}}`),
		show("GET deleting"),
		act("os-reset_status in upper case", "demo admin", `{"os-reset_status": {"status": "ERROR"}}`),
		show("GET after upper case"),
		act("os-reset_status to nonsense", "demo admin", `{"os-reset_status": {"status": "broken"}}`),
		act("os-reset_status to nothing", "demo admin", `{"os-reset_status": {}}`),
		act("os-reset_status without an argument", "demo admin", `{"os-reset_status": null}`),
		act("os-reset_status back", "demo admin", `{"os-reset_status": {"status": "available"}}`),
		act("an unknown action", "member", `{"os-explode": null}`),
		act("no body", "demo admin", ``),
		{
			name:   "unknown snapshot",
			as:     "demo admin",
			method: "POST",
			path:   "{cinder}/v3/{demo}/snapshots/" + unknownID + "/action",
			body:   `{"os-reset_status": {"status": "error"}}`,
		},
		{name: "GET at 3.40", method: "GET", path: oneSnapshot, header: at("volume 3.40")},
		{name: "GET at 3.41", method: "GET", path: oneSnapshot, header: at("volume 3.41")},
		{
			name:   "GET detail at 3.41",
			method: "GET",
			path:   "{cinder}/v3/{demo}/snapshots/detail?volume_id={volume}",
			header: at("volume 3.41"),
		},
		{name: "GET list", method: "GET", path: "{cinder}/v3/{demo}/snapshots?volume_id={volume}"},
	}
}

func volumeTransfers() []step {
	const old, current = "{cinder}/v3/{demo}/os-volume-transfer", "{cinder}/v3/{demo}/volume-transfers"
	const others = "{cinder}/v3/{other}/volume-transfers/{transfer}"
	keep := map[string]string{"transfer": "transfer/id", "key": "transfer/auth_key"}
	return []step{
		{
			name:   "POST",
			method: "POST",
			path:   old,
			body:   `{"transfer": {"volume_id": "{volume}", "name": "gift"}}`,
			keep:   keep,
		},
		{name: "GET volume", method: "GET", path: oneVolume},
		{name: "POST again", method: "POST", path: old, body: `{"transfer": {"volume_id": "{volume}"}}`},
		{name: "GET", method: "GET", path: old + "/{transfer}"},
		{
			name:   "GET as a stranger",
			as:     "stranger",
			method: "GET",
			path:   "{cinder}/v3/{other}/os-volume-transfer/{transfer}",
		},
		{name: "GET unknown", method: "GET", path: old + "/" + unknownID},
		{
			name:   "accept without a key",
			as:     "stranger",
			method: "POST",
			path:   "{cinder}/v3/{other}/os-volume-transfer/{transfer}/accept",
			body:   `{"accept": {}}`,
		},
		{
			name:   "accept with a wrong key",
			as:     "stranger",
			method: "POST",
			path:   "{cinder}/v3/{other}/os-volume-transfer/{transfer}/accept",
			body:   `{"accept": {"auth_key": "wrong"}}`,
		},
		{
			name:   "accept unknown",
			as:     "stranger",
			method: "POST",
			path:   "{cinder}/v3/{other}/os-volume-transfer/" + unknownID + "/accept",
			body:   `{"accept": {"auth_key": "wrong"}}`,
		},
		{name: "DELETE volume", method: "DELETE", path: oneVolume},
		{name: "DELETE", method: "DELETE", path: old + "/{transfer}"},
		{name: "DELETE again", method: "DELETE", path: old + "/{transfer}"},
		{name: "GET volume after DELETE", method: "GET", path: oneVolume},
		{
			name:   "POST volume-transfers at 3.54",
			method: "POST",
			path:   current,
			body:   `{"transfer": {"volume_id": "{volume}"}}`,
			header: at("volume 3.54"),
			keep:   keep,
		},
		{
			name:   "DELETE volume-transfers at 3.54",
			method: "DELETE",
			path:   current + "/{transfer}",
			header: at("volume 3.54"),
		},
		{
			name:   "POST volume-transfers at 3.55",
			method: "POST",
			path:   current,
			body:   `{"transfer": {"volume_id": "{volume}", "name": "gift"}}`,
			header: at("volume 3.55"),
			keep:   keep,
		},
		{name: "GET volume-transfers at 3.55", method: "GET", path: current + "/{transfer}", header: at("volume 3.55")},
		{name: "GET volume-transfers at 3.57", method: "GET", path: current + "/{transfer}", header: at("volume 3.57")},
		{
			name:   "DELETE volume-transfers at 3.55",
			method: "DELETE",
			path:   current + "/{transfer}",
			header: at("volume 3.55"),
		},
		{
			name:   "POST for a stranger",
			method: "POST",
			path:   current,
			body:   `{"transfer": {"volume_id": "{volume}", "no_snapshots": true}}`,
			header: at("volume 3.57"),
			keep:   keep,
		},
		{
			name:   "accept",
			as:     "stranger",
			method: "POST",
			path:   others + "/accept",
			body:   `{"accept": {"auth_key": "{key}"}}`,
			header: at("volume 3.57"),
		},
		{name: "GET accepted", as: "stranger", method: "GET", path: others, header: at("volume 3.57")},
		{name: "GET volume as the giver", method: "GET", path: oneVolume},
		{name: "GET volume as the taker", as: "stranger", method: "GET", path: "{cinder}/v3/{other}/volumes/{volume}"},
		{
			name:   "POST metadata as the giver",
			method: "POST",
			path:   volumeMetadata,
			body:   `{"metadata": {"by": "giver"}}`,
		},
		{
			name:   "POST metadata as the taker",
			as:     "stranger",
			method: "POST",
			path:   "{cinder}/v3/{other}/volumes/{volume}/metadata",
			body:   `{"metadata": {"by": "taker"}}`,
		},
		{
			name:   "POST of an unknown volume",
			method: "POST",
			path:   old,
			body:   `{"transfer": {"volume_id": "` + unknownID + `"}}`,
		},
		{name: "POST of no volume", method: "POST", path: old, body: `{"transfer": {}}`},
	}
}

func volumeCascade() []step {
	return []step{
		{name: "DELETE with a snapshot", method: "DELETE", path: oneVolume},
		{name: "DELETE cascade=false", method: "DELETE", path: oneVolume + "?cascade=false"},
		{name: "DELETE cascade=nonsense", method: "DELETE", path: oneVolume + "?cascade=nonsense"},
		{
			name:   "DELETE force as a member",
			method: "DELETE",
			path:   oneVolume + "?force=true",
			header: at("volume 3.23"),
		},
		{
			name:   "DELETE cascade as a stranger",
			as:     "stranger",
			method: "DELETE",
			path:   "{cinder}/v3/{other}/volumes/{volume}?cascade=true",
		},
		{
			name:   "DELETE cascade",
			method: "DELETE",
			path:   oneVolume + "?cascade=true",
			settle: func(ctx ctx, s *session, names map[string]string) error {
				return s.awaitVolume(ctx, "volume", names["volume"], "")
			},
		},
		{name: "GET volume", method: "GET", path: oneVolume},
		{name: "GET snapshot", method: "GET", path: oneSnapshot},
	}
}

// attachments returns the operations on servers and their volumes.
func attachments() []group {
	return []group{
		{name: "attachments", prepare: func(ctx ctx, s *session, names map[string]string) error {
			if err := volumeAndServer(ctx, s, names); err != nil {
				return err
			}
			id, err := s.createVolumeWith(ctx, nil)
			if err != nil {
				return err
			}
			names["second"] = id
			return s.awaitVolume(ctx, "volume", id, "available")
		}, steps: attachmentSteps()},
		{name: "boot from volume", prepare: newVolumeFromImage, steps: bootFromVolume()},
		{name: "server creation", metadata: serverMetadata, prepare: newServer, steps: serverCreation()},
	}
}

func attachmentSteps() []step {
	const all = oneServer + "/os-volume_attachments"
	attach := func(name, who, volume string, more string) step {
		return step{
			name:   name,
			as:     who,
			method: "POST",
			path:   all,
			body:   `{"volumeAttachment": {"volumeId": "` + volume + `"` + more + `}}`,
		}
	}
	first := attach("POST", "member", "{volume}", "")
	first.settle = settled("volume", "in-use")
	tagged := attach(
		"POST with a tag and the end at deletion",
		"member",
		"{second}",
		`, "tag": "data", "delete_on_termination": true`,
	)
	tagged.header, tagged.settle = at("compute 2.79"), settled("second", "in-use")
	return []step{
		{name: "GET none", method: "GET", path: all},
		attach("POST as a stranger", "stranger", "{volume}", ""),
		attach("POST of an unknown volume", "member", unknownID, ""),
		attach("POST of what is no id", "member", "data", ""),
		{name: "POST of nothing", method: "POST", path: all, body: `{"volumeAttachment": {}}`},
		first,
		{name: "GET", method: "GET", path: all},
		{name: "GET at 2.70", method: "GET", path: all, header: at("compute 2.70")},
		{name: "GET latest", method: "GET", path: all, header: at("compute 2.93")},
		{name: "GET one", method: "GET", path: all + "/{volume}"},
		{name: "GET one, latest", method: "GET", path: all + "/{volume}", header: at("compute 2.93")},
		{name: "GET one that is not attached", method: "GET", path: all + "/{second}"},
		{name: "GET as a stranger", as: "stranger", method: "GET", path: all},
		{name: "GET as a reader", as: "reader", method: "GET", path: all},
		{name: "GET volume", method: "GET", path: oneVolume},
		{name: "GET volume as an administrator", as: "demo admin", method: "GET", path: oneVolume},
		{name: "GET server", method: "GET", path: oneServer},
		{name: "GET server at 2.3", method: "GET", path: oneServer, header: at("compute 2.3")},
		attach("POST again", "member", "{volume}", ""),
		{name: "DELETE volume", method: "DELETE", path: oneVolume},
		{
			name:   "extend at 3.41",
			method: "POST",
			path:   oneVolumeAction,
			body:   `{"os-extend": {"new_size": 2}}`,
			header: at("volume 3.41"),
		},
		{
			name:   "extend at 3.42",
			method: "POST",
			path:   oneVolumeAction,
			body:   `{"os-extend": {"new_size": 2}}`,
			header: at("volume 3.42"),
			settle: settled("volume", "in-use"),
		},
		{
			name:   "snapshot",
			method: "POST",
			path:   "{cinder}/v3/{demo}/snapshots",
			body:   `{"snapshot": {"volume_id": "{volume}"}}`,
		},
		{
			name:   "snapshot, forced",
			method: "POST",
			path:   "{cinder}/v3/{demo}/snapshots",
			body:   `{"snapshot": {"volume_id": "{volume}", "force": true}}`,
			keep: map[string]string{
				"forced": "snapshot/id",
			},
			settle: func(ctx ctx, s *session, names map[string]string) error {
				s.remember("snapshot", names["forced"])
				return s.awaitVolume(ctx, "snapshot", names["forced"], "available")
			},
		},
		{
			name:   "transfer",
			method: "POST",
			path:   "{cinder}/v3/{demo}/os-volume-transfer",
			body:   `{"transfer": {"volume_id": "{volume}"}}`,
		},
		tagged,
		{name: "GET two", method: "GET", path: all, header: at("compute 2.93")},
		{name: "GET two, limit 1", method: "GET", path: all + "?limit=1"},
		{name: "GET two, limit 1 offset 1", method: "GET", path: all + "?limit=1&offset=1"},
		{name: "PUT the end at deletion", method: "PUT", path: all + "/{volume}", header: at("compute 2.85"),
			body: `{"volumeAttachment": {"volumeId": "{volume}", "delete_on_termination": true}}`},
		{name: "GET one after PUT", method: "GET", path: all + "/{volume}", header: at("compute 2.93")},
		{name: "DELETE as a stranger", as: "stranger", method: "DELETE", path: all + "/{volume}"},
		{name: "DELETE unknown", method: "DELETE", path: all + "/" + unknownID},
		{name: "lock", method: "POST", path: oneServer + "/action", body: `{"lock": null}`},
		{name: "DELETE while locked", method: "DELETE", path: all + "/{volume}"},
		attach("POST while locked", "member", "{volume}", ""),
		{name: "unlock", method: "POST", path: oneServer + "/action", body: `{"unlock": null}`},
		{name: "DELETE", method: "DELETE", path: all + "/{volume}", settle: settled("volume", "available")},
		{name: "DELETE again", method: "DELETE", path: all + "/{volume}"},
		{name: "GET volume after DELETE", method: "GET", path: oneVolume},
		{name: "DELETE server", method: "DELETE", path: oneServer, settle: settled("second", "")},
		{name: "GET the volume that ended with it", method: "GET", path: "{cinder}/v3/{demo}/volumes/{second}"},
	}
}

// newVolumeFromImage creates a bootable volume.
func newVolumeFromImage(ctx ctx, s *session, names map[string]string) error {
	return volumeOf(map[string]any{"imageRef": s.cloud.image()})(ctx, s, names)
}

func bootFromVolume() []step {
	const all = "{nova}/v2.1/servers"
	boot := func(name, device string) step {
		return step{
			name:   name,
			method: "POST",
			path:   all,
			header: at("compute 2.37"),
			body: `{"server": {"name": "contract", "flavorRef": "42", "networks": "none", "metadata": {"owner": "alice"}, ` +
				`"block_device_mapping_v2": [` +
				device + `]}}`,
		}
	}
	active := func(server string) func(ctx, *session, map[string]string) error {
		return func(ctx ctx, s *session, names map[string]string) error {
			s.remember("server", names[server])
			if err := s.awaitServer(ctx, names[server], "active", ""); err != nil {
				return err
			}
			var answer struct{ VolumeAttachments []struct{ VolumeID string } }
			if err := s.send(
				ctx,
				http.MethodGet,
				s.server(names[server])+"/os-volume_attachments",
				"member",
				nil,
				&answer,
			); err != nil {
				return err
			}
			if len(answer.VolumeAttachments) > 0 {
				names["disk of "+server] = answer.VolumeAttachments[0].VolumeID
				s.remember("volume", names["disk of "+server])
			}
			return nil
		}
	}
	fromImage := boot(
		"POST from an image",
		`{"boot_index": 0, "uuid": "{image}", "source_type": "image", "destination_type": "volume", "volume_size": 1, `+
			`"delete_on_termination": true}`,
	)
	fromImage.keep, fromImage.settle = map[string]string{"server": "server/id"}, active("server")
	fromVolume := boot(
		"POST from a volume",
		`{"boot_index": 0, "uuid": "{volume}", "source_type": "volume", "destination_type": "volume"}`,
	)
	fromVolume.keep, fromVolume.settle = map[string]string{"other server": "server/id"}, active("other server")
	return []step{
		boot(
			"POST from an unknown volume",
			`{"boot_index": 0, "uuid": "`+unknownID+`", "source_type": "volume", "destination_type": "volume"}`,
		),
		boot(
			"POST from an unknown image",
			`{"boot_index": 0, "uuid": "`+unknownID+`", "source_type": "image", "destination_type": "volume", "volume_size": 1}`,
		),
		boot(
			"POST without a size",
			`{"boot_index": 0, "uuid": "{image}", "source_type": "image", "destination_type": "volume"}`,
		),
		boot(
			"POST without a boot index",
			`{"uuid": "{volume}", "source_type": "volume", "destination_type": "volume"}`,
		),
		fromImage,
		{name: "GET server", method: "GET", path: oneServer},
		{name: "GET server, latest", method: "GET", path: oneServer, header: at("compute 2.93")},
		{
			name:   "GET attachments",
			method: "GET",
			path:   oneServer + "/os-volume_attachments",
			header: at("compute 2.93"),
		},
		{name: "GET its volume", method: "GET", path: "{cinder}/v3/{demo}/volumes/{disk of server}"},
		{
			name:   "DELETE the attachment it runs from",
			method: "DELETE",
			path:   oneServer + "/os-volume_attachments/{disk of server}",
		},
		{
			name:   "POST metadata to its volume",
			method: "POST",
			path:   "{cinder}/v3/{demo}/volumes/{disk of server}/metadata",
			body:   `{"metadata": {"owner": "alice"}}`,
		},
		fromVolume,
		{name: "GET the volume", method: "GET", path: oneVolume},
		boot(
			"POST from a volume in use",
			`{"boot_index": 0, "uuid": "{volume}", "source_type": "volume", "destination_type": "volume"}`,
		),
		{name: "DELETE server", method: "DELETE", path: oneServer, settle: settled("disk of server", "")},
		{
			name:   "DELETE the other server",
			method: "DELETE",
			path:   "{nova}/v2.1/servers/{other server}",
			settle: settled("volume", "available"),
		},
	}
}

func serverCreation() []step {
	const all = "{nova}/v2.1/servers"
	create := func(name, version, more string, keep string) step {
		st := step{
			name:   name,
			method: "POST",
			path:   all,
			header: at(version),
			body: `{"server": {"name": "Contract Web_1.example", "imageRef": "{image}", "flavorRef": "42", ` +
				`"networks": "none"` + more + `}}`,
		}
		if keep != "" {
			st.keep = map[string]string{keep: "server/id"}
			st.settle = func(ctx ctx, s *session, names map[string]string) error {
				s.remember("server", names[keep])
				return s.awaitServer(ctx, names[keep], "active", "")
			}
		}
		return st
	}
	show := func(name, who, version string) step {
		return step{name: name, as: who, method: "GET", path: oneServer, header: at("compute " + version)}
	}
	put := func(name, version, body string) step {
		return step{name: name, method: "PUT", path: oneServer, header: at("compute " + version), body: body}
	}
	steps := []step{
		create("POST with a config drive", "compute 2.37", `, "config_drive": true`, "driven"),
		{name: "GET with a config drive", method: "GET", path: all + "/{driven}"},
		create("POST with a config drive in a word", "compute 2.37", `, "config_drive": "yes"`, "driven"),
		{name: "GET with a config drive in a word", method: "GET", path: all + "/{driven}"},
		create("POST without a config drive", "compute 2.37", `, "config_drive": false`, "driven"),
		{name: "GET without a config drive", method: "GET", path: all + "/{driven}"},
		create("POST with a bad config drive", "compute 2.37", `, "config_drive": "maybe"`, ""),
		create("POST with a host name", "compute 2.90", `, "hostname": "web-7"`, "named"),
		{name: "GET with a host name", method: "GET", path: all + "/{named}", header: at("compute 2.90")},
		{
			name:   "GET with a host name as an administrator",
			as:     "admin",
			method: "GET",
			path:   all + "/{named}",
			header: at("compute 2.93"),
		},
		create("POST with a bad host name", "compute 2.90", `, "hostname": "a b"`, ""),
		create("POST with a host name at 2.89", "compute 2.89", `, "hostname": "web-7"`, ""),
		create(
			"POST with user data",
			"compute 2.37",
			`, "user_data": "I2Nsb3VkLWNvbmZpZwo=", "metadata": {"a": "1"}`,
			"described",
		),
		{
			name:   "GET with user data as an administrator",
			as:     "admin",
			method: "GET",
			path:   all + "/{described}",
			header: at("compute 2.93"),
		},
		put("PUT a host name at 2.89", "2.89", `{"server": {"hostname": "db-1"}}`),
		put("PUT a host name", "2.90", `{"server": {"hostname": "db-1"}}`),
		put("PUT a bad host name", "2.90", `{"server": {"hostname": "db 1"}}`),
		put(
			"PUT a name and a host name",
			"2.93",
			`{"server": {"hostname": "db-2", "name": "renamed", "description": "x"}}`,
		),
		put("PUT a name", "2.1", `{"server": {"name": "renamed again"}}`),
		put("PUT nothing", "2.93", `{"server": {}}`),
	}
	for _, version := range []string{"2.1", "2.2", "2.3", "2.8", "2.9", "2.15", "2.16", "2.73", "2.89", "2.90", "2.93"} {
		steps = append(steps, show("GET as an administrator, "+version, "admin", version))
	}
	return append(
		steps,
		show("GET as a member, 2.89", "member", "2.89"),
		show("GET as a member, 2.90", "member", "2.90"),
		step{
			name:   "lock with a reason",
			method: "POST",
			path:   oneServer + "/action",
			body:   `{"lock": {"locked_reason": "audit"}}`,
			header: at("compute 2.73"),
		},
		show("GET locked", "member", "2.93"),
		step{name: "unlock", method: "POST", path: oneServer + "/action", body: `{"unlock": null}`},
		step{name: "rebuild", method: "POST", path: oneServer + "/action", body: `{"rebuild": {"imageRef": "{image}"}}`,
			settle: func(ctx ctx, s *session, names map[string]string) error {
				return s.awaitServer(ctx, names["server"], "active", "")
			}},
		step{
			name:   "rebuild from an unknown image",
			method: "POST",
			path:   oneServer + "/action",
			body:   `{"rebuild": {"imageRef": "` + unknownID + `"}}`,
		},
		step{
			name:   "rebuild with metadata",
			method: "POST",
			path:   oneServer + "/action",
			body:   `{"rebuild": {"imageRef": "{image}", "metadata": {"only": "this"}}}`,
			settle: func(ctx ctx, s *session, names map[string]string) error {
				return s.awaitServer(ctx, names["server"], "active", "")
			},
		},
		show("GET rebuilt", "member", "2.93"),
	)
}

// secondApart is long enough for a real cloud's creation times to differ.
const secondApart = 1100 * time.Millisecond
