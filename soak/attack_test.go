//go:build soak

package soak_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// The rules for good events, and a rule whose cost depends on a hostile event.
const rulesText = `rules:
- {name: env, on: server.created, set: {env: dev}}
- name: costly
  on: server.created
  when: 'data.attack == true and len(reduce(data.many, #acc + .s, "")) > 0'
  set: {size: large}
`

// attack is a request that tries to cost more than it may. Its body can be sent to every entry point.
type attack struct {
	name        string
	contentType string
	encoding    string
	header      map[string]string
	body        []byte
	// times is the number of concurrent copies of a small request; 0 stands for atOnce.
	times int
	// absent means that the server does not exist: the response follows when the wait for it ends.
	absent bool
}

// serverID returns the id of a server; those below 1,000,000 do not exist.
func serverID(n int) string { return fmt.Sprintf("8c1f0a6e-5b0d-4a3e-9f52-%012d", n) }

const structured = "application/cloudevents+json"

// created returns a plain event with data, which is JSON.
func created(server, data string) []byte {
	return fmt.Appendf(nil, `{"specversion": "1.0", "id": "e-%[1]s", "source": "//soak", `+
		`"type": "io.github.cloudtagger.server.created", "subject": %[1]q, "time": %[2]q, "data": %[3]s}`,
		server, time.Now().UTC().Format(time.RFC3339), data)
}

const mebibyte = 1 << 20

// attacks returns attacks of the largest size that an entry point accepts; size is the limit of a body in bytes.
func attacks(size int) []attack {
	fill := func(room int, text string) string { return strings.Repeat(text, max(0, room/len(text))) }
	var many []map[string]string
	for range min(size, mebibyte*9/10) / 9000 {
		many = append(many, map[string]string{"s": strings.Repeat("s", 9000)})
	}
	costly, _ := json.Marshal(map[string]any{"attack": true, "many": many})

	ids := make([]string, min(120_000, (size-2000)/47))
	for i := range ids {
		ids[i] = fmt.Sprintf(`{"id": %q}`, serverID(i))
	}
	const tracing = `{"trace_id": "t-%d", "trace_name": %q, "service_type": "ECS", "resource_type": "ecs", ` +
		`"trace_type": "ApiCall", "trace_rating": "normal", "code": 200, "time": %d, "user": {"name": "alice"}, %s}`
	trace := fmt.Sprintf(tracing, 1, "stopServer", time.Now().UnixMilli(),
		`"request": {"os-stop": {"servers": [`+strings.Join(ids, ",")+`]}}`)

	batch := make([]string, min(60, max(1, size/110_000))) // each is within the limits of one event
	for i := range batch {
		batch[i] = fmt.Sprintf(tracing, i, "stopServer", time.Now().UnixMilli(),
			`"request": {"os-stop": {"servers": [`+strings.Join(ids[:2000], ",")+`]}}`)
	}
	missing := make([]string, 500)
	for i := range missing {
		missing[i] = fmt.Sprintf("%q", serverID(10_000+i))
	}
	creation := fmt.Sprintf(tracing, 0, "createServer", time.Now().UnixMilli(),
		`"response": {"serverIds": [`+strings.Join(missing, ",")+`]}`)

	bomb := bomb()
	long := fill(size/8, "h")
	one := func(name string, body []byte) attack { return attack{name: name, contentType: structured, body: body} }
	absent := func(name string, body []byte) attack {
		return attack{name: name, contentType: structured, body: body, absent: true}
	}
	return []attack{
		one("objects", created(serverID(1), `{"a": [`+fill(min(size, 2*mebibyte)-600, `{"":0},`)+`0]}`)),
		one("long bodies", created(serverID(2), `"`+fill(size-600, "x")+`"`)),
		{name: "a trace of many servers", contentType: "application/json", body: []byte(trace)},
		one("nesting", created(serverID(3), fill(size/2-600, "[")+fill(size/2-600, "]"))),
		{name: "gzip", contentType: structured, encoding: "gzip", body: bomb[:min(size, len(bomb))], times: 100},
		{name: "objects below the limit", contentType: structured, absent: true, times: 40,
			body: created(serverID(7), `{"a": [`+fill(min(size, 175_000)-600, `{"":0},`)+`0]}`)},
		{name: "a batch of traces", contentType: "application/json", body: []byte("[" + strings.Join(batch, ",") + "]")},
		{name: "a trace of absent servers", contentType: "application/json", body: []byte(creation), absent: true},
		absent("absent servers", created(serverID(4), `{}`)),
		one("rule", created(serverID(1_000_000), string(costly))),
		{name: "headers", contentType: "application/json", header: map[string]string{
			"ce-specversion": "1.0", "ce-id": "h", "ce-source": "//soak", "ce-type": "io.github.cloudtagger.server.created",
			"ce-subject": long[:min(len(long), 700_000)],
		}, body: []byte(`{"specversion": "1.0", "id": "` + long + `", "source": "//soak", "type": "` + long + `"}`),
			times: 100},
		absent("attributes in two cases",
			[]byte(`{"specversion": "1.0", "SpecVersion": "0.3", "id": "a", "ID": "b", "source": "//soak", `+
				`"Source": "//other", `+
				`"type": "io.github.cloudtagger.server.created", "TYPE": "io.github.cloudtagger.server.deleted", `+
				`"subject": "`+serverID(5)+`", "Subject": "`+serverID(1_000_000)+`"}`)),
		absent("invalid UTF-8", bytes.Replace(created(serverID(6), `{"name": "NAME"}`), []byte("NAME"),
			[]byte("\xff\xfe\xc0\x80"), 1)),
	}
}

// bomb is gzip that inflates to 256 MiB.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.CopyN(w, zeros{}, 256*mebibyte)
	_ = w.Close()
	return b.Bytes()
})

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
