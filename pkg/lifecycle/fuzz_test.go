package lifecycle_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// fuzz reads events with any data whose types have the prefix. The dialects must also survive events that ingress would
// never produce.
func fuzz(f *testing.F, prefix string, patterns ...string) {
	f.Helper()
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("glob %s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			for _, r := range ingress.Decode(readFile(f, file)).Records {
				for _, e := range r.Events {
					f.Add(e.Type(), e.Subject(), e.Data())
				}
			}
		}
	}
	registry := lifecycle.New(lifecycle.Options{
		Region:       "r",
		IgnoreActors: []string{"a*b?c*"},
		EventTypes:   map[string]lifecycle.Action{prefix + "x": lifecycle.SnapshotCreated},
	})
	f.Fuzz(func(t *testing.T, typ, subject string, data []byte) {
		if !strings.Contains(typ, prefix) {
			typ = prefix + typ
		}
		e := event.New()
		e.SetID("1")
		e.SetSource("/s")
		e.SetType(typ)
		if subject != "" {
			e.SetSubject(subject)
		}
		e.SetDataContentType(event.ApplicationJSON)
		e.DataEncoded = data
		checkReading(t, registry, e)
	})
}

func checkReading(t *testing.T, registry *lifecycle.Registry, e event.Event) {
	t.Helper()
	if n, ok := registry.Notice(e); ok && len(n.Server) != 36 {
		t.Errorf("notice of server %q", n.Server)
	}
	reading, err := registry.Read(e)
	if err != nil {
		var malformed *lifecycle.MalformedError
		oneLine := !strings.ContainsFunc(err.Error(), unicode.IsControl)
		if !errors.As(err, &malformed) || len(reading.Changes) != 0 || !oneLine {
			t.Errorf("error %q, %d changes", err, len(reading.Changes))
		}
		return
	}
	if (reading.Why == "") != (len(reading.Changes) > 0) {
		t.Errorf("%d changes, why %q", len(reading.Changes), reading.Why)
	}
	if strings.ContainsFunc(reading.Why, unicode.IsControl) || len(reading.Why) > 600 {
		t.Errorf("not one short line: %q", reading.Why)
	}
	for _, c := range reading.Changes {
		if len(c.Resource.ID) != 36 || strings.Trim(c.Resource.ID, "0123456789abcdefABCDEF-") != "" {
			t.Errorf("id %q", c.Resource.ID)
		}
		if strings.ContainsAny(c.Resource.Project, "/.%?#") {
			t.Errorf("project %q", c.Resource.Project)
		}
		if !slices.Contains(lifecycle.Actions(), c.Action) || c.Resource.Kind == "" || c.Resource.Region != "r" {
			t.Errorf("change %+v", c)
		}
		if _, err := json.Marshal(c); err != nil {
			t.Errorf("marshal the change: %v", err)
		}
		checkData(t, c.Data)
	}
}

// checkData fails for a value of a type that Change.Data must not contain.
func checkData(t *testing.T, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for _, member := range v {
			checkData(t, member)
		}
	case []any:
		for _, element := range v {
			checkData(t, element)
		}
	case string, bool, int64, float64, nil:
	default:
		t.Errorf("data contains a %T", v)
	}
}

func FuzzPlain(f *testing.F) {
	fuzz(f, "io.github.cloudtagger.", "../../events/*-created.json", "testdata/made/plain*.json")
}

func FuzzOpenStack(f *testing.F) {
	fuzz(f, "org.openstack.", "testdata/zed/*.json", "testdata/docs/*nova*.json", "testdata/made/nova*.json",
		"../contract/testdata/notifications/*instance.u*.json")
}

func FuzzHuaweiCloud(f *testing.F) {
	fuzz(f, "ECS:CloudTrace:", "testdata/made/cts*.json", "testdata/docs/*cts*.json")
}
