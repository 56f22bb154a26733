// Package journal keeps a record of Tagger's writes to a cloud: each key with its value before and after.
//
// A journal is a file of JSON lines with mode 0600. A line with a format is a [Header] and begins a run. The other
// lines are [Record] values, one before each write ([Begin]) and one after it ([End]). Each run of tagger reconcile has
// its own file ([Create], [Resume]). Writes caused by events share one file with many runs ([OpenAudit]).
package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

const (
	format = "tagger-journal/1"
	// maxLine limits a line in bytes: 128 keys with two values of 255 characters each, as JSON.
	maxLine = 1 << 20
)

// Header is the line that begins a run.
type Header struct {
	Format string `json:"format"`
	// Run is the run's id.
	Run   string `json:"run"`
	Cloud string `json:"cloud"`
	// Rules is the hash of the rules when the run began, Operator the cloud user who runs it.
	Rules    string    `json:"rules"`
	Operator string    `json:"operator"`
	At       time.Time `json:"at"`
}

// Record is a line before or after a write.
type Record struct {
	At time.Time `json:"at"`
	// Phase is Begin or End.
	Phase Phase `json:"phase"`
	// N is the number of the correction in its run. The Begin and End records of a correction share it.
	N int `json:"n"`
	// Run, Rules, Action, Event and Cause are set in an audit file: the run's id, the hash of the rules, what happened,
	// the event's id, and the id of the request that caused it.
	Run    string           `json:"run,omitempty"`
	Rules  string           `json:"rules,omitempty"`
	Action lifecycle.Action `json:"action,omitempty"`
	Event  string           `json:"event,omitempty"`
	Cause  string           `json:"cause,omitempty"`

	Kind    lifecycle.Kind `json:"kind"`
	ID      string         `json:"id"`
	Name    string         `json:"name,omitempty"`
	Project string         `json:"project"`
	// Keys are the keys to write (Begin), or the keys written (End).
	Keys map[string]Replacement `json:"keys"`
	// Unknown are the keys whose previous values are unknown because they were not read before the write.
	Unknown []string `json:"unknown,omitempty"`
	// Outcome, Reason and Requests (the API's request ids, if it sent any) are set in End records.
	Outcome apply.Outcome `json:"outcome,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	// Changed are the keys that another writer has changed since the plan was made.
	Changed  []string `json:"changed,omitempty"`
	Requests []string `json:"requests,omitempty"`
}

// Phase is the position of a record relative to its write.
type Phase string

// Begin records come before a write, End records after it.
const (
	Begin Phase = "begin"
	End   Phase = "end"
)

// Failed reports whether an End record's write failed. Some of its keys may have been written anyway.
func (r Record) Failed() bool {
	switch r.Outcome {
	case apply.Tagged, apply.Unchanged, apply.Gone, apply.Ignored:
		return false
	}
	return true
}

// Replacement is a key's value before and after, nil if the key is absent. An empty value counts as absent.
type Replacement struct {
	From *string `json:"from"`
	To   *string `json:"to"`
}

// Holds reports whether the current value is the one to replace.
func (r Replacement) Holds(have string, there bool) bool {
	if r.From == nil {
		return !there || have == ""
	}
	return there && have == *r.From
}

// Done reports whether the current value is already the new one.
func (r Replacement) Done(have string, there bool) bool {
	if r.To == nil {
		return !there
	}
	return there && have == *r.To
}

// ErrNoJournal reports that a file is not a journal.
var ErrNoJournal = errors.New("it is not a journal of tagger reconcile or TAGGER_AUDIT_FILE")

// Read calls each with every record of a journal and the header of its run, until each returns an error. It returns the
// header of the last run. A line that was cut off when its process ended is skipped. The error comes from each or from
// reading the file.
func Read(path string, each func(Header, Record) error) (header Header, err error) {
	f, err := os.Open(path)
	if err != nil {
		return header, fmt.Errorf("read the journal: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	runs := map[string]Header{}
	var cut error // of a line that may have been cut off: then it is the last one, or that of a new run follows
	for n := 1; lines.Scan(); n++ {
		var first struct{ Format string }
		var r Record
		err := json.Unmarshal(lines.Bytes(), &first)
		if err == nil && first.Format == format {
			cut, header = nil, Header{}
			if err := json.Unmarshal(lines.Bytes(), &header); err != nil {
				return header, fmt.Errorf("read the journal %s: line %d: %w", path, n, err)
			}
			runs[header.Run] = header
			continue
		}
		if err == nil {
			err = json.Unmarshal(lines.Bytes(), &r)
		}
		switch {
		case len(lines.Bytes()) == 0:
			continue
		case header.Format == "":
			return header, fmt.Errorf("read the journal %s: %w", path, ErrNoJournal)
		case cut != nil:
			return header, cut
		case err != nil:
			cut = fmt.Errorf("read the journal %s: line %d: %w", path, n, err)
			if _, syntax := errors.AsType[*json.SyntaxError](err); !syntax {
				return header, cut
			}
			continue
		}
		h := header
		if own, ok := runs[r.Run]; ok {
			h = own
		}
		if err := each(h, r); err != nil {
			return header, err
		}
	}
	if err := lines.Err(); err != nil {
		return header, fmt.Errorf("read the journal %s: %w", path, err)
	}
	if header.Format == "" {
		return header, fmt.Errorf("read the journal %s: %w", path, ErrNoJournal)
	}
	return header, nil
}

func encodeLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w) // writes each line at once
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
