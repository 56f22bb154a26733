// Package lifecycle reads the change of a cloud resource that a CloudEvent reports.
//
// Clouds report changes in different dialects: plain events, OpenStack notifications, Huawei Cloud traces. The package
// turns all of them into the same [Change], so that rules are written once. It does no I/O.
package lifecycle

import "time"

// Change is one change of one resource. It is the same for every dialect.
type Change struct {
	Action   Action
	Resource Resource
	Actor    Actor
	// Time is when the change happened, in UTC; zero if unknown.
	Time time.Time
	// Request is the id of the API request that caused the change (OpenStack's "req-…", Huawei Cloud's job or request
	// id), "" if unknown. The same change reported in two formats has one Request and two event ids.
	Request string
	// Parent is the resource that this one belongs to, if the event names it: a snapshot's volume, an attached volume's
	// server.
	Parent Parent
	// Data is the event's payload without credentials, for rules that need more than the fields above. It consists of
	// map[string]any, []any, string, bool, int64, float64 and nil.
	Data any
}

// Resource is the resource that changed. Fields that the event does not contain are zero.
type Resource struct {
	Kind Kind
	// ID is always a UUID, because it becomes part of a URL.
	ID          string
	Name        string
	Project     string // id
	ProjectName string
	Region      string // from the configuration, never from an event
	Flavor      string // name if the payload has it, else id
	FlavorID    string
	Image       string // id
	Zone        string // availability zone
	Volume      string // id of the volume that a snapshot is of
	Created     time.Time
	// Metadata is nil if the event does not contain it.
	Metadata map[string]string
}

// Parent is a resource that another one belongs to. ID is "" if the event names none.
type Parent struct {
	Kind     Kind
	ID, Name string
	// Metadata is nil if the event does not contain it.
	Metadata map[string]string
}

// Actor is the user or service that caused the change. ID and Name are "" if the event does not contain them.
type Actor struct {
	// ID is the user's id in the identity service. For an assumed agency it is "<agency id>:<session>" if the event has
	// the session, because only the session identifies the user.
	ID string
	// Name is the user's name. For an assumed agency it is "<domain>/<agency>", for a federated user "<identity
	// provider>/<session>".
	Name string
	Kind ActorKind
}

// ActorKind distinguishes users from services.
type ActorKind string

// The kinds of actor. Agency is Huawei Cloud's term for an assumed role. UnknownActor means that the event does not
// say.
const (
	User         ActorKind = "user"
	Service      ActorKind = "service"
	Agency       ActorKind = "agency"
	UnknownActor ActorKind = "unknown"
)

// Key identifies a change independently of the format of the event, by request, resource and action. It is "" if the
// event names no request; duplicates cannot be recognised then.
func (c Change) Key() string {
	if c.Request == "" {
		return ""
	}
	return c.Request + "/" + c.Resource.ID + "/" + string(c.Action)
}

// Reading is the result of reading one event. Without Changes, Why gives the reason, and Known distinguishes a known
// event that reports no change (a failed creation, a start notification) from an unknown one.
type Reading struct {
	// Dialect is the name of the dialect that claimed the event, "" if none did.
	Dialect string
	// Changes has one element for most events, and several for a batch operation.
	Changes []Change
	// Known reports that a dialect knows the event's type.
	Known bool
	// Why is one sentence, "" if there are Changes. It contains no values from the event except its type (for a CTS
	// trace: service and trace name).
	Why string
}

// MalformedError reports an event of a known type that cannot be read.
type MalformedError struct {
	Dialect, Type string
	// Place is the path of the invalid value, such as "subject" or "data.payload.instance_id".
	Place string
	// Problem describes the error and, where useful, the expected value. It quotes ids and kinds, truncated, but no
	// other values.
	Problem string
	// Err is a [*document.LimitError] if the event exceeds a limit, else nil.
	Err error
}

// Unwrap returns Err.
func (e *MalformedError) Unwrap() error { return e.Err }

func (e *MalformedError) Error() string {
	return "read " + e.Dialect + " event of type " + e.Type + ": " + e.Place + ": " + e.Problem
}
