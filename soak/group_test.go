//go:build soak

package soak_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// group is a control group that limits memory: version 2 if it has the memory controller, else version 1.
type group struct {
	dir   string
	files groupFiles
}

type groupFiles struct{ root, limit, swap, peak, events string }

var (
	version2 = groupFiles{"/sys/fs/cgroup", "memory.max", "memory.swap.max", "memory.peak", "memory.events"}
	version1 = groupFiles{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes",
		"memory.max_usage_in_bytes", "memory.oom_control"}
)

// newGroup creates a group with a memory limit in bytes and without swap. It needs root.
func newGroup(t *testing.T, name string, limit int64) *group {
	t.Helper()
	files := version1
	if controllers, err := os.ReadFile(filepath.Join(version2.root, "cgroup.controllers")); err == nil &&
		bytes.Contains(controllers, []byte("memory")) {
		files = version2
	}
	g := &group{filepath.Join(files.root, fmt.Sprintf("tagger-soak-%d-%s", os.Getpid(), name)), files}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		t.Fatalf("make a control group (needs root and the memory controller): %v", err)
	}
	t.Cleanup(func() { // the kernel takes a moment to see that the last process has ended
		err := errors.New("not tried")
		for range 50 {
			if err = os.Remove(g.dir); err == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("remove the control group: %v", err)
	})
	if err := os.WriteFile(filepath.Join(g.dir, files.limit), []byte(strconv.FormatInt(limit, 10)), 0); err != nil {
		t.Fatalf("limit the control group: %v", err)
	}
	swap := limit // version 1 counts memory and swap together
	if files == version2 {
		swap = 0
	}
	// a kernel without swap has no such file
	_ = os.WriteFile(filepath.Join(g.dir, files.swap), []byte(strconv.FormatInt(swap, 10)), 0)
	return g
}

// command returns the command line that runs another one in the group.
func (g *group) command(argv ...string) []string {
	return append([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(g.dir, "cgroup.procs")}, argv...)
}

// peak returns the group's peak memory in bytes, including page cache and kernel memory; 0 if the kernel does not
// report it.
func (g *group) peak() int64 {
	text, _ := os.ReadFile(filepath.Join(g.dir, g.files.peak))
	n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n
}

// kills returns the number of the group's out-of-memory kills.
func (g *group) kills(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, g.files.events))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == "oom_kill" {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no oom_kill: %s", g.files.events, text)
	return 0
}

// resident returns a process's resident memory in bytes, 0 if the process is gone.
func resident(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(syscall.Getpagesize())
}
