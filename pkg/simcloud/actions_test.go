package simcloud_test

import (
	stdcmp "cmp"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// argument returns the JSON argument of an action.
func argument(action string) string {
	switch action {
	case "reboot":
		return `{"type": "SOFT"}`
	case "resize":
		return `{"flavorRef": "84"}`
	case "os-resetState":
		return `{"state": "error"}`
	}
	return "null"
}

func act(t *testing.T, c *simcloud.Cloud, token, action string) answer {
	t.Helper()
	return call(t, c, "POST", "/compute/v2.1/servers/"+serverID+"/action",
		fmt.Sprintf(`{%q: %s}`, action, argument(action)), "X-Auth-Token", token)
}

// TestActionsByState tries every action in every vm_state. Those not in the table are refused with 409.
func TestActionsByState(t *testing.T) {
	allowed := map[string]map[string]string{ // action → vm_state before → after
		"os-start": {"stopped": "active"},
		"os-stop":  {"active": "stopped", "error": "stopped"},
		"pause":    {"active": "paused"},
		"unpause":  {"paused": "active"},
		"suspend":  {"active": "suspended"},
		"resume":   {"suspended": "active"},
		"rescue":   {"active": "rescued", "stopped": "rescued", "error": "rescued"},
		"unrescue": {"rescued": "active"},
		"shelve": {"active": "shelved_offloaded", "stopped": "shelved_offloaded", "paused": "shelved_offloaded",
			"suspended": "shelved_offloaded"},
		"shelveOffload": {"shelved": "shelved_offloaded"},
		"unshelve":      {"shelved": "active", "shelved_offloaded": "active"},
		"resize":        {"active": "resized", "stopped": "resized"},
		"confirmResize": {"resized": "active"},
		"revertResize":  {"resized": "active"},
		"reboot":        {"active": "active"},
		"restore":       {"soft-delete": "active"},
	}
	status := map[string]int{"rescue": http.StatusOK, "confirmResize": http.StatusNoContent}
	label := map[string]string{"os-start": "start", "os-stop": "stop"}
	states := []string{"building", "active", "stopped", "paused", "suspended", "rescued", "resized", "error", "shelved",
		"shelved_offloaded", "soft-delete", "deleted"}
	c := simcloud.New(simcloud.Options{})
	admin := tokenFor(t, c, "admin", "demo")
	for action, from := range allowed {
		for _, state := range states {
			t.Run(action+"/"+state, func(t *testing.T) {
				c.PutServer(simcloud.Server{ID: serverID, VMState: state, BuildTime: time.Hour})
				a := act(t, c, admin, action)
				to, ok := from[state]
				s, _ := c.Server(serverID)
				if !ok {
					wantStatus(t, action, a, http.StatusConflict)
					want := fmt.Sprintf("Cannot '%s' instance %s while it is in vm_state %s", stdcmp.Or(label[action], action),
						serverID, state)
					if strings.HasPrefix(action, "os-") && (state == "building" || state == "shelved_offloaded") {
						want = "Instance " + serverID + " is not ready"
					}
					if got := message(t, a); got != want {
						t.Errorf("got %q, want %q", got, want)
					}
					to = state
				} else {
					wantStatus(t, action, a, stdcmp.Or(status[action], http.StatusAccepted))
				}
				if s.VMState != to {
					t.Errorf("the vm_state is %s, want %s", s.VMState, to)
				}
			})
		}
	}
}

func TestActionTakesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simcloud.New(simcloud.Options{ActionTime: 10 * time.Second, ShelvedOffloadTime: time.Minute})
		c.PutServer(simcloud.Server{ID: serverID})
		token := tokenFor(t, c, "demo", "demo")
		wantStatus(t, "stop", act(t, c, token, "os-stop"), http.StatusAccepted)
		if got := showServer(t, c, serverID, token); got.VMState != "active" || got.Task != "powering-off" {
			t.Errorf("got %+v", got)
		}
		a := act(t, c, token, "pause")
		wantStatus(t, "pause meanwhile", a, http.StatusConflict)
		if got := message(t, a); !strings.HasSuffix(got, "while it is in task_state powering-off") {
			t.Errorf("got %q", got)
		}
		wantStatus(t, "metadata meanwhile", call(t, c, "POST", metadataPath(""), `{"metadata": {}}`, "X-Auth-Token", token),
			http.StatusOK)
		time.Sleep(10 * time.Second)
		if got := showServer(t, c, serverID, token); got.Status != "SHUTOFF" || got.Task != "" {
			t.Errorf("got %+v", got)
		}
		wantStatus(t, "shelve", act(t, c, token, "shelve"), http.StatusAccepted)
		var got []string
		for range 3 {
			time.Sleep(35 * time.Second)
			got = append(got, showServer(t, c, serverID, token).Status)
		}
		if diff := cmp.Diff([]string{"SHELVED", "SHELVED_OFFLOADED", "SHELVED_OFFLOADED"}, got); diff != "" {
			t.Errorf("statuses (-want +got):\n%s", diff)
		}
	})
}

func TestResizeKeepsWhatItWas(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	token := tokenFor(t, c, "demo", "demo")
	for _, test := range []struct{ state, end, flavor, after string }{
		{"active", "confirmResize", "84", "active"}, {"active", "revertResize", "42", "active"},
		{"stopped", "confirmResize", "84", "stopped"}, {"stopped", "revertResize", "42", "stopped"},
	} {
		c.PutServer(simcloud.Server{ID: serverID, VMState: test.state})
		wantStatus(t, "resize", act(t, c, token, "resize"), http.StatusAccepted)
		if got := showServer(t, c, serverID, token); got.Status != "VERIFY_RESIZE" {
			t.Errorf("got %+v", got)
		}
		wantStatus(t, "metadata", call(t, c, "POST", metadataPath(""), `{"metadata": {}}`, "X-Auth-Token", token),
			http.StatusConflict)
		act(t, c, token, test.end)
		if s, _ := c.Server(serverID); s.Flavor != test.flavor || s.VMState != test.after {
			t.Errorf("%s from %s: flavor %s and %s, want %s and %s", test.end, test.state, s.Flavor, s.VMState, test.flavor,
				test.after)
		}
	}
}

func TestLock(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutServer(simcloud.Server{ID: serverID})
	token, admin := tokenFor(t, c, "demo", "demo"), tokenFor(t, c, "admin", "admin")
	write := func(who string) answer {
		return call(t, c, "POST", metadataPath(""), `{"metadata": {"a": "b"}}`, "X-Auth-Token", who)
	}
	wantStatus(t, "lock", act(t, c, token, "lock"), http.StatusAccepted)
	a := write(token)
	wantStatus(t, "locked", a, http.StatusConflict)
	if got, want := message(t, a), "Instance "+serverID+" is locked"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	wantStatus(t, "delete", call(t, c, "DELETE", "/compute/v2.1/servers/"+serverID, nil, "X-Auth-Token", token),
		http.StatusConflict)
	wantStatus(t, "an administrator", write(admin), http.StatusOK)
	wantStatus(t, "unlock", act(t, c, token, "unlock"), http.StatusAccepted)
	wantStatus(t, "unlocked", write(token), http.StatusOK)
	c.SetServerLocked(serverID, true)
	wantStatus(t, "unlock what an administrator locked", act(t, c, token, "unlock"), http.StatusForbidden)
	wantStatus(t, "unlock by an administrator", act(t, c, admin, "unlock"), http.StatusAccepted)
}

func TestActionsThatAreRefused(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutServer(simcloud.Server{ID: serverID})
	token, stranger := tokenFor(t, c, "demo", "demo"), tokenFor(t, c, "stranger", "other")
	for _, test := range []struct {
		name, who, body string
		status          int
		text            string
	}{
		{"unknown", token, `{"foo": null}`, 400, "There is no such action: foo"},
		{"two", token, `{"os-stop": null, "os-start": null}`, 400, "Malformed request body"},
		{"none", token, `{}`, 400, "Malformed request body"},
		{"no JSON", token, `{`, 400, "Malformed request body"},
		{"another's server", stranger, `{"pause": null}`, 404, "Instance " + serverID + " could not be found."},
		{"reset state by a member", token, `{"os-resetState": {"state": "active"}}`, 403,
			"Policy doesn't allow os_compute_api:os-admin-actions:reset_state to be performed."},
		{"kind of reboot", token, `{"reboot": {"type": "x"}}`, 400,
			"Invalid input for field/attribute type. Value: x. 'x' is not one of ['HARD', 'Hard', 'hard', 'SOFT', 'Soft', " +
				"'soft']"},
		{"same flavor", token, `{"resize": {"flavorRef": "42"}}`, 400, "When resizing, instances must change flavor!"},
		{"unknown flavor", token, `{"resize": {"flavorRef": "nope"}}`, 400, "Flavor nope could not be found."},
		{"no flavor", token, `{"resize": {}}`, 400,
			"Invalid input for field/attribute resize. Value: {}. 'flavorRef' is a required property"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := call(t, c, "POST", "/compute/v2.1/servers/"+serverID+"/action", test.body, "X-Auth-Token", test.who)
			wantStatus(t, test.name, a, test.status)
			if got := message(t, a); got != test.text {
				t.Errorf("got %q, want %q", got, test.text)
			}
		})
	}
}

// A server that never ran has an error message of its own, in any vm_state.
func TestServerThatWasNeverLaunched(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutServer(simcloud.Server{ID: serverID, NeverLaunched: true})
	a := call(t, c, "POST", metadataPath(""), `{"metadata": {}}`, "X-Auth-Token", tokenFor(t, c, "demo", "demo"))
	wantStatus(t, "metadata", a, http.StatusConflict)
	if got, want := message(t, a), "Instance "+serverID+" is in an invalid state for 'update metadata'"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCreateServerIsRefused(t *testing.T) {
	c := simcloud.New(simcloud.Options{MaxMetadataItems: 2})
	token := tokenFor(t, c, "demo", "demo")
	image, _ := c.Image("cirros")
	whole := `"name": "web", "imageRef": "` + image.ID + `", "flavorRef": "42", "networks": "none"`
	for _, test := range []struct {
		name, server, version string
		status                int
		text                  string
	}{
		{"no name", `"imageRef": "` + image.ID + `", "flavorRef": "42", "networks": "none"`, "2.37", 400,
			"'name' is a required property"},
		{"no networks", `"name": "web", "imageRef": "` + image.ID + `", "flavorRef": "42"`, "2.37", 400,
			"'networks' is a required property"},
		{"networks none before 2.37", whole, "2.36", 400,
			"Invalid input for field/attribute networks. Value: none. 'none' is not of type 'array'"},
		{"unknown flavor", strings.Replace(whole, `"42"`, `"43"`, 1), "2.37", 400, "Flavor 43 could not be found."},
		{"unknown image", strings.Replace(whole, image.ID, "00000000-0000-4000-8000-000000000000", 1), "2.37", 400,
			"Can not find requested image"},
		{"no UUID", strings.Replace(whole, image.ID, "nope", 1), "2.37", 400,
			"Invalid input for field/attribute imageRef. Value: nope. 'nope' is not valid under any of the given schemas"},
		{"unknown field", whole + `, "bogus": 1`, "2.37", 400,
			"Additional properties are not allowed ('bogus' was unexpected)"},
		{"white space", strings.Replace(whole, "web", " web", 1), "2.37", 400,
			"An invalid 'name' value was provided. The name must be: printable characters. " +
				"Can not start or end with whitespace."},
		{"metadata value", whole + `, "metadata": {"a": 1}`, "2.37", 400,
			"Invalid input for field/attribute a. Value: 1. 1 is not of type 'string'"},
		{"metadata quota", whole + `, "metadata": {"a": "1", "b": "2", "c": "3"}`, "2.37", 403,
			"Maximum number of metadata items exceeds 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := call(t, c, "POST", "/compute/v2.1/servers", `{"server": {`+test.server+`}}`, "X-Auth-Token", token,
				"OpenStack-API-Version", "compute "+test.version)
			wantStatus(t, test.name, a, test.status)
			if got := message(t, a); !strings.HasSuffix(got, test.text) {
				t.Errorf("got %q, want %q at its end", got, test.text)
			}
		})
	}
	if len(c.Servers()) != 0 {
		t.Errorf("servers were made: %v", c.Servers())
	}
}
