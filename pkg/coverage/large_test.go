package coverage_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// 100,000 resources in 1,000 projects: memory does not grow while they are read, and the page stays small.
func TestLargeFleet(t *testing.T) {
	const servers, volumes, projects = 60_000, 40_000, 1_000
	var more []simcloud.Project
	for i := range projects {
		more = append(more, simcloud.Project{ID: fmt.Sprintf("%032x", i), Name: fmt.Sprintf("project-%d", i)})
	}
	sim := fleet(t, more...)
	tagged := meta{"cost-center": "CC-17", "owner": "ann"}
	sim.Fill(servers, func(i int, s *simcloud.Server) {
		if s.ProjectID = more[i%projects].ID; i%4 > 0 {
			s.Metadata = tagged
		}
	})
	sim.FillVolumes(volumes, func(i int, v *simcloud.Volume) { v.ProjectID, v.Size = more[i%projects].ID, 2 })
	o := options(t, sim, compile(t, policy), "root", "*")
	findings := 0
	var heap []uint64
	o.Each = func(coverage.Finding) error {
		if findings++; findings == 10_000 || findings == 2*servers+volumes-10_000 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			heap = append(heap, m.HeapAlloc)
		}
		return nil
	}
	r, err := coverage.Read(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"cost-center/server 60000/60000 45000/45000 0/0 0/0 0/0 15000/15000 0/0 paid 0/0 alias 0 self 0",
		"cost-center/volume 40000/80000 0/0 0/0 0/0 0/0 40000/80000 0/0 paid 0/0 alias 0 self 0",
		"owner/server 60000/60000 45000/45000 0/0 0/0 0/0 15000/15000 0/0 paid 0/0 alias 0 self 0",
	}
	if got := all(r.Rows); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("rows %q", got)
	}
	// 90,000 resources of at least 500 bytes would be 45 MB.
	if grown := int64(heap[1]) - int64(heap[0]); grown > 5<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	} else {
		t.Logf("memory grew by %d bytes", grown)
	}
	var page bytes.Buffer
	if err := coverage.WriteHTML(&page, r, coverage.PageOptions{Names: coverage.IDNames}); err != nil {
		t.Fatal(err)
	}
	if t.Logf("page of %d bytes", page.Len()); page.Len() > 2_000_000 {
		t.Errorf("a page of %d bytes", page.Len())
	}
}
