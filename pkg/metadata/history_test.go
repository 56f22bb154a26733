package metadata_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

// The response is that of Nova's doc/api_samples/os-instance-actions/v2.21, with an action that failed.
func TestHistory(t *testing.T) {
	p := &pages{bodies: []string{`{"instanceActions": [
		{"action": "stop", "instance_uuid": "fcd19ef2-b593-40b1-90a5-fc31063fa95c", "message": "Error",
			"project_id": "6f70656e737461636b20342065766572",
			"request_id": "req-f8a59f03-76dc-412f-92c2-21f8612be728", "start_time": "2018-04-25T01:26:36.000000",
			"user_id": "admin"},
		{"action": "create", "instance_uuid": "fcd19ef2-b593-40b1-90a5-fc31063fa95c", "message": null,
			"project_id": "6f70656e737461636b20342065766572",
			"request_id": "req-50189019-626d-47fb-b944-b8342af09679", "start_time": "2018-04-25T01:26:34.000000",
			"user_id": null}
	]}`}}
	s := service(p, "http://nova/v2.1/")
	got, err := resourceAt(t, s, metadata.Server, metadata.Options{}).History(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []metadata.RecordedAction{
		{
			Action: "stop", Request: "req-f8a59f03-76dc-412f-92c2-21f8612be728", User: "admin",
			Start: "2018-04-25T01:26:36.000000", Message: "Error",
		},
		{Action: "create", Request: "req-50189019-626d-47fb-b944-b8342af09679", Start: "2018-04-25T01:26:34.000000"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := resourceAt(t, s, metadata.Volume, metadata.Options{}).History(t.Context()); got != nil || err != nil {
		t.Errorf("a volume, which has no history: %v, %v", got, err)
	}
	if diff := cmp.Diff([]string{"/v2.1/servers/" + id + "/os-instance-actions compute 2.21"}, p.sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if _, err := resourceAt(t, s, metadata.Server, metadata.Options{}).History(t.Context()); err == nil {
		t.Error("a failed call gives no error")
	}
}
