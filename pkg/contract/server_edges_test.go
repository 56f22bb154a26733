package contract_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

// serverEdges returns requests at the limits of what Nova accepts.
func serverEdges() []group {
	return []group{
		{name: "server keys", metadata: serverMetadata, prepare: newServer, steps: serverKeys()},
		{name: "server values", metadata: serverMetadata, prepare: newServer, steps: serverValues()},
		{name: "server bodies", metadata: serverMetadata, prepare: newServer, steps: serverBodies()},
		{name: "server quota", metadata: serverMetadata, prepare: newServer, steps: serverQuota(), ours: []operation{
			{name: "Update over the quota", id: "server", class: metadata.Quota, do: func(ctx ctx, api ourAPI, id string) error {
				return api.servers.Update(ctx, id, map[string]string{"two-more": "1"})
			}},
			{name: "Update of what is there", id: "server", do: func(ctx ctx, api ourAPI, id string) error {
				return api.servers.Update(ctx, id, map[string]string{"k1": "2"})
			}},
		}},
		{name: "server paths", metadata: serverMetadata, prepare: newServer, steps: serverPaths(), ours: serverPathsOurs()},
		{name: "server roles", metadata: serverMetadata, prepare: newServer, steps: serverRoles(),
			ours: serverRolesOurs()},
		{name: "server versions", metadata: serverMetadata, prepare: newServer, steps: serverVersions()},
	}
}

// post returns a POST of metadata as JSON.
func post(name, path string, metadata any) step {
	return step{name: name, method: "POST", path: path, body: jsonText(map[string]any{"metadata": metadata})}
}

// put returns a PUT of one key.
func put(name, path, key string, value any) step {
	return step{name: name, method: "PUT", path: path + "/" + url.PathEscape(key),
		body: jsonText(map[string]any{"meta": map[string]any{key: value}})}
}

func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // all values of the table have a JSON form
	}
	return string(text)
}

// oddKeys are unusual keys.
var oddKeys = []struct{ name, key string }{
	{"of 255", strings.Repeat("k", 255)}, {"of 256", strings.Repeat("k", 256)}, {"space", "a b"},
	{"leading space", " a"}, {"trailing space", "a "}, {"dot", "a.b"}, {"colon", "a:b"}, {"underscore", "a_b"},
	{"hyphen", "a-b"}, {"slash", "a/b"}, {"percent", "a%b"}, {"percent-encoded slash", "a%2Fb"}, {"plus", "a+b"},
	{"comma", "a,b"}, {"hash", "a#b"}, {"question mark", "a?b"}, {"ampersand", "a&b"}, {"semicolon", "a;b"},
	{"quote", `a"b`}, {"apostrophe", "a'b"}, {"backslash", `a\b`}, {"non-ASCII", "é"}, {"CJK", "标签"},
	{"emoji", "\U0001F600"}, {"newline", "a\nb"}, {"trailing newline", "a\n"}, {"control character", "a\x01b"},
	{"ends in .json", "x.json"}, {"ends in .xml", "x.xml"}, {"a dot alone", "."}, {"two dots", ".."},
	{"three dots", "..."}, {"metadata", "metadata"}, {"upper case", "ENV"},
}

func serverKeys() []step {
	steps := []step{post("POST key empty", serverMetadata, map[string]any{"": "1"})}
	for _, k := range oddKeys {
		path := serverMetadata + "/" + url.PathEscape(k.key)
		steps = append(steps,
			post("POST key "+k.name, serverMetadata, map[string]any{k.key: "1"}),
			step{name: "GET key " + k.name, method: "GET", path: path},
			step{name: "DELETE key " + k.name, method: "DELETE", path: path})
	}
	for _, i := range []int{1, 2, 9, 15, 21} {
		steps = append(steps, put("PUT key "+oddKeys[i].name, serverMetadata, oddKeys[i].key, "1"))
	}
	return append(steps,
		post("POST two bad keys", serverMetadata, map[string]any{"a/b": "1", "c/d": "2"}),
		post("POST a good and a bad key", serverMetadata, map[string]any{"good": "1", "c/d": "2"}),
		post("POST Owner where owner is", serverMetadata, map[string]any{"Owner": "bob"}),
		step{name: "GET OWNER where owner is", method: "GET", path: serverMetadata + "/OWNER"},
		step{name: "DELETE OWNER where owner is", method: "DELETE", path: serverMetadata + "/OWNER"},
		post("POST OWNER and owner", serverMetadata, map[string]any{"OWNER": "bob", "owner": "alice"}),
		step{name: "DELETE OWNER where both are", method: "DELETE", path: serverMetadata + "/OWNER"},
		post("POST with a trailing space and without", serverMetadata, map[string]any{"a": "1", "a ": "2"}),
		step{name: "DELETE the one without", method: "DELETE", path: serverMetadata + "/a"},
	)
}

// oddValues are unusual values.
var oddValues = []struct {
	name  string
	value any
}{
	{"empty", ""}, {"space", " "}, {"of 255", strings.Repeat("v", 255)}, {"of 256", strings.Repeat("v", 256)},
	{"of 255 non-ASCII", strings.Repeat("é", 255)}, {"of 256 non-ASCII", strings.Repeat("é", 256)}, {"CJK", "标签"},
	{"emoji", "\U0001F600"}, {"newline", "a\nb"}, {"tab", "a\tb"}, {"escape", "\x1b[31m"}, {"zero", "a\x00b"},
	{"quotes", `"'\`}, {"HTML", "<b>&"}, {"integer", 1}, {"float", 1.5}, {"true", true}, {"null", nil},
	{"list", []any{}}, {"object", map[string]any{}}, {"lone surrogate", json.RawMessage(`"\ud800"`)},
}

func serverValues() []step {
	var steps []step
	for _, v := range oddValues {
		steps = append(steps, post("POST value "+v.name, serverMetadata, map[string]any{"v": v.value}))
	}
	for _, i := range []int{0, 3, 14, 17} {
		steps = append(steps, put("PUT value "+oddValues[i].name, serverMetadata, "v", oddValues[i].value))
	}
	return append(steps, post("POST a good and a bad value", serverMetadata, map[string]any{"good": "1", "v": 1}))
}

// oddBodies returns requests with invalid bodies; member is the name of the expected member.
func oddBodies(path, method, member string) []step {
	var steps []step
	for _, b := range []struct{ name, body string }{
		{"none", ""}, {"empty object", `{}`}, {"null", `null`}, {"list", `[]`}, {"text", `"x"`}, {"not JSON", `hello`},
		{"truncated", `{"` + member + `": {"a"`}, {"invalid UTF-8", "{\"" + member + "\": {\"a\": \"\xff\"}}"},
		{"byte order mark", "\ufeff{\"" + member + "\": {\"a\": \"1\"}}"}, {"member null", `{"` + member + `": null}`},
		{"member list", `{"` + member + `": []}`}, {"member text", `{"` + member + `": "x"}`},
		{"other member", `{"other": {"a": "1"}}`}, {"one member more", `{"` + member + `": {"a": "1"}, "other": 1}`},
		{"the same key twice", `{"` + member + `": {"a": "1", "a": "2"}}`},
		{"two values", `{"` + member + `": {"a": "1"}} {}`}, {"empty map", `{"` + member + `": {}}`},
		{"NaN", `{"` + member + `": {"a": NaN}}`},
		{"too large", `{"` + member + `": {"a": "` + strings.Repeat("v", 114_688) + `"}}`},
	} {
		steps = append(steps, step{name: method + " body " + b.name, method: method, path: path, body: b.body})
	}
	good := `{"` + member + `": {"a": "1"}}`
	steps = append(steps, step{name: method + " chunked", method: method, path: path, body: good, chunked: true})
	for _, contentType := range []string{"", "text/plain", "application/xml", "application/json; charset=utf-8",
		"application/JSON", "json", "application/json;", "multipart/form-data"} {
		name := contentType
		if name == "" {
			name = "none"
		}
		steps = append(steps, step{name: method + " type " + name, method: method, path: path, body: good,
			header: map[string]string{"Content-Type": contentType}})
	}
	for _, accept := range []string{"", "*/*", "text/html", "application/xml"} {
		name := accept
		if name == "" {
			name = "none"
		}
		steps = append(steps,
			step{name: method + " accept " + name, method: method, path: path, body: good,
				header: map[string]string{"Accept": accept}},
			step{name: method + " accept " + name + ", refused", method: method, path: path, body: `{}`,
				header: map[string]string{"Accept": accept}},
			step{name: method + " accept " + name + ", no route", method: method, path: path + "/a/b", body: good,
				header: map[string]string{"Accept": accept}})
	}
	return steps
}

func serverBodies() []step {
	return append(oddBodies(serverMetadata, "POST", "metadata"),
		step{name: "PUT with another key", method: "PUT", path: serverMetadata + "/a", body: `{"meta": {"b": "1"}}`},
		step{name: "PUT two keys", method: "PUT", path: serverMetadata + "/a", body: `{"meta": {"a": "1", "b": "1"}}`},
		step{name: "PUT metadata", method: "PUT", path: serverMetadata + "/a", body: `{"metadata": {"a": "1"}}`},
		step{name: "PUT no key", method: "PUT", path: serverMetadata + "/a", body: `{"meta": {}}`},
		step{name: "DELETE with a body", method: "DELETE", path: serverMetadata + "/a", body: `{}`},
		step{name: "GET with a body", method: "GET", path: serverMetadata, body: `{"x": 1}`},
	)
}

// manyKeys returns n keys, from k1 on.
func manyKeys(n int) map[string]any {
	m := map[string]any{}
	for i := range n {
		m[fmt.Sprintf("k%d", i+1)] = "1"
	}
	return m
}

func serverQuota() []step {
	return []step{
		post("POST 127 to 2", serverMetadata, manyKeys(127)),
		post("POST 126 to 2", serverMetadata, manyKeys(126)),
		post("POST the 129th", serverMetadata, map[string]any{"one-more": "1"}),
		put("PUT the 129th", serverMetadata, "one-more", "1"),
		post("POST over one of 128", serverMetadata, map[string]any{"k1": "2"}),
		put("PUT over one of 128", serverMetadata, "k1", "3"),
		{name: "DELETE one of 128", method: "DELETE", path: serverMetadata + "/k2"},
		post("POST the 128th again", serverMetadata, map[string]any{"one-more": "1"}),
		post("POST 129 at once", serverMetadata, manyKeys(129)),
	}
}

const unknownID = "0e6ef0a4-5b5e-4f3f-9d6e-0d3c9c0c0001"

func serverPaths() []step {
	var steps []step
	at := func(name, path string) {
		steps = append(steps,
			step{name: "GET " + name, method: "GET", path: path},
			step{name: "POST " + name, method: "POST", path: path, body: `{"metadata": {"a": "1"}}`},
			step{name: "DELETE " + name, method: "DELETE", path: path + "/a"})
	}
	at("trailing slash", serverMetadata+"/")
	at("double slash", "{nova}/v2.1/servers/{server}//metadata")
	at("project", "{nova}/v2.1/{demo}/servers/{server}/metadata")
	at("legacy, project", "{nova}/v2/{demo}/servers/{server}/metadata")
	at("legacy", "{nova}/v2/servers/{server}/metadata")
	at("other project", "{nova}/v2.1/{other}/servers/{server}/metadata")
	at("legacy, other project", "{nova}/v2/{other}/servers/{server}/metadata")
	at("unknown project", "{nova}/v2.1/0123456789abcdef0123456789abcdef/servers/{server}/metadata")
	at("project that is none", "{nova}/v2.1/no-project/servers/{server}/metadata")
	at("no version", "{nova}/servers/{server}/metadata")
	at("version 3", "{nova}/v3/servers/{server}/metadata")
	at("unknown id", "{nova}/v2.1/servers/"+unknownID+"/metadata")
	at("id is no UUID", "{nova}/v2.1/servers/web-1/metadata")
	at("id is a path", "{nova}/v2.1/servers/..%2F..%2Fservers/metadata")
	at("id is non-ASCII", "{nova}/v2.1/servers/%C3%A9/metadata")
	at("id with a space", "{nova}/v2.1/servers/{server}%20/metadata")
	at("upper case", "{nova}/v2.1/servers/{SERVER}/metadata")
	at("without hyphens", "{nova}/v2.1/servers/{server without hyphens}/metadata")
	at("format", serverMetadata+".json")
	at("query", serverMetadata+"?a=b")
	for _, method := range []string{"PATCH", "OPTIONS", "HEAD"} {
		steps = append(steps,
			step{name: method + " metadata", method: method, path: serverMetadata},
			step{name: method + " key", method: method, path: serverMetadata + "/env"})
	}
	return append(steps,
		step{name: "DELETE metadata", method: "DELETE", path: serverMetadata},
		step{name: "POST key", method: "POST", path: serverMetadata + "/env", body: `{"meta": {"env": "1"}}`},
		step{name: "PUT collection", method: "PUT", path: serverMetadata, body: `{"metadata": {"only": "this"}}`},
		step{name: "GET server that is unknown", method: "GET", path: "{nova}/v2.1/servers/" + unknownID},
		step{name: "GET server that is no UUID", method: "GET", path: "{nova}/v2.1/servers/web-1"},
		step{name: "GET server with a trailing slash", method: "GET", path: oneServer + "/"},
	)
}

// stepsAs returns every operation as each of the users.
func stepsAs(metadata string, users ...string) []step {
	var steps []step
	for _, who := range users {
		steps = append(steps,
			step{name: "GET as " + who, as: who, method: "GET", path: metadata},
			step{name: "POST as " + who, as: who, method: "POST", path: metadata, body: `{"metadata": {"by": "` + who + `"}}`},
			step{name: "PUT as " + who, as: who, method: "PUT", path: metadata + "/by",
				body: `{"meta": {"by": "` + who + `, too"}}`},
			step{name: "GET key as " + who, as: who, method: "GET", path: metadata + "/env"},
			step{name: "DELETE as " + who, as: who, method: "DELETE", path: metadata + "/by"})
	}
	return steps
}

func serverRoles() []step {
	steps := stepsAs(serverMetadata,
		"admin", "demo admin", "reader", "stranger", "anonymous", "wrong", "revoked", "expired")
	for _, who := range []string{"stranger", "anonymous", "wrong", "expired", "admin"} {
		steps = append(steps, step{name: "GET server as " + who, as: who, method: "GET", path: oneServer})
	}
	return append(steps,
		step{name: "anonymous, accepting HTML", as: "anonymous", method: "GET", path: serverMetadata,
			header: map[string]string{"Accept": "text/html"}},
		step{name: "a stranger with our project in the path", as: "stranger", method: "POST",
			path: "{nova}/v2.1/{demo}/servers/{server}/metadata",
			body: `{"metadata": {"a": "1"}}`},
		step{name: "a stranger with the own project in the path", as: "stranger", method: "POST",
			path: "{nova}/v2.1/{other}/servers/{server}/metadata",
			body: `{"metadata": {"a": "1"}}`},
		step{name: "an admin of another project with ours in the path", as: "admin", method: "POST",
			path: "{nova}/v2.1/{demo}/servers/{server}/metadata",
			body: `{"metadata": {"a": "1"}}`},
		step{name: "an admin with the own project in the path", as: "admin", method: "POST",
			path: "{nova}/v2.1/{admin}/servers/{server}/metadata",
			body: `{"metadata": {"a": "1"}}`},
	)
}

func serverRolesOurs() []operation {
	update := func(who string, class metadata.Class) operation {
		return operation{name: "Update as " + who, as: who, id: "server", class: class,
			do: func(ctx ctx, api ourAPI, id string) error {
				return api.servers.Update(ctx, id, map[string]string{"ours": "1"})
			}}
	}
	return []operation{
		update("admin", ""), update("reader", ""), update("stranger", metadata.Gone),
		update("anonymous", metadata.Unauthenticated), update("wrong", metadata.Unauthenticated),
		update("revoked", metadata.Unauthenticated), update("expired", metadata.Unauthenticated),
	}
}

// Wrong and unusual endpoints.
func serverPathsOurs() []operation {
	update := func(name, endpoint string, class metadata.Class) operation {
		return operation{name: "Update at " + name, id: "server", compute: endpoint, class: class,
			do: func(ctx ctx, api ourAPI, id string) error {
				return api.servers.Update(ctx, id, map[string]string{"ours": "1"})
			}}
	}
	return []operation{
		update("an endpoint with the project", "{nova}/v2.1/{demo}/", ""),
		update("the legacy endpoint", "{nova}/v2/{demo}/", ""),
		update("another project's endpoint", "{nova}/v2.1/{other}/", metadata.Invalid),
		update("another version", "{nova}/v9/", metadata.Unavailable),
		update("no version", "{nova}/", metadata.Unavailable),
		update("another service", "{cinder}/v3/{demo}/", metadata.Unavailable),
		{name: "Get of a server that never was", id: "unknown", class: metadata.Gone,
			do: func(ctx ctx, api ourAPI, _ string) error {
				_, err := api.servers.Get(ctx, unknownID)
				return err
			}},
	}
}

func serverVersions() []step {
	var steps []step
	for _, v := range []string{"compute 2.1", "compute 2.60", "compute 2.93", "compute 2.94", "compute 2.0", "compute 3.0",
		"compute latest", "compute x", "compute", "2.93", "volume 3.70"} {
		h := map[string]string{"OpenStack-API-Version": v}
		steps = append(steps,
			step{name: "GET server, " + v, method: "GET", path: oneServer, header: h},
			step{name: "POST, " + v, method: "POST", path: serverMetadata, body: `{"metadata": {"a": "1"}}`, header: h})
	}
	for _, v := range []string{"2.9", "2.94"} {
		steps = append(steps, step{name: "GET server, old header " + v, method: "GET", path: oneServer,
			header: map[string]string{"X-OpenStack-Nova-API-Version": v}})
	}
	return append(steps, step{name: "legacy with a version", method: "GET", path: "{nova}/v2/servers/{server}/metadata",
		header: map[string]string{"OpenStack-API-Version": "compute 2.94"}})
}
