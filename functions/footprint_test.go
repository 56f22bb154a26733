package functions_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The cost of a function before its first event, as far as it is independent of the machine. If a change exceeds a
// bound, raise the bound and explain why in docs/performance.md.
const (
	// maxBinary is the size for amd64; that for arm64 is smaller. The present size is 13.10 MB, with 0.45 MB of zone data.
	maxBinary = 13_200_000
	// maxReconcile is for the function that also lists, plans and keeps journals; at present 13.6 MB.
	maxReconcile = 13_800_000
	// maxInitialised limits the bytes that package initialisation allocates; at present 222,648. The AWS SDK's SSM client
	// alone allocated 1,427,032.
	maxInitialised = 250_000
)

// The Makefile's command builds the function, so that the test measures the deployed binary.
func TestBinarySize(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	gcflags, err := os.ReadFile("gcflags")
	if err != nil {
		t.Fatal(err)
	}
	build := regexp.MustCompile(`(?m)^BUILD\s*:= (.+) \$\(GCFLAGS\)$`).FindSubmatch(makefile)
	if build == nil {
		t.Fatal("the Makefile has no BUILD with GCFLAGS")
	}
	for name, limit := range map[string]int64{"server-created": maxBinary, "reconcile": maxReconcile} {
		path := filepath.Join(t.TempDir(), "bootstrap")
		cmd := exec.Command("sh", "-c", fmt.Sprintf("GOARCH=amd64 %s %s -o %s ./%s", build[1],
			strings.Join(strings.Fields(string(gcflags)), " "), path, name))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes", name, info.Size())
		if info.Size() > limit {
			t.Errorf("%s has %d bytes, more than %d", name, info.Size(), limit)
		}
	}
}

// GODEBUG=inittrace=1 (https://pkg.go.dev/runtime) reports the allocations of package initialisation. The function then
// ends, because it is not configured.
func TestInitialisation(t *testing.T) {
	line := regexp.MustCompile(`(?m)^init (\S+) @.*, (\d+) bytes, \d+ allocs$`)
	for _, name := range []string{
		"server-created", "server-changed", "snapshot-created", "volume-created", "volume-changed", "reconcile",
	} {
		cmd := exec.Command(executable(name))
		cmd.Env = []string{"GODEBUG=inittrace=1"}
		out, _ := cmd.CombinedOutput() // it fails: there is no platform
		packages, sum := line.FindAllStringSubmatch(string(out), -1), 0
		var large []string
		for _, p := range packages {
			n, err := strconv.Atoi(p[2])
			if err != nil {
				t.Fatal(err)
			}
			sum += n
			if n > 50_000 {
				large = append(large, fmt.Sprint(p[1], " ", n))
			}
		}
		if len(packages) < 50 {
			t.Fatalf("%s traced %d packages: %s", name, len(packages), out)
		}
		t.Logf("%s: %d bytes in %d packages", name, sum, len(packages))
		if sum > maxInitialised {
			t.Errorf("%s allocates %d bytes in package initialisation, more than %d: %s", name, sum, maxInitialised,
				strings.Join(large, ", "))
		}
	}
}
