package main

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// platform is an operating system and an architecture.
type platform struct{ os, arch string }

// executable is a built executable.
type executable struct {
	name string // of the command or function
	platform
	path    string
	archive string // the name of its file in the release
}

// builder builds the parts of a release one after the other.
type builder struct {
	root, work, out string

	built    []executable
	version  string // of the module: v1.2.3, or a pseudo-version
	commit   string
	time     time.Time // of the commit
	licences []byte    // of the command
	shells   map[string][]byte
}

func functions() []string {
	return []string{"server-created", "server-changed", "volume-created", "volume-changed", "snapshot-created",
		"reconcile"}
}

func platforms() []platform {
	return []platform{
		{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"},
		{"windows", "arm64"},
	}
}

// run runs a program in the root of the repository and returns its output.
func (b *builder) run(env []string, name string, args ...string) ([]byte, error) {
	command := exec.Command(name, args...)
	command.Dir = b.root
	command.Env = append(os.Environ(), env...)
	out, err := command.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		return nil, fmt.Errorf("run %s %s: %w", name, strings.Join(args, " "), err)
	}
	return out, nil
}

// clone clones the repository, checks out the commit, and makes the clone the root. Go writes the version and the time
// of the commit into executables that it builds there.
func (b *builder) clone() error {
	commit, err := b.run(nil, "git", "rev-parse", "--verify", b.commit+"^{commit}")
	if err != nil {
		return err
	}
	directory := filepath.Join(b.work, "source")
	if _, err := b.run(nil, "git", "clone", "--quiet", "--no-checkout", b.root, directory); err != nil {
		return err
	}
	b.root = directory
	_, err = b.run(nil, "git", "-c", "advice.detachedHead=false", "checkout", "--quiet", strings.TrimSpace(string(commit)))
	return err
}

func (b *builder) build(path, source, tags string, p platform, flags ...string) error {
	args := slices.Concat([]string{"build", "-buildvcs=true", "-tags", tags, "-trimpath", "-ldflags", "-s -w -buildid="},
		flags, []string{"-o", path, source})
	_, err := b.run([]string{"CGO_ENABLED=0", "GOOS=" + p.os, "GOARCH=" + p.arch}, "go", args...)
	return err
}

// compilerFlags returns the compiler flags of the functions. The Makefile reads the same file.
func (b *builder) compilerFlags() ([]string, error) {
	text, err := os.ReadFile(filepath.Join(b.root, "functions", "gcflags"))
	if err != nil {
		return nil, fmt.Errorf("read the compiler flags of the functions: %w", err)
	}
	return strings.Fields(string(text)), nil
}

// functions builds and packs the functions, for Linux.
func (b *builder) functions() error {
	flags, err := b.compilerFlags()
	if err != nil {
		return err
	}
	for _, name := range functions() {
		for _, p := range platforms()[:2] {
			path := filepath.Join(b.work, p.arch, name, "bootstrap")
			if err := b.build(path, "./functions/"+name, "lambda.norpc,nethttpomithttp2", p, flags...); err != nil {
				return err
			}
			e := executable{name, p, path, name + "-" + p.arch + ".zip"}
			if _, err := b.run(nil, "go", "run", "./deploy/aws/pack", path, filepath.Join(b.out, e.archive)); err != nil {
				return err
			}
			b.built = append(b.built, e)
		}
	}
	return nil
}

// commands builds the command, with embedded time zones for rules that name one: a container has none.
func (b *builder) commands() error {
	for _, p := range platforms() {
		name := "tagger"
		if p.os == "windows" {
			name += ".exe"
		}
		path := filepath.Join(b.work, p.os+"-"+p.arch, name)
		if err := b.build(path, "./cmd/tagger", "timetzdata", p); err != nil {
			return err
		}
		if b.version == "" {
			if err := b.read(path); err != nil {
				return err
			}
		}
		archive := fmt.Sprintf("tagger_%s_%s_%s", b.plainVersion(), p.os, p.arch)
		b.built = append(b.built,
			executable{"tagger", p, path, archive + map[bool]string{true: ".zip", false: ".tar.gz"}[p.os == "windows"]})
	}
	var err error
	b.licences, err = b.run(nil, "go", "run", "./deploy/licences", b.command(platform{"linux", "amd64"}).path)
	return err
}

// read reads the version and the commit from the build information of an executable.
func (b *builder) read(path string) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the build information: %w", err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	b.version, b.commit = info.Main.Version, settings["vcs.revision"]
	b.time, err = time.Parse(time.RFC3339, settings["vcs.time"])
	if err != nil || b.version == "" {
		return fmt.Errorf("find the commit that %s was built from: it has version %q and time %q; build it from a clone",
			path, b.version, settings["vcs.time"])
	}
	return nil
}

// plainVersion returns the version without its v and without characters that file names cannot have.
func (b *builder) plainVersion() string {
	return strings.ReplaceAll(strings.TrimPrefix(b.version, "v"), "+", "-")
}

// command returns the command for a platform.
func (b *builder) command(p platform) executable {
	for _, e := range b.built {
		if e.name == "tagger" && e.platform == p {
			return e
		}
	}
	return executable{}
}

// completions generates shell completions with the executable for this platform.
func (b *builder) completions() error {
	here := b.command(platform{runtime.GOOS, runtime.GOARCH})
	if here.path == "" {
		return fmt.Errorf("write the completions: no executable of a release runs on %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	b.shells = map[string][]byte{}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		text, err := b.run(nil, here.path, "completion", shell)
		if err != nil {
			return err
		}
		b.shells[shell] = text
	}
	return nil
}

// file is a file of an archive.
type file struct {
	name string
	mode os.FileMode
	text []byte
}

// file reads a file of the repository.
func (b *builder) file(name, source string, mode os.FileMode) (file, error) {
	if !filepath.IsAbs(source) {
		source = filepath.Join(b.root, source)
	}
	text, err := os.ReadFile(source)
	return file{name, cmp.Or(mode, 0o644), text}, err
}
