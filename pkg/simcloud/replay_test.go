package simcloud_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// The files in testdata hold responses of Nova 26.2.2 and Cinder 21.3.1 (Zed), with ids as placeholders in braces.

// exchange is one request to the real service and its response.
type exchange struct {
	Name        string `json:"name"`
	Who         string `json:"who"`
	Method      string `json:"method"`
	Path        string `json:"path"`
	ContentType string `json:"contentType"`
	Version     string `json:"version"`
	Body        string `json:"body"`
	Status      int    `json:"status"`
	Answer      string `json:"answer"`
	AnswerType  string `json:"answerType"`
}

func readExchanges(t *testing.T, file string) []exchange {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var out []exchange
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e exchange
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// replay sends the requests in order and compares the responses with those of the real service.
func replay(t *testing.T, c *simcloud.Cloud, file string, ids map[string]string) {
	t.Helper()
	credential, _ := c.ApplicationCredential("tagger")
	signIn := call(t, c, "POST", "/identity/v3/auth/tokens",
		map[string]any{"auth": map[string]any{"identity": map[string]any{
			"methods":                []string{"application_credential"},
			"application_credential": map[string]string{"id": credential.ID, "secret": string(credential.Secret)},
		}}})
	tokens := map[string]string{
		"member": tokenFor(t, c, "demo", "demo"), "admin": tokenFor(t, c, "admin", "admin"),
		"reader": tokenFor(t, c, "reader", "demo"), "stranger": tokenFor(t, c, "stranger", "other"),
		"revoked": tokenFor(t, c, "demo", "demo"), "nonsense": "nonsense",
		"application credential": signIn.header.Get("X-Subject-Token"),
	}
	wantStatus(t, "revoke", call(t, c, "DELETE", "/identity/v3/auth/tokens", nil, "X-Auth-Token", tokens["admin"],
		"X-Subject-Token", tokens["revoked"]), 204)
	replacements := []string{"{base}", simcloud.DefaultEndpoint}
	for _, project := range []string{"demo", "admin", "other"} {
		p, _ := c.Project(project)
		braced := map[string]string{"demo": "{project}", "admin": "{admin}", "other": "{other}"}
		replacements = append(replacements, braced[project], p.ID)
	}
	for name, id := range ids {
		replacements = append(replacements, "{"+name+"}", id)
	}
	fill := strings.NewReplacer(replacements...)
	for _, e := range readExchanges(t, file) {
		t.Run(e.Name, func(t *testing.T) {
			headers := []string{"Accept", "*/*", "X-Auth-Token", tokens[e.Who], "Content-Type", e.ContentType}
			if e.Version != "" {
				headers = append(headers, "OpenStack-API-Version", e.Version)
			}
			var body any
			if e.Body != "" {
				body = fill.Replace(e.Body)
			}
			got := call(t, c, e.Method, fill.Replace(e.Path), body, headers...)
			if got.status != e.Status {
				t.Fatalf("got %d, want %d: %s", got.status, e.Status, got.body)
			}
			if got := got.header.Get("Content-Type"); !strings.EqualFold(got, e.AnswerType) {
				t.Errorf("got the type %q, want %q", got, e.AnswerType)
			}
			want := fill.Replace(e.Answer)
			if diff := cmp.Diff(decoded(want), decoded(got.body)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// decoded makes bodies comparable: JSON by value, others without white space.
func decoded(text string) any {
	var v any
	if json.Unmarshal([]byte(text), &v) == nil {
		return v
	}
	return strings.Fields(text)
}

func TestServerMetadataAnswersAsNova(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutServer(simcloud.Server{ID: serverID})
	replay(t, c, "testdata/server-metadata-exchanges.jsonl", map[string]string{"server": serverID})
}

func TestSnapshotMetadataAnswersAsCinder(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutSnapshot(simcloud.Snapshot{ID: snapshotID, Metadata: map[string]string{"from": "create"}})
	s, _ := c.Snapshot(snapshotID)
	replay(t, c, "testdata/snapshot-metadata-exchanges.jsonl",
		map[string]string{"snapshot": snapshotID, "volume": s.VolumeID})
}

// readTable reads the rows of a file of tab-separated columns.
func readTable(t *testing.T, file string) [][]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(text)) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows
}

// operate performs an operation of the tables on the metadata below a path.
func operate(t *testing.T, c *simcloud.Cloud, operation, path, token string) answer {
	t.Helper()
	method, rest, _ := strings.Cut(operation, " ")
	var body any
	switch method {
	case http.MethodPost:
		body = `{"metadata": {"env": "dev"}}`
	case http.MethodPut:
		body = `{"meta": {"env": "x"}}`
	}
	return call(t, c, method, path+"/"+rest, body, "X-Auth-Token", token)
}

func wantAnswer(t *testing.T, a answer, status, text string) {
	t.Helper()
	if strconv.Itoa(a.status) != status {
		t.Fatalf("got %d, want %s: %s", a.status, status, a.body)
	}
	if text != "" && message(t, a) != text {
		t.Errorf("got the message %q, want %q", message(t, a), text)
	}
}

func TestServerMetadataByState(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	token := tokenFor(t, c, "demo", "demo")
	state := ""
	id := serverID
	for _, row := range readTable(t, "testdata/server-states.tsv") {
		name, vmState, task, operation, status, text := row[0], row[1], row[2], row[3], row[4], row[5]
		if name != state {
			state, id = name, serverID
			c.DeleteServer(serverID)
			s := simcloud.Server{ID: serverID, VMState: vmState, TaskState: task, Locked: strings.Contains(name, "locked")}
			if vmState == "building" {
				s.Metadata = map[string]string{"env": "from-create"}
			}
			switch name {
			case "id is not a uuid":
				id = "not-a-uuid"
			case "deleted", "never existed":
			default:
				c.PutServer(s)
			}
		}
		t.Run(name+"/"+operation, func(t *testing.T) {
			a := operate(t, c, operation, "/compute/v2.1/servers/"+id, token)
			wantAnswer(t, a, status, strings.ReplaceAll(text, "{id}", id))
		})
	}
}

func TestSnapshotMetadataByStatus(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	token := tokenFor(t, c, "demo", "demo")
	state := ""
	id := snapshotID
	for _, row := range readTable(t, "testdata/snapshot-states.tsv") {
		status, operation, code, text := row[0], row[1], row[2], row[3]
		if status != state {
			state, id = status, snapshotID
			c.DeleteSnapshot(snapshotID)
			switch status {
			case "id not a uuid":
				id = "nope"
			case "deleted", "never existed":
			default:
				c.PutSnapshot(simcloud.Snapshot{ID: snapshotID, Status: status})
			}
		}
		t.Run(status+"/"+operation, func(t *testing.T) {
			a := operate(t, c, operation, "/volume/v3/"+demo(t, c)+"/snapshots/"+id, token)
			wantAnswer(t, a, code, strings.ReplaceAll(text, "{id}", id))
		})
	}
}
