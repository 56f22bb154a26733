// Package fault says how far an error reaches: one resource, one project, or everything that a process does.
//
// The package in which an error is born knows its scope and sets it there. Everybody else passes it on.
package fault

import "errors"

// Scope is what an error is about.
type Scope string

// The scopes. "" is the scope of an error that is not about configuration or credentials, such as a timeout.
const (
	// Resource: the credentials may not write this resource; the next one may be fine.
	Resource Scope = "resource"
	// Project: the credentials cannot act in this project, or it lacks the service; other projects may be fine.
	Project Scope = "project"
	// Everything: credentials or configuration are wrong; nothing works until they are corrected.
	Everything Scope = "everything"
)

// ScopeOf returns the scope of the first error in err's chain that has one, "" when none has.
func ScopeOf(err error) Scope {
	var scoped interface {
		error
		FaultScope() Scope
	}
	if errors.As(err, &scoped) {
		return scoped.FaultScope()
	}
	return ""
}
