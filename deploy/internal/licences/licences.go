// Package licences collects the licence texts of the modules in an executable. They must be distributed with it.
package licences

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// Text returns the licences and notices of the modules in an executable, and of Go's standard library. The modules are
// those of the build information, and the go command finds their files. A module without a licence is an error.
func Text(executable string) ([]byte, error) {
	info, err := buildinfo.ReadFile(executable)
	if err != nil {
		return nil, fmt.Errorf("read the build information of %s: %w", executable, err)
	}
	root, err := output("go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s contains the following software.\n", info.Main.Path)
	if err := write(&b, "Go standard library "+info.GoVersion, strings.TrimSpace(string(root))); err != nil {
		return nil, err
	}
	slices.SortFunc(info.Deps, func(a, b *debug.Module) int { return cmp.Compare(a.Path, b.Path) })
	for _, m := range info.Deps {
		directory, err := source(m)
		if err != nil {
			return nil, err
		}
		if err := write(&b, m.Path+" "+m.Version, directory); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// source returns the directory of a module's files.
func source(m *debug.Module) (string, error) {
	if m.Replace != nil {
		m = m.Replace
	}
	out, err := output("go", "mod", "download", "-json", m.Path+"@"+m.Version)
	if err != nil {
		return "", err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", fmt.Errorf("read the module information of %s: %w", m.Path, err)
	}
	return module.Dir, nil
}

func output(name string, args ...string) ([]byte, error) {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("run %s %s: %w", name, strings.Join(args, " "), err)
	}
	return out, nil
}

// names matches the usual names of licence files.
func names() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)([.-].*)?$`)
}

func write(w io.Writer, title, directory string) error {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return fmt.Errorf("look for the licence of %s: %w", title, err)
	}
	found := 0
	for _, e := range entries {
		if e.IsDir() || !names().MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(directory, e.Name()))
		if err != nil {
			return fmt.Errorf("read the licence of %s: %w", title, err)
		}
		found++
		line := strings.Repeat("=", 80)
		fmt.Fprintf(w, "\n%s\n%s: %s\n%s\n\n%s\n", line, title, e.Name(), line, bytes.TrimSpace(text))
	}
	if found == 0 {
		return fmt.Errorf("%s has no licence in %s", title, directory)
	}
	return nil
}
