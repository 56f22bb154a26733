package rules

import (
	"fmt"
	"io"
	"io/fs"
)

// MaxFile limits a file of rules, or of one of their tables, in bytes.
const MaxFile = 6 << 20

// ReadFile reads a file of rules or of a table. A file of more than MaxFile bytes is an error.
func ReadFile(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err == nil && len(text) > MaxFile {
		return nil, fmt.Errorf("it is larger than %d MiB, the most for such a file", MaxFile>>20)
	}
	return text, err
}

// readFile is [ReadFile] for a file of a directory.
func readFile(files fs.FS, name string) ([]byte, error) {
	if recorded, ok := files.(*recordedFiles); ok {
		return recorded.ReadFile(name)
	}
	file, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return ReadFile(file)
}
