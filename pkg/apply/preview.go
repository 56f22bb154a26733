package apply

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// Diff is what a plan would change on a resource as it is now.
type Diff struct {
	// Current is the resource's metadata.
	Current map[string]string
	// VMState is the server's, "" for a snapshot.
	VMState string
	// Write are the keys that are not as planned, Remove (sorted) the keys that should not be there.
	Write  map[string]string
	Remove []string
}

// String says it in a sentence.
func (d Diff) String() string {
	if len(d.Write)+len(d.Remove) == 0 {
		return "nothing would change"
	}
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(d.Write)) {
		if have, ok := d.Current[key]; ok {
			parts = append(parts, fmt.Sprintf("%s: %s → %s", key, have, d.Write[key]))
		} else {
			parts = append(parts, fmt.Sprintf("%s: %s", key, d.Write[key]))
		}
	}
	for _, key := range d.Remove {
		parts = append(parts, fmt.Sprintf("%s: %s → removed", key, d.Current[key]))
	}
	text := "would write " + strings.Join(parts, ", ")
	if d.VMState != "" && !allowed(d.VMState) {
		text += "; vm_state " + d.VMState + " does not allow it now"
	}
	return text
}

// PreviewServer reads a server and says what the job would change. Where that fails the Result has an Outcome, else it is zero.
func (a *Applier) PreviewServer(ctx context.Context, api Servers, job Job) (Diff, Result) {
	return a.preview(ctx, server{api, job.Change.Resource.ID}, job)
}

// PreviewSnapshot does for a snapshot what PreviewServer does for a server.
func (a *Applier) PreviewSnapshot(ctx context.Context, api Snapshots, job Job) (Diff, Result) {
	return a.preview(ctx, snapshot{api, job.Change.Resource.ID, job.Plan}, job)
}

func (a *Applier) preview(ctx context.Context, t target, job Job) (Diff, Result) {
	d, err := diff(ctx, t, job)
	if err != nil {
		v := a.judge(ctx, newRun(t, job, false), err)
		return Diff{}, Result{Decision: v.Decision, Attempts: 1}
	}
	return d, Result{}
}

func diff(ctx context.Context, t target, job Job) (Diff, error) {
	var d Diff
	if job.Change.Resource.Kind == lifecycle.Snapshot {
		current, err := t.all(ctx)
		if err != nil {
			return Diff{}, err
		}
		d.Current = current
	} else {
		s, err := t.server(ctx)
		if err != nil {
			return Diff{}, err
		}
		if expected, ok := vmStateAfter(job.Change.Action); ok && contradicts(expected, s.VMState) {
			return Diff{}, superseded{s.VMState}
		}
		d.Current, d.VMState = s.Metadata, s.VMState
	}
	if d.Current == nil {
		d.Current = map[string]string{}
	}
	r := &run{job: job, known: d.Current}
	d.Write, d.Remove = r.toWrite(), r.toRemove()
	return d, nil
}
