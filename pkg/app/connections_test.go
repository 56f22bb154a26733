package app_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Clients that send nothing, a part of a header or a part of a body make room for others; requests under way do not.
func TestConnectionsAreBounded(t *testing.T) {
	const connections = 256
	entered, release := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			return
		}
		if r.URL.Path == "/long" {
			close(entered)
			<-release
		}
		_, _ = io.WriteString(w, "done")
	})
	address, stop, ended := startServer(t, handler)
	post := func(path string) string {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			"http://"+address+path, strings.NewReader("{}"))
		if err != nil {
			return err.Error()
		}
		resp, err := client.Do(req)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	long := make(chan string, 1)
	go func() { long <- post("/long") }()
	<-entered

	var clients []net.Conn
	for _, sent := range []string{"", "POST / HTTP/1.1\r\nHost: a\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"} {
		var first net.Conn
		for i := range connections + 10 {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			clients = append(clients, conn)
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = conn
			}
		}
		if got := post("/"); got != "done" {
			t.Errorf("after %q: %s", sent, got)
		}
		// the connection that has waited longest was closed
		if _, err := io.Copy(io.Discard, first); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("after %q: %v", sent, err)
		}
	}
	close(release)
	if got := <-long; got != "done" {
		t.Errorf("the request under way: %s", got)
	}
	for _, conn := range clients { // the server's end would wait for bodies that have not arrived
		_ = conn.Close()
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}
