package coverage_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/coverage/page"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

var (
	heat  = coverage.User{ID: "3f5a0c119e", Name: "heat-svc"}
	other = coverage.User{ID: "9d00000000"}
)

// lostIn returns the report of a cloud whose servers have the given metadata, by name, with a trail.
func lostIn(t *testing.T, servers map[string]meta, trail func(*coverage.Trail, map[string]string)) coverage.Report {
	t.Helper()
	sim := fleet(t)
	ids := map[string]string{}
	for name, metadata := range servers {
		ids[name] = sim.PutServer(simcloud.Server{Name: name, ProjectID: "shop", Flavor: "1", Metadata: metadata})
	}
	o := options(t, sim, compile(t, policy), "root", "own")
	o.Trail = coverage.NewTrail(now)
	trail(o.Trail, ids)
	r, err := coverage.Read(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Whether a key was lost, and who removed it, depends on the records but not on their order.
func TestLost(t *testing.T) {
	hours := func(n int) time.Time { return now.Add(-time.Duration(n) * time.Hour) }
	type record func(*coverage.Trail, string)
	wrote := func(at int) record {
		return func(t *coverage.Trail, id string) { t.Wrote(id, []string{"owner"}, hours(at)) }
	}
	took := func(at int) record {
		return func(t *coverage.Trail, id string) { t.RemovedByTagger(id, []string{"owner"}, hours(at)) }
	}
	removed := func(at int, by coverage.User) record {
		return func(t *coverage.Trail, id string) { t.RemovedByUser(id, []string{"owner"}, hours(at), by) }
	}
	for _, tt := range []struct {
		name     string
		metadata meta
		records  []record
		want     string // the user, "" if not lost
	}{
		{"written and present", meta{"owner": "ann"}, []record{wrote(5)}, ""},
		{"another value", meta{"owner": "bob"}, []record{wrote(5)}, ""},
		{"written and absent", meta{"a": "b"}, []record{wrote(5)}, "unknown"},
		{"emptied", meta{"owner": ""}, []record{wrote(5)}, "unknown"},
		{"seen removed", nil, []record{wrote(5), removed(3, heat)}, "heat-svc"},
		{"removed by two", nil, []record{wrote(9), removed(8, other), removed(3, heat)}, "heat-svc"},
		{"removed, written, and lost again", nil, []record{wrote(9), removed(8, heat), wrote(7)}, "unknown"},
		{"removed and present again", meta{"owner": "ann"}, []record{wrote(9), removed(8, heat)}, ""},
		{"written long ago", nil, []record{wrote(24 * 8)}, ""},
		{"written long ago, removed this week", nil, []record{wrote(24 * 8), removed(3, heat)}, "heat-svc"},
		{"removed by Tagger", nil, []record{wrote(5), took(4)}, ""},
		{"removed by Tagger, then written", nil, []record{took(5), wrote(4)}, "unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, backwards := range []bool{false, true} {
				r := lostIn(t, map[string]meta{"s": tt.metadata}, func(trail *coverage.Trail, ids map[string]string) {
					for i := range tt.records {
						if backwards {
							i = len(tt.records) - 1 - i
						}
						tt.records[i](trail, ids["s"])
					}
				})
				got := ""
				for _, by := range r.Lost.By {
					if got += by.Name; by.User == (coverage.User{}) {
						got += "unknown"
					}
				}
				if got != tt.want || (got != "") != (r.Lost.Count == 1) || r.Lost.Count != r.Lost.PerKey["owner"] {
					t.Errorf("backwards %t: lost by %q, want %q: %+v", backwards, got, tt.want, r.Lost)
				}
			}
		})
	}
}

// fourteen returns a report of 14 lost keys: 8 by heat-svc, 3 by three other users, 3 by unknown users.
func fourteen(t *testing.T) coverage.Report {
	t.Helper()
	servers := map[string]meta{}
	for i := range 10 {
		servers[fmt.Sprint(i)] = nil
	}
	return lostIn(t, servers, func(trail *coverage.Trail, ids map[string]string) {
		trail.Covers(now.AddDate(0, 0, -30))
		at := now.Add(-time.Hour)
		for i := range 10 {
			id := ids[fmt.Sprint(i)]
			trail.Wrote(id, []string{"owner"}, at)
			switch {
			case i < 4:
				trail.Wrote(id, []string{"env"}, at)
				trail.RemovedByUser(id, []string{"owner", "env"}, at.Add(time.Minute), heat)
			case i < 7:
				trail.RemovedByUser(id, []string{"owner"}, at, coverage.User{ID: fmt.Sprintf("%d000000000", i)})
			}
		}
		trail.Wrote("deleted", []string{"owner"}, at)
	})
}

func TestLostText(t *testing.T) {
	r := fourteen(t)
	line := func(r coverage.Report) string {
		var out bytes.Buffer
		if err := coverage.WriteText(&out, r, coverage.NotBy, -1); err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(out.String(), "\nlost keys    ")
		line, _, _ := strings.Cut(rest, "\n")
		return line
	}
	if diff := cmp.Diff("14 this week: 8 by user heat-svc (3f5a0c11…), 3 once, 3 by unknown users", line(r)); diff != "" {
		t.Error(diff)
	}
	if r.Lost.Resources != 10 || r.Lost.Compared != 15 || len(r.Lost.Keys) != 14 {
		t.Errorf("%+v", r.Lost)
	}
	late := *r.Lost
	late.From = now.Add(-26 * time.Hour)
	r.Lost = &late
	if got := line(r); !strings.HasPrefix(got, "14 this week (the log begins 24 Nov 12:20 UTC): 8 by") {
		t.Error(got)
	}
	for want, set := range map[string]func(*coverage.Trail, map[string]string){
		"0 this week": func(trail *coverage.Trail, ids map[string]string) {
			trail.Wrote(ids["s"], []string{"owner"}, now)
		},
		"1 this week, by unknown users": func(trail *coverage.Trail, ids map[string]string) {
			trail.Wrote(ids["s"], []string{"env"}, now)
		},
		"unknown: the records do not cover this week": func(trail *coverage.Trail, ids map[string]string) {
			trail.Covers(now.AddDate(0, 0, -9))
		},
	} {
		if got := line(lostIn(t, map[string]meta{"s": {"owner": "ann"}}, set)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	r.Lost = nil
	if got := line(r); got != "unknown: give Tagger's records (--journal, --log)" {
		t.Error(got)
	}
}

// A page identifies users who removed keys as it does projects: by number, id or name.
func TestLostOnPage(t *testing.T) {
	r := fourteen(t)
	for names, want := range map[page.Names]string{
		page.NoNames:   `<th scope="row">user 1</th><td>env, owner</td><td class="n">8</td>`,
		page.IDNames:   `<th scope="row">3f5a0c119e</th><td>env, owner</td><td class="n">8</td>`,
		page.FullNames: `<th scope="row">heat-svc (3f5a0c11…)</th><td>env, owner</td><td class="n">8</td>`,
	} {
		var out bytes.Buffer
		if err := page.Write(&out, r, page.Options{Names: names}); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if !strings.Contains(text, want) ||
			!strings.Contains(text, `<th scope="row">unknown</th><td>owner</td><td class="n">3</td>`) {
			t.Errorf("%s: no %s", names, want)
		}
		if (names != page.FullNames) != !strings.Contains(text, "heat-svc") {
			t.Errorf("%s: the user's name", names)
		}
	}
	var metrics bytes.Buffer
	if err := coverage.WritePrometheus(&metrics, r, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`{key="cost-center"} 0`, `{key="env"} 4`, `{key="owner"} 10`} {
		if !strings.Contains(metrics.String(), "tagger_coverage_lost_keys"+want+"\n") {
			t.Errorf("no %s in:\n%s", want, metrics.String())
		}
	}
}
