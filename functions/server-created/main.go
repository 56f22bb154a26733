// Command server-created is the function that tags on the creation of servers and bare metal servers.
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
	err := app.Run(context.Background(), app.Function{
		Name:    "server-created",
		Actions: []lifecycle.Action{lifecycle.ServerCreated},
		AWS:     app.AWS{Secret: openSecret, Parameter: awsapi.Parameter, Queues: &awsapi.Queues{}},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "tagger:", err)
		os.Exit(1)
	}
}

func openSecret(arn string) app.Secret { return awssecret.New(arn) }
