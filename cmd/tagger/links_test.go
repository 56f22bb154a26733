package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The command runs on workstations and in containers. The AWS service clients would be a sixth of its size. The time
// zone data has to be in it, because images without an operating system have none.
func TestLinksNoAWSServiceClient(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 100 {
		t.Fatalf("go list names %d packages only", len(packages))
	}
	for _, name := range packages {
		if strings.HasPrefix(name, "github.com/aws/aws-sdk-go-v2/service/") {
			t.Errorf("links %s", name)
		}
	}
	if !slices.Contains(packages, "time/tzdata") {
		t.Error("does not link time/tzdata")
	}
}
