package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// maxLogLine limits a log line. Longer lines are skipped and counted.
	maxLogLine = 1 << 20
	// maxLogEntries limits the entries kept of one resource. The last ones are kept.
	maxLogEntries = 20
	// longSilence is the shortest gap in the log around the creation that is reported.
	longSilence = 5 * time.Minute
)

// logEntry is a Tagger log line about one event.
type logEntry struct {
	Time       time.Time `json:"time"`
	Resource   string    `json:"resource_id"`
	Action     string    `json:"action"`
	Outcome    string    `json:"outcome"`
	Reason     string    `json:"reason"`
	AgainIn    string    `json:"again_in"`
	ReceivedNo int       `json:"receives"`
}

// logFindings is what the logs have about a resource.
type logFindings struct {
	given    bool
	entries  []logEntry // the last ones
	count    int        // all entries about the resource
	lines    int
	unusable int // lines that are not JSON with a time
	from, to time.Time
	err      error
	times    []time.Time // of lines, one a minute: see sample
}

// readLogs reads logs and keeps the entries about a resource.
func readLogs(paths []string, stdin io.Reader, id string) logFindings {
	f := logFindings{given: len(paths) > 0}
	wanted := []byte(id)
	f.err = eachLogLine(paths, stdin, func(line []byte) { f.note(line, wanted) })
	return f
}

// eachLogLine calls each with every line of the logs. A path is a file, a directory of files, or - for stdin. A line
// that is too long is passed as empty.
func eachLogLine(paths []string, stdin io.Reader, each func(line []byte)) error {
	for _, path := range paths {
		var err error
		if path == "-" {
			err = eachLine(stdin, each)
		} else {
			err = eachFile(path, func(name string) error {
				file, err := os.Open(name)
				if err != nil {
					return err
				}
				return errors.Join(named(name, eachLine(file, each)), file.Close())
			})
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", named(path, err))
		}
	}
	return nil
}

// eachFile calls each with the path, or, if it is a directory, with the path of each regular file in it.
func eachFile(path string, each func(name string) error) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return each(path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			if err := each(filepath.Join(path, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func eachLine(r io.Reader, each func(line []byte)) error {
	in := bufio.NewReaderSize(r, maxLogLine)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
			line = nil
		}
		if len(line) > 0 || err == nil {
			each(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// note adds a line to the findings. A log collector may have added a prefix before the JSON.
func (f *logFindings) note(line, wanted []byte) {
	f.lines++
	var e logEntry
	at := bytes.IndexByte(line, '{')
	if at < 0 || json.Unmarshal(line[at:], &e) != nil || e.Time.IsZero() {
		f.unusable++
		return
	}
	if f.from.IsZero() || e.Time.Before(f.from) {
		f.from = e.Time
	}
	if e.Time.After(f.to) {
		f.to = e.Time
	}
	f.sample(e.Time)
	if e.Resource != string(wanted) || e.Outcome == "" {
		return
	}
	f.count++
	if f.entries = append(f.entries, e); len(f.entries) > maxLogEntries {
		f.entries = f.entries[1:]
	}
}

// sample keeps one time for each minute that has log lines, up to a month of minutes.
func (f *logFindings) sample(t time.Time) {
	const most = 31 * 24 * 60
	minute := t.Truncate(time.Minute)
	if n := len(f.times); n > 0 && f.times[n-1].Equal(minute) || n >= most {
		return
	}
	f.times = append(f.times, minute)
}

// silence returns the gap in the log around t, and whether it is at least longSilence.
func (f *logFindings) silence(t time.Time) (from, to time.Time, long bool) {
	for _, at := range f.times {
		if !at.After(t) && at.After(from) {
			from = at
		}
		if at.After(t) && (to.IsZero() || at.Before(to)) {
			to = at
		}
	}
	return from, to, !from.IsZero() && !to.IsZero() && to.Sub(from) >= longSilence
}

// covers reports whether the logs begin before t and end after it.
func (f *logFindings) covers(t time.Time) bool {
	return !f.from.IsZero() && !t.Before(f.from) && !t.After(f.to)
}

// cause returns a clause about why a resource that was created at this time may lack keys.
func (f *logFindings) cause(created time.Time) string {
	if n := len(f.entries); n > 0 {
		last := f.entries[n-1]
		text := fmt.Sprintf("its last event (%s) was %s", last.Action, last.Outcome)
		if last.Reason != "" {
			text += ": " + last.Reason
		}
		if last.AgainIn != "" {
			text += "; next try " + last.AgainIn + " after " + clock(last.Time)
		}
		if last.Outcome == "tagged" || last.Outcome == "unchanged" {
			text += ", so the keys were removed, or the rules changed, since " + clock(last.Time)
		}
		return text
	}
	switch {
	case !f.given:
		return "what became of its creation event is unknown (--log was not given)"
	case f.from.IsZero():
		return "what became of its creation event is unknown: the logs have no usable line"
	case !f.covers(created):
		return fmt.Sprintf(
			"what became of its creation event is unknown: the logs cover only %s … %s",
			clock(f.from),
			clock(f.to),
		)
	}
	text := "there is no trace of its creation event in the logs"
	if from, to, long := f.silence(created); long {
		text += fmt.Sprintf(
			", which say nothing from %s to %s; it was created at %s",
			clock(from),
			clock(to),
			clock(created),
		)
	}
	return text
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// printLog shows the entries about the resource, the period that the logs cover, and queries for logs elsewhere.
func (e *explanation) printLog(created time.Time) {
	f := e.log
	id := e.view.ID
	if id == "" {
		id = e.wanted
	}
	for i, entry := range f.entries {
		name := first(i, "events")
		text := fmt.Sprintf("%s  %s  %s", clock(entry.Time), entry.Action, entry.Outcome)
		if entry.Reason != "" {
			text += ": " + entry.Reason
		}
		if entry.ReceivedNo > 1 {
			text += fmt.Sprintf(" (delivery %d)", entry.ReceivedNo)
		}
		e.line(name, "%s", text)
	}
	switch {
	case !f.given:
		e.line("events", "unknown: no log was given (--log FILE, DIR or -)")
	case f.from.IsZero():
		e.line("looked", "%s of logs, none usable", plural(f.lines, "line"))
	default:
		text := fmt.Sprintf("logs %s … %s, %s, %d about it", clock(f.from), clock(f.to), plural(f.lines, "line"),
			f.count)
		if f.unusable > 0 {
			text += fmt.Sprintf("; %s without Tagger's JSON", plural(f.unusable, "line"))
		}
		if !created.IsZero() && !f.covers(created) && f.count == 0 {
			text += "; they do not cover its creation at " + clock(created)
		}
		e.line("looked", "%s", text)
	}
	e.printQueues()
	if f.count == 0 {
		e.line(
			"query",
			`CloudWatch Logs Insights: fields @timestamp, outcome, reason | filter resource_id = "%s" | sort @timestamp`,
			id,
		)
		e.line("", "LogQL: {app=\"tagger\"} | json | resource_id=`%s`", strings.ReplaceAll(id, "`", ""))
	}
}
