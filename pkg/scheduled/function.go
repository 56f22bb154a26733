package scheduled

import (
	"context"
	"fmt"
	"os"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/metrics"
)

// Work makes of a composed function one that runs a pass whenever it is invoked, whatever the payload: that of a
// schedule, a timer, or a person's. The answer is the [Pass].
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
			return nil, fmt.Errorf("reconcile %s: %s", p.Outcome, p.Reason) // the platform's own alarms see it too
		}
		return p, nil
	}, nil
}
