package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/cloud/cloudsyaml"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/host"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
	"github.com/cloudtagger/tagger/pkg/visible"
)

// finding is the result of one check.
type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	// Warning means that the check passed, but the setting is probably a mistake.
	Warning bool `json:"warning,omitempty"`
	// Detail is one line without terminal escapes: what was found, or what is wrong and how to fix it.
	Detail string `json:"detail"`
}

func checkCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [--rules FILE] [--listener URL]",
		Short: "Check settings, rules, broker, credentials and endpoints",
		Long: "Check, one after the other, the TAGGER_* settings, the rules, RabbitMQ (where " +
			"TAGGER_AMQP_URL is set), the credentials, and that the compute and volume APIs answer. Nothing is written; the " +
			"right to write is the one thing that only a write shows.\n\n" +
			"At the broker: login and version, rights (tried on a queue that is gone at the end), exchanges, queues, and by " +
			"its management plugin, where that can be reached, feature flags and policies. --listener asks a running " +
			"listener when the last notification came. With K_SINK, only the settings, the broker and the sink's address are " +
			"checked, because listen then needs no rules and no credentials.",
		Args: noArguments,
	}
	out := outputFlag(cmd.Flags())
	rulesFile := cmd.Flags().String("rules", "", "`FILE` of the rules (default: those of the environment)")
	listener := cmd.Flags().String("listener", "", "`URL` of a running listener, such as http://127.0.0.1:8080")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		failed := false
		st := styleFor(s.out)
		for _, f := range check(cmd.Context(), *rulesFile, *listener) {
			failed = failed || !f.OK
			if *out == asJSON {
				if err := printJSON(s.out, f); err != nil {
					return err
				}
				continue
			}
			mark := st.paint(green, "ok    ")
			switch {
			case !f.OK:
				mark = st.paint(red, "failed")
			case f.Warning:
				mark = st.paint(yellow, "warn  ")
			}
			fmt.Fprintf(s.out, "%-12s %s  %s\n", f.Check, mark, f.Detail)
		}
		if ctx := cmd.Context(); ctx.Err() != nil {
			return undone{fmt.Errorf("check the rest: %w", context.Cause(ctx))}
		}
		if failed {
			return undone{}
		}
		return nil
	}
	return cmd
}

// checkSink checks the sink of tagger listen. Nothing is sent to it.
func checkSink(ctx context.Context, settings config.Settings) (detail string, err error) {
	c, err := config.ListenFromEnv()
	if err != nil {
		return "not checked: the settings of the broker are wrong", nil
	}
	if _, _, err := newSink(ctx, settings, c, slog.New(slog.DiscardHandler)); err != nil {
		return "", err
	}
	u, err := url.Parse(c.Sink)
	if err != nil {
		return "", errors.New("read K_SINK: it is not a URL")
	}
	return "listen sends the events to " + u.Host + "; rules and credentials are not needed", nil
}

// unusedID is a UUID that no resource has. An API that reports it missing works.
const unusedID = "00000000-0000-4000-8000-000000000000"

func check(ctx context.Context, rulesFile, listener string) []finding {
	var all []finding
	note := func(name string, err error, detail string) bool {
		if ctx.Err() != nil { // an interrupt says nothing about what was to be checked
			return false
		}
		if err != nil {
			detail = strings.TrimPrefix(strings.TrimPrefix(err.Error(), "read the environment: "), name+": ")
		}
		all = append(all, finding{Check: name, OK: err == nil, Detail: visible.Line(detail, maxComplaint)})
		return err == nil
	}
	warnOf := func(check, text string) {
		if ctx.Err() != nil {
			return
		}
		all = append(all, finding{Check: check, OK: true, Warning: true, Detail: visible.Line(text, maxComplaint)})
	}
	warn := func(check string, warnings []config.Warning) {
		for _, w := range warnings {
			warnOf(check, w.String())
		}
	}

	settings, err := config.SettingsFromEnv()
	if err == nil {
		err = checkSettings(settings)
	}
	if !note("settings", err, describeSettings(settings)) {
		return all
	}
	warn("settings", settings.Warnings())
	for _, text := range config.Unknown(os.Environ()) {
		warnOf("settings", text)
	}
	if settings.DryRun {
		warnOf("settings", "TAGGER_DRY_RUN is set: nothing is written")
	}
	if settings.SecretARN != "" {
		warnOf("settings", "TAGGER_SECRET_ARN is not read here, but by the functions, tagger serve and tagger listen; what "+
			"follows are the credentials of this environment")
	}
	if _, err := os.Stat(settings.HoldFile); settings.HoldFile != "" && err == nil {
		warnOf("settings", "writing is on hold: the file of TAGGER_HOLD_FILE exists")
	}
	if config.HasBroker() {
		checkBroker(ctx, note, warnOf)
	}
	if listener != "" {
		detail, fresh, err := checkListener(ctx, listener, settings)
		if fresh {
			warnOf("listener", detail)
		} else {
			note("listener", err, detail)
		}
	}
	if os.Getenv("K_SINK") != "" && config.HasBroker() && rulesFile == "" {
		detail, err := checkSink(ctx, settings)
		note("sink", err, detail)
		return all
	}
	reads := checkRules(ctx, settings, rulesFile, note, warnOf)

	c, err := cloudsyaml.Complete(ctx)
	var login config.Login
	if err == nil {
		login, err = c.Resolve()
	}
	if !note("credentials", err, "by "+string(login.Method)) {
		return all
	}
	warn("credentials", c.Warnings())
	made := cloud.New(options(settings, c))
	session, err := made.Login(ctx)
	if err != nil {
		note("login", err, "")
		return all
	}
	logged := fmt.Sprintf("cloud %s, project %s %s, user %s, roles %s", session.Cloud, session.ProjectName,
		session.Project, session.User,
		strings.Join(session.Roles, " "))
	if session.Method != config.AccessKey { // an access key is first used by the requests below
		note("login", nil, logged)
	}
	_, err = made.Bounded(ctx)
	bounds := ""
	if err == nil {
		bounds, err = boundsOf(ctx, made, settings, session)
	}
	var unknown []cloud.EntryError
	if err == nil {
		unknown, err = checkEntries(ctx, made)
	}
	note("projects", err, bounds)
	for _, e := range unknown {
		warnOf("projects", e.Error())
	}
	p := settings.Projects
	foreign := func(id string) bool { return id != session.Project }
	others := p.Roles() || len(p.Domains()) > 0 || slices.ContainsFunc(p.IDs(), foreign)
	if others && session.Method != config.Password && !session.Admin() {
		warn("projects", []config.Warning{{
			Variable: "TAGGER_PROJECTS",
			Text:     "names other projects, but these credentials belong to one: use a user and password",
		}})
	}

	if hidden := hiddenNames(ctx, made, reads); hidden != "" {
		warnOf("rules", hidden)
	}

	api := metadata.API(settings.API)
	var services []metadata.Service
	accepted := false                       // the access key
	for _, kind := range metadata.Kinds() { // one kind per service is enough
		if slices.Contains(services, kind.Service()) {
			continue
		}
		services = append(services, kind.Service())
		service, err := session.Service(string(kind.Service()))
		if err == nil {
			err = canRead(ctx, service, kind, api)
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			err = fmt.Errorf("connect to %s: %w (nothing answers there: check TAGGER_%s_ENDPOINT, or the service catalog if it "+
				"is not set)", endpointOf(service), syscall.ECONNREFUSED, strings.ToUpper(string(kind.Service())))
		}
		accepted = accepted || err == nil
		note(string(kind.Service()), err, fmt.Sprintf("%s: metadata of %ss can be read", endpointOf(service), kind))
	}
	if session.Method == config.AccessKey {
		err := errors.New("no request that was signed with the access key has been accepted; see above")
		if accepted {
			err = nil
		}
		note("login", err, logged)
	}
	return all
}

// hiddenNames returns a warning about rules that read user names which Keystone does not let Tagger read, "" without.
func hiddenNames(ctx context.Context, c *cloud.Cloud, reads rules.Needs) string {
	if !reads.ActorName {
		return ""
	}
	_, err := c.User(ctx, unusedID)
	unknown, ok := errors.AsType[*cloud.UnknownError](err)
	if !ok || unknown.Missing {
		return ""
	}
	return "the rules read actor.name, and Keystone does not let these credentials read users (identity:get_user): " +
		"the name is absent where an event has the id only, as Cinder's do"
}

// checkSettings checks what only the start of a listener, a server or a scheduled reconcile would report.
func checkSettings(s config.Settings) error {
	if _, err := tagger.Dialects(s, os.Getenv("OS_REGION_NAME")); err != nil {
		return err
	}
	if _, err := host.NewWebHook(s.WebHookOrigins, s.WebHookRate); err != nil {
		return fmt.Errorf("TAGGER_WEBHOOK_ORIGINS, TAGGER_WEBHOOK_RATE: %w", err)
	}
	if _, err := config.ReconcileFromEnv(); err != nil {
		return err
	}
	if s.AuditFile == "" {
		return nil
	}
	if err := checkFile("TAGGER_AUDIT_FILE:", s.AuditFile); err != nil {
		return err
	}
	file, err := os.OpenFile(s.AuditFile, os.O_WRONLY|os.O_APPEND, 0) // it is made by the first that writes
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return fmt.Errorf("TAGGER_AUDIT_FILE: %w", err)
	}
	return nil
}

// describeSettings lists the settings that differ from the defaults, without secrets.
func describeSettings(s config.Settings) string {
	changed := slices.Concat(config.Changed[config.Settings](), config.Changed[config.Listen](),
		config.Changed[config.Reconcile]())
	if len(changed) == 0 {
		return "the defaults, API " + s.API
	}
	return "API " + s.API + "; set: " + strings.Join(changed, ", ")
}

// checkEntries looks up the projects and domains that TAGGER_PROJECTS names. It returns those that these credentials
// cannot look up.
func checkEntries(ctx context.Context, c *cloud.Cloud) (unknown []cloud.EntryError, err error) {
	entries, err := c.CheckProjects(ctx)
	if err != nil {
		return nil, err
	}
	var wrong []string
	for _, e := range entries {
		if e.Unknown {
			unknown = append(unknown, e)
		} else {
			wrong = append(wrong, e.Why)
		}
	}
	if len(wrong) > 0 {
		err = errors.New("TAGGER_PROJECTS: " + strings.Join(wrong, "; "))
	}
	return unknown, err
}

// maxNames limits the projects that are listed by name.
const maxNames = 20

// boundsOf describes the projects in which Tagger may write.
func boundsOf(ctx context.Context, c *cloud.Cloud, settings config.Settings, session *cloud.Session) (string, error) {
	text := strings.Join(settings.Projects, ", ")
	if len(settings.Projects) == 0 {
		text = "that of the login only: " + strings.TrimSpace(session.ProjectName+" "+session.Project)
	}
	if settings.Projects.Roles() {
		names, err := c.RoleProjectNames(ctx)
		if err != nil {
			return "", err
		}
		n := len(names)
		if n > maxNames {
			names = append(names[:maxNames], "…")
		}
		text += fmt.Sprintf(" (%s now: %s)", plural(n, "project"), strings.Join(names, ", "))
	}
	if session.Admin() {
		text += "; the token reaches every project, so the project of each resource is read before it is written"
	}
	return text, nil
}

// checkRules compiles the rules, if they are available here, and returns what they read from the cloud.
func checkRules(ctx context.Context, settings config.Settings, file string,
	note func(name string, err error, detail string) bool, warnOf func(check, text string),
) rules.Needs {
	var source rules.Source
	var err error
	switch {
	case file != "":
		source, err = config.ReadRulesFile(file)
	case settings.Rules == "" && settings.RulesFile == "" && settings.RulesParameter == "":
		warnOf("rules", "there are none, so nothing would be written: set TAGGER_RULES_FILE to a file of rules, or name one "+
			"with --rules")
		return rules.Needs{}
	case settings.RulesParameter != "" && settings.Rules == "" && settings.RulesFile == "":
		warnOf("rules", "in the parameter "+settings.RulesParameter+
			", which is not read here; name a file with --rules to check it")
		return rules.Needs{}
	default:
		source, err = settings.ReadRules(ctx, nil)
	}
	var set *rules.Set
	if err == nil {
		set, err = compileRules(settings, source)
	}
	switch {
	case err != nil:
		note("rules", err, "")
		return rules.Needs{}
	case set.Len() == 0:
		warnOf("rules", source.Name+" has no rule, so nothing would be written")
	default:
		note("rules", nil, "they compile")
	}
	return set.Reads()
}

// canRead asks for the metadata of a resource that does not exist. A "not found" answer shows that the service works.
func canRead(ctx context.Context, service *gophercloud.ServiceClient, kind metadata.Kind, api metadata.API) error {
	resource, err := metadata.New(service, kind, unusedID, metadata.Options{Family: kind.Family(api)})
	if err != nil {
		return err
	}
	_, err = resource.Metadata(ctx)
	return ignoreMissing(err)
}

// ignoreMissing returns nil if err only reports that the resource does not exist.
func ignoreMissing(err error) error {
	if metadata.IsClass(err, metadata.Gone) {
		return nil
	}
	if e, ok := errors.AsType[*metadata.Error](err); ok && e.Class == metadata.Forbidden {
		return fmt.Errorf("%w: the credentials lack the right to read metadata", err)
	}
	return err
}

func endpointOf(c *gophercloud.ServiceClient) string {
	if c == nil {
		return ""
	}
	return c.Endpoint
}
