// Package config reads Tagger's configuration from the environment.
package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"

	"github.com/cloudtagger/tagger/pkg/suggest"
)

// Settings are the TAGGER_ variables. See [Credentials] for the credentials, [Listen] for the broker.
type Settings struct {
	Rules          string        `envconfig:"TAGGER_RULES" desc:"The rules, in YAML or JSON. On Lambda, all variables together are limited to 4 KB."`
	RulesFile      string        `envconfig:"TAGGER_RULES_FILE" desc:"File with the rules, instead of TAGGER_RULES. The files of the rules' tables are read from its directory."`
	RulesParameter string        `envconfig:"TAGGER_RULES_PARAMETER" desc:"On AWS: name or ARN of the Systems Manager parameter with the rules, instead of TAGGER_RULES. Only the functions, tagger serve and tagger listen read it."`
	RulesRefresh   time.Duration `envconfig:"TAGGER_RULES_REFRESH" default:"1m" desc:"How often to reload rules from a file or parameter. If a new version does not compile, the previous one stays in use."`

	API    string `envconfig:"TAGGER_API" default:"openstack" desc:"Cloud whose limits for keys and values apply: openstack or huaweicloud."`
	Verify bool   `envconfig:"TAGGER_VERIFY" default:"true" desc:"Read keys back after writing them, and write them again if another writer overwrote them."`
	DryRun bool   `envconfig:"TAGGER_DRY_RUN" default:"false" desc:"Only read, and log what would be written."`

	ComputeEndpoint string   `envconfig:"TAGGER_COMPUTE_ENDPOINT" desc:"Address of the compute API, instead of the one in the service catalog; may contain {project_id}. Required with an access key."`
	VolumeEndpoint  string   `envconfig:"TAGGER_VOLUME_ENDPOINT" desc:"Address of the volume API, instead of the one in the service catalog; may contain {project_id}. Required with an access key."`
	Projects        Projects `envconfig:"TAGGER_PROJECTS" desc:"Projects whose resources may be written, separated by commas: own (the default), project IDs, roles, domain:NAME or *. Required with an administrator's credentials; see Projects in docs/configuration.md."`
	WriteLocked     bool     `envconfig:"TAGGER_WRITE_LOCKED" default:"false" desc:"Also write to locked servers, which Nova allows only for an administrator."`
	SecretARN       string   `envconfig:"TAGGER_SECRET_ARN" desc:"On AWS: ARN of the Secrets Manager secret with the credentials, a JSON object of the variables under Credentials. Only the functions, tagger serve and tagger listen read it."`

	Grace       time.Duration  `envconfig:"TAGGER_GRACE" default:"10m" desc:"If the cloud answers 404, the event is retried until it is this old; then the resource counts as deleted."`
	GiveUpAfter time.Duration  `envconfig:"TAGGER_GIVE_UP_AFTER" default:"24h" desc:"How long to retry an event, from the time when a queue accepted it."`
	Wait        *time.Duration `envconfig:"TAGGER_WAIT" desc:"How long one call waits for a resource to become ready. The default is 5s for events from a queue, 20s over HTTP, 10m on the command line, and until the invocation ends on platforms that retry little."`
	Concurrency int            `envconfig:"TAGGER_CONCURRENCY" default:"10" desc:"Number of changes to process at a time, 1 to 1000. Up to ten times as many requests or messages may be in flight."`
	Rate        float64        `envconfig:"TAGGER_RATE" default:"5" desc:"Writes per second to each API while there is a backlog; 0 for no limit. The first ten seconds' worth is written at once. The rate halves while the API responds slowly."`

	DeadLetterQueueURL string `envconfig:"TAGGER_DEAD_LETTER_QUEUE_URL" desc:"On AWS: URL of the SQS queue to which rejected records are sent, with the reason. Without it, they return to their queue."`

	HTTPSecret            Secret `envconfig:"TAGGER_HTTP_SECRET" desc:"Bearer token that HTTP requests must have, except on Lambda, and that tagger listen sends to its sink. Without it, anyone who can reach the port can send events."`
	BytesInFlight         int64  `envconfig:"TAGGER_BYTES_IN_FLIGHT" default:"8388608" desc:"Maximum total bytes of requests or messages in flight: 8 MiB; at least 7 MiB (7340032), because one may have 6 MiB. Above it, HTTP requests are answered 503 and messages stay in their queue."`
	MetricsSecret         bool   `envconfig:"TAGGER_METRICS_SECRET" default:"false" desc:"Require TAGGER_HTTP_SECRET as the bearer token for GET /metrics too."`
	WebHookOrigins        List   `envconfig:"TAGGER_WEBHOOK_ORIGINS" desc:"Origins that the CloudEvents web hook handshake (OPTIONS) allows, separated by commas: DNS names, *.NAME, or * for all. Without origins, the handshake is refused."`
	WebHookRate           int    `envconfig:"TAGGER_WEBHOOK_RATE" default:"0" desc:"Requests per minute that the handshake allows; 0 for any number."`
	InvocationCredentials bool   `envconfig:"TAGGER_INVOCATION_CREDENTIALS" default:"false" desc:"On FunctionGraph: use the temporary access key that each invocation of a function with an agency contains."`

	EventTypes   EventTypes `envconfig:"TAGGER_EVENT_TYPES" desc:"Additional event types or trace names with their actions, separated by commas, such as createSnapshotV2=snapshot.created."`
	IgnoreActors List       `envconfig:"TAGGER_IGNORE_ACTORS" desc:"Names or IDs of users whose changes are ignored, separated by commas; * matches any characters, ? one."`

	HoldFile string `envconfig:"TAGGER_HOLD_FILE" desc:"While this file exists, tagger serve and tagger listen write nothing; tagger serve answers 503, and tagger listen puts events into its delay queues."`

	AuditFile string `envconfig:"TAGGER_AUDIT_FILE" desc:"File that records each write; tagger reconcile --revert undoes them. It has mode 0600 and grows: to rotate it, rename it. See docs/audit-file.md."`

	LogNames bool   `envconfig:"TAGGER_LOG_NAMES" default:"false" desc:"Log the written values and users' names, not only keys."`
	LogLevel string `envconfig:"TAGGER_LOG_LEVEL" default:"info" desc:"Lowest level to log: debug, info, warn or error."`
}

// List is a list of words, separated by commas. White space around them is ignored.
type List []string

// Decode parses a list. It never fails.
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

// Decode parses "type=action,type=action". Types contain colons, so envconfig's syntax for maps cannot be used.
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

// SettingsFromEnv reads the settings from the environment. It unsets empty variables, because they count as unset.
func SettingsFromEnv() (Settings, error) { return fromEnv[Settings]() }

// fromEnv reads a configuration struct from the environment and checks it.
func fromEnv[T interface{ check() error }]() (T, error) {
	var s, none T
	for _, v := range Variables[T]() {
		if value, ok := os.LookupEnv(v.Name); ok && strings.TrimSpace(value) == "" {
			// envconfig would fail to parse the empty string as a number or duration, and would not use the default.
			if err := os.Unsetenv(v.Name); err != nil {
				return none, fmt.Errorf("read the environment: %w", err)
			}
		}
	}
	if err := envconfig.Process("", &s); err != nil {
		if e, ok := errors.AsType[*envconfig.ParseError](err); ok {
			return none, fmt.Errorf("read the environment: %s=%.60q is not %s", e.KeyName, e.Value, expected(e))
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

func expected(e *envconfig.ParseError) string {
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
	return "valid: " + e.Err.Error()
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

// Upper bounds. Larger values would have no effect: RabbitMQ's prefetch has 16 bits, an SQS queue keeps a message for
// 14 days, and no platform allows a call of more than an hour.
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
		// a shorter one would read a parameter for each event
		{"TAGGER_RULES_REFRESH", s.RulesRefresh, time.Second, maxRefresh},
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
	if err := CheckConcurrency("TAGGER_CONCURRENCY", s.Concurrency); err != nil {
		return err
	}
	if err := CheckRate("TAGGER_RATE", s.Rate); err != nil {
		return err
	}
	if s.BytesInFlight < minBytesInFlight {
		const format = "TAGGER_BYTES_IN_FLIGHT=%d; want at least %d, because one request may have 6 MiB"
		return fmt.Errorf(format, s.BytesInFlight, minBytesInFlight)
	}
	if s.MetricsSecret && s.HTTPSecret.IsZero() {
		return errors.New("TAGGER_METRICS_SECRET=true, but TAGGER_HTTP_SECRET is not set")
	}
	return nil
}

// minBytesInFlight is more than the largest payload, 6 MiB.
const minBytesInFlight = 7 << 20

// MetricsToken returns the bearer token that GET /metrics requires, zero for none.
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

// Variables returns the variables of a configuration struct, in the order of its fields.
func Variables[T any]() []Variable {
	var list []Variable
	for f := range reflect.TypeFor[T]().Fields() {
		list = append(list, Variable{f.Tag.Get("envconfig"), f.Tag.Get("default"), f.Tag.Get("desc")})
	}
	return list
}

// maxShownValue is how many characters of a value [Changed] shows.
const maxShownValue = 60

// Changed returns the variables of a configuration struct that are set to another value than the default: as
// NAME=value, or NAME alone for a secret, for the rules and for an address that has a password.
func Changed[T any]() []string {
	var all []string
	for f := range reflect.TypeFor[T]().Fields() {
		name := f.Tag.Get("envconfig")
		value := strings.TrimSpace(os.Getenv(name))
		secret := f.Type == reflect.TypeFor[Secret]()
		if secret && value == "" {
			value = os.Getenv(name + fileSuffix)
		}
		u, err := url.Parse(value)
		switch {
		case value == "" || value == f.Tag.Get("default"):
		case secret, strings.Contains(value, "\n"), name == "TAGGER_RULES", err == nil && u.User != nil:
			all = append(all, name)
		default:
			if short := []rune(value); len(short) > maxShownValue {
				value = string(short[:maxShownValue]) + "…"
			}
			all = append(all, name+"="+value)
		}
	}
	return all
}

// Unknown returns a warning for each unknown TAGGER_ variable in environ (see [os.Environ]). These are not errors,
// because Kubernetes sets TAGGER_SERVICE_HOST and similar variables if there is a service named tagger.
func Unknown(environ []string) []string {
	var known, warnings []string
	for _, v := range slices.Concat(Variables[Settings](), Variables[Listen](), Variables[Reconcile]()) {
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
			warnings = append(warnings, "unknown variable "+name+suggest.Variable(name, known))
		}
	}
	slices.Sort(warnings)
	return warnings
}

// CheckConcurrency checks a number of changes to process at a time, the value of a variable or a flag.
func CheckConcurrency(name string, n int) error {
	if n < 1 || n > maxConcurrency {
		return fmt.Errorf("%s=%d; want at least 1 and at most %d", name, n, maxConcurrency)
	}
	return nil
}

// CheckRate checks a limit of writes per second, the value of a variable or a flag.
func CheckRate(name string, rate float64) error {
	if !(rate == 0 || rate >= 0.1 && rate <= maxRate) { // this form also rejects NaN
		return fmt.Errorf("%s=%v; want 0.1 to %d writes a second, or 0 for no limit", name, rate, maxRate)
	}
	return nil
}
