package metadata

import (
	"context"
	"net/http"
)

// RecordedAction is an action on a resource, as the service recorded it.
type RecordedAction struct {
	// Action is the service's term, such as "create" or "delete".
	Action string `json:"action"`
	// Request is the id of the API request, User the id of its user.
	Request string `json:"request_id"`
	User    string `json:"user_id"`
	// Start is when the action began, as the API writes it.
	Start string `json:"start_time"`
	// Message is the error, "" if none.
	Message string `json:"message"`
}

// HasHistory reports whether the service records the actions on resources of the kind; see [Resource.History].
func (k Kind) HasHistory() bool { return k.row().history != "" }

// History reads the recorded actions, newest first. The service also has those of deleted resources. It returns none
// for a kind without [Kind.HasHistory]. Source:
// https://docs.openstack.org/api-ref/compute/#list-actions-for-server
func (r *Resource) History(ctx context.Context) ([]RecordedAction, error) {
	if r.row.history == "" {
		return nil, nil
	}
	request := Request{
		Method: http.MethodGet, Path: r.Path() + "/" + r.row.history,
		Microversion: string(r.row.service) + " " + r.row.historyVersion,
	}
	var response struct {
		Actions []RecordedAction `json:"instanceActions"`
	}
	err := r.sender.do(ctx, request, &response, http.StatusOK)
	return response.Actions, err
}
