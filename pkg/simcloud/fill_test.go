package simcloud_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// fleet returns a cloud with n servers, each with a volume, and each volume with a snapshot.
func fleet(n int) *simcloud.Cloud {
	c := simcloud.New(simcloud.Options{Seed: 1, JournalSize: -1})
	metadata := map[string]string{"owner": "alice", "cost-center": "CC-17"}
	ids := make([]string, n)
	c.Fill(n, func(i int, s *simcloud.Server) {
		s.ID, s.Metadata = fmt.Sprintf("00000000-0000-4000-8000-%012d", i), metadata
		ids[i] = s.ID
	})
	volumes := make([]string, n)
	c.FillVolumes(n, func(i int, v *simcloud.Volume) {
		v.ID, v.ServerID, v.Device = fmt.Sprintf("00000000-0000-4000-8001-%012d", i), ids[i], "/dev/sdb"
		volumes[i] = v.ID
	})
	c.FillSnapshots(n, func(i int, s *simcloud.Snapshot) { s.VolumeID = volumes[i] })
	return c
}

// lists are the paths of the first pages, by kind.
func lists(c *simcloud.Cloud) map[string]string {
	demo, _ := c.Project("demo")
	return map[string]string{
		"servers":   "/compute/v2.1/servers/detail?limit=100",
		"volumes":   "/volume/v3/" + demo.ID + "/volumes/detail?limit=100",
		"snapshots": "/volume/v3/" + demo.ID + "/snapshots/detail?limit=100",
	}
}

// walk follows the links from a list's first page to its last, and returns the names in their order.
func walk(t testing.TB, c *simcloud.Cloud, kind, path, token string) (names []string) {
	t.Helper()
	for path != "" {
		a := call(t, c, "GET", path, nil, "X-Auth-Token", token)
		if a.status != http.StatusOK {
			t.Fatalf("GET %s: %d %s", path, a.status, a.body)
		}
		var page map[string]json.RawMessage
		var resources []struct{ Name string }
		var links []struct{ Rel, Href string }
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(page[kind], &resources); err != nil {
			t.Fatal(err)
		}
		for _, r := range resources {
			names = append(names, r.Name)
		}
		path = ""
		if text, ok := page[kind+"_links"]; ok {
			if err := json.Unmarshal(text, &links); err != nil {
				t.Fatal(err)
			}
			path = strings.TrimPrefix(links[0].Href, simcloud.DefaultEndpoint)
		}
	}
	return names
}

// Every resource is on exactly one page, the newest first, even while others are created and deleted.
func TestFill(t *testing.T) {
	c := fleet(1050)
	token := tokenFor(t, c, "demo", "demo")
	for kind, path := range lists(c) {
		names := walk(t, c, kind, path, token)
		var want []string
		for i := 1049; i >= 0; i-- {
			want = append(want, fmt.Sprintf("%s-%06d", strings.TrimSuffix(kind, "s"), i))
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%s (-made +listed):\n%s", kind, diff)
		}
	}
	t.Run("a server that is the marker goes", func(t *testing.T) {
		a := call(t, c, "GET", "/compute/v2.1/servers?limit=2", nil, "X-Auth-Token", token)
		var page struct {
			Servers []struct{ ID string }
			Links   []struct{ Href string } `json:"servers_links"`
		}
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			t.Fatal(err)
		}
		c.DeleteServer(page.Servers[1].ID)
		c.PutServer(simcloud.Server{Name: "new"})
		a = call(
			t,
			c,
			"GET",
			strings.TrimPrefix(page.Links[0].Href, simcloud.DefaultEndpoint),
			nil,
			"X-Auth-Token",
			token,
		)
		if !strings.Contains(a.body, "server-001047") || strings.Contains(a.body, "new") {
			t.Errorf("the second page is %d %s", a.status, a.body)
		}
	})
}

// The cost of a page does not depend on the number of resources.
func TestPageCost(t *testing.T) {
	allocations := map[string][]float64{}
	for _, n := range []int{500, 20_000} {
		c := fleet(n)
		token := tokenFor(t, c, "demo", "demo")
		for kind, path := range lists(c) {
			ids := map[string]string{
				"servers": "00000000-0000-4000-8000-%012d",
				"volumes": "00000000-0000-4000-8001-%012d",
			}
			if id := ids[kind]; id != "" {
				path += "&marker=" + fmt.Sprintf(id, n/2)
			}
			allocations[kind] = append(allocations[kind], testing.AllocsPerRun(5, func() {
				if a := call(t, c, "GET", path, nil, "X-Auth-Token", token); a.status != http.StatusOK {
					t.Fatalf("GET %s: %d %s", path, a.status, a.body)
				}
			}))
		}
	}
	for kind, n := range allocations {
		if n[1] > 1.05*n[0] {
			t.Errorf("a page of 100 %s takes %.0f allocations among 500 and %.0f among 20,000", kind, n[0], n[1])
		}
	}
}

// Scheduled changes happen in order among many resources without changes.
func TestManyBuilds(t *testing.T) {
	c := simcloud.New(simcloud.Options{BuildTime: time.Nanosecond})
	c.Fill(1000, func(i int, s *simcloud.Server) {
		if i%2 == 0 {
			s.VMState, s.BuildTime = "building", time.Nanosecond
		}
		if i%10 == 0 {
			s.BuildTime = time.Hour
		}
	})
	states := map[string]int{}
	for _, s := range c.Servers() {
		states[s.VMState]++
	}
	if diff := cmp.Diff(map[string]int{"active": 900, "building": 100}, states); diff != "" {
		t.Errorf("vm_states (-want +got):\n%s", diff)
	}
}

// BenchmarkList reads a page of 100 in the middle, in clouds of several sizes.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		c := fleet(n)
		token := tokenFor(b, c, "demo", "demo")
		for kind, path := range lists(c) {
			if kind == "servers" {
				path += "&marker=" + fmt.Sprintf("00000000-0000-4000-8000-%012d", n/2)
			}
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if a := call(b, c, "GET", path, nil, "X-Auth-Token", token); a.status != http.StatusOK {
						b.Fatal(a.status)
					}
				}
			})
		}
	}
}

// BenchmarkFill creates 100,000 servers, and reports the memory per server.
func BenchmarkFill(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		c := simcloud.New(simcloud.Options{})
		before := heap()
		c.Fill(n, nil)
		b.ReportMetric(float64(heap()-before)/n, "heap-B/server")
		runtime.KeepAlive(c)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
