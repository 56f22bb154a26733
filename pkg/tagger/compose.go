package tagger

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Parts holds what is not in the configuration.
type Parts struct {
	// Cloud, Actions, Held, Log, Observe and Journal are those of [Options].
	Cloud   Cloud
	Actions []lifecycle.Action
	Held    func() bool
	Log     *slog.Logger
	Observe func(*Result)
	Journal Journal
	// Region is set as the region of every resource.
	Region string
	// Bus is that of [Options].
	Bus bool
}

// Compile compiles rules for the configured API.
func Compile(s config.Settings, r rules.Source) (*rules.Set, error) {
	return rules.Compile(r.Text, rules.Options{Name: r.Name, API: metadata.API(s.API), Files: r.Files})
}

// Dialects returns a registry of the configured dialects.
func Dialects(s config.Settings, region string) (*lifecycle.Registry, error) {
	o := lifecycle.Options{Region: region, IgnoreActors: s.IgnoreActors, EventTypes: map[string]lifecycle.Action{}}
	for name, action := range s.EventTypes {
		o.EventTypes[name] = lifecycle.Action(action)
	}
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("TAGGER_EVENT_TYPES: %w", err)
	}
	return lifecycle.New(o), nil
}

// Compose returns a Tagger as configured. It logs a warning for rules that none of the actions can reach.
func Compose(ctx context.Context, s config.Settings, book Rulebook, p Parts) (*Tagger, error) {
	registry, err := Dialects(s, p.Region)
	if err != nil {
		return nil, err
	}
	t := New(Options{
		Registry: registry,
		Rules:    book,
		Apply:    apply.Options{Verify: s.Verify, DryRun: s.DryRun, Grace: s.Grace, GiveUpAfter: s.GiveUpAfter},
		Cloud:    p.Cloud,

		Bus:         p.Bus,
		WriteLocked: s.WriteLocked,
		API:         metadata.API(s.API),

		Actions:  p.Actions,
		Held:     p.Held,
		LogNames: s.LogNames,

		Log:     p.Log,
		Observe: p.Observe,
		Journal: p.Journal,
	})
	for _, w := range book.Current(ctx).Warnings() {
		t.log.Warn("rule probably wrong", "rule", w.Rule, "line", w.Line, "warning", w.Text)
	}
	if p.Actions != nil {
		for _, name := range book.Current(ctx).Unreachable(p.Actions) {
			t.log.Warn("rule matches no action of this function", "rule", name)
		}
	}
	return t, nil
}
