package contract_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The notifications of the real broker are complete, named after their event types, and free of credentials.
func TestNotifications(t *testing.T) {
	files, err := filepath.Glob("testdata/notifications/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no notifications (%v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var envelope struct {
				Version string `json:"oslo.version"`
				Message string `json:"oslo.message"`
			}
			if err := json.Unmarshal(text, &envelope); err != nil || envelope.Version != "2.0" {
				t.Fatalf("oslo.version is %q (%v)", envelope.Version, err)
			}
			var message map[string]any
			if err := json.Unmarshal([]byte(envelope.Message), &message); err != nil {
				t.Fatal(err)
			}
			if kind, _ := message["event_type"].(string); kind == "" || !strings.HasPrefix(filepath.Base(file), kind+".") {
				t.Errorf("the event_type is %q", kind)
			}
			if where := credential("", message); where != "" {
				t.Errorf("%s holds what may be a credential", where)
			}
		})
	}
}

// credential returns the path of a member that may hold a secret, "" if there is none.
func credential(at string, v any) string {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if where := credential(at, e); where != "" {
				return where
			}
		}
	case map[string]any:
		for name, value := range v {
			where := at + "/" + name
			switch strings.TrimPrefix(name, "_context_") {
			case "auth_token", "service_token", "connector", "connection_info", "provider_auth", "auth_key":
				if value != nil && value != "" && value != "REMOVED" && !removed(value) {
					return where
				}
			}
			if where := credential(where, value); where != "" {
				return where
			}
		}
	case string:
		if strings.Contains(v, "gAAAA") { // a Fernet token
			return at
		}
	}
	return ""
}

// removed reports whether every text in a value has been removed.
func removed(v any) bool {
	switch v := v.(type) {
	case string:
		return v == "REMOVED" || v == ""
	case []any:
		for _, e := range v {
			if !removed(e) {
				return false
			}
		}
	case map[string]any:
		for _, e := range v {
			if !removed(e) {
				return false
			}
		}
	}
	return true
}
