// Package config reads Tagger's configuration from the environment.
package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"

	"github.com/cloudtagger/tagger/pkg/suggest"
)

// Settings are the TAGGER_ variables. Credentials are apart, in [Credentials].
type Settings struct {
	Rules     string `envconfig:"TAGGER_RULES" desc:"The tagging rules themselves, in YAML or JSON. On Lambda all variables together have 4 KB."`
	RulesFile string `envconfig:"TAGGER_RULES_FILE" desc:"A file with the tagging rules, in place of TAGGER_RULES; the files of its tables stand beside it."`
	// RulesParameter and RulesRefresh are for rules that change without a new deployment.
	RulesParameter string        `envconfig:"TAGGER_RULES_PARAMETER" desc:"On AWS, read by the functions, tagger serve and tagger listen: the Systems Manager parameter (name or ARN) that holds the rules, in place of TAGGER_RULES."`
	RulesRefresh   time.Duration `envconfig:"TAGGER_RULES_REFRESH" default:"1m" desc:"How often rules in a file or a parameter are read again. A version that does not compile is refused, and the last good one stays."`

	API    string `envconfig:"TAGGER_API" default:"openstack" desc:"Whose limits for keys and values apply: openstack or huaweicloud."`
	Verify bool   `envconfig:"TAGGER_VERIFY" default:"true" desc:"Whether what was written is read back, and written again where another writer undid it."`
	DryRun bool   `envconfig:"TAGGER_DRY_RUN" default:"false" desc:"Whether to read only, and to log what would be written."`

	ComputeEndpoint string   `envconfig:"TAGGER_COMPUTE_ENDPOINT" desc:"Address of the compute API, in place of the catalog's; may hold {project_id}. Needed with an access key."`
	VolumeEndpoint  string   `envconfig:"TAGGER_VOLUME_ENDPOINT" desc:"Address of the volume API, in place of the catalog's; may hold {project_id}. Needed with an access key."`
	Projects        Projects `envconfig:"TAGGER_PROJECTS" desc:"The projects to write in, separated by commas: own (the default), ids, roles (every project that the credentials have a role in), domain:NAME, or * (all that their token reaches). An administrator's credentials need it. The project service counts only by its id."`
	WriteLocked     bool     `envconfig:"TAGGER_WRITE_LOCKED" default:"false" desc:"Whether locked servers are written too, which Nova lets only an administrator do."`
	SecretARN       string   `envconfig:"TAGGER_SECRET_ARN" desc:"On AWS, read by the functions, tagger serve and tagger listen: the Secrets Manager secret that holds the credentials, a JSON object with the names of the second table."`

	Grace       time.Duration  `envconfig:"TAGGER_GRACE" default:"10m" desc:"How old an event must be before \"not found\" means deleted."`
	GiveUpAfter time.Duration  `envconfig:"TAGGER_GIVE_UP_AFTER" default:"24h" desc:"How long after a queue took a message nothing more is tried."`
	Wait        *time.Duration `envconfig:"TAGGER_WAIT" desc:"How long one call waits for a resource to become ready: by default 5s from a queue, 20s over HTTP, 10m at the desk, and to the end of the invocation where the platform retries little."`
	Concurrency int            `envconfig:"TAGGER_CONCURRENCY" default:"10" desc:"How many changes are worked on at a time, 1 to 1000; ten times as many requests or messages may be under way."`
	Rate        float64        `envconfig:"TAGGER_RATE" default:"5" desc:"How many writes a second a backlog sends to one API; 0 for no limit. Ten seconds' worth goes out at once, so a single event never waits. The rate halves while the API answers three times as slowly as usual."`

	DeadLetterQueueURL string `envconfig:"TAGGER_DEAD_LETTER_QUEUE_URL" desc:"On AWS: the SQS queue that takes rejected records at once, with the reason. Without it they go back to their queue."`

	HTTPSecret            Secret `envconfig:"TAGGER_HTTP_SECRET" desc:"Over HTTP, but not on Lambda: what requests must carry as their bearer token, and what tagger listen sends to its sink. Without it everybody who reaches the port may send events."`
	BytesInFlight         int64  `envconfig:"TAGGER_BYTES_IN_FLIGHT" default:"8388608" desc:"How many bytes of requests or messages may be under way at a time, 7340032 at the least, for one may have 6 MiB. Over HTTP more are answered 503; messages wait in their queue."`
	MetricsSecret         bool   `envconfig:"TAGGER_METRICS_SECRET" default:"false" desc:"Whether GET /metrics wants TAGGER_HTTP_SECRET as its bearer token too."`
	WebHookOrigins        List   `envconfig:"TAGGER_WEBHOOK_ORIGINS" desc:"Over HTTP: the origins, separated by commas, that CloudEvents' web hook handshake (OPTIONS) permits: DNS names, *.NAME, or * for all. Without any the handshake is refused."`
	WebHookRate           int    `envconfig:"TAGGER_WEBHOOK_RATE" default:"0" desc:"How many requests a minute the handshake permits; 0 for any number."`
	InvocationCredentials bool   `envconfig:"TAGGER_INVOCATION_CREDENTIALS" default:"false" desc:"On FunctionGraph: whether to act with the temporary access key that comes with each invocation of a function with an agency."`

	EventTypes   EventTypes `envconfig:"TAGGER_EVENT_TYPES" desc:"Further event types and trace names, as type=action separated by commas: createSnapshotV2=snapshot.created."`
	IgnoreActors List       `envconfig:"TAGGER_IGNORE_ACTORS" desc:"Patterns, separated by commas, of user names and IDs whose changes are ignored; * stands for anything."`

	HoldFile string `envconfig:"TAGGER_HOLD_FILE" desc:"Read by tagger serve and tagger listen: while a file of this name exists, nothing is written; events are taken and deferred."`

	AuditFile string `envconfig:"TAGGER_AUDIT_FILE" desc:"A file that gets a line before each write and after it, with each key's value before and after; made with mode 0600. tagger reconcile --revert takes back what it says. It grows: rotate it by renaming it."`

	LogNames bool   `envconfig:"TAGGER_LOG_NAMES" default:"false" desc:"Whether the log may hold values that are written and the names of users, beside the keys."`
	LogLevel string `envconfig:"TAGGER_LOG_LEVEL" default:"info" desc:"The least level that is logged: debug, info, warn or error."`
}

// List is words separated by commas; blanks around them do not count.
type List []string

// Decode reads a list.
func (l *List) Decode(value string) error {
	*l = nil
	for word := range strings.SplitSeq(value, ",") {
		if word = strings.TrimSpace(word); word != "" {
			*l = append(*l, word)
		}
	}
	return nil
}

// EventTypes maps event types to actions.
type EventTypes map[string]string

// Decode reads "type=action,type=action". Types hold colons, so envconfig's own form for maps does not serve.
func (t *EventTypes) Decode(value string) error {
	*t = EventTypes{}
	for pair := range strings.SplitSeq(value, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, action, ok := strings.Cut(pair, "=")
		name, action = strings.TrimSpace(name), strings.TrimSpace(action)
		if !ok || name == "" || action == "" {
			return fmt.Errorf("%q is not type=action", pair)
		}
		(*t)[name] = action
	}
	return nil
}

// SettingsFromEnv reads the settings. A variable that is set and empty counts as unset, and is unset.
func SettingsFromEnv() (Settings, error) { return fromEnv[Settings]() }

// fromEnv reads a struct of configuration from the environment, and checks it.
func fromEnv[T interface{ check() error }]() (T, error) {
	var s, none T
	for _, v := range Variables[T]() {
		if value, ok := os.LookupEnv(v.Name); ok && strings.TrimSpace(value) == "" {
			// envconfig would parse the empty text, which is no number and no duration, and pass over the default.
			if err := os.Unsetenv(v.Name); err != nil {
				return none, fmt.Errorf("read the environment: %w", err)
			}
		}
	}
	if err := envconfig.Process("", &s); err != nil {
		if e, ok := errors.AsType[*envconfig.ParseError](err); ok {
			return none, fmt.Errorf("read the environment: %s=%.60q is not %s", e.KeyName, e.Value, wanted(e))
		}
		return none, fmt.Errorf("read the environment: %w", err)
	}
	if err := readSecretFiles(&s); err != nil {
		return none, fmt.Errorf("read the environment: %w", err)
	}
	if err := s.check(); err != nil {
		return none, fmt.Errorf("read the environment: %w", err)
	}
	return s, nil
}

func wanted(e *envconfig.ParseError) string {
	switch {
	case e.TypeName == "bool":
		return "true or false"
	case e.TypeName == "int":
		return "a whole number"
	case e.TypeName == "float64":
		return "a number"
	case strings.HasPrefix(e.Err.Error(), "time: "):
		return "a duration such as 90s or 10m"
	}
	return "what it should be: " + e.Err.Error()
}

func (s Settings) check() error {
	oneOf := func(name, value string, words ...string) error {
		if slices.Contains(words, value) {
			return nil
		}
		return fmt.Errorf("%s=%.60q is unknown%s", name, value, suggest.Hint(value, words))
	}
	if err := oneOf("TAGGER_API", s.API, "openstack", "huaweicloud"); err != nil {
		return err
	}
	if err := oneOf("TAGGER_LOG_LEVEL", s.LogLevel, "debug", "info", "warn", "error"); err != nil {
		return err
	}
	return s.checkBounds()
}

// Upper bounds. Beyond them a setting does not do what is meant: RabbitMQ's prefetch has 16 bits, an SQS queue keeps a
// message for 14 days, and no platform waits for a call longer than an hour.
const (
	maxConcurrency = 1000
	maxGrace       = 24 * time.Hour
	maxGiveUpAfter = 14 * 24 * time.Hour
	maxWait        = time.Hour
	maxRefresh     = 24 * time.Hour
	maxRate        = 1000
)

func (s Settings) checkBounds() error {
	wait := time.Duration(0)
	if s.Wait != nil {
		wait = *s.Wait
	}
	for _, b := range []struct {
		name             string
		value, low, high time.Duration
	}{
		{"TAGGER_RULES_REFRESH", s.RulesRefresh, time.Second, maxRefresh}, // less would read a parameter for each event
		{"TAGGER_GRACE", s.Grace, 0, maxGrace},
		{"TAGGER_GIVE_UP_AFTER", s.GiveUpAfter, 0, maxGiveUpAfter},
		{"TAGGER_WAIT", wait, 0, maxWait},
	} {
		switch {
		case b.value < 0:
			return fmt.Errorf("%s=%s is negative", b.name, b.value)
		case b.value < b.low || b.value > b.high:
			return fmt.Errorf("%s=%s is out of bounds; want %s to %s", b.name, b.value, b.low, b.high)
		}
	}
	if s.Concurrency < 1 || s.Concurrency > maxConcurrency {
		return fmt.Errorf("TAGGER_CONCURRENCY=%d; want at least 1 and at most %d", s.Concurrency, maxConcurrency)
	}
	if !(s.Rate == 0 || s.Rate >= 0.1 && s.Rate <= maxRate) { // so written, it refuses NaN too
		return fmt.Errorf("TAGGER_RATE=%v; want 0.1 to %d writes a second, or 0 for no limit", s.Rate, maxRate)
	}
	if s.BytesInFlight < minBytesInFlight {
		return fmt.Errorf("TAGGER_BYTES_IN_FLIGHT=%d; want at least %d, since one request may have 6 MiB", s.BytesInFlight,
			minBytesInFlight)
	}
	if s.MetricsSecret && s.HTTPSecret.IsZero() {
		return errors.New("TAGGER_METRICS_SECRET=true, but TAGGER_HTTP_SECRET is not set")
	}
	return nil
}

const (
	// minBytesInFlight is more than the largest payload, 6 MiB.
	minBytesInFlight = 7 << 20
)

// MetricsToken is the bearer token that GET /metrics wants, zero for none.
func (s Settings) MetricsToken() Secret {
	if s.MetricsSecret {
		return s.HTTPSecret
	}
	return Secret{}
}

// Variable is one environment variable.
type Variable struct {
	Name, Default, Description string
}

// Variables lists the variables that a struct of configuration is read from, in the order of its fields.
func Variables[T any]() []Variable {
	var list []Variable
	for f := range reflect.TypeFor[T]().Fields() {
		list = append(list, Variable{f.Tag.Get("envconfig"), f.Tag.Get("default"), f.Tag.Get("desc")})
	}
	return list
}

// Unknown returns a warning for each TAGGER_ variable of environ (as [os.Environ] gives it) that means nothing here. It
// is no error: Kubernetes puts TAGGER_SERVICE_HOST and kin into every container beside a service of that name.
func Unknown(environ []string) []string {
	var known, warnings []string
	for _, v := range slices.Concat(Variables[Settings](), Variables[Listen]()) {
		known = append(known, v.Name)
	}
	for _, t := range []reflect.Type{reflect.TypeFor[Settings](), reflect.TypeFor[Listen]()} {
		for _, name := range secretNames(t) {
			known = append(known, name+fileSuffix)
		}
	}
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "TAGGER_") && !slices.Contains(known, name) {
			warnings = append(warnings, "unknown variable "+name+suggest.Hint(name, known))
		}
	}
	slices.Sort(warnings)
	return warnings
}
