package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// streams are a command's standard input and outputs.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// checkedOutput remembers the first error of writing, so that a command whose output was lost fails.
type checkedOutput struct {
	io.Writer
	err error
}

func (o *checkedOutput) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// interruptible reads until the context ends. A read of a terminal or a pipe would continue otherwise.
type interruptible struct {
	ctx context.Context
	in  io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	buffer := make([]byte, len(p)) // p belongs to the caller again when this returns
	done := make(chan result, 1)
	go func() {
		n, err := i.in.Read(buffer)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return copy(p, buffer[:r.n]), r.err
	case <-i.ctx.Done():
		return 0, fmt.Errorf("read standard input: %w", context.Cause(i.ctx))
	}
}

// output is the format of printed results.
type output string

const (
	asText output = "text"
	asJSON output = "json"
)

// String, Set and Type implement pflag.Value.
func (o *output) String() string { return string(*o) }

func (o *output) Set(s string) error {
	if s != string(asText) && s != string(asJSON) {
		return oneOfWords(s, []string{string(asText), string(asJSON)})
	}
	*o = output(s)
	return nil
}

func (o *output) Type() string { return "text|json" }

func outputFlag(flags *pflag.FlagSet) *output {
	o := asText
	flags.VarP(&o, "output", "o", "form of the output")
	return &o
}

// printJSON writes one object on one line, without escaping <, > and &.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// style colours words on a terminal, unless NO_COLOR is set (https://no-color.org).
type style bool

func styleFor(w io.Writer) style {
	if o, ok := w.(*checkedOutput); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	return style(ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s style) paint(code, text string) string {
	if !s || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
