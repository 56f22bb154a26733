package coverage_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// A pass over resources that its caller lists counts the same as Read.
func TestPass(t *testing.T) {
	sim := fleet(t)
	put(sim)
	o := options(t, sim, compile(t, policy), "root", "*")
	want, err := coverage.Read(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	pass, err := coverage.NewPass(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	listings, _, err := o.Cloud.Listings(t.Context())
	if err != nil || len(listings) != 1 {
		t.Fatal(listings, err)
	}
	for _, kind := range []lifecycle.Kind{lifecycle.Server, lifecycle.Volume, lifecycle.Snapshot} {
		k := metadata.Kind(kind)
		service, err := listings[0].Session.Service(string(k.Service()))
		if err != nil {
			t.Fatal(err)
		}
		for v, err := range metadata.List(t.Context(), service, k, metadata.ListOptions{
			Options: metadata.Options{Family: k.Family(o.API)}, AllProjects: true,
		}) {
			if err != nil {
				t.Fatal(err)
			}
			if err := pass.Listed(t.Context(), kind, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff(want, pass.Report(true, nil)); diff != "" {
		t.Errorf("(-read +pass):\n%s", diff)
	}

	// Kinds that were not listed have no figures, and kinds that are not counted have no effect.
	o.Kinds = []lifecycle.Kind{lifecycle.Volume}
	if pass, err = coverage.NewPass(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	server := metadata.View{ID: "s", Project: "shop", State: "active"}
	if err := pass.Listed(t.Context(), lifecycle.Server, server); err != nil {
		t.Fatal(err)
	}
	r := pass.Report(false, []string{"list the volumes: 500"})
	if len(r.Rows) != 1 || r.Rows[0].Total.Count != 0 {
		t.Errorf("rows %+v", r.Rows)
	}
	if r.Complete || r.NotRead != 1 || r.ProjectsRead != 0 {
		t.Errorf("complete %t, %d lists not read, %d projects read", r.Complete, r.NotRead, r.ProjectsRead)
	}
}

func TestGauges(t *testing.T) {
	sim := fleet(t)
	put(sim)
	r, err := coverage.Read(t.Context(), options(t, sim, compile(t, policy), "root", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for perProject, series := range map[bool]int{false: 0, true: 6 * 9} { // six statuses, three rows, three projects
		g := coverage.NewGauges(perProject)
		var out bytes.Buffer
		if err := g.WritePrometheus(&out); err != nil || out.Len() > 0 {
			t.Errorf("before the first run: %q, %v", out.String(), err)
		}
		g.Set(r)
		if err := g.WritePrometheus(&out); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), `tagger_coverage_resources{key="owner",kind="server",status="missing"} 3`+"\n") {
			t.Errorf("no figures:\n%s", out.String())
		}
		if got := strings.Count(out.String(), "\ntagger_coverage_project_resources{"); got != series {
			t.Errorf("%d series of projects, want %d", got, series)
		}
	}
}

func TestEMF(t *testing.T) {
	sim := fleet(t)
	put(sim)
	o := options(t, sim, compile(t, policy), "root", "*")
	r, err := coverage.Read(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	lines := func(r coverage.Report) (all []map[string]any) {
		var out bytes.Buffer
		if err := coverage.WriteEMF(&out, r, "reconcile"); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
		return all
	}
	got := lines(r)
	if len(got) != 4 || got[0]["coverage_complete"] != 1. {
		t.Fatalf("%v", got)
	}
	count := func(name string) map[string]any { return map[string]any{"Name": "coverage_" + name, "Unit": "Count"} }
	want := map[string]any{
		"function": "reconcile", "key": "owner", "kind": "server",
		"coverage_ok": 8., "coverage_exempt": 2., "coverage_differs": 0., "coverage_placeholder": 0., "coverage_missing": 3.,
		"coverage_not_writable": 1.,
		"coverage_percent":      100 * 8. / 14,
		"_aws": map[string]any{"Timestamp": float64(now.UnixMilli()), "CloudWatchMetrics": []any{map[string]any{
			"Namespace": "Tagger", "Dimensions": []any{[]any{"function", "key", "kind"}}, "Metrics": []any{
				count("differs"), count("exempt"), count("missing"), count("not_writable"), count("ok"),
				map[string]any{"Name": "coverage_percent", "Unit": "Percent"}, count("placeholder"),
			},
		}}},
	}
	if diff := cmp.Diff(want, got[3]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	sim.Inject(simcloud.Fault{Service: "volume", Path: "volumes/detail",
		Answer: &simcloud.Answer{Status: http.StatusInternalServerError}})
	if r, err = coverage.Read(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got := lines(r); len(got) != 1 || got[0]["coverage_complete"] != 0. {
		t.Errorf("an incomplete run has %v", got)
	}
}
