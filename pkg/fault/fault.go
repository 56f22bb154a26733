// Package fault defines the scope of an error: one resource, one project, or everything that a process does.
//
// The package that creates an error sets its scope. Other packages pass it on.
package fault

import "errors"

// Scope is the extent of an error.
type Scope string

// The scopes. An error that is not about configuration or credentials, such as a timeout, has scope "".
const (
	// Resource means that the credentials may not write this resource. Others may work.
	Resource Scope = "resource"
	// Project means that the credentials cannot act in this project, or that it lacks the service. Others may work.
	Project Scope = "project"
	// Everything means that credentials or configuration are wrong. Nothing works until they are corrected.
	Everything Scope = "everything"
)

// ScopeOf returns the scope of the first error in err's chain that has one, "" if none has.
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
