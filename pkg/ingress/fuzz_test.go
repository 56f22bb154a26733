package ingress_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cloudtagger/tagger/pkg/ingress"
)

// seeds are the payloads of the golden tests, and small ones of each envelope.
func seeds(f *testing.F) []string {
	f.Helper()
	var payloads []string
	for _, pattern := range []string{"../../events/*.json", "../lifecycle/testdata/docs/*.json",
		"../lifecycle/testdata/made/*.json"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("glob %s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			payloads = append(payloads, string(b))
		}
	}
	return append(payloads,
		event1, "["+event1+"]", `{"events":[`+event1+`]}`, eventBridge(event1), sns(f, event1), sqsPayload(f, event1, "x"),
		quote(f, event1),
		`{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"eyJhIjoxfQ==","time":1,"my_ext":{},"ext":1.5}`,
		`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"token":"x","a":"{\"password\":1}","b":["gAAAAA"]}}`,
		`{"requestContext":{},"headers":{"ce-id":"1"},"body":"e30=","isBase64Encoded":true}`, "", "null", "[[]]", "\uFEFF{}",
	)
}

func FuzzDecode(f *testing.F) {
	for _, payload := range seeds(f) {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		checkBatch(t, ingress.Decode(payload))
	})
}

func FuzzDecodeHTTP(f *testing.F) {
	for _, payload := range seeds(f) {
		f.Add("application/json", "", "", []byte(payload))
		f.Add("application/cloudevents+json", "", "", []byte(payload))
	}
	f.Add("application/json", "1.0", "Euro%20%E2%82%AC", []byte(`{"a":1}`))
	f.Add("text/plain", "1.0", `"a \"b\" %"`, []byte("x"))
	f.Add("application/cloudevents-batch+json; charset=utf-8", "", "%ff", []byte("[]"))
	f.Fuzz(func(t *testing.T, contentType, version, value string, body []byte) {
		h := http.Header{"Content-Type": {contentType}}
		if version != "" {
			h["ce-specversion"], h["ce-id"], h["ce-source"], h["ce-type"] = []string{version}, []string{"1"}, []string{"/s"},
				[]string{"t"}
			h["ce-subject"], h["ce-ext"] = []string{value}, []string{value}
		}
		checkBatch(t, ingress.DecodeHTTP(h, body))
	})
}

// checkBatch checks what holds for every batch.
func checkBatch(t *testing.T, b ingress.Batch) {
	t.Helper()
	if len(b.Records) == 0 {
		t.Fatal("no record")
	}
	for _, r := range b.Records {
		if r.Err == nil && len(r.Events) == 0 && !bytes.Contains(r.Raw, []byte("[")) {
			t.Error("neither events nor an error, and no empty batch")
		}
		if r.Err != nil {
			text := r.Err.Error()
			if strings.ContainsAny(text, "\r\n") || !utf8.ValidString(text) || len(text) > 20_000 {
				t.Errorf("error is not one short line: %.300q", text)
			}
			if !strings.HasPrefix(text, "read ") {
				t.Errorf("error %.300q", text)
			}
		}
		for _, e := range r.Events {
			if err := e.Validate(); err != nil {
				t.Errorf("event is not valid: %v", err)
			}
			if _, err := json.Marshal(e); err != nil {
				t.Errorf("event cannot be written: %v", err)
			}
			if len(e.Data()) == 0 {
				continue
			}
			var data any
			if err := json.Unmarshal(e.Data(), &data); err != nil && !strings.Contains(err.Error(), "cannot unmarshal number") {
				t.Errorf("data is not JSON: %v", err)
			}
			checkNoToken(t, data)
		}
	}
}

// checkNoToken searches data with a parser other than the one that removed the credentials.
func checkNoToken(t *testing.T, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if lower := strings.ToLower(name); strings.Contains(lower, "token") || strings.Contains(lower, "password") ||
				lower == "adminpass" {
				t.Errorf("data has a member %q", name)
			}
			checkNoToken(t, member)
		}
	case []any:
		for _, element := range v {
			checkNoToken(t, element)
		}
	}
}
