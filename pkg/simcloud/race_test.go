package simcloud_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// TestLostUpdates has ten writers write a key each, concurrently or one after the other.
func TestLostUpdates(t *testing.T) {
	write := map[string]func(t *testing.T, c *simcloud.Cloud, token, key string) answer{
		"server, POST": func(t *testing.T, c *simcloud.Cloud, token, key string) answer {
			return call(t, c, "POST", metadataPath(""), fmt.Sprintf(`{"metadata": {%q: "v"}}`, key), "X-Auth-Token", token)
		},
		"server, PUT": func(t *testing.T, c *simcloud.Cloud, token, key string) answer {
			return call(t, c, "PUT", metadataPath(key), fmt.Sprintf(`{"meta": {%q: "v"}}`, key), "X-Auth-Token", token)
		},
		"snapshot, POST": func(t *testing.T, c *simcloud.Cloud, token, key string) answer {
			return call(t, c, "POST", snapshotPath(t, c, "/metadata"), fmt.Sprintf(`{"metadata": {%q: "v"}}`, key),
				"X-Auth-Token", token)
		},
		"snapshot, PUT": func(t *testing.T, c *simcloud.Cloud, token, key string) answer {
			return call(t, c, "PUT", snapshotPath(t, c, "/metadata/"+key), fmt.Sprintf(`{"meta": {%q: "v"}}`, key),
				"X-Auth-Token", token)
		},
	}
	for _, test := range []struct {
		name        string
		lostUpdates bool
		spacing     time.Duration // between the starts of two writes, each a second long
		wantLost    bool
	}{
		{"overlapping", true, 100 * time.Millisecond, true},
		{"one after the other", true, 2 * time.Second, false},
		{"atomic", false, 100 * time.Millisecond, false},
	} {
		for how, write := range write {
			t.Run(test.name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := simcloud.New(simcloud.Options{Latency: time.Second, LostUpdates: test.lostUpdates})
					c.PutServer(simcloud.Server{ID: serverID})
					c.PutSnapshot(simcloud.Snapshot{ID: snapshotID})
					token := tokenFor(t, c, "demo", "demo")
					answers := make([]answer, 10)
					var wg sync.WaitGroup
					for i := range answers {
						wg.Go(func() { answers[i] = write(t, c, token, fmt.Sprint("k", i)) })
						time.Sleep(test.spacing)
					}
					wg.Wait()
					for i, a := range answers {
						if a.status != http.StatusOK {
							t.Errorf("writer %d: got %d: %s", i, a.status, a.body)
						}
					}
					server, _ := c.Server(serverID)
					snapshot, _ := c.Snapshot(snapshotID)
					kept := len(server.Metadata) + len(snapshot.Metadata)
					if test.wantLost && kept != 1 {
						t.Errorf("%d keys are left, want the last writer's alone", kept)
					}
					if !test.wantLost && kept != len(answers) {
						t.Errorf("%d keys are left, want %d", kept, len(answers))
					}
				})
			})
		}
	}
}

// A writer gets the map that it saved, even if another writer overwrites it.
func TestLostUpdateIsAnswered200(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simcloud.New(simcloud.Options{Latency: time.Second, LostUpdates: true})
		c.PutServer(simcloud.Server{ID: serverID, Metadata: map[string]string{"old": "1"}})
		token := tokenFor(t, c, "demo", "demo")
		var first, second answer
		var wg sync.WaitGroup
		wg.Go(func() {
			first = call(t, c, "POST", metadataPath(""), `{"metadata": {"a": "1"}}`, "X-Auth-Token", token)
		})
		time.Sleep(time.Millisecond)
		wg.Go(func() {
			second = call(t, c, "POST", metadataPath(""), `{"metadata": {"b": "2"}}`, "X-Auth-Token", token)
		})
		wg.Wait()
		if want := `{"metadata": {"a": "1", "old": "1"}}`; first.body != want {
			t.Errorf("the first writer got %s, want %s", first.body, want)
		}
		if want := `{"metadata": {"b": "2", "old": "1"}}`; second.body != want {
			t.Errorf("the second writer got %s, want %s", second.body, want)
		}
		s, _ := c.Server(serverID)
		if diff := cmp.Diff(map[string]string{"b": "2", "old": "1"}, s.Metadata); diff != "" {
			t.Errorf("metadata (-want +got):\n%s", diff)
		}
	})
}

// TestConcurrentRequests is for the race detector.
func TestConcurrentRequests(t *testing.T) {
	c := simcloud.New(simcloud.Options{JournalSize: 10,
		Faults: []simcloud.Fault{{Probability: 0.1, Answer: simcloud.ServerError(), Service: "compute"}}, Seed: 1})
	c.PutServer(simcloud.Server{ID: serverID})
	token := tokenFor(t, c, "demo", "demo")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			call(t, c, "POST", metadataPath(""), fmt.Sprintf(`{"metadata": {"k%d": "v"}}`, i), "X-Auth-Token", token)
			call(t, c, "GET", "/compute/v2.1/servers/detail", nil, "X-Auth-Token", token)
			c.Server(serverID)
			c.Requests()
			c.Tune(func(o *simcloud.Options) { o.BuildTime = time.Duration(i) })
			c.SetServerState(serverID, "active", "")
		})
	}
	wg.Wait()
	if got := len(c.Requests()); got != 10 {
		t.Errorf("the journal has %d entries, want 10", got)
	}
}
