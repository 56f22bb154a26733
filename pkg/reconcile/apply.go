package reconcile

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/journal"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Run says how to apply a plan, or to take a journal back.
type Run struct {
	Tagger *tagger.Tagger
	// Cloud and Rules are those of now; see [Header]. Operator is who runs it.
	Cloud, Rules, Operator string
	Limits                 Limits
	// Canary is how many resources to write before the run verifies them once more and stops; 0 is all. CanaryWait is
	// how long it waits before it verifies.
	Canary     int
	CanaryWait time.Duration
	// MaxFailures is how many in a hundred resources may fail while it runs.
	MaxFailures float64
	Concurrency int
	// Resume goes on with a journal that is there.
	Resume bool
	// Selection is what to take back of a journal.
	Selection Selection
	// Progress, if not nil, is told how many of the resources were tried.
	Progress func(tried, of int)

	// fault is that of the journal.
	fault func() error
}

// minTries is how many resources count at least when the share of failures is computed: a first failure says little.
const minTries = 20

// correctionWait is how long one correction waits for its turn, or for a service that throttles.
const correctionWait = 30 * time.Second

// inFlight is how long a correction may take on after the run was cancelled.
const inFlight = time.Minute

// Report is what became of a run.
type Report struct {
	// Plan is the plan's header, Checks is how the plan stood to the limits.
	Plan    Header  `json:"plan"`
	Checks  []Check `json:"checks"`
	Journal string  `json:"journal"`
	// Planned is how many resources the run was about, Tried how many it came to.
	Planned int `json:"planned"`
	Tried   int `json:"tried"`
	// Written, Changed (by another writer, and left alone), Gone and Failed count resources.
	Written int `json:"written"`
	Changed int `json:"changed"`
	Gone    int `json:"gone"`
	Failed  int `json:"failed"`
	// Unknown counts resources with keys that were not taken back because their values before are not known.
	Unknown int `json:"unknown,omitempty"`
	// Unchanged counts resources that were as planned already.
	Unchanged int `json:"unchanged"`
	// Failures counts the failures by reason.
	Failures map[string]int `json:"failures"`
	// Lost counts the resources of a canary that were not as written when they were read again.
	Lost int `json:"lost"`
	// Left is how many resources of the plan are still to be done.
	Left int `json:"left"`
}

// RefusedError says that a plan cannot be applied here and now.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return "apply the plan: " + e.Why }

// StoppedError says that a run stopped because too many resources failed.
type StoppedError struct {
	Failed, Tried int
	Limit         float64
}

func (e *StoppedError) Error() string {
	return fmt.Sprintf(
		"stopped: %d of %d resources failed, the limit is %s (--max-failures)",
		e.Failed,
		e.Tried,
		percent(e.Limit),
	)
}

// JournalOf returns the path of a plan's journal: beside the plan, and named by its id.
func JournalOf(path string, h Header) string {
	return filepath.Join(filepath.Dir(path), "run-"+h.ID+".jsonl")
}

// Apply sends what a plan says to the resources that are as they were when it was made. Before the first write it
// returns a [*RefusedError] or a [*LimitError]; a [*StoppedError] says that it stopped later.
func Apply(ctx context.Context, path string, run Run) (Report, error) {
	h, err := ReadHeader(path)
	r := Report{Plan: h, Failures: map[string]int{}}
	if err != nil {
		return r, &RefusedError{err.Error()}
	}
	refused := func(format string, args ...any) (Report, error) {
		return r, &RefusedError{fmt.Sprintf(format, args...)}
	}
	switch age := time.Since(h.Made); {
	case h.Cloud != run.Cloud:
		return refused("it is for cloud %s, this is %s", h.Cloud, run.Cloud)
	case h.Rules != run.Rules:
		return refused("the rules have changed since it was made (%.8s, now %.8s): make a new one", h.Rules, run.Rules)
	case age > Validity:
		return refused("it is %s old, and %s is the most: make a new one", age.Round(time.Minute), Validity)
	}
	r.Journal = JournalOf(path, h)
	var before past
	if run.Resume {
		if before, err = readPast(r.Journal); err != nil {
			return refused("%s", err)
		}
		if before.header.Run != h.ID {
			return refused("the journal %s is for plan %s", r.Journal, before.header.Run)
		}
	} else if _, err := os.Stat(r.Journal); err == nil {
		return refused(
			"its journal %s is there already: go on with --resume, or take it back with --revert %s",
			r.Journal,
			r.Journal,
		)
	}
	selected := run.selection(before)
	measures, err := Measure(path, selected)
	if err != nil {
		return refused("%s", err)
	}
	r.Planned = measures.Resources
	if r.Checks, err = run.Limits.Check(h, measures); err != nil {
		return r, err
	}
	j, err := run.openJournal(r.Journal, h.ID)
	if err != nil {
		return r, err
	}
	err = run.all(ctx, &r, j, before, func(each func(int, Entry) (bool, error)) error {
		return Entries(path, func(n int, e Entry) (bool, error) {
			if !selected(n, e) {
				return true, nil
			}
			return each(n, e)
		})
	})
	err = errors.Join(err, j.Close())
	if after, pastErr := readPast(r.Journal); pastErr == nil {
		_ = Entries(path, func(n int, _ Entry) (bool, error) {
			if !after.done.has(n) {
				r.Left++
			}
			return true, nil
		})
	}
	if err == nil && run.Canary > 0 {
		err = run.verify(ctx, path, selected, &r)
	}
	return r, err
}

// openJournal opens the journal of a run that is resumed, and otherwise begins one for the run with an id.
func (run Run) openJournal(path, id string) (runJournal, error) {
	j := runJournal{fault: run.fault}
	var err error
	if run.Resume {
		j.File, err = journal.Resume(path)
	} else {
		j.File, err = journal.Create(path, journal.Header{
			Run: id, Cloud: run.Cloud, Rules: run.Rules, Operator: run.Operator, At: time.Now().UTC(),
		})
	}
	return j, err
}

// selection returns which entries a run is about: those that are not done, of a canary the first.
func (run Run) selection(before past) func(n int, e Entry) bool {
	end := math.MaxInt
	if run.Canary > 0 {
		end = 0
		for left := run.Canary; left > 0; end++ {
			if !before.done.has(end) {
				left--
			}
		}
	}
	return func(n int, _ Entry) bool { return n < end && !before.done.has(n) }
}

// verify waits, reads the resources of a canary again, and counts those that are not as they were written.
func (run Run) verify(ctx context.Context, path string, selected func(int, Entry) bool, r *Report) error {
	timer := time.NewTimer(run.CanaryWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return Entries(path, func(n int, e Entry) (bool, error) {
		if !selected(n, e) {
			return true, nil
		}
		nothing := errors.New("nothing is written when a canary is verified")
		c := run.Tagger.Correct(
			ctx,
			correction(e),
			tagger.Delivery{},
			func(map[string]journal.Replacement) error { return nothing },
		)
		if len(c.Done) < len(e.Keys) && c.Outcome != apply.Gone {
			r.Lost++
		}
		return true, nil
	})
}

func correction(e Entry) tagger.Correction {
	return tagger.Correction{Kind: e.Kind, ID: e.ID, Name: e.Name, Project: e.Project, Rules: e.Rules, Keys: e.Keys}
}

// job is an entry to apply.
type job struct {
	n     int
	entry Entry
	begun map[string]journal.Replacement
}

// all applies what entries gives it, several at a time. What is in flight when the run is cancelled is finished.
func (run Run) all(
	ctx context.Context,
	r *Report,
	j runJournal,
	before past,
	entries func(func(int, Entry) (bool, error)) error,
) error {
	jobs := make(chan job)
	var mu sync.Mutex // guards r and stop
	var stop error
	var workers sync.WaitGroup
	for range max(run.Concurrency, 1) {
		workers.Go(func() {
			for job := range jobs {
				end, err := run.one(ctx, j, job)
				mu.Lock()
				switch {
				case err != nil:
					stop = err
				default:
					r.note(end)
				}
				if stop == nil && 100*float64(r.Failed) > run.MaxFailures*float64(max(r.Tried, minTries)) {
					stop = &StoppedError{r.Failed, r.Tried, run.MaxFailures}
				}
				if run.Progress != nil {
					run.Progress(r.Tried, r.Planned)
				}
				mu.Unlock()
			}
		})
	}
	err := entries(func(n int, e Entry) (bool, error) {
		mu.Lock()
		stopped := stop != nil
		mu.Unlock()
		if stopped {
			return false, nil
		}
		select {
		case jobs <- job{n, e, before.begun[n]}:
			return true, nil
		case <-ctx.Done():
			return false, fmt.Errorf("apply the plan: %w", context.Cause(ctx))
		}
	})
	close(jobs)
	workers.Wait()
	return errors.Join(err, stop)
}

// one applies one entry, with a record before the write and one after it. The error is one of the journal.
func (run Run) one(ctx context.Context, j runJournal, job job) (journal.Record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), inFlight)
	defer cancel()
	e := job.entry
	record := journal.Record{N: job.n, Kind: e.Kind, ID: e.ID, Name: e.Name, Project: e.Project}
	var begun map[string]journal.Replacement
	var failed error
	c := run.Tagger.Correct(
		ctx,
		correction(e),
		tagger.Delivery{Wait: correctionWait},
		func(keys map[string]journal.Replacement) error {
			begun = keys
			begin := record
			begin.Phase, begin.Keys = journal.Begin, keys
			failed = j.write(begin)
			return failed
		},
	)
	if failed != nil {
		return record, failed
	}
	record.Phase, record.Outcome, record.Reason, record.Changed = journal.End, c.Outcome, c.Reason, c.Changed
	record.Requests = c.RequestIDs
	record.Keys = map[string]journal.Replacement{}
	for key, replacement := range job.begun { // which an earlier run may have written
		if record.Failed() || slices.Contains(c.Done, key) {
			record.Keys[key] = replacement
		}
	}
	for key, replacement := range begun {
		_, written := c.Written[key]
		if record.Failed() || written || slices.Contains(c.Removed, key) {
			record.Keys[key] = replacement
		}
	}
	return record, j.write(record)
}

// note counts a record of an end.
func (r *Report) note(end journal.Record) {
	r.Tried++
	switch {
	case end.Failed():
		r.Failed++
		count(r.Failures, reasonOf(end))
	case end.Outcome == apply.Gone:
		r.Gone++
	case len(end.Keys) > 0:
		r.Written++
	case len(end.Changed) > 0:
		r.Changed++
	default:
		r.Unchanged++
	}
}

// reasonOf is a failure's reason without what differs from resource to resource.
func reasonOf(end journal.Record) string {
	why := strings.ReplaceAll(end.Reason, end.ID, "{id}")
	if len(why) > 100 {
		why = why[:100] + "…"
	}
	return why
}

// Revert takes back what a journal says was written, where the value there still is that: of a run, or of events
// ([journal.Audit]). It keeps a journal of its own, which can be reverted too, and goes on with it if run.Resume is
// set.
func Revert(ctx context.Context, path string, run Run) (Report, error) {
	r := Report{Failures: map[string]int{}}
	all, err := readRevertible(path, run.Selection)
	if err != nil {
		return r, &RefusedError{err.Error()}
	}
	if all.cloud == "" {
		return r, &RefusedError{"the journal has no record of what is to be taken back"}
	}
	if all.cloud != run.Cloud {
		return r, &RefusedError{fmt.Sprintf("the journal is of cloud %s, this is %s", all.cloud, run.Cloud)}
	}
	r.Journal = filepath.Join(filepath.Dir(path), "revert-"+run.Selection.name()+filepath.Base(path))
	var before past
	if run.Resume {
		if before, err = readPast(r.Journal); err != nil {
			return r, &RefusedError{err.Error()}
		}
	}
	j, err := run.openJournal(r.Journal, "revert-"+all.run)
	if err != nil {
		return r, err
	}
	r.Planned, r.Unknown = len(all.entries), all.unknown
	err = run.all(ctx, &r, j, before, func(each func(int, Entry) (bool, error)) error {
		for _, w := range all.entries {
			if before.done.has(w.n) {
				continue
			}
			if more, err := each(w.n, w.entry); !more || err != nil {
				return err
			}
		}
		return nil
	})
	return r, errors.Join(err, j.Close())
}
