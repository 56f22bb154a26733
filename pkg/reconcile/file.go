package reconcile

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cloudtagger/tagger/pkg/journal"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

const (
	planFormat = "tagger-plan/1"
	// Validity is the maximum age of a plan when it is applied.
	Validity = 24 * time.Hour
	// maxLine limits a line of a plan or a journal in bytes: 128 keys with two values of 255 characters each, as JSON.
	maxLine = 1 << 20
	// idLength is the number of the digest's digits that form a plan's id.
	idLength = 12
)

// Header is the first line of a plan.
type Header struct {
	Format string `json:"format"`
	// ID is the beginning of Digest, which is the SHA-256 of the other lines.
	ID     string `json:"id"`
	Digest string `json:"digest"`
	// Cloud is the Identity API's host and the region, Rules the hash of the rules.
	Cloud string   `json:"cloud"`
	User  string   `json:"user"`
	Scope []string `json:"scope"`
	Rules string   `json:"rules"`
	// Made is the time at which reading began.
	Made time.Time `json:"made"`
	// Complete reports that everything in the scope was read.
	Complete bool `json:"complete"`
	// Listed counts the resources read, Resources those in the plan, Changes their keys.
	Listed    map[lifecycle.Kind]int `json:"listed"`
	Resources int                    `json:"resources"`
	Changes   int                    `json:"changes"`
	// Projects counts the resources of each project in the plan, by id.
	Projects map[string]ProjectCount `json:"projects"`
}

// ProjectCount counts the resources of a project: those that were read, and those in the plan.
type ProjectCount struct {
	Name    string `json:"name,omitempty"`
	Listed  int    `json:"listed"`
	Planned int    `json:"planned"`
}

// Total returns the number of resources read.
func (h Header) Total() int {
	n := 0
	for _, count := range h.Listed {
		n += count
	}
	return n
}

// ProjectName returns a project's name, or its id if the name is not known.
func (h Header) ProjectName(id string) string {
	if name := h.Projects[id].Name; name != "" {
		return name
	}
	return id
}

// Entry is a line of a plan after the header: the changes to one resource.
type Entry struct {
	Kind    lifecycle.Kind                 `json:"kind"`
	ID      string                         `json:"id"`
	Name    string                         `json:"name,omitempty"`
	Project string                         `json:"project"`
	Rules   []string                       `json:"rules,omitempty"`
	Keys    map[string]journal.Replacement `json:"keys"`
}

// draft is a plan whose header is not written yet.
type draft struct {
	path string
	file *os.File
	out  *bufio.Writer
}

// FileError reports that a plan could not be written to its file.
type FileError struct {
	Path string
	// New reports that no file can be made in the path's directory.
	New bool
	// Err is the cause. It does not name the temporary file in which the plan is written.
	Err error
}

func (e *FileError) Error() string { return fmt.Sprintf("write the plan %s: %s", e.Path, e.Err) }

func (e *FileError) Unwrap() error { return e.Err }

func newFileError(path string, err error) *FileError {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		err = e.Err
	} else if e, ok := errors.AsType[*os.LinkError](err); ok {
		err = e.Err
	}
	return &FileError{Path: path, Err: err}
}

func newDraft(path string) (*draft, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".plan-*") // with mode 0600
	if err != nil {
		e := newFileError(path, err)
		e.New = true
		return nil, e
	}
	return &draft{path: path, file: f, out: bufio.NewWriter(f)}, nil
}

func (d *draft) add(e Entry) error {
	if err := encodeLine(d.out, e); err != nil {
		return newFileError(d.path, err)
	}
	return nil
}

func (d *draft) discard() {
	_ = d.file.Close()
	_ = os.Remove(d.file.Name())
}

// finish writes the plan to its path. The header gets the digest.
func (d *draft) finish(h *Header) error {
	if err := d.write(h); err != nil {
		return newFileError(d.path, err)
	}
	return nil
}

func (d *draft) write(h *Header) error {
	if err := d.out.Flush(); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(sum, d.file); err != nil {
		return err
	}
	h.Format, h.Digest = planFormat, hex.EncodeToString(sum.Sum(nil))
	h.ID = h.Digest[:idLength]
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	whole, err := os.CreateTemp(filepath.Dir(d.path), ".plan-*")
	if err != nil {
		return err
	}
	defer os.Remove(whole.Name()) // fails after the rename
	if err = encodeLine(whole, h); err == nil {
		if _, err = io.Copy(whole, d.file); err == nil {
			err = whole.Sync()
		}
	}
	if err = errors.Join(err, whole.Close()); err != nil {
		return err
	}
	return os.Rename(whole.Name(), d.path)
}

func encodeLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// lines reads a file of JSON lines.
type lines struct {
	file    *os.File
	scanner *bufio.Scanner
	path    string
	number  int
}

func openLines(path string) (*lines, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	l := &lines{file: f, path: path}
	l.scanner = bufio.NewScanner(f)
	l.scanner.Buffer(make([]byte, 0, 64<<10), maxLine)
	return l, nil
}

func (l *lines) Close() error { return l.file.Close() }

// next decodes the next line into v. The error is io.EOF after the last one.
func (l *lines) next(v any) error {
	if !l.scanner.Scan() {
		if err := l.scanner.Err(); err != nil {
			return fmt.Errorf("read %s: line %d: %w", l.path, l.number+1, err)
		}
		return io.EOF
	}
	l.number++
	if err := json.Unmarshal(l.scanner.Bytes(), v); err != nil {
		return fmt.Errorf("read %s: line %d: %w", l.path, l.number, err)
	}
	return nil
}

// ReadHeader reads a plan's header and checks that the plan is whole and unchanged.
func ReadHeader(path string) (Header, error) {
	var h Header
	l, err := openLines(path)
	if err != nil {
		return h, fmt.Errorf("read the plan: %w", err)
	}
	defer l.Close()
	if err := l.next(&h); err != nil || h.Format != planFormat {
		return h, fmt.Errorf("read the plan %s: it is not a plan of tagger reconcile", path)
	}
	sum := sha256.New()
	for l.scanner.Scan() {
		sum.Write(l.scanner.Bytes())
		sum.Write([]byte("\n"))
	}
	if err := l.scanner.Err(); err != nil {
		return h, fmt.Errorf("read the plan %s: %w", path, err)
	}
	if digest := hex.EncodeToString(sum.Sum(nil)); digest != h.Digest {
		return h, fmt.Errorf("read the plan %s: it was changed or cut off: make a new one", path)
	}
	return h, nil
}

// Entries calls each with every entry of a plan and its number, until each returns false or an error.
func Entries(path string, each func(n int, e Entry) (bool, error)) error {
	l, err := openLines(path)
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	defer l.Close()
	var h Header
	if err := l.next(&h); err != nil {
		return err
	}
	for n := 0; ; n++ {
		var e Entry
		if err := l.next(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if more, err := each(n, e); !more || err != nil {
			return err
		}
	}
}
