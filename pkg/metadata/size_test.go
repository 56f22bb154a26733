package metadata_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Huawei Cloud puts the number of processors in quotes.
func TestFlavorSizes(t *testing.T) {
	p := &pages{bodies: []string{
		`{"flavors": [{"id": "1", "name": "m1.tiny", "vcpus": 1}, {"id": "s6.large.2", "name": "s6.large.2", "vcpus": "2"}]}`,
	}}
	s := service(p, "http://nova/v2.1/")
	got, err := metadata.FlavorSizes(t.Context(), s, metadata.Server, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"1": 1, "m1.tiny": 1, "s6.large.2": 2}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := metadata.FlavorSizes(t.Context(), s, metadata.Snapshot, metadata.Options{}); got != nil || err != nil {
		t.Errorf("a snapshot, which has no flavor: %v, %v", got, err)
	}
	if _, err := metadata.FlavorSizes(t.Context(), s, metadata.Server, metadata.Options{}); err == nil {
		t.Error("a failed call gives no error")
	}
	want := []string{"/v2.1/flavors/detail?limit=1000 ", "/v2.1/flavors/detail?limit=1000 "}
	if diff := cmp.Diff(want, p.sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
}
