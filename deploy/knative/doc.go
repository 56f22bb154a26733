// Package knative tests tagger serve with Knative's own code: the handler with which a broker sends events to a
// subscriber, and the dispatcher that redelivers them and sends dead letters. It has only tests.
//
// It is a separate module because Knative has some 300 packages that Tagger does not need. "make test-knative" runs it;
// the first compilation takes five minutes.
package knative
