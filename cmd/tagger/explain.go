package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gophercloud/gophercloud/v2"
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
		Use:   "explain ID|NAME [--log FILE|DIR|-]",
		Short: "Show why a resource has or lacks its metadata",
		Long: "Read one server, volume or snapshot and say which keys the rules want, which of them it has, and what keeps " +
			"the others " +
			"away. Nothing is written. --log reads Tagger's JSON log, to tell what became of the resource's events.",
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
		e := &explanation{reconciler: d, wanted: args[0], logs: logs}
		return e.run(ctx)
	}
	return cmd
}

// explanation collects what is known about one resource.
type explanation struct {
	*reconciler
	wanted string
	logs   []string

	session    *cloud.Session
	kind       lifecycle.Kind
	view       metadata.View
	assessment reconcile.Assessment
	unread     error // why the rules could not be read
	unwritten  error // why Tagger does not write in the resource's project
	actions    recordedActions
	log        logFindings
	queues     queueFindings
}

// found is a resource that matches the requested name or id.
type found struct {
	session *cloud.Session
	kind    lifecycle.Kind
	view    metadata.View
}

// maxCandidates limits the listed resources of one name.
const maxCandidates = 20

func (e *explanation) run(ctx context.Context) error {
	candidates, failed, err := e.find(ctx)
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
	e.print(ctx)
	switch {
	case e.unread != nil:
		return ended{status: exitUnread}
	case len(e.lacking()) > 0:
		return undone{}
	}
	return nil
}

// find returns the resources that match the requested name or id, and an error for each place it could not search.
func (e *explanation) find(ctx context.Context) (all []found, failed []error, err error) {
	sessions, failed := e.sessions(ctx)
	if len(sessions) == 0 {
		return nil, nil, errors.Join(failed...)
	}
	byID := metadata.CheckID(e.wanted) == nil
	for _, kind := range e.options.Kinds {
		for _, session := range sessions {
			service, err := session.Service(string(metadata.Kind(kind).Service()))
			if err != nil {
				failed = append(failed, fmt.Errorf("%ss: %w", kind, err))
				continue
			}
			if byID {
				v, err := e.get(ctx, service, session, metadata.Kind(kind))
				switch {
				case err == nil:
					return []found{{session, kind, v}}, nil, nil
				case !metadata.IsClass(err, metadata.Gone):
					failed = append(failed, err)
				}
				continue
			}
			for v, err := range metadata.List(ctx, service, metadata.Kind(kind), metadata.ListOptions{
				Options: e.api(session, metadata.Kind(kind)), AllProjects: session.Admin(), PageSize: 200, Name: e.wanted,
				Retries:   2,
				DownCells: true, NoMicroversion: e.options.API == metadata.HuaweiCloud,
			}) {
				if err != nil {
					failed = append(failed, fmt.Errorf("list %ss: %w", kind, err))
					break
				}
				if v.Name != e.wanted { // Nova also matches parts of names
					continue
				}
				v.Project = cmp.Or(v.Project, session.Project)
				if all = append(all, found{session, kind, v}); len(all) >= maxCandidates {
					return all, failed, nil
				}
			}
		}
	}
	return all, failed, nil
}

// sessions returns the sessions to search: that of the credentials and those of the projects within bounds.
func (e *explanation) sessions(ctx context.Context) (all []*cloud.Session, failed []error) {
	own := e.reconciler.session
	all = []*cloud.Session{own}
	if own.Admin() {
		return all, nil
	}
	listings, refused, err := e.options.Bounds.Listings(ctx)
	if err != nil {
		return all, []error{err}
	}
	for _, r := range refused {
		failed = append(failed, r.Err)
	}
	for _, l := range listings {
		if l.Session.Project != own.Project {
			all = append(all, l.Session)
		}
	}
	return all, failed
}

func (e *explanation) api(session *cloud.Session, kind metadata.Kind) metadata.Options {
	return metadata.Options{
		Family: kind.Family(e.options.API), Breaker: session.Breaker(), Project: session.Project,
		FullView: e.options.API != metadata.HuaweiCloud,
	}
}

func (e *explanation) get(
	ctx context.Context,
	service *gophercloud.ServiceClient,
	session *cloud.Session,
	kind metadata.Kind,
) (metadata.View, error) {
	o := e.api(session, kind)
	o.ListView = o.FullView
	for {
		resource, err := metadata.New(service, kind, e.wanted, o)
		if err != nil {
			return metadata.View{}, err
		}
		v, err := resource.Get(ctx)
		if failed, ok := errors.AsType[*metadata.Error](
			err,
		); ok && failed.Status == http.StatusNotAcceptable &&
			o.ListView {
			o.ListView = false // an older cloud
			continue
		}
		v.Project = cmp.Or(v.Project, session.Project)
		return v, err
	}
}

// ambiguous lists the resources that share a name.
func (e *explanation) ambiguous(candidates []found) error {
	fmt.Fprintf(
		e.out,
		"%s is the name of %d resources. Say which one, by its id:\n",
		visible.Line(e.wanted, maxComplaint),
		len(candidates),
	)
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	for _, c := range candidates {
		fmt.Fprintf(w, "  %s\t%s\tproject %s\t%s\tcreated %s\n",
			c.view.ID, c.kind, c.view.Project, c.view.State, c.view.Created.UTC().Format(time.RFC3339))
	}
	_ = w.Flush()
	return ended{status: exitUsage}
}

// notFound explains why a resource may not be visible.
func (e *explanation) notFound(ctx context.Context, failed []error) error {
	name := visible.Line(e.wanted, maxComplaint)
	if len(failed) > 0 {
		fmt.Fprintf(e.out, "%s is unknown: not everything could be read.\n", name)
		for _, err := range failed {
			e.line("error", "%s", err)
		}
		return ended{status: exitUnread}
	}
	if metadata.CheckID(e.wanted) == nil {
		for _, kind := range e.options.Kinds {
			actions := e.readActions(ctx, e.reconciler.session, kind, e.wanted)
			if !actions.deleted() {
				continue
			}
			fmt.Fprintf(e.out, "%s is deleted: nothing can be written on it any more.\n", name)
			e.printActions(actions)
			e.printLog(time.Time{})
			return undone{}
		}
	}
	fmt.Fprintf(
		e.out,
		"%s: not found. Either it does not exist, or these credentials cannot see it.\n",
		name,
	)
	e.line(
		"looked",
		"%s, as %s in project %s",
		strings.Join(words(e.options.Kinds), "s, ")+"s",
		e.reconciler.session.User,
		cmp.Or(e.reconciler.session.ProjectName, e.reconciler.session.Project),
	)
	e.printLog(time.Time{})
	e.line(
		"next",
		"check the id or the name, and the project that the credentials are for (openstack server show %s)",
		name,
	)
	return undone{}
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
		exempt[p.Key] = strings.HasPrefix(p.Why, "exempt")
	}
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(e.assessment.Wanted)) {
		if e.view.Metadata[key] != e.assessment.Wanted[key] && !exempt[key] {
			keys = append(keys, key)
		}
	}
	return keys
}

func (e *explanation) print(ctx context.Context) {
	_, e.unwritten = e.options.Bounds.Session(ctx, e.view.Project)
	fmt.Fprintln(e.out, visible.Line(e.answer(), maxComplaint))
	fmt.Fprintln(e.out)
	v := e.view
	project := v.Project
	if e.session.Project == project && e.session.ProjectName != "" {
		project = e.session.ProjectName + " (" + project + ")"
	}
	e.line(string(e.kind), "%s %s  project %s, created %s", v.ID, v.Name, project, v.Created.UTC().Format(time.RFC3339))
	state := v.State
	if metadata.Kind(e.kind).HasTasks() {
		state += ", " + cmp.Or(v.Task, "no task")
	}
	if v.Locked {
		state += ", locked"
	}
	e.line("state", "%s", state)
	e.line("creator", "%s", e.creator(ctx))
	e.line("rights", "%s", e.rights())
	if e.unread != nil {
		e.line("rules", "%.8s; what they want is unknown: %s", e.options.Rules, e.unread)
		return
	}
	e.printRules()
	e.printKeys()
	e.printActions(e.actions)
	e.printLog(v.Created)
	e.printRequests()
	e.line("next", "%s", e.next())
}

// answer returns the explanation in one sentence.
func (e *explanation) answer() string {
	name := cmp.Or(e.view.Name, e.view.ID)
	if e.unread != nil {
		return name + " is unknown: something could not be read: " + e.unread.Error()
	}
	a, lacks := e.assessment, e.lacking()
	if metadata.Kind(e.kind).Readiness(e.view.State) == metadata.Deleted {
		return name + " is deleted: nothing can be written on it any more."
	}
	if len(lacks) == 0 {
		switch {
		case a.State == reconcile.NoRule:
			return name + " gets no metadata: " + a.Why + "."
		case a.State == reconcile.Exempt:
			return name + " has every key that the rules want and that it is not exempt from."
		case len(a.Plan.EventOnly) > 0:
			return fmt.Sprintf(
				"%s has every key that can be computed now; %s can be computed only from an event.",
				name,
				strings.Join(a.Plan.EventOnly, ", "),
			)
		}
		return name + " has every key that the rules want."
	}
	text := name + " lacks " + list(lacks) + ": "
	if e.unwritten != nil {
		return text + e.unwritten.Error() + "."
	}
	if e.view.Locked && !e.settings.WriteLocked && (a.State == reconcile.NotWritable || a.State == reconcile.Busy ||
		a.State == reconcile.TooYoung) {
		return text + "the server is locked, and Tagger does not write locked servers (TAGGER_WRITE_LOCKED)" +
			e.waiting() + "."
	}
	switch a.State {
	case reconcile.Add:
		return text + e.cause() + "."
	case reconcile.NotWritable, reconcile.Busy:
		return text + a.Why + e.waiting() + "."
	case reconcile.TooYoung:
		return fmt.Sprintf("%sit was created %s ago, so its event may still be on its way (%s).", text,
			time.Since(e.view.Created).Round(time.Second), e.cause())
	case reconcile.Differs, reconcile.Exempt:
		for _, p := range a.Problems {
			if p.Key == lacks[0] {
				return fmt.Sprintf("%s differs from the rules: %s %s.", name, p.Key, p.Why)
			}
		}
	}
	return text + cmp.Or(a.Why, e.cause()) + "."
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

// creator returns who created the resource, as far as the cloud reports it.
func (e *explanation) creator(ctx context.Context) string {
	id := e.view.User
	if id == "" {
		return "unknown: the API does not show it"
	}
	user, err := e.options.Bounds.User(ctx, id)
	if _, unknown := errors.AsType[*cloud.UnknownError](err); unknown {
		return id + "  (name unknown: " + err.Error() + ")"
	}
	if err != nil {
		return id + "  (name not read: " + err.Error() + ")"
	}
	return id + "  " + user.Name
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

func (e *explanation) printRules() {
	p := e.assessment.Plan
	e.line("rules", "%.8s", e.options.Rules)
	for _, name := range p.Rules {
		e.line("  match", "%s", name)
	}
	for _, skip := range p.Skipped {
		e.line("  skip", "%s: %s", skip.Rule, skip.Why)
	}
	if len(p.Rules) == 0 && len(p.Skipped) == 0 && p.Decision != nil {
		e.line("  none", "%s", p.Reason)
	}
}

func (e *explanation) printKeys() {
	a := e.assessment
	why := map[string]string{}
	for _, p := range a.Problems {
		why[p.Key] = p.Why
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "keys      KEY\tWANTED\tTHERE\tSTATUS")
	row := func(key, want, there, status string) {
		fmt.Fprintf(
			w,
			"          %s\t%s\t%s\t%s\n",
			visible.Line(key, maxComplaint),
			visible.Line(cmp.Or(want, "-"), maxComplaint),
			visible.Line(cmp.Or(there, "-"), maxComplaint),
			visible.Line(status, maxComplaint),
		)
	}
	for _, key := range slices.Sorted(maps.Keys(a.Wanted)) {
		have, there := e.view.Metadata[key]
		status := "missing"
		switch {
		case there && have == a.Wanted[key]:
			status = "ok"
		case why[key] != "":
			status = why[key]
		case there && have == "":
			status = "missing: its value is empty"
		}
		row(key, a.Wanted[key], have, status)
	}
	for _, key := range a.Plan.EventOnly {
		row(
			key,
			"?",
			e.view.Metadata[key],
			"of events only: its value depends on the event, and is not known afterwards",
		)
	}
	for _, key := range slices.Sorted(maps.Keys(e.view.Metadata)) {
		if _, wanted := a.Wanted[key]; !wanted && !slices.Contains(a.Plan.EventOnly, key) {
			row(key, "", e.view.Metadata[key], "not ours")
		}
	}
	for _, r := range e.options.Policy.Required {
		_, wanted := a.Wanted[r.Key]
		_, there := e.view.Metadata[r.Key]
		if slices.Contains(r.Kinds, e.kind) && !wanted && !there && !slices.Contains(a.Plan.EventOnly, r.Key) &&
			why[r.Key] == "" {
			row(r.Key, "?", "", "required, and missing: no rule writes it here")
		}
	}
	for key, reason := range why {
		if _, wanted := a.Wanted[key]; !wanted && key != "" {
			row(key, "?", e.view.Metadata[key], reason)
		}
	}
	_ = w.Flush()
	if most := metadata.Kind(e.kind).MaxItems(); most > 0 {
		fmt.Fprintf(e.out, "          %d items used; %d are Nova's default quota\n", len(e.view.Metadata), most)
	}
}

// printRequests shows the requests that Tagger would send.
func (e *explanation) printRequests() {
	keys := map[string]string{}
	for key, r := range e.assessment.Keys {
		keys[key] = *r.To
	}
	if len(keys) == 0 {
		return
	}
	kind := metadata.Kind(e.kind)
	resource, recorder, err := metadata.NewRecorder(kind, e.view.ID, kind.Family(e.options.API), e.view)
	if err == nil {
		_, err = resource.Write(context.Background(), keys)
	}
	if err != nil {
		e.line("send", "nothing: %s", err)
		return
	}
	if e.unwritten != nil {
		e.line("send", "nothing: its project is out of bounds")
		return
	}
	for _, r := range recorder.Requests() {
		e.line("send", "%s /%s %s", r.Method, r.Path, r.Body)
	}
}

// next suggests what to do.
func (e *explanation) next() string {
	a, v := e.assessment, e.view
	correct := fmt.Sprintf(
		"tagger reconcile --scope %s --kind %s --name '%s' --out plan.jsonl",
		v.Project,
		e.kind,
		v.Name,
	)
	switch {
	case metadata.Kind(e.kind).Readiness(v.State) == metadata.Deleted:
		return "nothing to do"
	case len(e.lacking()) == 0 && a.State == reconcile.NoRule:
		return "if it should get metadata: write a rule for it, and try it with tagger plan"
	case len(e.lacking()) == 0:
		return "nothing to do"
	case e.unwritten != nil:
		return "have TAGGER_PROJECTS name its project, or leave it alone"
	case a.State == reconcile.Add:
		return correct
	case v.Locked:
		return "openstack server unlock " + v.ID + "     (or ask who locked it; then " + correct + ")"
	case strings.HasPrefix(v.State, "shelved"):
		return "openstack server unshelve " + v.ID + ", then " + correct
	case a.State == reconcile.NotWritable && metadata.Kind(e.kind).Readiness(v.State) == metadata.Stuck:
		return "bring it out of state " + v.State + " (openstack " + string(
			e.kind,
		) + " show " + v.ID + "), then " + correct
	case a.State == reconcile.TooYoung:
		return fmt.Sprintf("leave it to its event; if that does not come, reconcile takes it once it is older than "+
			"TAGGER_GRACE (%s)", e.options.Grace)
	case a.State == reconcile.NotWritable, a.State == reconcile.Busy:
		return "wait until it is ready, then explain it again"
	case a.State == reconcile.Differs:
		var replaced []string
		for _, key := range e.lacking() {
			if e.options.Overwrites(key, a.Plan.Set) {
				replaced = append(replaced, key)
			}
		}
		if len(replaced) == 0 {
			return "nothing, if the value is right: the rules have the key under add:, which never replaces a value " +
				"(set: does, or on_differs: overwrite under required:)"
		}
		return "if the rules are right: " + correct + " --overwrite " + strings.Join(replaced, ",")
	case a.State == reconcile.NotManaged:
		return "write the keys where the program that manages it has them, or set volumes: {write: all}"
	}
	return correct
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

// shownActions limits the actions that are shown.
const shownActions = 5

func (e *explanation) printActions(a recordedActions) {
	if a.err != nil {
		e.line("actions", "unknown: the cloud does not tell them to these credentials")
		return
	}
	for i, action := range a.all {
		if i == shownActions {
			e.line("", "and %d earlier ones", len(a.all)-i)
			return
		}
		name := first(i, "actions")
		text := fmt.Sprintf(
			"%s  %s by %s, %s",
			action.Start,
			action.Action,
			cmp.Or(action.User, "an unknown user"),
			action.Request,
		)
		if action.Message != "" {
			text += ": " + action.Message
		}
		e.line(name, "%s", text)
	}
}
