//go:build soak

package soak_test

import (
	"fmt"
	"testing"

	"github.com/cloudtagger/tagger/internal/rabbitmqtest"
)

// brokerMessage is the longest message that the broker takes: the max_message_size that docs/private-cloud.md asks for.
// The broker hands a listener up to 100 messages at once, and RabbitMQ has no limit for their bytes.
const brokerMessage = mebibyte

// startBroker starts a RabbitMQ of our own on loopback and returns its URL.
func startBroker(t *testing.T) string {
	t.Helper()
	return rabbitmqtest.Start(t, rabbitmqtest.Options{Settings: fmt.Sprintf("max_message_size = %d", brokerMessage)}).URL()
}
