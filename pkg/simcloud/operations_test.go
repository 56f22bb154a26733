package simcloud_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// TestOperations does what clients do beside tagging, in order. The responses are those of the real services.
func TestOperations(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutServer(simcloud.Server{ID: serverID, Name: "web"})
	c.PutSnapshot(simcloud.Snapshot{ID: snapshotID})
	s, _ := c.Snapshot(snapshotID)
	user, _ := c.User("demo")
	other, _ := c.Project("other")
	image, _ := c.Image("cirros")
	tokens := map[string]string{"member": tokenFor(t, c, "demo", "demo"), "admin": tokenFor(t, c, "admin", "admin"),
		"unscoped": tokenFor(t, c, "demo", "")}
	fill := strings.NewReplacer("{project}", demo(t, c), "{other}", other.ID, "{server}", serverID, "{snapshot}",
		snapshotID, "{volume}", s.VolumeID,
		"{user}", user.ID, "{image}", image.ID)
	for _, test := range []struct {
		who, method, path, body string
		status                  int
		answer                  string // a part of it
	}{
		{"member", "GET", "/identity/v3/users/{user}", "", 200,
			`{"user": {"id": "{user}", "name": "demo", "domain_id": "default"`},
		{"member", "GET", "/identity/v3/users/nope", "", 403, "identity:get_user."},
		{"admin", "GET", "/identity/v3/users/nope", "", 404, "Could not find user: nope."},
		{"member", "GET", "/identity/v3/users/{user}/projects", "", 200, `"name": "demo"`},
		{"member", "GET", "/identity/v3/projects", "", 403, "identity:list_projects."},
		{"admin", "GET", "/identity/v3/projects?name=other", "", 200, `{"projects": [{"id": "{other}", "name": "other"`},
		{"member", "GET", "/identity/v3/projects/{project}", "", 200, `{"project": {"id": "{project}"`},
		{"member", "GET", "/identity/v3/projects/{other}", "", 403, "identity:get_project."},
		{"admin", "GET", "/identity/v3/projects/nope", "", 404, "Could not find project: nope."},
		{"member", "GET", "/identity/v3/domains/default", "", 200, `"name": "Default"`},
		{"member", "GET", "/identity/v3/regions", "", 200, `{"regions": [{"id": "RegionOne"`},
		{"", "GET", "/identity/v3/regions", "", 401, `{"error":{"code":401`},
		{"member", "PUT", "/identity/v3/auth/tokens", `{}`, 405, "The method is not allowed for the requested URL."},

		{"member", "GET", "/compute/v2.1/flavors/84", "", 200,
			`{"flavor": {"id": "84", "name": "m1.micro", "ram": 192, "disk": 1`},
		{"member", "GET", "/compute/v2.1/flavors/nope", "", 404, "Flavor nope could not be found."},
		{"member", "GET", "/compute/v2.1/flavors/84/os-extra_specs", "", 200, `{"extra_specs": {}}`},
		{"member", "GET", "/compute/v2.1/limits", "", 200, `"maxServerMeta": 128`},
		{"member", "GET", "/compute/v2.1/os-availability-zone", "", 200, `"zoneName": "nova"`},
		{"member", "GET", "/compute/v2.1/os-availability-zone/detail", "", 403, "os_compute_api:os-availability-zone:detail"},
		{"member", "GET", "/compute/v2.1/os-keypairs", "", 200, `{"keypairs": []}`},
		{"member", "GET", "/compute/v2.1/servers/{server}/os-volume_attachments", "", 200, `{"volumeAttachments": []}`},
		{"member", "GET", "/compute/v2.1/servers/{server}/os-interface", "", 200, `{"interfaceAttachments": []}`},
		{"member", "GET", "/compute/v2.1/servers/nope/os-security-groups", "", 404, "Instance nope could not be found."},
		{"member", "PUT", "/compute/v2.1/servers/{server}", `{"server": {"name": "db"}}`, 200, `"name": "db"`},
		{"member", "PUT", "/compute/v2.1/servers/{server}", `{"server": {"bogus": 1}}`, 400,
			"Additional properties are not allowed ('bogus' was unexpected)"},
		{"admin", "POST", "/compute/v2.1/servers/{server}/action", `{"os-resetState": {"state": "error"}}`, 202, ""},
		{"member", "GET", "/compute/v2.1/servers/{server}", "", 200, `"status": "ERROR"`},
		{"member", "GET", "/compute/v2.1/{project}/servers/{server}", "", 200,
			`"href": "http://simcloud.invalid/compute/v2.1/{project}/servers/{server}"`},
		{"unscoped", "GET", "/compute/v2.1/servers", "", 200, `{"servers": []}`},
		{"unscoped", "GET", "/compute/v2.1/servers/{server}", "", 500, "<class 'nova.exception.NovaException'>"},
		{"unscoped", "GET", "/volume/v3/snapshots", "", 403, "Not authorized."},

		{"member", "GET", "/volume/v3/types", "", 200, `"name": "__DEFAULT__"`},
		{"member", "GET", "/volume/v3/types/nope", "", 404, "Volume type nope could not be found."},
		{"member", "GET", "/volume/v3/limits", "", 200, `"totalVolumesUsed": 1`},
		{"member", "GET", "/volume/v3/os-availability-zone", "", 200, `"zoneName": "nova"`},
		{"member", "POST", "/volume/v3/volumes", `{"volume": {"size": 0}}`, 400,
			"Invalid input for field/attribute size. Value: 0. 0 is less than the minimum of 1"},
		{"member", "POST", "/volume/v3/volumes", `{"volume": {"size": "x"}}`, 400, "'x' does not match '^[0-9]+$'"},
		{"member", "POST", "/volume/v3/volumes", `{"volume": {"size": 1, "volume_type": "nope"}}`, 404,
			"Volume type with name nope could not be found."},
		{"member", "POST", "/volume/v3/volumes", `{"volume": {"snapshot_id": "{snapshot}", "name": "copy"}}`, 202,
			`"snapshot_id": "{snapshot}"`},
		{"member", "GET", "/volume/v3/volumes?name=copy", "", 200, `"name": "copy"`},
		{"member", "GET", "/volume/v3/volumes/detail", "", 200, `"os-vol-tenant-attr:tenant_id": "{project}"`},
		{"member", "GET", "/volume/v3/volumes/{volume}", "", 200, `"status": "available"`},
		{"member", "PUT", "/volume/v3/volumes/{volume}",
			`{"volume": {"name": "data", "description": "d", "metadata": {"q": "1"}}}`, 200,
			`"name": "data", "description": "d"`},
		{"member", "GET", "/volume/v3/volumes/{volume}/metadata", "", 200, `{"metadata": {"q": "1"}}`},
		{"member", "POST", "/volume/v3/volumes/{volume}/metadata", `{"metadata": {"a/b": "1"}}`, 200,
			`{"metadata": {"a/b": "1", "q": "1"}}`},
		{"member", "POST", "/volume/v3/volumes/{volume}/metadata", `{"metadata": {"é": "1"}}`, 400,
			`does not match any of the regexes: '^[a-zA-Z0-9-_:. /]{1,255}$'`},
		{"member", "PUT", "/volume/v3/volumes/{volume}/metadata", `{"metadata": {"z": "1"}}`, 200,
			`{"metadata": {"z": "1"}}`},
		{"member", "GET", "/volume/v3/volumes/{volume}/metadata/z", "", 200, `{"meta": {"z": "1"}}`},
		{"member", "GET", "/volume/v3/volumes/{volume}/metadata/zz", "", 404, "Volume {volume} has no metadata with key zz."},
		{"member", "PUT", "/volume/v3/snapshots/{snapshot}", `{"snapshot": {"name": "nightly"}}`, 200, `"name": "nightly"`},
		{"member", "PUT", "/volume/v3/snapshots/{snapshot}", `{"snapshot": {}}`, 400,
			"{} is not valid under any of the given schemas"},
		{"member", "POST", "/volume/v3/snapshots", `{"snapshot": {"volume_id": "nope"}}`, 400,
			"'nope' is not valid under any of the given schemas"},
		{"member", "POST", "/volume/v3/snapshots", `{"snapshot": {"volume_id": "{volume}", "force": "maybe"}}`, 400,
			"'maybe' is not one of [True, 'True', 'TRUE'"},
		{"member", "DELETE", "/volume/v3/volumes/{volume}", "", 400,
			"must not be migrating, attached, belong to a group, have snapshots"},

		{"member", "GET", "/image/v2/images/{image}", "", 200, `{"name": "cirros"`},
		{"member", "GET", "/image/v2/images/nope", "", 404, "No image found with ID nope"},
	} {
		what := test.who + " " + test.method + " " + test.path
		var body any
		if test.body != "" {
			body = fill.Replace(test.body)
		}
		a := call(t, c, test.method, fill.Replace(test.path), body, "X-Auth-Token", tokens[test.who])
		wantStatus(t, what, a, test.status)
		if want := fill.Replace(test.answer); !strings.Contains(a.body, want) {
			t.Errorf("%s: got %s, want %s in it", what, a.body, want)
		}
	}
}

// Messages quote values as Python does.
func TestMessagesQuoteAsPython(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	token := tokenFor(t, c, "demo", "demo")
	for _, test := range []struct{ body, value string }{
		{`1`, "1"}, {`-0.5`, "-0.5"}, {`1.0`, "1.0"}, {`1e3`, "1000.0"}, {`1e16`, "1e+16"}, {`1e-5`, "1e-05"},
		{`1e400`, "inf"}, {`123456789012345678901234567890`, "123456789012345678901234567890"},
		{`true`, "True"}, {`null`, "None"}, {`[]`, "[]"}, {`{}`, "{}"},
		{`[1, "a", {"b": false}]`, "[1, 'a', {'b': False}]"},
		{`{"it's": "x"}`, `{"it's": 'x'}`},
		{`["both ' and \""]`, `['both \' and "']`},
		{`["tab\t, newline\n, return\r, back\\slash, bell\u0007"]`, `['tab\t, newline\n, return\r, back\\slash, bell\x07']`},
		{`["é \u00a0 \u2028 \ud83d\ude00"]`, `['é \xa0 \u2028 😀']`},
		{`{"a": 1, "b": 2, "a": 3}`, "{'a': 3, 'b': 2}"},
	} {
		a := call(t, c, "POST", metadataPath(""), `{"metadata": {"k": `+test.body+`}}`, "X-Auth-Token", token)
		want := "Invalid input for field/attribute k. Value: " + test.value + ". " + test.value + " is not of type 'string'"
		if got := message(t, a); got != want {
			t.Errorf("%s: got %q, want %q", test.body, got, want)
		}
		if !json.Valid([]byte(a.body)) || strings.ContainsFunc(a.body, func(r rune) bool { return r > 0x7e }) {
			t.Errorf("%s: the response is not JSON in ASCII: %s", test.body, a.body)
		}
	}
}
