package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/journal"
	"github.com/cloudtagger/tagger/pkg/listen"
)

// recordLine has the fields of a Tagger log line that a trail needs: an event's result, or the removal of keys.
type recordLine struct {
	Time     time.Time `json:"time"`
	Message  string    `json:"msg"`
	Resource string    `json:"resource_id"`
	Outcome  string    `json:"outcome"`
	Written  []string  `json:"written"`
	Removed  []string  `json:"removed"`
	Keys     []string  `json:"keys"`
	UserID   string    `json:"user_id"`
	UserName string    `json:"user_name"`
}

// readTrail reads journals and logs, and returns nil if there are none to read.
func readTrail(journals, logs []string, stdin io.Reader, now time.Time) (*coverage.Trail, error) {
	if len(journals) == 0 && len(logs) == 0 {
		return nil, nil
	}
	t := coverage.NewTrail(now)
	for _, path := range journals {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("read the journal: %w", err)
		}
		err = eachFile(path, func(name string) error {
			err := readJournal(t, name)
			if info.IsDir() && errors.Is(err, journal.ErrNoJournal) {
				return nil // not a journal or log; a plan, for example
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	usable := 0
	err := eachLogLine(logs, stdin, func(line []byte) {
		var r recordLine
		// A log collector may have added a prefix before the JSON.
		if at := bytes.IndexByte(line, '{'); at < 0 || json.Unmarshal(line[at:], &r) != nil || r.Time.IsZero() {
			return
		}
		usable++
		noteLine(t, r)
	})
	if err == nil && len(logs) > 0 && usable == 0 {
		err = errors.New("read the log: it has no line of Tagger's JSON log")
	}
	return t, err
}

// readJournal adds the writes of a journal to a trail. Failed writes are left out, because their effect is unknown.
func readJournal(t *coverage.Trail, name string) error {
	_, err := journal.Read(name, func(_ journal.Header, r journal.Record) error {
		if r.Outcome != apply.Tagged && r.Outcome != apply.Unchanged {
			return nil
		}
		for key, change := range r.Keys {
			if change.To == nil {
				t.RemovedByTagger(r.ID, []string{key}, r.At)
			} else {
				t.Wrote(r.ID, []string{key}, r.At)
			}
		}
		return nil
	})
	return err
}

// noteLine adds a log line to a trail.
func noteLine(t *coverage.Trail, r recordLine) {
	t.Covers(r.Time)
	switch {
	case r.Resource == "":
	case r.Outcome != "":
		t.Wrote(r.Resource, r.Written, r.Time)
		t.RemovedByTagger(r.Resource, r.Removed, r.Time)
	case r.Message == listen.LogRemoved:
		t.RemovedByUser(r.Resource, r.Keys, r.Time, coverage.User{ID: r.UserID, Name: r.UserName})
	case r.Message == listen.LogRestored:
		t.Wrote(r.Resource, r.Keys, r.Time)
	}
}
