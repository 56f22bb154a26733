package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// LimitMemory sets Go's memory limit, so that the garbage collector works harder before the platform kills the process.
// It leaves a tenth for memory that the collector does not count. GOMEMLIMIT takes precedence.
func LimitMemory(log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	limit, source := memory(os.Getenv, "/")
	if limit == 0 {
		return
	}
	debug.SetMemoryLimit(limit - limit/10)
	log.Debug("memory limit set", "bytes", limit, "by", source)
}

// memory returns the limit of the process's memory in bytes, and its source; 0 if there is none. root is the root of
// the file system.
func memory(env func(string) string, root string) (limit int64, source string) {
	// In MB: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html and
	// https://support.huaweicloud.com/intl/en-us/usermanual-functiongraph/functiongraph_01_0406.html
	for _, name := range []string{"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "RUNTIME_MEMORY"} {
		if n, err := strconv.ParseInt(env(name), 10, 64); err == nil && n > 0 && n < 1<<20 {
			return n << 20, name
		}
	}
	return cgroupMemory(root)
}

// unlimited is more than any real limit: cgroup version 1 expresses "no limit" by a number near 2^63.
const unlimited = 1 << 50

// cgroupMemory returns the lowest limit of the process's control group and its parents
// (https://docs.kernel.org/admin-guide/cgroup-v2.html, memory.max; version 1: memory.limit_in_bytes).
func cgroupMemory(root string) (limit int64, source string) {
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0, ""
	}
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max"
		switch {
		case parts[1] == "" && parts[0] == "0":
		case parts[1] == "memory":
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path can be the host's, and only the container's own root is visible.
		for group := filepath.Clean("/" + parts[2]); ; group = filepath.Dir(group) {
			name := filepath.Join(root, base, group, file)
			text, err := os.ReadFile(name)
			if err == nil {
				n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
				if err == nil && n > 0 && n < unlimited && (limit == 0 || n < limit) {
					limit, source = n, strings.TrimPrefix(name, strings.TrimSuffix(root, "/"))
				}
			}
			if group == "/" {
				break
			}
		}
	}
	return limit, source
}
