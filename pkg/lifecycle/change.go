// Package lifecycle says which change of a cloud resource a CloudEvent reports.
//
// It knows the dialects in which clouds report changes (plain, OpenStack notifications, Huawei Cloud traces) and
// turns each of them into the same [Change], so that rules are written once. It does no I/O.
package lifecycle

import "time"

// Change is one change of one resource: what an event means, whoever reported it.
type Change struct {
	Action   Action
	Resource Resource
	Actor    Actor
	// Time is when the change happened, in UTC; zero when the event does not say.
	Time time.Time
	// Request is the identifier of the API request that caused the change (OpenStack's "req-…", Huawei Cloud's job or
	// request id), "" when unknown. The same change reported in two formats has one Request and two event ids.
	Request string
	// Parent is what the resource belongs to, as far as the event tells: a snapshot's volume, an attached volume's server.
	Parent Parent
	// Data is the event's payload as the dialect found it, for rules that need more than the fields above: a JSON value
	// made of map[string]any, []any, string, bool, int64, float64 and nil, without credentials.
	Data any
}

// Resource is the thing that changed. A field that the event does not tell is "" (Created: zero).
type Resource struct {
	Kind Kind
	// ID is a UUID; nothing else is accepted, for it becomes part of a URL.
	ID          string
	Name        string
	Project     string // id
	ProjectName string
	Region      string // as configured, never as an event says
	Flavor      string // name where the payload has it, else id
	FlavorID    string
	Image       string // id
	Zone        string // availability zone
	Volume      string // id of the volume that a snapshot was taken of
	Created     time.Time
	// Metadata is what the event says of it, nil where it says nothing.
	Metadata map[string]string
}

// Parent is a resource that another one belongs to. ID is "" where the event names none.
type Parent struct {
	Kind     Kind
	ID, Name string
	// Metadata is the parent's, nil where the event does not tell it.
	Metadata map[string]string
}

// Actor is who caused the change. An ID or Name that the event does not tell is ""; Kind is UnknownActor then.
type Actor struct {
	// ID is the identity service's id of the user. For an assumed agency it is "<agency id>:<session>" where the event
	// says so, for the session is the only trace of the person behind it.
	ID string
	// Name is the user's name. For an assumed agency it is "<domain>/<agency>", for a federated user "<identity
	// provider>/<session>".
	Name string
	Kind ActorKind
}

// ActorKind tells people from machines.
type ActorKind string

// The kinds of actor. Agency is Huawei Cloud's word for an assumed role. UnknownActor is the kind when the event does
// not tell it, or tells nothing of an actor.
const (
	User         ActorKind = "user"
	Service      ActorKind = "service"
	Agency       ActorKind = "agency"
	UnknownActor ActorKind = "unknown"
)

// Key identifies a change independently of the format in which it was reported: the request that caused it, the
// resource and the action. It is "" when the event names no request, and then two events cannot be known to be one
// change.
func (c Change) Key() string {
	if c.Request == "" {
		return ""
	}
	return c.Request + "/" + c.Resource.ID + "/" + string(c.Action)
}

// Reading is what became of reading one event. With Changes it is understood; without, Why says what kept it from
// being a change, and Known tells an event that we know and that asks for nothing (a failed creation, a start
// notification) from one that we do not know.
type Reading struct {
	// Dialect is the name of the dialect that claimed the event, "" when none did.
	Dialect string
	// Changes is usually one; several for a batch creation.
	Changes []Change
	// Known reports that the event is of a dialect and type we know.
	Known bool
	// Why is one sentence without values from the event other than its type (of a CTS trace: service and trace name),
	// "" when there are Changes.
	Why string
}

// MalformedError says that an event is of a type we know and yet cannot be read.
type MalformedError struct {
	// Dialect and Type are what was recognised.
	Dialect, Type string
	// Place is where in the event the fault is, such as "subject" or "data.payload.instance_id".
	Place string
	// Problem is what is wrong there and, where it helps, what is wanted. An id or a kind is shown, quoted and cut; no
	// other value is.
	Problem string
	// Err is a [*document.LimitError] for an event that is too large in some way, else nil.
	Err error
}

// Unwrap returns Err.
func (e *MalformedError) Unwrap() error { return e.Err }

func (e *MalformedError) Error() string {
	return "read " + e.Dialect + " event of type " + e.Type + ": " + e.Place + ": " + e.Problem
}
