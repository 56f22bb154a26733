package metrics

import "time"

// ReconcileOutcome is the outcome of one scheduled reconcile.
type ReconcileOutcome string

// The outcomes of a scheduled reconcile.
const (
	// ReconcileDone: everything was read, and all planned metadata was written.
	ReconcileDone ReconcileOutcome = "done"
	// ReconcileDry: nothing was written, because the rules are not reviewed, or writing is off.
	ReconcileDry ReconcileOutcome = "dry"
	// ReconcileCapped: a limit stopped it before the first write.
	ReconcileCapped ReconcileOutcome = "capped"
	// ReconcileStopped: resources failed, perhaps so many that it stopped.
	ReconcileStopped ReconcileOutcome = "stopped"
	// ReconcileIncomplete: something could not be read.
	ReconcileIncomplete ReconcileOutcome = "incomplete"
	// ReconcileOutOfTime: the invocation ran out of time.
	ReconcileOutOfTime ReconcileOutcome = "out_of_time"
	// ReconcileFailed: nothing could be read.
	ReconcileFailed ReconcileOutcome = "failed"
)

func reconcileOutcomes() []ReconcileOutcome {
	return []ReconcileOutcome{
		ReconcileDone, ReconcileDry, ReconcileCapped, ReconcileStopped, ReconcileIncomplete, ReconcileOutOfTime,
		ReconcileFailed,
	}
}

// Reconciled counts a scheduled reconcile, with the resources that it wrote and left.
func (m *Metrics) Reconciled(o ReconcileOutcome, written, left int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range []*counts{&m.total, &m.since} {
		c.passes[o]++
		c.corrected += int64(written)
	}
	if m.left = left; o == ReconcileDone {
		m.reconciled = time.Now()
	}
}
