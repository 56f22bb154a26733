// Command release builds all files of a release: archives of the functions and of the command, Debian and RPM packages,
// a container image as an OCI layout, a bill of materials for each executable, and the checksums of all. It builds a
// commit in a clone of its own, so uncommitted changes are not released. Builds are reproducible: the time in each file
// is the commit's.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", "../..", "the repository")
	commit := flag.String("commit", "HEAD", "the commit to build")
	out := flag.String("out", "../../dist", "the directory to write to; its contents are removed first")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: release [-root DIR] [-commit COMMIT] [-out DIR]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := release(*root, *commit, *out); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release builds a release of a commit of the repository at root, into the directory out.
func release(root, commit, out string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	out, err = filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	work := filepath.Join(out, ".work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	b := &builder{root: root, work: work, out: out, commit: commit}
	for _, step := range []func() error{
		b.clone, b.functions, b.commands, b.completions, b.archives, b.packages, b.image, b.materials,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	return checksums(out)
}
