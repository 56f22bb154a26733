// Package contract holds what the embedded cloud and a real OpenStack have in common: one table of requests that its
// tests send to both, and the answers of the real one, which both must give.
//
// The tests run against the embedded cloud without further ado. With the build tag openstack they run against a real
// one, and with -update as well they write its answers to testdata; -groups chooses among the groups of requests. What
// remains different is in the tests' table of differences.
//
// testdata/notifications holds notifications of that cloud's broker, as they were sent: the body of an AMQP message in
// a file, named for the event type, and for what tells apart several of a type. The values of tokens, connectors and
// connection_info are replaced by REMOVED.
package contract
