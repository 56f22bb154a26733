// Package batch has what the compared functions do alike with an SQS batch.
package batch

import (
	"sync"

	"github.com/aws/aws-lambda-go/events"
)

// Each calls tag with the body of each record, all at once, and returns the response that reports those that failed.
func Each(batch events.SQSEvent, tag func(body string) error) events.SQSEventResponse {
	errs := make([]error, len(batch.Records))
	var all sync.WaitGroup
	for i, r := range batch.Records {
		all.Go(func() { errs[i] = tag(r.Body) })
	}
	all.Wait()
	var response events.SQSEventResponse
	for i, err := range errs {
		if err != nil {
			response.BatchItemFailures = append(response.BatchItemFailures,
				events.SQSBatchItemFailure{ItemIdentifier: batch.Records[i].MessageId})
		}
	}
	return response
}
