// Package contract tests that the embedded cloud behaves as a real OpenStack: its tests send the same requests to both,
// and both must give the stored responses of the real one.
//
// By default, the tests run against the embedded cloud. With the build tag openstack they run against a real one;
// -update then writes its responses to testdata. -groups selects groups of requests. Accepted differences are in the
// tests' table of differences.
//
// testdata/notifications holds notifications of that cloud's broker as sent: one AMQP message body per file, named
// after the event type and, if there are several of a type, their difference. The values of tokens, connectors and
// connection_info are replaced by REMOVED.
package contract
