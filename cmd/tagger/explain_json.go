package main

import (
	"time"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/reconcile"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// The outcomes of an explanation, for programs.
const (
	outcomeComplete  = "complete" // every key that can be computed now is there
	outcomeNoRule    = "no_rule"
	outcomeLacking   = "lacking" // keys are missing or have other values
	outcomeDeleted   = "deleted"
	outcomeNotFound  = "not_found"
	outcomeAmbiguous = "ambiguous"
	outcomeUnknown   = "unknown" // something could not be read
)

// explanationView is an explanation as JSON. Lists are empty, not null, if there is nothing, and null if it is unknown.
type explanationView struct {
	Outcome string `json:"outcome"`
	// Answer is the sentence that begins the text.
	Answer string `json:"answer"`
	// Resource is null if no resource, or more than one, was found.
	Resource *resourceView `json:"resource"`
	Rights   string        `json:"rights,omitempty"`
	// State and Why are the decision that a reconcile would make.
	State     reconcile.State `json:"state,omitempty"`
	Why       string          `json:"why,omitempty"`
	RulesHash string          `json:"rules_hash,omitempty"`
	Rules     []string        `json:"rules"`
	Skipped   []rules.Skip    `json:"skipped"`
	Keys      []keyView       `json:"keys"`
	Problems  []rules.Problem `json:"problems"`
	// Requests are those that Tagger would send.
	Requests []tagger.RequestRef       `json:"requests"`
	Actions  []metadata.RecordedAction `json:"actions"`
	Events   []logEntry                `json:"events"`
	Queues   []queueView               `json:"queues"`
	// Candidates are the resources that have the name.
	Candidates []resourceView `json:"candidates,omitempty"`
	Errors     []string       `json:"errors"`
	Next       string         `json:"next"`
}

// resourceView is a resource as JSON.
type resourceView struct {
	Kind      lifecycle.Kind `json:"kind"`
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Project   string         `json:"project"`
	State     string         `json:"state"`
	Task      string         `json:"task,omitempty"`
	Locked    bool           `json:"locked"`
	CreatedAt time.Time      `json:"created_at"`
	UserID    string         `json:"user_id,omitempty"`
	UserName  string         `json:"user_name,omitempty"`
}

func viewResource(kind lifecycle.Kind, v metadata.View) resourceView {
	return resourceView{
		Kind: kind, ID: v.ID, Name: v.Name, Project: v.Project, State: v.State, Task: v.Task, Locked: v.Locked,
		CreatedAt: v.Created.UTC(), UserID: v.User,
	}
}

// keyView is a key of the resource, or one that it should have, as JSON.
type keyView struct {
	Key string `json:"key"`
	// Wanted is null if no value is known, Value if the key is absent.
	Wanted *string `json:"wanted"`
	Value  *string `json:"value"`
	// DecidedBy is who decides the key: see the constants.
	DecidedBy string `json:"decided_by"`
	// Status is "ok", "missing", "differs", "exempt", or "unknown" if no value is wanted that could be compared.
	Status string `json:"status"`
	Why    string `json:"why,omitempty"`
}

// Who decides a key.
const (
	byRules    = "rules"    // the rules have a value
	byEvent    = "event"    // the rules have a value that depends on an event
	byRequired = "required" // required: lists it, and no rule writes it here
	byOthers   = "others"   // no part of the rules has it
)

// The statuses of a key.
const (
	keyOK      = "ok"
	keyMissing = "missing"
	keyDiffers = "differs"
	keyExempt  = "exempt"
	keyUnknown = "unknown"
)

// queueView is a message about the resource as JSON.
type queueView struct {
	Queue  string    `json:"queue"`
	Action string    `json:"action"`
	Since  time.Time `json:"since,omitzero"`
	Tried  int       `json:"tried"`
	// AgainIn is the longest wait until the next try, "" for a rejected message.
	AgainIn string `json:"again_in,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// emptyView returns the part of the view that does not depend on a resource.
func (e *explanation) emptyView(outcome, answer string) explanationView {
	v := explanationView{
		Outcome: outcome, Answer: answer, Rules: []string{}, Skipped: []rules.Skip{}, Keys: []keyView{},
		Problems: []rules.Problem{}, Requests: []tagger.RequestRef{}, Actions: []metadata.RecordedAction{},
		Errors: []string{},
	}
	if e.log.given {
		v.Events = append([]logEntry{}, e.log.entries...)
	}
	if e.queues.asked && e.queues.err == nil {
		v.Queues = []queueView{}
	}
	for _, entry := range e.queues.entries {
		q := queueView{Queue: entry.queue, Action: entry.action, Since: entry.since, Tried: entry.tried, Reason: entry.reason}
		if entry.delay > 0 {
			q.AgainIn = label(entry.delay)
		}
		v.Queues = append(v.Queues, q)
	}
	if e.queues.err != nil {
		v.Errors = append(v.Errors, "read the queues: "+e.queues.err.Error())
	}
	return v
}

// fullView returns the explanation of the resource that was found.
func (e *explanation) fullView() explanationView {
	v := e.emptyView(e.outcome(), e.answer())
	resource := viewResource(e.kind, e.view)
	resource.UserName = e.creator.name
	v.Resource, v.Rights, v.RulesHash = &resource, e.rights(), e.options.Rules
	if v.Actions = e.actions.all; e.actions.err == nil && v.Actions == nil {
		v.Actions = []metadata.RecordedAction{}
	}
	if e.unread != nil {
		v.Keys, v.Errors = nil, append(v.Errors, e.unread.Error())
		return v
	}
	a := e.assessment
	v.State, v.Why, v.Keys, v.Next = a.State, a.Why, e.keys(), e.next()
	v.Rules = append(v.Rules, a.Plan.Rules...)
	v.Skipped = append(v.Skipped, a.Plan.Skipped...)
	v.Problems = append(v.Problems, a.Problems...)
	sent, err := e.requests()
	v.Requests = append(v.Requests, sent...)
	if err != nil {
		v.Errors = append(v.Errors, err.Error())
	}
	return v
}

func (e *explanation) outcome() string {
	switch {
	case e.unread != nil:
		return outcomeUnknown
	case metadata.Kind(e.kind).Readiness(e.view.State) == metadata.Deleted:
		return outcomeDeleted
	case len(e.lacking()) > 0:
		return outcomeLacking
	case e.assessment.State == reconcile.NoRule:
		return outcomeNoRule
	}
	return outcomeComplete
}
