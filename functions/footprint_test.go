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

// What a function costs before its first event, as far as it does not depend on the machine. A change that exceeds a bound
// says why in docs/performance.md, and moves it.
const (
	// largestBinary is for amd64; that for arm64 is smaller. Of the 13.75 MB in use zone data is 0.45 MB.
	largestBinary = 13_950_000
	// largestReconcile is for the function that lists, plans and keeps journals besides: 14.3 MB are in use.
	largestReconcile = 14_600_000
	// mostInitialised is what package initialisation allocates, in bytes: 222,496 are in use. The AWS SDK's SSM client alone
	// allocated 1,427,032.
	mostInitialised = 250_000
)

// The Makefile's own command builds the function, so that what is measured is what is deployed.
func TestBinarySize(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	build := regexp.MustCompile(`(?m)^BUILD\s*:= (.+)$`).FindSubmatch(makefile)
	if build == nil {
		t.Fatal("the Makefile has no BUILD")
	}
	for name, most := range map[string]int64{"server-created": largestBinary, "reconcile": largestReconcile} {
		path := filepath.Join(t.TempDir(), "bootstrap")
		cmd := exec.Command("sh", "-c", fmt.Sprintf("GOARCH=amd64 %s -o %s ./%s", build[1], path, name))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes", name, info.Size())
		if info.Size() > most {
			t.Errorf("%s has %d bytes, more than %d", name, info.Size(), most)
		}
	}
}

// Each function counts what its packages' initialisation allocates (GODEBUG=inittrace=1, https://pkg.go.dev/runtime), and ends
// then, because it is not configured.
func TestInitialisation(t *testing.T) {
	line := regexp.MustCompile(`(?m)^init (\S+) @.*, (\d+) bytes, \d+ allocs$`)
	for _, name := range []string{"server-created", "server-changed", "snapshot-created", "volume-created", "volume-changed", "reconcile"} {
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
		if sum > mostInitialised {
			t.Errorf("%s allocates %d bytes in package initialisation, more than %d: %s", name, sum, mostInitialised, strings.Join(large, ", "))
		}
	}
}
