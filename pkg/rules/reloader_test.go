package rules_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/cloudtagger/tagger/pkg/rules"
)

// source holds rules whose text can be changed.
type source struct {
	mu    sync.Mutex
	text  string
	err   error
	reads int
}

func (s *source) put(text string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text, s.err = text, err
}

func (s *source) read(context.Context) (rules.Source, error) {
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

func TestReloader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{text: version(1)}
		var refused []error
		reloader, err := rules.Open(t.Context(), s.read, compileSource, time.Minute, rules.Notices{
			Unread: func(err error) { refused = append(refused, err) }, Refused: func(err error, _ bool) {
				refused = append(refused, err)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		in := func(d time.Duration) string {
			<-time.NewTimer(d).C
			reloader.Current(t.Context())
			synctest.Wait() // for what the background compiles
			return reloader.Current(t.Context()).Plan(change(), sample(t), rules.Readings{}).Set["version"]
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
			{"does not compile", "rules: {}", nil, time.Minute, "v2", 1},
			{"not looked at again at once", "rules: {}", nil, time.Second, "v2", 1},
			{"still does not compile", "rules: {}", nil, time.Minute, "v2", 2},
			{"cannot be read", "", errors.New("access denied"), time.Minute, "v2", 3},
			{"corrected", version(3), nil, time.Minute, "v3", 3},
		} {
			s.put(step.text, step.err)
			if got := in(step.wait); got != step.want || len(refused) != step.bad {
				t.Errorf("%s: %s, refused %v; want %s and %d", step.name, got, refused, step.want, step.bad)
			}
		}
	})
}

// Changes take effect, and faults are reported, without any event. A signal does not wait for the end of the period.
func TestReloaderWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{text: version(1)}
		var notices []string
		reloader, err := rules.Open(t.Context(), s.read, compileSource, time.Minute, rules.Notices{
			Unread: func(error) { notices = append(notices, "unread") }, Refused: func(_ error, again bool) {
				notices = append(notices, fmt.Sprint("refused, again ", again))
			},
			InForce: func(v rules.Version) { notices = append(notices, v.Hash) },
		})
		if err != nil {
			t.Fatal(err)
		}
		now := make(chan os.Signal)
		ctx, cancel := context.WithCancel(t.Context())
		go reloader.Watch(ctx, now)
		hash := func(n int) string {
			set, err := compileSource(rules.Source{Text: []byte(version(n))})
			if err != nil {
				t.Fatal(err)
			}
			return set.Hash()[:12] // the one that plans and journals have
		}
		for _, step := range []struct {
			name, text string
			wait       time.Duration
			want       []string
		}{
			{"first", version(1), 0, []string{hash(1)}},
			{"the same", version(1), time.Minute, nil},
			{"another", version(2), time.Minute, []string{hash(2)}},
			{"by signal", version(3), -1, []string{hash(3)}},
			{"does not compile", "rules: {}", time.Minute, []string{"refused, again false"}},
			{"still not", "rules: {}", time.Minute, []string{"refused, again true"}},
			{"as before", version(3), time.Minute, []string{hash(3)}},
		} {
			s.put(step.text, nil)
			if step.wait < 0 {
				now <- os.Interrupt
			} else {
				<-time.NewTimer(step.wait).C
			}
			synctest.Wait()
			if !slices.Equal(notices, step.want) {
				t.Errorf("%s: %v, want %v", step.name, notices, step.want)
			}
			notices = nil
		}
		cancel()
	})
}

func TestOpenRefuses(t *testing.T) {
	s := &source{text: "rules: {}"}
	if _, err := rules.Open(t.Context(), s.read, compileSource, time.Minute, rules.Notices{}); err == nil {
		t.Error("the first version does not compile")
	}
}

// Of many concurrent callers, one reads the rules. The others do not wait for it.
func TestReloaderReadsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{text: version(1)}
		slow := func(ctx context.Context) (rules.Source, error) {
			if s.reads > 0 {
				<-time.NewTimer(10 * time.Second).C
			}
			return s.read(ctx)
		}
		reloader, err := rules.Open(t.Context(), slow, compileSource, time.Minute, rules.Notices{})
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
				reloader.Current(t.Context())
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

// If the source of the rules does not answer, callers get the last good rules after a short wait.
func TestReloaderDoesNotWaitForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{text: version(1)}
		silent := func(ctx context.Context) (rules.Source, error) {
			if s.reads > 0 {
				<-ctx.Done()
				return rules.Source{}, ctx.Err()
			}
			return s.read(ctx)
		}
		var unread, refused int
		reloader, err := rules.Open(t.Context(), silent, compileSource, time.Minute,
			rules.Notices{Unread: func(error) { unread++ }, Refused: func(error, bool) { refused++ }})
		if err != nil {
			t.Fatal(err)
		}
		<-time.NewTimer(time.Minute).C
		start := time.Now()
		if got := reloader.Current(t.Context()).Plan(change(), sample(t), rules.Readings{}).Set["version"]; got != "v1" {
			t.Errorf("rules %s", got)
		}
		if waited := time.Since(start); waited > 5*time.Second || unread != 1 || refused != 0 {
			t.Errorf("waited %s; unread %d, refused %d", waited, unread, refused)
		}
	})
}

// A panic over one version is a fault like others, and the next version is still compiled.
func TestReloaderOutlivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{text: version(1)}
		compiles := 0
		compile := func(source rules.Source) (*rules.Set, error) {
			if compiles++; compiles == 2 {
				panic("oh")
			}
			return compileSource(source)
		}
		var refused []string
		reloader, err := rules.Open(t.Context(), s.read, compile, time.Minute,
			rules.Notices{Refused: func(err error, _ bool) { refused = append(refused, err.Error()) }})
		if err != nil {
			t.Fatal(err)
		}
		s.put(version(2), nil)
		for range 2 {
			<-time.NewTimer(time.Minute).C
			reloader.Current(t.Context())
			synctest.Wait()
		}
		if got := reloader.Current(t.Context()).Plan(change(), sample(t), rules.Readings{}).Set["version"]; got != "v2" ||
			!slices.Equal(refused, []string{"compile R: panic: oh"}) {
			t.Errorf("rules %s, refused %q", got, refused)
		}
	})
}

// A panic while rules are read reaches the caller, and the next caller reads again.
func TestReloaderOutlivesAPanicOfReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{text: version(1)}
		read := func(ctx context.Context) (rules.Source, error) {
			source, err := s.read(ctx)
			if s.reads == 2 {
				panic("oh")
			}
			return source, err
		}
		reloader, err := rules.Open(t.Context(), read, compileSource, time.Minute, rules.Notices{})
		if err != nil {
			t.Fatal(err)
		}
		s.put(version(2), nil)
		for range 2 {
			<-time.NewTimer(time.Minute).C
			func() {
				defer func() { _ = recover() }()
				reloader.Current(t.Context())
			}()
			synctest.Wait()
		}
		if got := reloader.Current(t.Context()).Plan(change(), sample(t), rules.Readings{}).Set["version"]; got != "v2" {
			t.Errorf("rules %s", got)
		}
	})
}

// Rules are compiled when they or their tables have changed, not each time that they are read.
func TestReloaderCompilesWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		beside := fstest.MapFS{"t.csv": {Data: []byte("p-1,CC-1\n")}}
		text := "tables: {t: {file: t.csv}}\nrules: [{on: server.created, set: {cost: '${tables.t[\"p-1\"]}'}}]"
		read := func(context.Context) (rules.Source, error) {
			return rules.Source{Name: "R", Text: []byte(text), Files: beside}, nil
		}
		compiles, refused := 0, 0
		compile := func(source rules.Source) (*rules.Set, error) {
			compiles++
			return compileSource(source)
		}
		reloader, err := rules.Open(t.Context(), read, compile, time.Minute,
			rules.Notices{Refused: func(error, bool) { refused++ }})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			name    string
			change  func()
			want    string
			compile int
			refused int
		}{
			{"nothing changed", func() {}, "CC-1", 1, 0},
			{"a table changed", func() { beside["t.csv"] = &fstest.MapFile{Data: []byte("p-1,CC-2\n")} }, "CC-2", 2, 0},
			{"a file that nothing refers to", func() { beside["u.csv"] = &fstest.MapFile{} }, "CC-2", 2, 0},
			{"the table is gone", func() { delete(beside, "t.csv") }, "CC-2", 3, 1},
			{"it still is", func() {}, "CC-2", 3, 2},
			{"it is back", func() { beside["t.csv"] = &fstest.MapFile{Data: []byte("p-1,CC-3\n")} }, "CC-3", 4, 2},
			{"the rules changed", func() { text += " # a word\n" }, "CC-3", 5, 2},
		} {
			step.change()
			<-time.NewTimer(time.Minute).C
			reloader.Current(t.Context())
			synctest.Wait()
			if got := reloader.Current(t.Context()).Plan(change(), sample(t), rules.Readings{}).Set["cost"]; got != step.want ||
				compiles != step.compile || refused != step.refused {
				t.Errorf("%s: %s, %d compiled, %d refused", step.name, got, compiles, refused)
			}
		}
	})
}

// Callers do not wait while newer rules are compiled.
func TestReloaderCompilesInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{text: version(1)}
		compile := func(source rules.Source) (*rules.Set, error) {
			if string(source.Text) != version(1) {
				<-time.NewTimer(10 * time.Second).C
			}
			return compileSource(source)
		}
		reloader, err := rules.Open(t.Context(), s.read, compile, time.Minute, rules.Notices{})
		if err != nil {
			t.Fatal(err)
		}
		s.put(version(2), nil)
		<-time.NewTimer(time.Minute).C
		start := time.Now()
		for range 3 {
			if got := reloader.Current(t.Context()).Plan(change(), sample(t), rules.Readings{}).Set["version"]; got != "v1" {
				t.Errorf("rules %s", got)
			}
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %s", waited)
		}
		<-time.NewTimer(10 * time.Second).C
		synctest.Wait()
		if got := reloader.Current(t.Context()).Plan(change(), sample(t), rules.Readings{}).Set["version"]; got != "v2" ||
			s.reads != 2 {
			t.Errorf("rules %s after %d reads", got, s.reads)
		}
	})
}
