package simcloud_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

func TestJournal(t *testing.T) {
	var hooked []simcloud.Request
	c := simcloud.New(simcloud.Options{OnRequest: func(r simcloud.Request) { hooked = append(hooked, r) }})
	c.PutServer(simcloud.Server{ID: serverID})
	token := tokenFor(t, c, "demo", "demo")
	call(t, c, "POST", metadataPath(""), `{"metadata": {"password": "kept"}}`, "X-Auth-Token", token)
	call(t, c, "GET", metadataPath("zz"), nil, "X-Auth-Token", token)
	got := c.Requests()
	want := []simcloud.Request{
		{Service: "identity", Method: "POST", Path: "/identity/v3/auth/tokens", Status: 201,
			Body: `{"auth": {"identity": {"methods": ["password"], "password": ` +
				`{"user": {"name": "demo", "domain": {"id": "default"}, "password": "(secret)"}}}, ` +
				`"scope": {"project": {"name": "demo", "domain": {"id": "default"}}}}}`},
		{Service: "compute", Method: "POST", Path: metadataPath(""), Status: 200, Body: `{"metadata": {"password": "kept"}}`,
			User: "demo", Project: "demo"},
		{Service: "compute", Method: "GET", Path: metadataPath("zz"), Status: 404, User: "demo", Project: "demo"},
	}
	for where, list := range map[string][]simcloud.Request{"journal": got, "hook": hooked} {
		for i := range list {
			if list[i].Time.IsZero() {
				t.Errorf("%s: %s %s has no time", where, list[i].Method, list[i].Path)
			}
			list[i].Time, list[i].Duration = time.Time{}, 0
		}
		if diff := cmp.Diff(want, list); diff != "" {
			t.Errorf("%s (-want +got):\n%s", where, diff)
		}
	}
	c.ForgetRequests()
	if got := c.Requests(); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestJournalHidesSecrets(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	token := tokenFor(t, c, "demo", "demo")
	for _, body := range []string{
		`{"auth": {"identity": {"methods": ["token"], "token": {"id": "hunter2"}}}}`,
		`{"auth": {"identity": {"methods": ["application_credential"], ` +
			`"application_credential": {"id": "x", "secret": "hunter2"}}}}`,
		`{"auth": {"identity": {"methods": ["password"], "password": {"user": {"password": "hunter2"}}}}`, // broken
	} {
		call(t, c, "POST", "/identity/v3/auth/tokens", body)
	}
	call(t, c, "POST", "/compute/v2.1/servers", `{"server": {"name": "x", "adminPass": "hunter2"}}`, "X-Auth-Token", token)
	for _, r := range c.Requests() {
		if strings.Contains(r.Body, "hunter2") || strings.Contains(r.Body, token) {
			t.Errorf("%s %s shows a secret: %s", r.Method, r.Path, r.Body)
		}
	}
}

func TestJournalIsBounded(t *testing.T) {
	for size, want := range map[int][]string{3: {"c", "d", "e"}, -1: nil} {
		c := simcloud.New(simcloud.Options{JournalSize: size})
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			call(t, c, "GET", "/compute/"+name, nil)
		}
		var got []string
		for _, r := range c.Requests() {
			got = append(got, strings.TrimPrefix(r.Path, "/compute/"))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("size %d (-want +got):\n%s", size, diff)
		}
	}
}
