package lifecycle_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata/golden")

// goldenRecord is the content of a golden file for each record: everything that later steps depend on.
type goldenRecord struct {
	Carrier ingress.Carrier
	AckID   string        `json:",omitempty"`
	Err     string        `json:",omitempty"`
	Events  []goldenEvent `json:",omitempty"`
}

type goldenEvent struct {
	ID, Source, Type, Subject string
	Time                      time.Time
	Dialect                   string
	Known                     bool
	Why                       string `json:",omitempty"`
	Malformed                 string `json:",omitempty"`
	Changes                   []goldenChange
}

type goldenChange struct {
	Action   lifecycle.Action
	Key      string
	Time     time.Time
	Resource lifecycle.Resource
	Parent   lifecycle.Parent
	Actor    lifecycle.Actor
}

// TestGolden reads all sample payloads: those in events/, those from vendors' and projects' documentation (docs),
// captures from a real OpenStack Zed (zed), and constructed ones for what those do not cover (made).
func TestGolden(t *testing.T) {
	registry := lifecycle.New(lifecycle.Options{Region: "region-1"})
	for _, file := range samples(t) {
		name := filepath.Base(filepath.Dir(file)) + "-" + filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".json"), func(t *testing.T) {
			got := marshal(t, read(t, registry, ingress.Decode(readFile(t, file))))
			golden := filepath.Join("testdata/golden", name)
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(readFile(t, golden)), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

// samples returns the paths of all sample payloads.
func samples(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, dir := range []string{"../../events", "testdata/docs", "testdata/zed", "testdata/made"} {
		found, err := filepath.Glob(dir + "/*.json")
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(found), err)
		}
		files = append(files, found...)
	}
	return files
}

func read(t *testing.T, registry *lifecycle.Registry, batch ingress.Batch) []goldenRecord {
	t.Helper()
	var records []goldenRecord
	for _, r := range batch.Records {
		g := goldenRecord{Carrier: batch.Carrier, AckID: r.AckID}
		if r.Err != nil {
			g.Err = r.Err.Error()
		}
		for _, e := range r.Events {
			reading, err := registry.Read(e)
			ge := goldenEvent{
				ID: e.ID(), Source: e.Source(), Type: e.Type(), Subject: e.Subject(), Time: e.Time(),
				Dialect: reading.Dialect, Known: reading.Known, Why: reading.Why,
			}
			if err != nil {
				ge.Malformed = err.Error()
			}
			for _, c := range reading.Changes {
				ge.Changes = append(ge.Changes, goldenChange{c.Action, c.Key(), c.Time, c.Resource, c.Parent, c.Actor})
			}
			g.Events = append(g.Events, ge)
		}
		records = append(records, g)
	}
	return records
}

// TestOneChangeInTwoFormats: with notification_format=both, Nova reports each change twice, with different message ids.
func TestOneChangeInTwoFormats(t *testing.T) {
	for _, pair := range [][2]string{
		{"docs/zed-unversioned.compute.instance.create.end.json", "docs/zed-versioned.instance.create.end.json"},
		{"zed/compute.instance.power_off.end.json", "zed/instance.power_off.end.json"},
		{"zed/compute.instance.power_on.end.json", "zed/instance.power_on.end.json"},
		{"zed/compute.instance.resize.confirm.end.json", "zed/instance.resize_confirm.end.json"},
		{"zed/compute.instance.delete.end.json", "zed/instance.delete.end.json"},
		{"zed/compute.instance.update.active-stopped.json", "zed/instance.update.active-stopped.json"},
		{"zed/compute.instance.update.active-stopped.json", "zed/compute.instance.power_off.end.json"},
	} {
		legacy, versioned := change(t, "testdata/"+pair[0]), change(t, "testdata/"+pair[1])
		if legacy.Key() == "" || legacy.Key() != versioned.Key() {
			t.Errorf("%s has key %q, %s has %q; want one key", pair[0], legacy.Key(), pair[1], versioned.Key())
		}
		// The two formats round created_at differently, and their times differ by milliseconds.
		legacy.Time, legacy.Data, versioned.Time, versioned.Data = time.Time{}, nil, time.Time{}, nil
		if diff := cmp.Diff(legacy, versioned); diff != "" {
			t.Errorf("%s and %s differ:\n%s", pair[0], pair[1], diff)
		}
	}
}

// change reads a file with one change.
func change(t *testing.T, file string) lifecycle.Change {
	t.Helper()
	batch := ingress.Decode(readFile(t, file))
	if len(batch.Records) != 1 || len(batch.Records[0].Events) != 1 {
		t.Fatalf("%s: %v", file, batch.Records[0].Err)
	}
	reading, err := lifecycle.New(lifecycle.Options{}).Read(batch.Records[0].Events[0])
	if err != nil || len(reading.Changes) != 1 {
		t.Fatalf("%s: %d changes, %q, %v", file, len(reading.Changes), reading.Why, err)
	}
	return reading.Changes[0]
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
