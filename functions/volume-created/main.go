// Command volume-created is the function that tags on the creation of volumes.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/awsapi"
	"github.com/cloudtagger/tagger/pkg/cloud/awssecret"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

func main() {
	aws := &awsapi.Client{}
	err := app.Run(context.Background(), app.Function{
		Name:    "volume-created",
		Actions: []lifecycle.Action{lifecycle.VolumeCreated},
		AWS:     app.AWS{Secret: awssecret.Opener(aws), Parameter: aws.Parameter, Queues: aws},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "tagger:", err)
		os.Exit(1)
	}
}
