// Command server-changed is the function that tags on starts, stops, resizes and rebuilds of servers.
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
		Name: "server-changed",
		Actions: []lifecycle.Action{lifecycle.ServerStarted, lifecycle.ServerStopped, lifecycle.ServerResized,
			lifecycle.ServerRebuilt},
		AWS: app.AWS{Secret: awssecret.Opener(aws), Parameter: aws.Parameter, Queues: aws},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "tagger:", err)
		os.Exit(1)
	}
}
