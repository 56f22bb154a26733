package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/reconcile"
	"github.com/cloudtagger/tagger/pkg/visible"
)

func explainCommand(s streams) *cobra.Command {
	var rulesFile string
	var kinds, logs []string
	cmd := &cobra.Command{
		Use:   "explain ID|NAME [--log FILE|DIR|-] [-o json]",
		Short: "Show why a resource has or lacks its metadata",
		Long: "Read one server, volume or snapshot and say which keys the rules want, which of them it has, and what " +
			"keeps the others away. Nothing is written. --log reads Tagger's JSON log, to tell what became of the resource's " +
			"events.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("explain: name one resource, by its id or its name")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&rulesFile, "rules", "", "`FILE` of tagging rules (default: TAGGER_RULES_FILE or TAGGER_RULES)")
	cmd.Flags().
		StringSliceVar(&kinds, "kind", words(metadata.ListedKinds()), "kinds of resources to look for")
	cmd.Flags().
		StringArrayVar(&logs, "log", nil, "file or directory of Tagger's JSON log, or - for standard input; can be repeated")
	format := outputFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		f := reconcileFlags{kinds: kinds, perProject: "25%", explains: true}
		if err := f.check(); err != nil {
			return err
		}
		settings, set, err := configure(ctx, rulesFile, s)
		if err != nil {
			return err
		}
		scope := settings.Projects
		if len(scope) == 0 {
			scope = config.Projects{config.OwnProject}
		}
		d, err := connectReconciler(ctx, s, settings, set, scope)
		if err != nil {
			return err
		}
		for _, kind := range kinds {
			d.options.Kinds = append(d.options.Kinds, lifecycle.Kind(kind))
		}
		e := &explanation{reconciler: d, wanted: args[0], logs: logs, format: *format}
		return e.run(ctx)
	}
	return cmd
}

// explanation collects what is known about one resource.
type explanation struct {
	*reconciler
	wanted string
	logs   []string
	format output

	session    *cloud.Session
	kind       lifecycle.Kind
	view       metadata.View
	assessment reconcile.Assessment
	unread     error // why the rules could not be read
	unwritten  error // why Tagger does not write in the resource's project
	creator    creator
	actions    recordedActions
	log        logFindings
	queues     queueFindings
}

func (e *explanation) run(ctx context.Context) error {
	candidates, failed, err := e.find(ctx)
	if ctx.Err() != nil { // each place that was not searched has this error
		err = e.stopped(ctx)
	}
	if err != nil {
		return ended{exitUnread, err}
	}
	id := e.wanted
	if len(candidates) == 1 {
		id = candidates[0].view.ID
	}
	if e.log = readLogs(e.logs, interruptible{ctx, e.in}, id); e.log.err != nil {
		return e.log.err
	}
	if len(candidates) == 1 || len(candidates) == 0 && metadata.CheckID(id) == nil {
		e.queues = readQueues(ctx, e.settings, e.options.Region, id)
	}
	switch len(candidates) {
	case 0:
		return e.notFound(ctx, failed)
	case 1:
	default:
		return e.ambiguous(candidates)
	}
	e.session, e.kind, e.view = candidates[0].session, candidates[0].kind, candidates[0].view
	e.actions = e.readActions(ctx, e.session, e.kind, e.view.ID)
	e.options.Settled = 0
	e.assessment, e.unread = reconcile.Assess(ctx, e.options, e.kind, e.view, nil)
	_, e.unwritten = e.options.Bounds.Session(ctx, e.view.Project)
	e.creator = e.readCreator(ctx)
	if ctx.Err() != nil {
		return ended{exitUnread, e.stopped(ctx)}
	}
	if err := e.show(e.fullView, e.print); err != nil {
		return err
	}
	switch {
	case e.unread != nil:
		return ended{status: exitUnread}
	case len(e.lacking()) > 0:
		return undone{}
	}
	return nil
}

// show prints an explanation as JSON or as text.
func (e *explanation) show(view func() explanationView, text func()) error {
	if e.format == asJSON {
		return printJSON(e.out, view())
	}
	text()
	return nil
}

// stopped returns the error of an explanation that was interrupted.
func (e *explanation) stopped(ctx context.Context) error {
	return fmt.Errorf("read %s: %w", visible.Line(e.wanted, maxComplaint), context.Cause(ctx))
}

func words[T ~string](all []T) []string {
	out := make([]string, len(all))
	for i, one := range all {
		out[i] = string(one)
	}
	return out
}

func (e *explanation) line(name, format string, args ...any) {
	fmt.Fprintf(e.out, "%-10s%s\n", name, visible.Line(fmt.Sprintf(format, args...), maxComplaint))
}

// lacking returns the wanted keys that are absent or have another value, sorted, without those that the resource is
// exempt from.
func (e *explanation) lacking() []string {
	exempt := map[string]bool{}
	for _, p := range e.assessment.Problems {
		exempt[p.Key] = isExempt(p.Why)
	}
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(e.assessment.Wanted)) {
		if e.view.Metadata[key] != e.assessment.Wanted[key] && !exempt[key] {
			keys = append(keys, key)
		}
	}
	return keys
}

// cause returns a clause about what happened to the events of a resource that lacks keys.
func (e *explanation) cause() string { return cmp.Or(e.queues.cause(), e.log.cause(e.view.Created)) }

// waiting returns what the queues show about the events, to follow another reason.
func (e *explanation) waiting() string {
	if cause := e.queues.cause(); cause != "" {
		return "; " + cause
	}
	return ""
}

func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// creator is the user who created the resource, as far as the cloud reports it.
type creator struct {
	id, name string
	unnamed  string // why the name is not there
}

func (e *explanation) readCreator(ctx context.Context) creator {
	c := creator{id: e.view.User}
	if c.id == "" {
		return c
	}
	user, err := e.options.Bounds.User(ctx, c.id)
	_, unknown := errors.AsType[*cloud.UnknownError](err)
	switch {
	case unknown:
		c.unnamed = "name unknown: " + err.Error()
	case err != nil:
		c.unnamed = "name not read: " + err.Error()
	default:
		c.name = user.Name
	}
	return c
}

func (c creator) String() string {
	switch {
	case c.id == "":
		return "unknown: the API does not show it"
	case c.unnamed != "":
		return c.id + "  (" + c.unnamed + ")"
	}
	return c.id + "  " + c.name
}

// rights describes what the credentials may do with the resource.
func (e *explanation) rights() string {
	text := strings.Join(e.session.Roles, " ")
	if text == "" {
		text = "roles unknown"
	}
	if e.unwritten != nil {
		return text + "; not written: " + e.unwritten.Error()
	}
	if e.view.Locked && !e.session.Admin() {
		return text + ": may not write a locked server"
	}
	if len(e.session.Roles) > 0 && !slices.ContainsFunc(e.session.Roles, func(r string) bool {
		return slices.Contains([]string{"admin", "member", "_member_", "manager"}, strings.ToLower(r))
	}) {
		return text + ": these may be too few to write; only a write shows it"
	}
	return text
}

// recordedActions has the actions on a resource that the cloud recorded, none for a kind without a history.
type recordedActions struct {
	all []metadata.RecordedAction
	err error
}

// readActions reads the actions on a resource, which may be deleted.
func (e *explanation) readActions(
	ctx context.Context,
	session *cloud.Session,
	kind lifecycle.Kind,
	id string,
) recordedActions {
	k := metadata.Kind(kind)
	if !k.HasHistory() {
		return recordedActions{}
	}
	service, err := session.Service(string(k.Service()))
	if err != nil {
		return recordedActions{err: err}
	}
	resource, err := metadata.New(service, k, id, e.api(session, k))
	if err != nil {
		return recordedActions{err: err}
	}
	all, err := resource.History(ctx)
	return recordedActions{all, err}
}

func (a recordedActions) deleted() bool {
	return len(a.all) > 0 && a.all[0].Action == "delete" && a.all[0].Message == ""
}
