package host_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/host"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// cannedServers answers every request for a server's metadata alike, at no cost. Other requests go to the cloud.
type cannedServers struct{ cloud http.RoundTripper }

func (c cannedServers) RoundTrip(req *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(req.URL.Path, "/metadata") {
		return c.cloud.RoundTrip(req)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Request: req, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(`{"metadata": {"env": "dev"}}`)),
	}, nil
}

// BenchmarkBatch measures an SQS batch of ten events, each with a write and a read-back, without the network.
func BenchmarkBatch(b *testing.B) {
	const text = "rules:\n- {name: env, on: server.created, set: {env: dev}}\n"
	settings, err := config.SettingsFromEnv()
	if err != nil {
		b.Fatal(err)
	}
	settings.Rate = 0
	set, err := tagger.Compile(settings, rules.Source{Name: "R", Text: []byte(text)})
	if err != nil {
		b.Fatal(err)
	}
	sim := simcloud.New(simcloud.Options{JournalSize: -1})
	tg, err := tagger.Compose(b.Context(), settings, set, tagger.Parts{Cloud: cloud.New(cloud.Options{
		Credentials: config.Credentials{
			AuthURL: simcloud.DefaultEndpoint + "/identity/v3", Username: "demo", Password: config.NewSecret("secret"),
			UserDomainName: "Default", ProjectName: "demo",
		},
		Transport: cannedServers{sim.Transport()},
	})})
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	function := &host.Lambda{
		Processor: delivery.New(delivery.Options{
			Tagger: tg, Concurrency: settings.Concurrency, GiveUpAfter: settings.GiveUpAfter, Tolerance: 1, Log: log,
		}),
		Log: log,
	}
	var batch events.SQSEvent
	for n := range 10 {
		id := fmt.Sprintf("8c1f0a6e-5b0d-4a3e-9f52-%012d", n)
		batch.Records = append(batch.Records, events.SQSMessage{
			MessageId: id, ReceiptHandle: "r", EventSource: "aws:sqs", AWSRegion: "eu-central-1",
			EventSourceARN: "arn:aws:sqs:eu-central-1:123456789012:tagger",
			Attributes:     map[string]string{"ApproximateReceiveCount": "1", "SentTimestamp": "1795000000000"},
			Body: fmt.Sprintf(`{"specversion": "1.0", "id": "e-%[1]s", "source": "//bench", `+
				`"type": "io.github.cloudtagger.server.created", "subject": %[1]q, "time": "2026-11-20T09:15:04Z"}`, id),
		})
	}
	payload, err := json.Marshal(batch)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		answer, err := function.Invoke(b.Context(), payload)
		if err != nil || string(answer) != `{"batchItemFailures":[]}` {
			b.Fatalf("%s, %v", answer, err)
		}
	}
}
