package simcloud_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// FuzzRequest sends arbitrary requests. Every one gets a response, and valid JSON if its type says so.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][4]string{
		{"POST", "/compute/v2.1/servers/{server}/metadata", `{"metadata": {"a": "b"}}`, "compute 2.93"},
		{"PUT", "/compute/v2.1/servers/{server}/metadata/a%2Fb", `{"meta": {"a": 1e400}}`, "latest"},
		{"POST", "/compute/v2.1/servers/{server}/action", `{"reboot": {"type": "HARD"}}`, ""},
		{"POST", "/compute/v2.1/servers", `{"server": {"name": "x", "flavorRef": 42, "networks": "none", "imageRef": ""}}`,
			"compute 2.37"},
		{"GET", "/compute/v2.1/servers/detail?limit=1&marker=x&name=[", "", "compute x"},
		{"PUT", "/volume/v3/snapshots/{snapshot}/metadata/x.json", `{"meta": {"x": "\ud800"}}`, "volume 3.70"},
		{"POST", "/volume/v3/snapshots/{snapshot}/metadata", `{"metadata": ["metadata"]}`, "volume"},
		{"POST", "/volume/v3/volumes", `{"volume": {"size": "1", "metadata": null}}`, ""},
		{"GET", "/compute/v2.1/servers?sort_key=display_name&sort_dir=asc&changes-since=2026-01-01&deleted=1&limit=1", "",
			"compute 2.75"},
		{"POST", "/compute/v2.1/servers",
			`{"server": {"name": "x", "flavorRef": "42", "networks": "none", "block_device_mapping_v2": [{"boot_index": 0, ` +
				`"uuid": "{volume}", "source_type": "volume", "destination_type": "volume"}, 1]}}`, "compute 2.90"},
		{"POST", "/compute/v2.1/servers/{server}/action", `{"rebuild": {"imageRef": "x", "metadata": {"a": "b"}}}`, ""},
		{"POST", "/compute/v2.1/servers/{server}/os-volume_attachments", `{"volumeAttachment": {"volumeId": "{volume}"}}`,
			"compute 2.79"},
		{"PUT", "/compute/v2.1/servers/{server}/os-volume_attachments/{volume}",
			`{"volumeAttachment": {"volumeId": "{volume}"}}`, "compute 2.85"},
		{"POST", "/volume/v3/volumes/{volume}/action", `{"os-extend": {"new_size": "99999999999999999999"}}`, ""},
		{"POST", "/volume/v3/volumes/{volume}/action", `{"os-reset_status": {"status": null}}`, ""},
		{"POST", "/volume/v3/snapshots/{snapshot}/action", `{"os-reset_status": []}`, ""},
		{"POST", "/volume/v3/volume-transfers", `{"transfer": {"volume_id": "{volume}", "no_snapshots": true}}`,
			"volume 3.57"},
		{"DELETE", "/volume/v3/volumes/{volume}?cascade=1&force=x", "", "volume 3.70"},
		{"GET", "/volume/v3/volumes/detail?sort=name,size:asc&metadata={&offset=9&limit=0&with_count=1", "", "volume 3.70"},
		{"GET", "/identity/v3/projects?tags=,&domain_id=x", "", ""},
		{"POST", "/identity/v3/auth/tokens",
			`{"auth": {"identity": {"methods": [1], "password": []}, "scope": {"project": {"id": 1}}}}`, ""},
		{"GET", "/image/v2/images/%00", "", ""},
		{"DELETE", "//compute//v2.1///servers/..", "[[[[", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], true)
		f.Add(seed[0], seed[1], seed[2], seed[3], false)
	}
	f.Fuzz(func(t *testing.T, method, path, body, version string, huawei bool) {
		c := simcloud.New(simcloud.Options{HuaweiCloud: huawei})
		c.PutServer(simcloud.Server{ID: serverID})
		c.PutVolume(simcloud.Volume{ID: volumeID})
		c.PutSnapshot(simcloud.Snapshot{ID: snapshotID, VolumeID: volumeID})
		body = strings.ReplaceAll(body, "{volume}", volumeID)
		target, err := url.Parse(
			simcloud.DefaultEndpoint + "/" + strings.NewReplacer("{server}", serverID, "{snapshot}", snapshotID, "{volume}",
				volumeID).
				Replace(strings.TrimPrefix(path, "/")),
		)
		if err != nil {
			return
		}
		r := &http.Request{Method: method, URL: target, Header: http.Header{}, Body: http.NoBody}
		if body != "" {
			r.Body, r.ContentLength = readCloser{strings.NewReader(body)}, int64(len(body))
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("OpenStack-API-Version", version)
		r.Header.Set("X-Auth-Token", tokenFor(t, c, "admin", "demo"))
		a := send(t, c, r)
		if a.status < 200 || a.status > 599 {
			t.Errorf("got the status %d", a.status)
		}
		if strings.HasPrefix(a.header.Get("Content-Type"), "application/json") && a.body != "" &&
			!json.Valid([]byte(a.body)) {
			t.Errorf("not JSON: %s", a.body)
		}
		if !utf8.ValidString(a.body) {
			t.Errorf("not UTF-8: %q", a.body)
		}
	})
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// FuzzSignature passes arbitrary headers to the verifier. Only the right signature is accepted.
func FuzzSignature(f *testing.F) {
	f.Add(
		"SDK-HMAC-SHA256 Access=a, SignedHeaders=host;x-sdk-date, Signature=00",
		"/v1/%41?x=1&x=0&&=",
		"20240102T030405Z",
		"body",
	)
	f.Add("SDK-HMAC-SHA256 SignedHeaders=,Signature=,Access=", "//", "", "")
	f.Fuzz(func(t *testing.T, authorization, path, date, body string) {
		target, err := url.Parse("https://example.com/" + strings.TrimPrefix(path, "/"))
		if err != nil {
			return
		}
		r := &http.Request{
			Method: http.MethodGet,
			URL:    target,
			Host:   "example.com",
			Header: http.Header{"Authorization": {authorization}, "X-Sdk-Date": {date}},
		}
		if simcloud.VerifySignature(r, []byte(body), "an unknown key") == nil {
			t.Errorf("accepted %q", authorization)
		}
	})
}
