// Command server-changed is the function that tags on starts, stops and resizes of servers.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/cloudtagger/tagger/pkg/host"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

func main() {
	err := host.Run(context.Background(), host.Function{
		Name:    "server-changed",
		Actions: []lifecycle.Action{
			lifecycle.ServerStarted, lifecycle.ServerStopped, lifecycle.ServerResized, lifecycle.ServerRebuilt,
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "tagger:", err)
		os.Exit(1)
	}
}
