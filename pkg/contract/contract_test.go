package contract_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false,
	"write the real cloud's responses to testdata (with the build tag openstack, and -run OpenStack)")

var only = flag.String("groups", "", "a regular expression: send only the requests of these groups")

// group is a resource, how it gets into its state, and the requests for it, in order.
type group struct {
	name string
	// metadata is the path of the metadata that the requests are about.
	metadata string
	// prepare creates the resource. Its names are placeholders in requests.
	prepare func(ctx context.Context, s *session, names map[string]string) error
	// enter brings the resource into its state while the knob is held.
	enter func(ctx context.Context, s *session, names map[string]string) error
	knob  knob
	steps []step
	// ours are operations of package metadata, done after the steps.
	ours []operation
}

// kept is the initial metadata of resources.
var kept = map[string]string{"env": "dev", "owner": "alice"}

func TestEmbedded(t *testing.T) {
	for name, socket := range map[string]bool{"socket": true, "in memory": false} {
		t.Run(name, func(t *testing.T) { run(t, newEmbedded(t, socket), false) })
	}
}

// run sends all groups' requests to a cloud and compares the responses with the stored ones.
func run(t *testing.T, c cloud, isReal bool) {
	start := time.Now()
	s, err := signIn(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if isReal {
		s.spacing = secondApart
		t.Cleanup(func() { s.cleanUp(t) })
	}
	groups := chosenGroups(t)
	undisturbed := group{name: "undisturbed", prepare: newServer}
	ready := prepare(t, s, append(slices.Clone(groups), undisturbed))
	tally := &tally{isReal: isReal}
	t.Run("free", func(t *testing.T) {
		for _, g := range groups {
			if g.enter == nil {
				t.Run(g.name, func(t *testing.T) {
					t.Parallel()
					compare(t, s, g, ready[g.name].wait(t), tally)
				})
			}
		}
	})
	t.Run("held", func(t *testing.T) {
		held := slices.DeleteFunc(slices.Clone(groups), func(g group) bool { return g.enter == nil })
		for _, r := range ready {
			r.wait(t) // resources that are not ready would be held, too
		}
		enter(t, s, held, ready)
		for _, g := range held {
			t.Run(g.name, func(t *testing.T) {
				t.Parallel()
				compare(t, s, g, ready[g.name].names, tally)
			})
		}
	})
	t.Run("concurrent writers", func(t *testing.T) { concurrentWriters(t, s) })
	if !isReal && *only == "" {
		tally.checkDifferences(t)
	}
	checkUndisturbed(t, s, ready[undisturbed.name].wait(t)["server"])
	if *update && isReal && !t.Failed() {
		tally.write(t)
	}
	t.Logf("%d requests compared, %d equal, %d different with a reason; %d operations of our own; %s",
		tally.requests, tally.requests-len(tally.differing), len(tally.differing), tally.operations,
		time.Since(start).Round(time.Second))
}

// allGroups returns all groups, those whose resources are ready soonest first.
func allGroups() []group {
	return slices.Concat(
		keystoneReads(),
		snapshotEdges(),
		snapshotStates(),
		volumeEdges(),
		volumeStates(),
		volumeLives(),
		serverEdges(),
		serverStates(),
		attachments(),
		lists(),
	)
}

// chosenGroups returns the groups that the flag selects, all by default.
func chosenGroups(t *testing.T) []group {
	re, err := regexp.Compile(*only)
	if err != nil {
		t.Fatalf("-groups: %v", err)
	}
	return slices.DeleteFunc(allGroups(), func(g group) bool { return !re.MatchString(g.name) })
}

// checkUndisturbed checks a server that the suite does not write to. Responses are meaningless if another process
// writes metadata.
func checkUndisturbed(t *testing.T, s *session, id string) {
	t.Helper()
	var got struct{ Metadata map[string]string }
	if err := s.send(t.Context(), http.MethodGet, s.server(id)+"/metadata", "member", nil, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(kept, got.Metadata); diff != "" {
		t.Fatalf("another process writes metadata to servers of this cloud: stop Taggers that use it (-made +now)\n%s",
			diff)
	}
}

// preparation is the creation of a group's resources.
type preparation struct {
	names map[string]string // placeholders and their values, once done
	err   error
	done  chan struct{}
}

// wait returns the names, or fails the test with the error.
func (p *preparation) wait(t *testing.T) map[string]string {
	t.Helper()
	<-p.done
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.names
}

// prepare creates all groups' resources concurrently.
func prepare(t *testing.T, s *session, groups []group) map[string]*preparation {
	all := map[string]*preparation{}
	var wg sync.WaitGroup
	for _, g := range groups {
		p := &preparation{names: maps.Clone(s.names), done: make(chan struct{})}
		all[g.name] = p
		wg.Go(func() {
			defer close(p.done)
			if g.prepare != nil {
				p.err = g.prepare(t.Context(), s, p.names)
			}
		})
	}
	t.Cleanup(wg.Wait)
	return all
}

// enter holds the groups' knobs until the test ends, and brings the groups into their states.
func enter(t *testing.T, s *session, groups []group, ready map[string]*preparation) {
	t.Helper()
	for _, g := range groups {
		release, err := s.cloud.hold(g.knob)
		if err != nil {
			t.Fatalf("hold %s: %v", g.knob, err)
		}
		t.Cleanup(release)
	}
	errs := make([]error, len(groups))
	var wg sync.WaitGroup
	for i, g := range groups {
		wg.Go(func() {
			if err := g.enter(t.Context(), s, ready[g.name].names); err != nil {
				errs[i] = fmt.Errorf("%s: %w", g.name, err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// compare sends a group's requests, compares the responses, and then runs our own operations.
func compare(t *testing.T, s *session, g group, names map[string]string, tally *tally) {
	for _, kind := range []string{"server", "snapshot", "volume"} {
		if id := names[kind]; id != "" {
			names[strings.ToUpper(kind)] = strings.ToUpper(id)
			names[kind+" without hyphens"] = strings.ReplaceAll(id, "-", "")
		}
	}
	writing := *update && tally.isReal
	file := filepath.Join("testdata", strings.ReplaceAll(g.name, " ", "-")+".json")
	want := map[string]answer{}
	if !writing {
		want = readAnswers(t, file)
	}
	var got []answer
	for _, st := range g.steps {
		t.Run(st.name, func(t *testing.T) {
			a, err := s.exchange(t.Context(), st, names, g.metadata)
			if err != nil {
				t.Fatal(err)
			}
			if st.settle != nil {
				if err := st.settle(t.Context(), s, names); err != nil {
					t.Fatal(err)
				}
			}
			a = stored(t, a)
			w, ok := want[st.name]
			// A busy Keystone once refused a role's first read, which it allowed a moment later.
			if ok && tally.isReal && !writing && st.method == http.MethodGet && a.Status == http.StatusForbidden &&
				w.Status == http.StatusOK {
				t.Logf("%s: 403, asked again", st.name)
				if a, err = s.exchange(t.Context(), st, names, g.metadata); err != nil {
					t.Fatal(err)
				}
				a = stored(t, a)
			}
			got = append(got, a)
			switch {
			case writing:
			case !ok:
				t.Errorf("%s has no response to this; the real cloud's is written with: go test -tags openstack -run OpenStack "+
					"-update ./pkg/contract", file)
			default:
				tally.count(t, g.name, w, a)
			}
		})
	}
	if writing {
		tally.keep(file, got)
	} else if len(got) != len(want) {
		t.Errorf("%s has %d answers, for %d requests", file, len(want), len(got))
	}
	for _, o := range g.ours {
		t.Run("our "+o.name, func(t *testing.T) {
			tally.ours()
			o.check(t, s, names)
		})
	}
}

// tally counts requests and differences.
type tally struct {
	isReal     bool
	mu         sync.Mutex          // guards the fields below
	files      map[string][]answer // to be written
	requests   int
	operations int
	differing  map[string]bool
}

func (y *tally) ours() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.operations++
}

// keep stores responses to write to a file.
func (y *tally) keep(file string, list []answer) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.files == nil {
		y.files = map[string][]answer{}
	}
	y.files[file] = list
}

// write writes the stored responses.
func (y *tally) write(t *testing.T) {
	t.Helper()
	for file, list := range y.files {
		writeAnswers(t, file, list)
	}
}

// count compares one response with the real cloud's stored one.
func (y *tally) count(t *testing.T, group string, want, got answer) {
	t.Helper()
	y.mu.Lock()
	defer y.mu.Unlock()
	y.requests++
	diff := cmp.Diff(want, got)
	if diff == "" {
		return
	}
	if y.differing == nil {
		y.differing = map[string]bool{}
	}
	name := group + "/" + want.Case
	y.differing[name] = true
	d, known := differences[name]
	wanted, given := diffResponses(want, got)
	switch {
	case y.isReal || !known:
		t.Errorf("%s (-stored +got):\n%s", want.Request, diff)
	case d.Real != wanted || d.Embedded != given:
		t.Errorf("the table of differences has %q and %q, the responses %q and %q:\n%s", d.Real, d.Embedded, wanted, given,
			diff)
	}
}

// checkDifferences fails for entries of the table that no longer differ.
func (y *tally) checkDifferences(t *testing.T) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(differences)) {
		if !y.differing[name] {
			t.Errorf("the table of differences has %q, which does not differ", name)
		}
	}
}

// stored converts a response to the form that is read from a file.
func stored(t *testing.T, a answer) answer {
	t.Helper()
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var out answer
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func readAnswers(t *testing.T, file string) map[string]answer {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []answer
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatalf("read %s: %v", file, err)
	}
	out := map[string]answer{}
	for _, a := range list {
		if _, twice := out[a.Case]; twice {
			t.Fatalf("%s has two responses to %q", file, a.Case)
		}
		out[a.Case] = a
	}
	return out
}

func writeAnswers(t *testing.T, file string, list []answer) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	enc := json.NewEncoder(f)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := errors.Join(enc.Encode(list), f.Close()); err != nil {
		t.Fatal(err)
	}
}
