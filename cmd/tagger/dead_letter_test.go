package main

import (
	"encoding/base64"
	"strings"
	"testing"
)

// A plan of a dead letter shows why Knative stopped delivering the event.
func TestPlanOfDeadLetter(t *testing.T) {
	clearEnv(t)
	doc := `{"specversion":"1.0","id":"1","source":"/s","type":"io.github.cloudtagger.server.created","subject":"8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10",`
	for attributes, want := range map[string]string{
		`"knativeerrordest":"http://tagger.default.svc","knativeerrorcode":503,"knativeerrordata":"` +
			base64.StdEncoding.EncodeToString([]byte("deferred:\n\x1b[2Jbuilding")) +
			`"}`: "\n  knative   dest: http://tagger.default.svc\n            code: 503\n            data: " +
			"deferred:\\n\\x1b[2Jbuilding\n  event",
		`"knativeerrorcode":"502","knativeerrordata":"no base64 at all"}`: "\n  knative   code: 502\n      " +
			"      data: no base64 at all\n  event",
		`"knativeerrordata":"` + base64.StdEncoding.EncodeToString([]byte("\xff")) +
			`"}`: "\n  knative   data: /w==\n  event",
		`"knativeerrordata":"` + strings.Repeat("-", 400) + `"}`: "\n  knative   data: " +
			strings.Repeat("-", 300) + "…\n  event",
		`"other":"x"}`: "standard input\n  event",
	} {
		out, errOut, _ := taggerCommand(t, doc+attributes, "plan", "--rules", exampleRules, "-")
		if !strings.Contains(out, want) {
			t.Errorf("%s: %s%s\nwant %q", attributes, out, errOut, want)
		}
	}
}
