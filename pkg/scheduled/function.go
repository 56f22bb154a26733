package scheduled

import (
	"context"
	"fmt"
	"os"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/metrics"
)

// Work turns a composed function into one that runs a pass on each invocation. It ignores the payload, which may come
// from a schedule, a timer or an operator. The answer is the [Pass].
func Work(c app.Composed) (app.Work, error) {
	r, err := New(c)
	if err != nil {
		return nil, err
	}
	r.Coverage = func(report coverage.Report) { _ = coverage.WriteEMF(os.Stdout, report, "reconcile") }
	return func(ctx context.Context) (any, error) {
		p, err := r.Run(ctx)
		if err != nil {
			return nil, err
		}
		switch p.Outcome {
		case metrics.ReconcileStopped, metrics.ReconcileOutOfTime:
			return nil, fmt.Errorf("reconcile %s: %s", p.Outcome, p.Reason) // so that the platform's alarms count it
		}
		return p, nil
	}, nil
}
