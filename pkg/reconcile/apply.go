package reconcile

import (
	"cmp"
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

// Run configures an [Apply] or a [Revert].
type Run struct {
	Tagger *tagger.Tagger
	// Cloud and Rules are the current ones; see [Header]. Operator is the user who runs it.
	Cloud, Rules, Operator string
	Limits                 Limits
	// Canary is the number of resources to write before the run verifies them again and stops; 0 writes all. CanaryWait is
	// the wait before verifying.
	Canary     int
	CanaryWait time.Duration
	// MaxFailures is the percentage of resources that may fail before the run stops.
	MaxFailures float64
	Concurrency int
	// Resume continues an existing journal.
	Resume bool
	// Selection is the part of a journal to revert.
	Selection Selection
	// Progress, if not nil, is called with the number of resources tried.
	Progress func(tried, of int)

	// fault is passed to the journal, for tests.
	fault func() error
}

// minTries is the minimum denominator of the share of failures, so that a first failure does not stop a run.
const minTries = 20

// correctionWait is how long one correction waits for its turn, or for a throttling service.
const correctionWait = 30 * time.Second

// inFlight is how long a running correction may continue after the run is cancelled.
const inFlight = time.Minute

// Report is the result of a run.
type Report struct {
	// Plan is the plan's header, Checks the result of checking the limits.
	Plan    Header  `json:"plan"`
	Checks  []Check `json:"checks"`
	Journal string  `json:"journal"`
	// Planned is the number of resources in the run, Tried how many of them it reached.
	Planned int `json:"planned"`
	Tried   int `json:"tried"`
	// Written, Changed (by another writer, and left alone), Gone and Failed count resources.
	Written int `json:"written"`
	Changed int `json:"changed"`
	Gone    int `json:"gone"`
	Failed  int `json:"failed"`
	// Unknown counts resources with keys that were not reverted because their previous values are unknown.
	Unknown int `json:"unknown,omitempty"`
	// Unchanged counts resources that already were as planned.
	Unchanged int `json:"unchanged"`
	// Failures counts the failures by reason.
	Failures map[string]int `json:"failures"`
	// Lost counts the resources of a canary that had changed again when they were verified.
	Lost int `json:"lost"`
	// Left is the number of the plan's resources that remain.
	Left int `json:"left"`
	// Finished is when the run began that an earlier command has finished, so that nothing was left to do.
	Finished time.Time `json:"finished,omitzero"`
}

// RefusedError reports that a plan cannot be applied, or a journal not reverted, on this cloud at this time.
type RefusedError struct {
	Why string
	// Action is what was refused, by default to apply a plan.
	Action string
}

func (e *RefusedError) Error() string { return cmp.Or(e.Action, "apply the plan") + ": " + e.Why }

// StoppedError reports that a run stopped because too many resources failed.
type StoppedError struct {
	Failed, Tried int
	Limit         float64
}

func (e *StoppedError) Error() string {
	return fmt.Sprintf("stopped: %d of %d resources failed, the limit is %s (--max-failures)", e.Failed, e.Tried,
		percent(e.Limit))
}

// journalPath returns the path of a plan's journal, which is in the plan's directory and named by its id.
func journalPath(path string, h Header) string {
	return filepath.Join(filepath.Dir(path), "run-"+h.ID+".jsonl")
}

// Apply makes a plan's changes to the resources that have not changed since it was made. If it refuses before the first
// write, the error is a [*RefusedError] or a [*LimitError]; if it stops later, a [*StoppedError].
func Apply(ctx context.Context, path string, run Run) (Report, error) {
	h, err := ReadHeader(path)
	r := Report{Plan: h, Failures: map[string]int{}}
	if err != nil {
		return r, &RefusedError{Why: err.Error()}
	}
	refused := func(format string, args ...any) (Report, error) {
		return r, &RefusedError{Why: fmt.Sprintf(format, args...)}
	}
	switch age := time.Since(h.Made); {
	case h.Cloud != run.Cloud:
		return refused("it is for cloud %s, this is %s", h.Cloud, run.Cloud)
	case h.Rules != run.Rules:
		return refused("the rules have changed since it was made (%.8s, now %.8s): make a new one", h.Rules, run.Rules)
	case age > Validity:
		return refused("it is %s old, the maximum is %s: make a new one", age.Round(time.Minute), Validity)
	}
	r.Journal = journalPath(path, h)
	var before past
	if run.Resume {
		if before, err = readPast(r.Journal); err != nil {
			return refused("%s", err)
		}
		if before.header.Run != h.ID {
			return refused("the journal %s is for plan %s", r.Journal, before.header.Run)
		}
	} else if _, err := os.Stat(r.Journal); err == nil {
		return refused("its journal %s exists: continue with --resume, or undo it with --revert %[1]s", r.Journal)
	}
	selected := run.selection(before)
	measures, err := Measure(path, selected)
	if err != nil {
		return refused("%s", err)
	}
	if r.Planned = measures.Resources; run.Resume && r.Planned == 0 {
		r.Finished = before.header.At
		return r, nil
	}
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

// openJournal opens the journal of a resumed run, or else creates one for a run with an id.
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

// selection returns the entries of a run: all that are not done, or a canary's first ones.
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

// errReadOnly keeps the verification of a canary from writing.
var errReadOnly = errors.New("no write while a canary is verified")

// verify waits, reads the resources of a canary again, and counts those that differ from what was written.
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
		readOnly := func(map[string]journal.Replacement) error { return errReadOnly }
		c := run.Tagger.Correct(ctx, correction(e), tagger.Delivery{}, readOnly)
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

// all applies the entries, several at a time. Running corrections are finished if the run is cancelled.
func (run Run) all(ctx context.Context, r *Report, j runJournal, before past,
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

// one applies one entry, with a record before the write and one after it. The error comes from the journal.
func (run Run) one(ctx context.Context, j runJournal, job job) (journal.Record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), inFlight)
	defer cancel()
	e := job.entry
	record := journal.Record{N: job.n, Kind: e.Kind, ID: e.ID, Name: e.Name, Project: e.Project}
	var begun map[string]journal.Replacement
	var failed error
	announce := func(keys map[string]journal.Replacement) error {
		begun = keys
		begin := record
		begin.Phase, begin.Keys = journal.Begin, keys
		failed = j.write(begin)
		return failed
	}
	c := run.Tagger.Correct(ctx, correction(e), tagger.Delivery{Wait: correctionWait}, announce)
	if failed != nil {
		return record, failed
	}
	record.Phase, record.Outcome, record.Reason, record.Changed = journal.End, c.Outcome, c.Reason, c.Changed
	record.Requests = c.RequestIDs
	record.Keys = map[string]journal.Replacement{}
	for key, replacement := range job.begun { // an earlier run may have written these
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

// note counts an End record.
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

// reasonOf returns a failure's reason without the parts that differ between resources.
func reasonOf(end journal.Record) string {
	why := strings.ReplaceAll(end.Reason, end.ID, "{id}")
	if len(why) > 100 {
		why = why[:100] + "…"
	}
	return why
}

// Revert undoes the writes in a journal, of a run or of events ([journal.Audit]), where the written value is still
// there. It keeps its own journal, which can be reverted too, and continues it if run.Resume is set.
func Revert(ctx context.Context, path string, run Run) (Report, error) {
	r := Report{Failures: map[string]int{}}
	refused := func(format string, args ...any) (Report, error) {
		return r, &RefusedError{Action: "revert the journal", Why: fmt.Sprintf(format, args...)}
	}
	all, err := readRevertible(path, run.Selection)
	switch {
	case err != nil:
		return refused("%s", err)
	case all.cloud == "" && run.Selection.By != "":
		return refused("it has no record of --written-by %s%s", run.Selection.By, all.others())
	case all.cloud == "":
		return refused("it has no writes to undo")
	case all.cloud != run.Cloud:
		return refused("it is for cloud %s, this is %s", all.cloud, run.Cloud)
	}
	r.Journal = filepath.Join(filepath.Dir(path), "revert-"+run.Selection.name()+filepath.Base(path))
	r.Planned, r.Unknown = len(all.entries), all.unknown
	before, err := readPast(r.Journal)
	exists := !errors.Is(err, os.ErrNotExist)
	done := func(w written) bool { return before.done.has(w.n) }
	allDone := !slices.ContainsFunc(all.entries, func(w written) bool { return !done(w) })
	switch {
	case err != nil && (exists || run.Resume):
		return refused("%s", err)
	case exists && !all.last.After(before.header.At) && allDone:
		r.Finished = before.header.At
		return r, nil
	case exists && !run.Resume:
		return refused("its journal %s exists: continue with --resume, or undo it with --revert %[1]s", r.Journal)
	}
	j, err := run.openJournal(r.Journal, "revert-"+all.run)
	if err != nil {
		return r, err
	}
	err = run.all(ctx, &r, j, before, func(each func(int, Entry) (bool, error)) error {
		for _, w := range all.entries {
			if done(w) {
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
