package rules_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudtagger/tagger/pkg/rules"
)

// shelf is where rules are read from; its text can be changed.
type shelf struct {
	mu    sync.Mutex
	text  string
	err   error
	reads int
}

func (s *shelf) put(text string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text, s.err = text, err
}

func (s *shelf) read(context.Context) (rules.Source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return rules.Source{Name: "R", Text: []byte(s.text)}, s.err
}

func compileSource(s rules.Source) (*rules.Set, error) {
	return rules.Compile(s.Text, rules.Options{Name: s.Name, Files: s.Files})
}

func version(n int) string {
	return fmt.Sprintf("rules: [{on: server.created, set: {version: v%d}}]", n)
}

func TestBook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{text: version(1)}
		var refused []error
		book, err := rules.Open(t.Context(), s.read, compileSource, time.Minute, rules.Notices{
			Unread: func(err error) { refused = append(refused, err) }, Refused: func(err error) { refused = append(refused, err) },
		})
		if err != nil {
			t.Fatal(err)
		}
		in := func(d time.Duration) string {
			<-time.NewTimer(d).C
			return book.Current(t.Context()).Plan(change(), sample(t)).Set["version"]
		}
		for _, step := range []struct {
			name string
			text string
			err  error
			wait time.Duration
			want string
			bad  int
		}{
			{"too early to look", version(2), nil, 59 * time.Second, "v1", 0},
			{"looked at", version(2), nil, time.Second, "v2", 0},
			{"does not compile", "rules: []", nil, time.Minute, "v2", 1},
			{"not looked at again at once", "rules: []", nil, time.Second, "v2", 1},
			{"still does not compile", "rules: []", nil, time.Minute, "v2", 2},
			{"cannot be read", "", errors.New("access denied"), time.Minute, "v2", 3},
			{"mended", version(3), nil, time.Minute, "v3", 3},
		} {
			s.put(step.text, step.err)
			if got := in(step.wait); got != step.want || len(refused) != step.bad {
				t.Errorf("%s: %s, refused %v; want %s and %d", step.name, got, refused, step.want, step.bad)
			}
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	s := &shelf{text: "rules: []"}
	if _, err := rules.Open(t.Context(), s.read, compileSource, time.Minute, rules.Notices{}); err == nil {
		t.Error("the first version does not compile")
	}
}

// Many ask at once: one looks, and nobody waits for it.
func TestBookIsReadByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{text: version(1)}
		slow := func(ctx context.Context) (rules.Source, error) {
			if s.reads > 0 {
				<-time.NewTimer(10 * time.Second).C
			}
			return s.read(ctx)
		}
		book, err := rules.Open(t.Context(), slow, compileSource, time.Minute, rules.Notices{})
		if err != nil {
			t.Fatal(err)
		}
		<-time.NewTimer(time.Minute).C
		var all sync.WaitGroup
		var mu sync.Mutex
		waited := 0
		for range 20 {
			all.Go(func() {
				start := time.Now()
				book.Current(t.Context())
				mu.Lock()
				defer mu.Unlock()
				if time.Since(start) > 0 {
					waited++
				}
			})
		}
		all.Wait()
		if waited != 1 || s.reads != 2 {
			t.Errorf("%d waited, %d reads", waited, s.reads)
		}
	})
}

// Where the rules are kept does not answer: the last good ones are at hand, and whoever asks for them has more to do.
func TestBookDoesNotWaitForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{text: version(1)}
		silent := func(ctx context.Context) (rules.Source, error) {
			if s.reads > 0 {
				<-ctx.Done()
				return rules.Source{}, ctx.Err()
			}
			return s.read(ctx)
		}
		var unread, refused int
		book, err := rules.Open(t.Context(), silent, compileSource, time.Minute, rules.Notices{Unread: func(error) { unread++ }, Refused: func(error) { refused++ }})
		if err != nil {
			t.Fatal(err)
		}
		<-time.NewTimer(time.Minute).C
		start := time.Now()
		if got := book.Current(t.Context()).Plan(change(), sample(t)).Set["version"]; got != "v1" {
			t.Errorf("rules %s", got)
		}
		if waited := time.Since(start); waited > 5*time.Second || unread != 1 || refused != 0 {
			t.Errorf("waited %s; unread %d, refused %d", waited, unread, refused)
		}
	})
}

// A panic over one version does not keep the next from being read.
func TestBookOutlivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{text: version(1)}
		compile := func(source rules.Source) (*rules.Set, error) {
			if s.reads == 2 {
				panic("compile")
			}
			return compileSource(source)
		}
		book, err := rules.Open(t.Context(), s.read, compile, time.Minute, rules.Notices{})
		if err != nil {
			t.Fatal(err)
		}
		s.put(version(2), nil)
		for range 2 {
			<-time.NewTimer(time.Minute).C
			func() {
				defer func() { _ = recover() }()
				book.Current(t.Context())
			}()
		}
		if got := book.Current(t.Context()).Plan(change(), sample(t)).Set["version"]; got != "v2" {
			t.Errorf("rules %s after %d reads", got, s.reads)
		}
	})
}
