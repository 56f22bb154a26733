package host_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/host"
)

// TestWebHook covers the validation request of CloudEvents' web hooks, sections 4.1 and 4.2.
func TestWebHook(t *testing.T) {
	for _, c := range []struct {
		name         string
		origins      []string
		rate         int
		method       string
		header       http.Header
		status       int
		origin, want string // WebHook-Allowed-Origin and -Rate
	}{
		{"listed", []string{"eventgrid.azure.net"}, 0, "OPTIONS", origin("eventgrid.azure.net"), 200, "eventgrid.azure.net",
			"*"},
		{"in other case", []string{"EventGrid.azure.net"}, 0, "OPTIONS", origin("eventgrid.Azure.NET"), 200,
			"eventgrid.Azure.NET", "*"},
		{"second of two", []string{"a.example", "b.example"}, 0, "OPTIONS", origin("b.example"), 200, "b.example", "*"},
		{"any", []string{"*"}, 0, "OPTIONS", origin("b.example"), 200, "*", "*"},
		{"listed beside any", []string{"*", "b.example"}, 0, "OPTIONS", origin("b.example"), 200, "b.example", "*"},
		{"below", []string{"*.example.com"}, 0, "OPTIONS", origin("a.b.Example.com"), 200, "a.b.Example.com", "*"},
		{"below does not mean itself", []string{"*.example.com"}, 0, "OPTIONS", origin("example.com"), 403, "", ""},
		{"nor an ending", []string{"*.example.com"}, 0, "OPTIONS", origin("badexample.com"), 403, "", ""},
		{"not listed", []string{"a.example"}, 0, "OPTIONS", origin("b.example"), 403, "", ""},
		{"a part of a listed one", []string{"a.example"}, 0, "OPTIONS", origin("example"), 403, "", ""},
		{"a rate that is asked for", []string{"*"}, 0, "OPTIONS", origin("b.example", "120"), 200, "*", "*"},
		{"a rate below ours", []string{"*"}, 300, "OPTIONS", origin("b.example", "120"), 200, "*", "120"},
		{"a rate above ours", []string{"*"}, 60, "OPTIONS", origin("b.example", "120"), 200, "*", "60"},
		{"our rate", []string{"*"}, 60, "OPTIONS", origin("b.example"), 200, "*", "60"},
		{"no rate at all", []string{"*"}, 60, "OPTIONS", origin("b.example", "0"), 400, "", ""},
		{"a rate in words", []string{"*"}, 60, "OPTIONS", origin("b.example", "many"), 400, "", ""},
		{"a rate beyond numbers", []string{"*"}, 60, "OPTIONS", origin("b.example", strings.Repeat("9", 40)), 400, "", ""},
		{"no handshake", []string{"*"}, 0, "OPTIONS", http.Header{}, 200, "", ""},
		{"a callback is not called", []string{"a.example"}, 0, "OPTIONS",
			http.Header{"Webhook-Request-Origin": {"b.example"}, "Webhook-Request-Callback": {"http://192.0.2.1/"}}, 403, "",
			""},
		{"two origins", []string{"*"}, 0, "OPTIONS", http.Header{"Webhook-Request-Origin": {"a.example", "b.example"}}, 400,
			"", ""},
		{"no DNS name", []string{"*"}, 0, "OPTIONS", origin("a b"), 400, "", ""},
		{"a URL", []string{"*"}, 0, "OPTIONS", origin("https://a.example/x"), 400, "", ""},
		{"too long", []string{"*"}, 0, "OPTIONS", origin(strings.Repeat("a.", 127) + "example"), 400, "", ""},
		{"no origins permitted", nil, 0, "OPTIONS", origin("a.example"), 405, "", ""},
		{"another method", []string{"*"}, 0, "DELETE", origin("a.example"), 405, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := host.NewWebHook(c.origins, c.rate)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(c.method, "/", nil)
			r.Header = c.header
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.status || w.Header().Get("WebHook-Allowed-Origin") != c.origin ||
				w.Header().Get("WebHook-Allowed-Rate") != c.want {
				t.Errorf("%d %v, want %d, origin %q, rate %q", w.Code, w.Header(), c.status, c.origin, c.want)
			}
			if got := w.Header().Get("Allow"); got != "POST" {
				t.Errorf("Allow %q", got)
			}
			if _, ok := w.Header()["Webhook-Allowed-Rate"]; ok != (c.origin != "") {
				t.Errorf("only one of rate and origin: %v", w.Header())
			}
		})
	}
}

func origin(name string, rate ...string) http.Header {
	h := http.Header{"Webhook-Request-Origin": {name}}
	for _, r := range rate {
		h.Set("WebHook-Request-Rate", r)
	}
	return h
}

func TestWebHookSettings(t *testing.T) {
	for _, c := range []struct {
		origins []string
		rate    int
		want    string
	}{
		{[]string{"a.example", "https://b.example"}, 0,
			`permit web hooks: "https://b.example" is not a DNS name, *.NAME or *`},
		{[]string{""}, 0, `permit web hooks: "" is not a DNS name, *.NAME or *`},
		{[]string{"*.*.example"}, 0, `permit web hooks: "*.*.example" is not a DNS name, *.NAME or *`},
		{[]string{"*"}, -1, `permit web hooks: a rate of -1 requests a minute is negative`},
	} {
		if _, err := host.NewWebHook(c.origins, c.rate); err == nil || err.Error() != c.want {
			t.Errorf("%q: error %v, want %s", c.origins, err, c.want)
		}
	}
}
