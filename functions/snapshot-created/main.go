// Command snapshot-created is the function that tags on the creation of volume snapshots.
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
		Name:    "snapshot-created",
		Actions: []lifecycle.Action{lifecycle.SnapshotCreated},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "tagger:", err)
		os.Exit(1)
	}
}
