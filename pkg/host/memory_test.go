package host_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/host"
)

// unreadBy is a response to a client that does not read the response.
type unreadBy struct {
	*httptest.ResponseRecorder
	read <-chan struct{}
}

func (u unreadBy) Write(p []byte) (int, error) {
	<-u.read
	return u.ResponseRecorder.Write(p)
}

// Results that no client reads take a limited amount of memory: above it, requests are answered without them.
func TestUnreadResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := host.NewHTTP(host.HTTPOptions{Requests: 10, Bytes: 8 << 20,
			Processor: decide{apply.Decision{Outcome: apply.Ignored, Reason: strings.Repeat("r", 3<<20)}}})
		send := func(w http.ResponseWriter) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(event("x")))
			r.Header.Set("Accept", "application/json")
			h.ServeHTTP(w, r)
		}
		read := make(chan struct{})
		var slow sync.WaitGroup
		for range 2 {
			slow.Go(func() { send(unreadBy{httptest.NewRecorder(), read}) })
		}
		synctest.Wait()
		w := httptest.NewRecorder()
		send(w)
		if w.Code != 204 || w.Body.Len() > 0 {
			t.Errorf("status %d with %d bytes", w.Code, w.Body.Len())
		}
		if h := w.Header(); h.Get("Tagger-Outcome") != "ignored" || h.Get("Content-Type") != "" {
			t.Errorf("header %v", h)
		}
		close(read)
		slow.Wait()
		w = httptest.NewRecorder()
		if send(w); w.Code != 200 || w.Body.Len() < 3<<20 {
			t.Errorf("%d with %d bytes", w.Code, w.Body.Len())
		}
	})
}

// planning blocks the planning of every message with a large id.
type planning struct {
	decide
	release <-chan struct{}
	mu      *sync.Mutex
	most    *int
	now     int
}

func (p *planning) Plan(ctx context.Context, m delivery.Message) delivery.Plan {
	if len(m.EventID()) > 1000 {
		p.mu.Lock()
		p.now++
		*p.most = max(*p.most, p.now)
		p.mu.Unlock()
		<-p.release
		p.mu.Lock()
		p.now--
		p.mu.Unlock()
	}
	return p.decide.Plan(ctx, m)
}

// Only a few large requests are decoded at a time, and small ones do not wait for them.
func TestDecodingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, most := make(chan struct{}), 0
		h := host.NewHTTP(host.HTTPOptions{Requests: 20, Bytes: 8 << 20,
			Processor: &planning{decide: decide{apply.Decision{Outcome: apply.Tagged}}, release: release, mu: &sync.Mutex{},
				most: &most}})
		send := func(body string) int {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Code
		}
		large := `{"specversion":"1.0","id":"` + strings.Repeat("i", 4000) + `","source":"/s","type":"t","data":"` +
			strings.Repeat("d", 64<<10) + `"}`
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if code := send(large); code != 204 {
					t.Errorf("large: %d", code)
				}
			})
		}
		synctest.Wait()
		if code := send(event("x")); code != 204 {
			t.Errorf("small: %d", code)
		}
		close(release)
		all.Wait()
		if most != delivery.MaxPlanning {
			t.Errorf("%d at a time, want %d", most, delivery.MaxPlanning)
		}
	})
}
