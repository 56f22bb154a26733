// Command licences prints the licences of what is linked into an executable.
package main

import (
	"fmt"
	"os"

	"github.com/cloudtagger/tagger/deploy/internal/licences"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: licences EXECUTABLE")
		os.Exit(2)
	}
	text, err := licences.Text(os.Args[1])
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}
