// Package knative holds tagger serve against Knative's own code: the handler through which a broker sends events to a
// subscriber, and the dispatcher that delivers them again and hands over dead letters. It has tests only.
//
// It is a module of its own because Knative brings some 300 packages that Tagger does not need. "make test-knative"
// runs it; compiling it for the first time takes five minutes.
package knative
