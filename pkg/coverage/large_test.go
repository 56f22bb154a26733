package coverage_test

import (
	"bytes"
	"flag"
	"fmt"
	"runtime"
	"testing"

	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/coverage/page"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

var resources = flag.Int("resources", 10_000, "how many resources TestLargeFleet reads")

// Memory does not grow while many resources in 1,000 projects are read, and the page stays small.
func TestLargeFleet(t *testing.T) {
	const projects = 1_000
	servers, volumes := *resources/5*3, *resources/5*2
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
		if findings++; findings == servers/2 || findings == 2*servers+volumes-servers/10 {
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
	have, lack := servers/4*3, servers/4
	want := []string{
		fmt.Sprintf("cost-center/server %d/%[1]d %d/%[2]d 0/0 0/0 0/0 %d/%[3]d 0/0 paid 0/0 alias 0 self 0", servers, have,
			lack),
		fmt.Sprintf("cost-center/volume %d/%d 0/0 0/0 0/0 0/0 %[1]d/%[2]d 0/0 paid 0/0 alias 0 self 0", volumes, 2*volumes),
		fmt.Sprintf("owner/server %d/%[1]d %d/%[2]d 0/0 0/0 0/0 %d/%[3]d 0/0 paid 0/0 alias 0 self 0", servers, have, lack),
	}
	if got := all(r.Rows); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("rows %q", got)
	}
	// Each stored resource would take at least 500 bytes.
	if grown := int64(heap[1]) - int64(heap[0]); grown > int64(50**resources) {
		t.Errorf("memory grew by %d bytes", grown)
	} else {
		t.Logf("memory grew by %d bytes", grown)
	}
	var out bytes.Buffer
	if err := page.Write(&out, r, page.Options{Names: page.IDNames}); err != nil {
		t.Fatal(err)
	}
	if t.Logf("page of %d bytes", out.Len()); out.Len() > 2_000_000 {
		t.Errorf("a page of %d bytes", out.Len())
	}
}
