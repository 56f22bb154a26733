//go:build soak

package soak_test

import (
	"fmt"
	"testing"

	"github.com/cloudtagger/tagger/internal/rabbitmqtest"
)

// brokerMessage is the largest message that the broker accepts: the max_message_size of docs/private-cloud.md. The
// broker delivers up to 100 messages at once to a listener, and RabbitMQ has no limit for their bytes.
const brokerMessage = mebibyte

// startBroker starts a RabbitMQ on loopback and returns its URL.
func startBroker(t *testing.T) string {
	t.Helper()
	return rabbitmqtest.Start(t, rabbitmqtest.Options{Settings: fmt.Sprintf("max_message_size = %d", brokerMessage)}).URL()
}
