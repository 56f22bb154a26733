package ingress_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/ingress"
)

// fernet looks like a Keystone token.
const fernet = "gAAAAABnot-a-token_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ="

// TestCredentials lists what is dropped and what is not.
func TestCredentials(t *testing.T) {
	for _, name := range []string{
		"auth_token", "_context_auth_token", "X-Auth-Token", "xSubjectToken", "token", "tokens", "service_token",
		"securityToken",
		"password", "db_password", "Password", "userPasswd", "passphrase", "adminPass", "admin_pass", "pass", "pwd",
		"rootPass",
		"secret", "client_secret", "SecretAccessKey", "secret_key", "credentials", "ec2Credential", "private_key",
		"access_key",
		"access_key_id", "accessKeyId", "apiKey", "api-key", "ak", "SK", "authorization", "Authorization", "auth_key",
		"cookie",
		"Set-Cookie", "service_catalog", "_context_service_catalog", "catalog", "user_data", "personality", "\\u0074oken",
	} {
		for _, data := range []string{
			`{"%s":"s3cret","keep":1}`, `{"keep":1,"%s":{"a":["s3cret"]}}`, `{"%s":null,"keep":1,"%[1]s":["s3cret"]}`,
		} {
			if got := dataOf(t, fmt.Sprintf(data, name)); got != `{"keep":1}` {
				t.Errorf("%s: data is %s", fmt.Sprintf(data, name), got)
			}
		}
	}
	for _, data := range []string{
		`{"name":"s","key_name":"k","public_key":"ssh-rsa AAAA","keypairs":[],"keys":1,"task":"x","ask":1,` +
			`"bypass":1,"compass":"n","author":"a"}`,
		`{"metadata":{"owner":"alice","stage":"{test}"},"text":"[ok] the {thing}"}`,
		`{"text":"gAAAAA is how they begin","number":1.50,"large":123456789012345678901234567890,"e":1e400}`,
		`{"json":"{\"a\": 1}","repr":"{'a': 'b'}","list":"['a']"}`,
		`[{"a":[]},{},[],"",null,true,false,-0]`,
		`"text"`, `5`,
	} {
		if got := dataOf(t, data); got != data {
			t.Errorf("data %s became %s", data, got)
		}
	}
}

// TestCredentialsInStrings checks documents in strings, and tokens anywhere.
func TestCredentialsInStrings(t *testing.T) {
	for data, want := range map[string]string{
		`{"request":"{\"server\":{\"adminPass\":\"s3cret\",\"name\":\"n\"}}"}`:          `{"request":"{\"server\":{\"name\":\"n\"}}"}`,
		`{"request":" [{\"token\":\"s3cret\"},1]"}`:                                     `{"request":"[{},1]"}`,
		`{"request":"{\"a\":\"{\\\"token\\\":\\\"s3cret\\\",\\\"b\\\":1}\"}"}`:          `{"request":"{\"a\":\"{\\\"b\\\":1}\"}"}`,
		`{"metadata":"{'auth_token': 's3cret'}"}`:                                       `{"metadata":""}`,
		`{"metadata":"[{'password': 's3cret'}]"}`:                                       `{"metadata":""}`,
		`{"metadata":"{\"password\": \"s3cret"}`:                                        `{"metadata":""}`,
		`{"message":"refused ` + fernet + `, and ` + fernet + `"}`:                      `{"message":"refused ***, and ***"}`,
		`{"list":["` + fernet + `"]}`:                                                   `{"list":["***"]}`,
		`{"request":"{\"x\":\"` + fernet + `\"}"}`:                                      `{"request":"{\"x\":\"***\"}"}`,
		`{"name":"[secret] project","description":"a {token} in braces is a sentence"}`: `{"name":"[secret] project","description":"a {token} in braces is a sentence"}`,
	} {
		if got := dataOf(t, data); got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", data, got, want)
		}
	}
	// Below the deepest layer that is searched, it is dropped.
	nested := `{"token":"s3cret"}`
	for range 5 {
		nested = `{"n":` + quote(t, nested) + `}`
	}
	if got := dataOf(t, nested); strings.Contains(got, "s3cret") {
		t.Errorf("data is %s", got)
	}
}

// TestCredentialsInAttributes checks that credentials are dropped from extensions too.
func TestCredentialsInAttributes(t *testing.T) {
	got := onlyEvent(t, ingress.Decode([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"x `+
		fernet+`",
		"authtoken":"s3cret","apikey":"s3cret","claims":"{\"token\":\"s3cret\",\"sub\":\"alice\"}","authid":"alice"}`)), "")
	want := map[string]any{
		"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": "x ***", "claims": `{"sub":"alice"}`,
		"authid": "alice",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestNothingLeaks checks that no token of a real notification or sample is left in the result of Decode, however it is
// printed.
func TestNothingLeaks(t *testing.T) {
	files, err := filepath.Glob("../lifecycle/testdata/*/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	secrets := 0
	for _, file := range files {
		if strings.Contains(file, "golden") {
			continue
		}
		payload := string(readFile(t, file))
		if strings.Contains(payload, "s3cret") {
			secrets++
		}
		// Each file gets a token at the place where OpenStack's services put one.
		payload = strings.Replace(payload, `\"_context_auth_token\": null`, `\"_context_auth_token\": \"s3cret\"`, 1)
		for _, batch := range []ingress.Batch{
			ingress.Decode([]byte(payload)), sqs(t, payload), sqs(t, payload[:len(payload)-3]),
			ingress.DecodeHTTP(nil, []byte(payload)),
		} {
			for _, r := range batch.Records {
				encoded, err := json.Marshal(r)
				if err != nil {
					t.Fatal(err)
				}
				for _, printed := range []string{fmt.Sprintf("%v %+v %#v %s %q", r, r, r.Raw, r.Raw, r.Raw), string(encoded),
					fmt.Sprint(slog.Any("raw", r.Raw))} {
					if strings.Contains(printed, "s3cret") || strings.Contains(printed, "115 51 99 114 101 116") {
						t.Errorf("%s: a secret is in %.300s", file, printed)
					}
				}
				for _, e := range r.Events {
					if strings.Contains(string(e.Data()), "s3cret") {
						t.Errorf("%s: a secret is in the data", file)
					}
				}
			}
		}
	}
	if secrets < 4 {
		t.Errorf("%d files held a secret to begin with", secrets)
	}
}

func TestRawPrintsItsLength(t *testing.T) {
	raw := ingress.Raw("s3cret")
	if got := fmt.Sprintf("%s|%v|%+v|%#v|%x|%d", raw, raw, raw, raw, raw, raw); got != strings.TrimSuffix(strings.Repeat("[6 bytes]|", 6), "|") {
		t.Errorf("printed as %s", got)
	}
	if string(raw) != "s3cret" {
		t.Error("the bytes are gone")
	}
}

func dataOf(t *testing.T, data string) string {
	t.Helper()
	b := ingress.Decode([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":` + data + `}`))
	if len(b.Records) != 1 || len(b.Records[0].Events) != 1 {
		t.Fatalf("%s: %v", data, b.Records[0].Err)
	}
	return string(b.Records[0].Events[0].Data())
}
