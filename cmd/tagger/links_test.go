package main

import (
	"os/exec"
	"strings"
	"testing"
)

// The command runs on workstations and in containers. The AWS service clients would be a sixth of its size.
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
}
