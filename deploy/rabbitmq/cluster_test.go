//go:build rabbitmq

package rabbitmq_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/internal/processtest"
	"github.com/cloudtagger/tagger/internal/rabbitmqtest"
)

// A cluster of three loses the node to which the active listener is connected, gets it back, and then loses the leader
// of the queue. The queues are on all three nodes, and each event is processed.
func TestCluster(t *testing.T) {
	cluster := rabbitmqtest.StartCluster(t, 3, rabbitmqtest.Options{})
	var addresses []string
	for _, b := range cluster {
		addresses = append(addresses, b.URL())
	}
	f := newFleet(t, addresses...)
	one := listen(t, tagger, f.environ)
	one.WaitFor(t, "consuming")
	two := listen(t, tagger, f.environ)
	two.WaitFor(t, "consuming")

	for _, q := range queues(t, cluster[0]) {
		if q.Type != "quorum" || len(q.Online) != 3 {
			t.Errorf("queue %s is of type %s and on %q", q.Name, q.Type, q.Online)
		}
	}
	f.create(t, 100)
	connected := last(one, "connected").Broker
	lost := slices.IndexFunc(cluster, func(b *rabbitmqtest.Broker) bool { return b.Address == connected })
	before := tagged(one)
	if before == 0 || lost < 0 {
		t.Fatalf("the first listener has tagged %d events, and is connected to %q", before, connected)
	}
	cluster[lost].Kill()
	killed := time.Now()
	f.create(t, 200)
	if f.settled(t, one, two) == 0 {
		t.Error("no event went through a delay queue")
	}
	t.Logf("the active listener's node was killed after it had tagged %d; then the listeners tagged %d and %d, the "+
		"first %.1f s after",
		before, tagged(one)-before, tagged(two), first(killed, one, two).Sub(killed).Seconds())

	cluster[lost].Start(t)
	rest := cluster[(lost+1)%3]
	processtest.Until(t, "the queues are on all three nodes again", time.Minute, interval, func() bool {
		return !slices.ContainsFunc(queues(t, rest), func(q queue) bool { return len(q.Online) < 3 })
	})
	leader := queues(t, rest)[0].Leader
	lost = slices.IndexFunc(cluster, func(b *rabbitmqtest.Broker) bool { return b.Node == leader })
	f.create(t, 100)
	cluster[lost].Kill()
	f.create(t, 200)
	if f.settled(t, one, two) == 0 {
		t.Error("no event went through a delay queue")
	}
}

// queue is RabbitMQ's report on one of Tagger's queues.
type queue struct {
	Name, Type, Leader string
	Online             []string
}

// queues returns Tagger's queues, the main one first.
func queues(t *testing.T, b *rabbitmqtest.Broker) []queue {
	t.Helper()
	var all []queue
	out := b.Ctl(t, "list_queues", "name", "type", "leader", "online", "--formatter", "json")
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("list_queues: %v: %s", err, out)
	}
	slices.SortFunc(all, func(a, b queue) int { return strings.Compare(a.Name, b.Name) })
	if len(all) != 11 || all[0].Name != "tagger" {
		t.Fatalf("the queues are %v", all)
	}
	return all
}

// last returns the last log line with a message.
func last(l *processtest.Process, message string) (found processtest.Line) {
	for _, line := range l.Log() {
		if line.Msg == message {
			found = line
		}
	}
	return found
}

// first returns when one of the listeners tagged a resource for the first time since a time.
func first(since time.Time, listeners ...*processtest.Process) time.Time {
	var found time.Time
	for _, l := range listeners {
		for _, line := range l.Log() {
			if line.Outcome == "tagged" && line.Time.After(since) && (found.IsZero() || line.Time.Before(found)) {
				found = line.Time
			}
		}
	}
	return found
}
