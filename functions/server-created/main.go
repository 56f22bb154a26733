// Command server-created is the function that tags on the creation of servers and bare metal servers.
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
		Name:    "server-created",
		Actions: []lifecycle.Action{lifecycle.ServerCreated},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "tagger:", err)
		os.Exit(1)
	}
}
