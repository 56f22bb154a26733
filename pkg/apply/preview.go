package apply

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Diff is what a plan would change on the resource in its present state.
type Diff struct {
	// Current is the resource's metadata.
	Current map[string]string
	// State is the resource's state and StateName its service's name for that field; both are "" for a kind without
	// states. Refused reports that the state does not allow writing.
	StateName, State string
	Refused          bool
	// Write holds the keys that differ from the plan, Remove (sorted) the keys that should be absent.
	Write  map[string]string
	Remove []string
	// Problems are those that [Result] would have.
	Problems []rules.Problem
}

// String describes the difference in one sentence.
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
	if d.Refused {
		text += "; " + d.StateName + " " + d.State + " does not allow it now"
	}
	return text
}

// Preview reads a resource and returns what the job would change. The Result is zero unless reading failed.
func (a *Applier) Preview(ctx context.Context, resource Resource, job Job) (Diff, Result) {
	r := newRun(resource, job, false)
	d, err := r.diff(ctx)
	if err != nil {
		return Diff{}, Result{Decision: a.decide(ctx, r, err).Decision, Attempts: 1}
	}
	return d, Result{}
}

// diff reads the whole resource only if its state matters, else only its metadata.
func (r *run) diff(ctx context.Context) (Diff, error) {
	var d Diff
	if kind := r.resource.Kind(); kind.HasState() {
		v, err := r.get(ctx)
		if err != nil {
			return Diff{}, err
		}
		d.StateName, d.State, d.Refused = kind.StateName(), v.State, kind.Readiness(v.State) != metadata.Ready
	} else if err := r.readMetadata(ctx); err != nil {
		return Diff{}, err
	}
	if err := r.managed(); err != nil {
		return Diff{}, err
	}
	d.Current, d.Write, d.Remove = r.known, r.toWrite(), r.toRemove()
	for _, rename := range r.toRename() {
		d.Write = notNil(d.Write)
		d.Write[rename.To], d.Remove = rename.Value, append(d.Remove, rename.From)
	}
	d.Problems = r.problems()
	return d, nil
}

// Requests returns the requests, reads included, that applying the job sends to a ready resource with the metadata
// current: in order, byte for byte. If current is nil (unknown), the resource is assumed to have none of the keys to
// add or to rename and all of the keys to remove, but none that only a pattern removes.
func Requests(job Job, current map[string]string, o Options) ([]metadata.Request, error) {
	c, p := job.Change, job.Plan
	if p.Empty() {
		return nil, nil
	}
	v := metadata.View{State: c.Action.State(), Flavor: c.Resource.FlavorID, Metadata: current}
	if current == nil {
		v.Metadata = map[string]string{}
		for _, key := range p.Remove {
			v.Metadata[key] = ""
		}
	}
	resource, recorder, err := metadata.NewRecorder(metadata.Kind(c.Resource.Kind), c.Resource.ID, p.Family, v)
	if err != nil {
		return nil, err
	}
	r := newRun(resource, Job{Change: c, Plan: p, Ours: job.Ours}, o.Verify)
	if err := r.attempt(context.Background()); err != nil {
		return nil, fmt.Errorf("record the requests of a plan: %w", err)
	}
	return recorder.Requests(), nil
}
