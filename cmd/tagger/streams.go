package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/cloudtagger/tagger/pkg/suggest"
)

// streams are a command's standard input and outputs.
type streams struct {
	in       io.Reader
	out, err io.Writer
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
		return fmt.Errorf("want text or json%s", suggest.Hint(s, []string{string(asText), string(asJSON)}))
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
