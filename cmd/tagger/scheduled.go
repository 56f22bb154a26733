package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/metrics"
	"github.com/cloudtagger/tagger/pkg/scheduled"
)

// runScheduled makes one pass of a scheduled reconcile. The environment configures everything but the rules file.
func runScheduled(ctx context.Context, flags *pflag.FlagSet, rulesFile string) error {
	var other string
	flags.Visit(func(f *pflag.Flag) {
		if f.Name != "scheduled" && f.Name != "rules" {
			other = f.Name
		}
	})
	if other != "" {
		return fmt.Errorf("reconcile --scheduled: --%s has no effect on it: its settings are TAGGER_PROJECTS, TAGGER_RATE, "+
			"TAGGER_RECONCILE_RULES, TAGGER_RECONCILE_MAX and TAGGER_RECONCILE_MAX_PERCENT", other)
	}
	read := func() (config.Credentials, error) { return processCredentials(ctx) }
	c, err := app.Compose(ctx, app.Function{
		Name: "reconcile", Credentials: read, RulesFile: rulesFile, AWS: onAWS(),
	})
	if err != nil {
		return err
	}
	r, err := scheduled.New(c)
	if err != nil {
		return err
	}
	p, err := r.Run(ctx)
	if err != nil {
		return ended{exitUnread, err}
	}
	switch p.Outcome {
	case metrics.ReconcileCapped:
		return ended{status: exitCapped}
	case metrics.ReconcileIncomplete:
		return ended{status: exitUnread}
	case metrics.ReconcileStopped:
		return undone{errors.New(p.Reason)}
	}
	return nil
}
