package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/journal"
)

// namedFile is a file, or a directory, with the flag or variable that names it.
type namedFile struct{ name, path string }

// rulesInput returns the file of the rules: that of --rules, or else that of the environment.
func rulesInput(flag string, settings config.Settings) namedFile {
	if flag != "" {
		return namedFile{"--rules", flag}
	}
	return namedFile{"TAGGER_RULES_FILE", settings.RulesFile}
}

// checkOutput checks that a file to write is none of the other files of the same call, so that a mistake in a command
// line does not destroy what the command reads.
func checkOutput(out namedFile, others ...namedFile) error {
	for _, other := range others {
		if isUsed(out.path, other.path) {
			return fmt.Errorf("%s %s: is a file of %s; name another one", out.name, out.path, other.name)
		}
	}
	return nil
}

// isUsed reports whether a path is a file that is used as other, or in the directory other.
func isUsed(path, other string) bool {
	if other == "" || other == "-" {
		return false
	}
	info, err := os.Stat(other)
	if err != nil { // both may be files that are yet to be made
		return samePath(path, other)
	}
	existing, err := os.Stat(path)
	switch {
	case err != nil:
		return false // a new file replaces none
	case !info.IsDir():
		return os.SameFile(info, existing)
	}
	dir, err := os.Stat(filepath.Dir(path))
	return err == nil && os.SameFile(info, dir) && isRecord(path)
}

func samePath(a, b string) bool {
	first, err := filepath.Abs(a)
	second, otherErr := filepath.Abs(b)
	return err == nil && otherErr == nil && first == second
}

// isRecord reports whether a file has Tagger's records: it is a journal, or a log with at least one usable line.
func isRecord(path string) bool {
	errFound := errors.New("found")
	_, err := journal.Read(path, func(journal.Header, journal.Record) error { return errFound })
	if err == nil || errors.Is(err, errFound) {
		return true
	}
	log := readLogs([]string{path}, nil, "")
	return log.unusable < log.lines
}

// checkFile checks that a file can be made at a path.
func checkFile(flag, path string) error {
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s %s: there is no directory %s", flag, path, dir)
	}
	return nil
}

// checkReplaced is checkFile for a file that is replaced as a whole. A device, a pipe or a folder is not.
func checkReplaced(flag, path string) error {
	if err := checkFile(flag, path); err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s %s: is not a regular file", flag, path)
	}
	return nil
}

// replaceFile replaces a file atomically: a reader sees the old content or the new. Its errors name the file, not the
// temporary one.
func replaceFile(path string, mode os.FileMode, write func(io.Writer) error) error {
	err := replace(path, mode, write)
	if e, ok := errors.AsType[*os.PathError](err); ok {
		err = e.Err
	} else if e, ok := errors.AsType[*os.LinkError](err); ok {
		err = e.Err
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func replace(path string, mode os.FileMode, write func(io.Writer) error) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".tagger-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails, harmlessly, after the rename
	if err = write(file); err == nil {
		err = file.Chmod(mode)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
