package simcloud_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

func TestHuaweiCloudAnswers(t *testing.T) {
	const other = "ffffffffffffffffffffffffffffffff"
	for _, test := range []struct {
		name         string
		server       simcloud.Server
		method, path string
		body         string
		status       int
		answer       string // a part of it
	}{
		{"active", simcloud.Server{}, "POST", "/compute/v2.1/{project}/servers/{server}/metadata", `{"metadata": {"a": "b"}}`,
			200, `{"metadata": {"a": "b"}}`},
		{"building", simcloud.Server{VMState: "building", BuildTime: time.Hour}, "POST",
			"/compute/v2.1/{project}/servers/{server}/metadata",
			`{"metadata": {}}`, 400, `{"error": {"code": "Ecs.0100", "message": "The ECS status does not meet requirements.`},
		{"locked", simcloud.Server{Locked: true}, "POST", "/compute/v2.1/{project}/servers/{server}/metadata",
			`{"metadata": {}}`, 400, `"code": "Ecs.0605"`},
		{"no such server", simcloud.Server{}, "GET", "/compute/v2.1/{project}/servers/nope/metadata", "", 404,
			`"code": "Ecs.0114"`},
		{"no such key", simcloud.Server{}, "GET", "/compute/v2.1/{project}/servers/{server}/metadata/zz", "", 404,
			`{"itemNotFound": {"code": 404`},
		{"bad value", simcloud.Server{}, "POST", "/compute/v2.1/{project}/servers/{server}/metadata",
			`{"metadata": {"a": 1}}`, 400, `"code": "Ecs.0005"`},
		{"another project", simcloud.Server{}, "GET", "/compute/v2.1/" + other + "/servers/{server}/metadata", "", 400,
			`"code": "Common.0018"`},
		{"key deleted", simcloud.Server{Metadata: map[string]string{"a": "b"}}, "DELETE",
			"/compute/v2.1/{project}/servers/{server}/metadata/a", "", 200, ""},
		{"EVS", simcloud.Server{}, "PUT", "/volume/v2/{project}/snapshots/{snapshot}/metadata/k", `{"meta": {"k": "v"}}`, 200,
			`{"meta": {"k": "v"}}`},
		{"EVS, key deleted", simcloud.Server{}, "DELETE", "/volume/v2/{project}/snapshots/{snapshot}/metadata/from", "", 204,
			""},
		{"EVS, no such key", simcloud.Server{}, "GET", "/volume/v2/{project}/snapshots/{snapshot}/metadata/zz", "", 404,
			`has no metadata with key zz`},
		{"EVS, no such snapshot", simcloud.Server{}, "GET", "/volume/v2/{project}/snapshots/nope", "", 404,
			`{"itemNotFound": {"message": "Snapshot nope could not be found.", "code": "EVS.5404"}}`},
		{"Cinder v3 too", simcloud.Server{}, "GET", "/volume/v3/{project}/snapshots/{snapshot}/metadata", "", 200,
			`{"metadata": {"from": "put"}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := simcloud.New(simcloud.Options{HuaweiCloud: true})
			test.server.ID = serverID
			c.PutServer(test.server)
			c.PutSnapshot(simcloud.Snapshot{ID: snapshotID, Metadata: map[string]string{"from": "put"}})
			ids := strings.NewReplacer("{project}", demo(t, c), "{server}", serverID, "{snapshot}", snapshotID)
			path := ids.Replace(test.path)
			var body any
			if test.body != "" {
				body = test.body
			}
			a := call(t, c, test.method, path, body, "X-Auth-Token", tokenFor(t, c, "demo", "demo"))
			wantStatus(t, test.name, a, test.status)
			if !strings.Contains(a.body, test.answer) {
				t.Errorf("got %s, want %s in it", a.body, test.answer)
			}
		})
	}
}

func TestHuaweiCloudRefusesTokens(t *testing.T) {
	c := simcloud.New(simcloud.Options{HuaweiCloud: true})
	a := call(t, c, "GET", "/compute/v2.1/servers", nil, "X-Auth-Token", "nonsense")
	wantStatus(t, "token", a, http.StatusUnauthorized)
	if !strings.Contains(a.body, `"error_code": "APIG.0301"`) {
		t.Errorf("got %s", a.body)
	}
}

// sign signs a request by the documentation, with the headers that it names. It is a second implementation for tests.
func sign(r *http.Request, body, accessKey, secretKey string, date time.Time) {
	r.Header.Set("X-Sdk-Date", date.UTC().Format("20060102T150405Z"))
	path := r.URL.EscapedPath()
	if !strings.HasSuffix(path, "/") {
		path += "/"
	}
	canonical := fmt.Sprintf("%s\n%s\n%s\nhost:%s\nx-project-id:%s\nx-sdk-date:%s\n\nhost;x-project-id;x-sdk-date\n%x",
		r.Method, path, r.URL.RawQuery, r.URL.Host, r.Header.Get("X-Project-Id"), r.Header.Get("X-Sdk-Date"),
		sha256.Sum256([]byte(body)))
	mac := hmac.New(sha256.New, []byte(secretKey))
	fmt.Fprintf(mac, "SDK-HMAC-SHA256\n%s\n%x", r.Header.Get("X-Sdk-Date"), sha256.Sum256([]byte(canonical)))
	r.Header.Set("Authorization", fmt.Sprintf(
		"SDK-HMAC-SHA256 Access=%s, SignedHeaders=host;x-project-id;x-sdk-date, Signature=%x", accessKey, mac.Sum(nil)))
}

// The key of simcloud's defaults.
const (
	accessKey = "SIMCLOUDACCESSKEY000"
	secretKey = "simcloud-secret-key"
)

// signedWrite sends a signed metadata write; change may alter what is signed.
func signedWrite(t *testing.T, c *simcloud.Cloud,
	change func(r *http.Request, secret *string, date *time.Time)) answer {
	t.Helper()
	const body = `{"metadata": {"a b": "é"}}`
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, simcloud.DefaultEndpoint+"/compute/v2.1/"+
		demo(t, c)+
		"/servers/"+serverID+"/metadata?b=1&b=2", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Project-Id", demo(t, c))
	secret, date := secretKey, time.Now()
	if change != nil {
		change(r, &secret, &date)
	}
	sign(r, body, accessKey, secret, date)
	return send(t, c, r)
}

func TestSignedRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newCloud := func() *simcloud.Cloud {
			c := simcloud.New(simcloud.Options{HuaweiCloud: true})
			c.PutServer(simcloud.Server{ID: serverID})
			return c
		}
		wantStatus(t, "signed", signedWrite(t, newCloud(), nil), http.StatusOK)
		for name, change := range map[string]func(*http.Request, *string, *time.Time){
			"another secret key": func(_ *http.Request, secret *string, _ *time.Time) { *secret = "guess" },
			"an old date":        func(_ *http.Request, _ *string, date *time.Time) { *date = date.Add(-16 * time.Minute) },
			"a date to come":     func(_ *http.Request, _ *string, date *time.Time) { *date = date.Add(16 * time.Minute) },
			"another project":    func(r *http.Request, _ *string, _ *time.Time) { r.Header.Set("X-Project-Id", "nope") },
		} {
			a := signedWrite(t, newCloud(), change)
			wantStatus(t, name, a, http.StatusUnauthorized)
			if !strings.Contains(a.body, `"error_code": "APIG.0301"`) || strings.Contains(a.body, secretKey) {
				t.Errorf("%s: got %s", name, a.body)
			}
		}
	})
}

func TestSignedRequestIsNotForOpenStack(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutServer(simcloud.Server{ID: serverID})
	wantStatus(t, "signed", signedWrite(t, c, nil), http.StatusUnauthorized)
}

func TestWrongSignaturesLockTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simcloud.New(simcloud.Options{HuaweiCloud: true})
		c.PutServer(simcloud.Server{ID: serverID})
		wrong := func(_ *http.Request, secret *string, _ *time.Time) { *secret = "guess" }
		for range 5 {
			wantStatus(t, "wrong", signedWrite(t, c, wrong), http.StatusUnauthorized)
		}
		wantStatus(t, "right after five wrong ones", signedWrite(t, c, nil), http.StatusOK)
		for range 6 {
			wantStatus(t, "wrong", signedWrite(t, c, wrong), http.StatusUnauthorized)
		}
		wantStatus(t, "right after six wrong ones", signedWrite(t, c, nil), http.StatusUnauthorized)
		time.Sleep(5 * time.Minute)
		wantStatus(t, "five minutes later", signedWrite(t, c, nil), http.StatusOK)
	})
}

func TestTemporaryKeyNeedsItsToken(t *testing.T) {
	c := simcloud.New(simcloud.Options{HuaweiCloud: true, AccessKeys: []simcloud.AccessKey{
		{AccessKey: accessKey, SecretKey: secretKey, SecurityToken: "temporary", User: "demo"},
	}})
	c.PutServer(simcloud.Server{ID: serverID})
	wantStatus(t, "without", signedWrite(t, c, nil), http.StatusUnauthorized)
	wantStatus(t, "with", signedWrite(t, c, func(r *http.Request, _ *string, _ *time.Time) {
		r.Header.Set("X-Security-Token", "temporary")
	}), http.StatusOK)
}

// TestSignatureVectors checks the verifier against signatures of Huawei Cloud's own SDK.
func TestSignatureVectors(t *testing.T) {
	type vector struct {
		Name, Method, Host, Path, Query, Body string
		Headers                               map[string]string
		SK, Authorization                     string
	}
	text, err := os.ReadFile("testdata/sdk-hmac-sha256.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) == 0 {
		t.Fatal("there are no vectors")
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			verify := func(change func(r *http.Request, body *string, key *simcloud.Secret)) error {
				r, err := http.NewRequestWithContext(t.Context(), v.Method, "https://"+v.Host+v.Path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.URL.RawQuery = v.Query
				for name, value := range v.Headers {
					r.Header.Set(name, value)
				}
				r.Header.Set("Authorization", v.Authorization)
				body, key := v.Body, simcloud.Secret(v.SK)
				change(r, &body, &key)
				return simcloud.VerifySignature(r, []byte(body), key)
			}
			if err := verify(func(*http.Request, *string, *simcloud.Secret) {}); err != nil {
				t.Error(err)
			}
			for name, change := range map[string]func(r *http.Request, body *string, key *simcloud.Secret){
				"method": func(r *http.Request, _ *string, _ *simcloud.Secret) { r.Method = "PATCH" },
				"path":   func(r *http.Request, _ *string, _ *simcloud.Secret) { r.URL.Path += "x" },
				"query":  func(r *http.Request, _ *string, _ *simcloud.Secret) { r.URL.RawQuery = "other=1" },
				"date":   func(r *http.Request, _ *string, _ *simcloud.Secret) { r.Header.Set("X-Sdk-Date", "20250101T000000Z") },
				"body":   func(_ *http.Request, body *string, _ *simcloud.Secret) { *body += " " },
				"key":    func(_ *http.Request, _ *string, key *simcloud.Secret) { *key += "x" },
			} {
				if verify(change) == nil {
					t.Errorf("accepted with another %s", name)
				}
			}
		})
	}
}
