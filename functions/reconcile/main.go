// Command reconcile is the function that a schedule invokes: it finds resources that no event has tagged, and tags
// them.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/awsapi"
	"github.com/cloudtagger/tagger/pkg/cloud/awssecret"
	"github.com/cloudtagger/tagger/pkg/scheduled"
)

func main() {
	aws := &awsapi.Client{}
	err := app.Run(context.Background(), app.Function{
		Name: "reconcile", Work: scheduled.Work,
		AWS: app.AWS{Secret: awssecret.Opener(aws), Parameter: aws.Parameter},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "tagger:", err)
		os.Exit(1)
	}
}
