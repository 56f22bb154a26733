// Command pack packs a function's executable for AWS Lambda and FunctionGraph: a zip archive with bootstrap, the
// licence, and those of what is linked into it. The same executable gives the same archive, and one that is larger than
// allowed is an error. It runs at the top of the repository.
package main

import (
	"archive/zip"
	"compress/flate"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cloudtagger/tagger/deploy/internal/licences"
)

func main() {
	most := flag.Int64("max", 6<<20, "largest size of the archive, in bytes")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: pack [-max BYTES] EXECUTABLE ARCHIVE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	size, err := pack(flag.Arg(0), flag.Arg(1))
	if err == nil && size > *most {
		err = fmt.Errorf("%s has %d bytes, %d more than its budget: what was linked into it?", flag.Arg(1), size, size-*most)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
	fmt.Printf("%-40s %5.2f MiB of %.0f MiB\n", flag.Arg(1), float64(size)/(1<<20), float64(*most)/(1<<20))
}

func pack(executable, archive string) (size int64, err error) {
	third, err := licences.Text(executable)
	if err != nil {
		return 0, err
	}
	own, err := os.ReadFile("LICENSE")
	if err != nil {
		return 0, fmt.Errorf("read the licence, at the top of the repository: %w", err)
	}
	program, err := os.ReadFile(executable)
	if err != nil {
		return 0, err
	}
	out, err := os.Create(archive)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	w := zip.NewWriter(out)
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(out, flate.BestCompression)
	})
	for _, file := range []struct {
		name string
		mode os.FileMode
		text []byte
	}{{"bootstrap", 0o755, program}, {"LICENSE", 0o644, own}, {"THIRD_PARTY_LICENSES", 0o644, third}} {
		modified := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		header := &zip.FileHeader{Name: file.name, Method: zip.Deflate, Modified: modified}
		header.SetMode(file.mode)
		entry, err := w.CreateHeader(header)
		if err != nil {
			return 0, err
		}
		if _, err := entry.Write(file.text); err != nil {
			return 0, err
		}
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	info, err := out.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), out.Close()
}
