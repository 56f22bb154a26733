package contract_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// concurrentWriters concurrently writes different keys of a server, a snapshot and a volume. Both clouds may lose keys
// of servers and snapshots, but none of volumes. Every writer gets 200 and its own key, all remaining keys were
// written, and a single writer loses none.
func concurrentWriters(t *testing.T, s *session) {
	names := map[string]string{}
	if err := newServer(t.Context(), s, names); err != nil {
		t.Fatal(err)
	}
	if err := newSnapshot(t.Context(), s, names); err != nil {
		t.Fatal(err)
	}
	if err := volumeOf(nil)(t.Context(), s, names); err != nil {
		t.Fatal(err)
	}
	release, err := s.cloud.hold(overlap)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	for kind, url := range map[string]string{
		"server":   s.server(names["server"]),
		"snapshot": s.volumes() + "/snapshots/" + names["snapshot"],
		"volume":   s.volumes() + "/volumes/" + names["volume"],
	} {
		t.Run(kind, func(t *testing.T) {
			const writers = 16
			type metadata struct {
				Metadata map[string]string `json:"metadata"`
			}
			written := map[string]string{"env": "dev", "owner": "alice"}
			for i := range writers {
				written[fmt.Sprintf("key-%d", i)] = fmt.Sprintf("value-%d", i)
			}
			var wg sync.WaitGroup
			for i := range writers {
				wg.Go(func() {
					key := fmt.Sprintf("key-%d", i)
					var answer metadata
					if err := s.send(t.Context(), http.MethodPost, url+"/metadata", "member",
						metadata{map[string]string{key: written[key]}}, &answer); err != nil {
						t.Error(err)
					}
					if answer.Metadata[key] != written[key] || answer.Metadata["env"] != "dev" {
						t.Errorf("the writer of %s got %v", key, answer.Metadata)
					}
				})
			}
			wg.Wait()
			var after metadata
			if err := s.send(t.Context(), http.MethodGet, url+"/metadata", "member", nil, &after); err != nil {
				t.Fatal(err)
			}
			for key, value := range after.Metadata {
				if written[key] != value {
					t.Errorf("%s is %q, which no writer wrote", key, value)
				}
			}
			if after.Metadata["env"] != "dev" || after.Metadata["owner"] != "alice" || len(after.Metadata) < 3 {
				t.Errorf("afterwards it has %v", after.Metadata)
			}
			t.Logf("%d of %d keys were lost", len(written)-len(after.Metadata), writers)
			if kind == "volume" && len(after.Metadata) != len(written) {
				t.Errorf("a volume lost keys: it has %v", after.Metadata)
			}
			if err := s.send(t.Context(), http.MethodPost, url+"/metadata", "member", metadata{written}, &after); err != nil {
				t.Fatal(err)
			}
			clear(after.Metadata)
			if err := s.send(t.Context(), http.MethodGet, url+"/metadata", "member", nil, &after); err != nil {
				t.Fatal(err)
			}
			if len(after.Metadata) != len(written) {
				t.Errorf("a single writer wrote %d keys, %d are left", len(written), len(after.Metadata))
			}
		})
	}
}
