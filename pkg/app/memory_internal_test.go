package app

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMemory(t *testing.T) {
	for _, tt := range []struct {
		name   string
		env    map[string]string
		files  map[string]string
		want   int64
		source string
	}{
		{"no limit", nil, nil, 0, ""},
		{
			"Lambda", map[string]string{"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256"}, nil,
			256 << 20, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
		},
		{"FunctionGraph", map[string]string{"RUNTIME_MEMORY": "128"}, nil, 128 << 20, "RUNTIME_MEMORY"},
		{"not a number", map[string]string{"RUNTIME_MEMORY": "much"}, nil, 0, ""},
		{
			"a container", nil, map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "134217728\n"},
			128 << 20, "/sys/fs/cgroup/memory.max",
		},
		{
			"a container without a limit", nil,
			map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0, "",
		},
		{
			"a group within another", nil, map[string]string{
				"proc/self/cgroup": "0::/system.slice/tagger.service\n", "sys/fs/cgroup/system.slice/memory.max": "100000000\n",
				"sys/fs/cgroup/system.slice/tagger.service/memory.max": "200000000\n",
			}, 100_000_000, "/sys/fs/cgroup/system.slice/memory.max",
		},
		{
			"version 1", nil, map[string]string{
				"proc/self/cgroup":                           "12:cpu,cpuacct:/\n11:memory:/docker/0123\n",
				"sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n",
			}, 256 << 20, "/sys/fs/cgroup/memory/memory.limit_in_bytes",
		},
		{
			"version 1 without a limit", nil, map[string]string{
				"proc/self/cgroup": "11:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
			}, 0, "",
		},
	} {
		root := t.TempDir()
		for name, text := range tt.files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, source := memory(func(name string) string { return tt.env[name] }, root)
		if got != tt.want || source != tt.source {
			t.Errorf("%s: %d by %q, want %d by %q", tt.name, got, source, tt.want, tt.source)
		}
	}
}
