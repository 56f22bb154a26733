package contract_test

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// lists returns the groups for lists of servers, volumes and snapshots: pages, links, filters, order, other projects.
// The resources are alone in their project and created a second apart, because the real cloud orders by seconds.
func lists() []group {
	return []group{
		{name: "server lists", prepare: listedServers, steps: serverLists()},
		{
			name:    "volume lists",
			prepare: listedVolumes,
			steps:   append(volumeLists("volume"), volumeLists("snapshot")...),
		},
	}
}

// listedServers creates the servers a to d; c is stopped and d deleted.
func listedServers(ctx ctx, s *session, names map[string]string) error {
	all := s.names["nova"] + "/v2.1/servers"
	for _, name := range []string{"a", "b", "c", "d"} {
		var answer struct{ Server struct{ ID string } }
		if err := s.send(ctx, http.MethodPost, all, "lister", map[string]any{"server": map[string]any{
			"name":      "contract " + name,
			"imageRef":  s.cloud.image(),
			"flavorRef": "42",
			"networks":  "none",
			"metadata":  map[string]string{"letter": name},
		}}, &answer, "OpenStack-API-Version", "compute 2.37"); err != nil {
			return err
		}
		names["server "+name] = answer.Server.ID
		s.remember("server", answer.Server.ID)
		if err := s.awaitServer(ctx, answer.Server.ID, "active", ""); err != nil {
			return err
		}
		time.Sleep(s.spacing)
	}
	if err := s.act(ctx, "lister", names["server c"], "os-stop", nil); err != nil {
		return err
	}
	if err := s.awaitServer(ctx, names["server c"], "stopped", ""); err != nil {
		return err
	}
	if err := s.send(ctx, http.MethodDelete, all+"/"+names["server d"], "lister", nil, nil); err != nil {
		return err
	}
	if err := s.awaitServer(ctx, names["server d"], "", ""); err != nil {
		return err
	}
	names["later"] = time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	names["earlier"] = time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	return nil
}

func serverLists() []step {
	const servers = "{nova}/v2.1/servers"
	var steps []step
	get := func(who, query string, version ...string) {
		st := step{
			name:   strings.Join(append([]string{"GET " + query + " as " + who}, version...), ", "),
			as:     who,
			method: "GET",
			path:   servers + query,
		}
		if len(version) > 0 {
			st.header = at("compute " + version[0])
		}
		steps = append(steps, st)
	}
	get("lister", "")
	get("lister", "?limit=2")
	get("lister", "?limit=2&marker={server b}")
	get("lister", "?limit=3")
	get("lister", "?limit=4")
	get("lister", "?limit=3&marker={server a}")
	get("lister", "?limit=0")
	get("lister", "?limit=5000")
	get("lister", "?limit=-1")
	get("lister", "?limit=x")
	get("lister", "?limit=1&limit=2")
	get("lister", "?marker="+unknownID)
	get("lister", "?marker={server d}")
	get("lister", "?marker=x")
	get("lister", "/detail?limit=1")
	get("lister", "/detail?limit=1", "2.9")
	get("lister", "/detail?limit=1&marker={server c}", "2.93")
	get("lister", "/detail?name=nothing")
	get("lists admin", "/detail?limit=1", "2.93")
	get("lister", "?name=contract")
	get("lister", "?name=contract+a")
	get("lister", "?name=CT.*b$")
	get("lister", "?status=ACTIVE")
	get("lister", "?status=shutoff")
	get("lister", "?status=ACTIVE&status=SHUTOFF&limit=1")
	get("lister", "?status=nonsense")
	get("lister", "?status=deleted")
	get("lister", "?vm_state=stopped")
	get("lister", "?flavor=42&limit=1")
	get("lister", "?flavor=84")
	get("lister", "?image={image}&limit=1")
	get("lister", "?uuid={server b}")
	get("lister", "?user_id={member id}")
	get("lister", "?project_id={demo}")
	get("lister", "?tenant_id={lists}")
	get("lister", "?deleted=true")
	get("lister", "?metadata=%7B%22letter%22%3A%22b%22%7D")
	get("lister", "?nonsense=1")
	get("lister", "?nonsense=1", "2.75")
	get("lister", "?changes-since={later}")
	get("lister", "?changes-since={earlier}")
	get("lister", "?changes-since=yesterday")
	get("lister", "?changes-before={earlier}", "2.66")
	get("lister", "?changes-before={later}", "2.66")
	get("lister", "?sort_key=display_name&sort_dir=asc")
	get("lister", "?sort_key=display_name")
	get("lister", "?sort_key=display_name&sort_dir=asc&limit=2")
	get("lister", "?sort_key=display_name&sort_dir=asc&limit=2&marker={server b}")
	get("lister", "?sort_key=created_at&sort_dir=asc&limit=1")
	get("lister", "?sort_key=vm_state&sort_key=display_name&sort_dir=desc&sort_dir=asc")
	get("lister", "?sort_key=nonsense")
	get("lister", "?sort_key=name")
	get("lister", "?sort_key=uuid&sort_dir=up")
	get("lister", "?sort=name:asc")
	get("lister", "?all_tenants=1")
	get("lister", "/detail?all_tenants=1")
	get("lister", "?all_tenants=0")
	get("lister", "?all_tenants=x")
	get("lists admin", "?all_tenants=1&project_id={lists}")
	get("lists admin", "?all_tenants=1&tenant_id={lists}&limit=2")
	get("lists admin", "?all_tenants=1&project_id={lists}&limit=2&marker={server b}")
	get("lists admin", "?all_tenants=true&project_id=0123456789abcdef0123456789abcdef")
	get("lists admin", "?project_id={lists}")
	get("lists admin", "?all_tenants=1&uuid={server a}")
	get("lists admin", "?status=deleted")
	get("lists admin", "?deleted=true")
	get("lists admin", "?changes-since={earlier}")
	get("admin", "?uuid={server a}")
	get("admin", "?project_id={lists}&all_tenants=False")
	get("anonymous", "")
	get("domain admin", "?uuid={server a}")
	return steps
}

// listedVolumes creates the volumes a to c of one, two and three GiB, with a snapshot each; c is in error.
func listedVolumes(ctx ctx, s *session, names map[string]string) error {
	root := s.names["cinder"] + "/v3/" + s.names["lists"]
	for i, name := range []string{"a", "b", "c"} {
		for _, kind := range []string{"volume", "snapshot"} {
			body := map[string]any{"name": "contract " + name, "metadata": map[string]string{"letter": name}}
			if kind == "volume" {
				body["size"] = i + 1
			} else {
				body["volume_id"] = names["volume "+name]
			}
			var answer map[string]struct{ ID string }
			if err := s.send(
				ctx,
				http.MethodPost,
				root+"/"+kind+"s",
				"lister",
				map[string]any{kind: body},
				&answer,
			); err != nil {
				return err
			}
			id := answer[kind].ID
			names[kind+" "+name] = id
			s.remember(kind, id)
			if err := s.awaitVolume(ctx, kind, id, "available"); err != nil {
				return err
			}
		}
		time.Sleep(s.spacing)
	}
	return s.send(ctx, http.MethodPost, root+"/volumes/"+names["volume c"]+"/action", "lists admin", map[string]any{
		"os-reset_status": map[string]string{"status": "error"},
	}, nil)
}

// volumeLists returns the requests for lists of volumes or snapshots.
func volumeLists(one string) []step {
	root := "{cinder}/v3/{%s}/" + one + "s"
	var steps []step
	get := func(who, query string, version ...string) {
		project := "lists"
		if who == "admin" {
			project = "admin"
		}
		st := step{
			name:   strings.Join(append([]string{"GET " + one + "s" + query + " as " + who}, version...), ", "),
			as:     who,
			method: "GET",
			path:   fmt.Sprintf(root, project) + query,
		}
		if len(version) > 0 {
			st.header = at("volume " + version[0])
		}
		steps = append(steps, st)
	}
	get("lister", "")
	get("lister", "?limit=2")
	get("lister", "?limit=2&marker={"+one+" b}")
	get("lister", "?limit=3")
	get("lister", "?limit=4")
	get("lister", "?limit=3&marker={"+one+" a}")
	get("lister", "?limit=0")
	get("lister", "?limit=5000")
	get("lister", "?limit=-1")
	get("lister", "?limit=x")
	get("lister", "?offset=1")
	get("lister", "?offset=1&limit=1")
	get("lister", "?offset=-1")
	get("lister", "?marker="+unknownID)
	get("lister", "?marker=x")
	get("lister", "/detail?limit=1")
	get("lister", "/detail?limit=1", "3.41")
	get("lister", "/detail?limit=1&marker={"+one+" c}", "3.70")
	get("lists admin", "/detail?limit=1", "3.70")
	get("lister", "/detail?name=nothing")
	get("lister", "?name=contract+b")
	get("lister", "?status=available")
	get("lister", "?status=error")
	get("lister", "?status=nonsense")
	get("lister", "?metadata=%7B%27letter%27%3A%27b%27%7D")
	get("lister", "?metadata=%7B%22letter%22%3A%22b%22%2C%22x%22%3A%221%22%7D")
	get("lister", "?volume_id={volume b}")
	get("lister", "?nonsense=1")
	get("lister", "?nonsense=1", "3.31")
	get("lister", "?nonsense=1", "3.70")
	get("lists admin", "?nonsense=1")
	get("lister", "?with_count=true&limit=1", "3.44")
	get("lister", "?with_count=true&limit=1", "3.45")
	get("lister", "?with_count=nonsense", "3.45")
	get("lister", "?sort=created_at:asc")
	get("lister", "?sort=created_at:asc&limit=2")
	get("lister", "?sort=created_at:asc&limit=2&marker={"+one+" b}")
	get("lister", "?sort=created_at")
	get("lister", "?sort=status:asc,created_at:asc")
	get("lister", "?sort_key=created_at&sort_dir=asc")
	get("lister", "?sort_key=created_at&sort_dir=asc&limit=1")
	get("lister", "?sort=name:asc")
	get("lister", "?sort=size:desc")
	get("lister", "?sort=nonsense:asc")
	get("lister", "?sort=created_at:up")
	get("lister", "?sort=created_at:asc&sort_key=name")
	get("lister", "?sort=project_id")
	get("lister", "?all_tenants=1")
	get("lister", "?all_tenants=x")
	get("lister", "?project_id={demo}")
	get("lists admin", "?all_tenants=1&project_id={lists}")
	get("lists admin", "?all_tenants=1&project_id={lists}&limit=2")
	get("lists admin", "?all_tenants=1&project_id={lists}&limit=2&marker={"+one+" b}")
	get("lists admin", "?all_tenants=1&project_id=0123456789abcdef0123456789abcdef")
	get("lists admin", "?project_id={demo}")
	get("admin", "?all_tenants=1&project_id={lists}&limit=1")
	get("anonymous", "")
	return steps
}
