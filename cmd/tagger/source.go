package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// delivered is an event from a file, or the error that reading it gave.
type delivered struct {
	file  string
	event event.Event
	err   error
}

// readEvents reads event files. "-" is standard input.
func readEvents(ctx context.Context, files []string, stdin io.Reader) ([]delivered, error) {
	var all []delivered
	for _, file := range files {
		payload, err := readPayload(file, interruptible{ctx, stdin})
		if err != nil {
			return nil, fmt.Errorf("read the event: %w", named(file, err))
		}
		for _, record := range ingress.Decode(payload).Records {
			for _, e := range record.Events {
				all = append(all, delivered{file: file, event: e})
			}
			if record.Err != nil {
				all = append(all, delivered{file: file, err: record.Err})
			}
		}
	}
	return all, nil
}

// noEvents reports that there is nothing to do.
func (p *printer) noEvents() error {
	out := p.streams.out
	if p.format == asJSON {
		out = p.streams.err
	}
	_, err := fmt.Fprintln(out, "no events")
	return err
}

// named adds the name of a file to an error that lacks it, as that of a read of a directory.
func named(file string, err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok && e.Op == "read" {
		if errors.Is(e.Err, syscall.EISDIR) {
			return fmt.Errorf("%s: %w; name its files", file, e.Err)
		}
		return fmt.Errorf("%s: %w", file, e.Err)
	}
	return err
}

func readPayload(file string, stdin io.Reader) ([]byte, error) {
	// One byte more than the limit, so that a payload over the limit is detected.
	if file == "-" {
		return io.ReadAll(io.LimitReader(stdin, ingress.MaxPayload+1))
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, ingress.MaxPayload+1))
}

// readSettings reads the settings, and warns about unknown variables.
func readSettings(s streams) (config.Settings, error) {
	settings, err := config.SettingsFromEnv()
	if err != nil {
		return config.Settings{}, err
	}
	for _, warning := range config.Unknown(os.Environ()) {
		fmt.Fprintln(s.err, "tagger:", warning)
	}
	return settings, nil
}

// configure reads the settings, and compiles the rules, which come from rulesFile if it is set.
func configure(ctx context.Context, rulesFile string, s streams) (config.Settings, *rules.Set, error) {
	settings, err := readSettings(s)
	if err != nil {
		return config.Settings{}, nil, err
	}
	var source rules.Source
	if rulesFile != "" {
		source, err = config.ReadRulesFile(rulesFile)
	} else if source, err = settings.ReadRules(ctx, nil); err != nil {
		err = fmt.Errorf("%w, or name one with --rules", err)
	}
	if err != nil {
		return config.Settings{}, nil, err
	}
	set, err := compileRules(settings, source)
	if err != nil {
		return config.Settings{}, nil, err
	}
	for _, warning := range set.Warnings() {
		fmt.Fprintf(s.err, "tagger: %s:%s\n", source.Name, warning)
	}
	return settings, set, nil
}

// compileRules compiles rules. A file that is no text, such as an archive named by mistake, has an error that says so
// in place of the YAML parser's.
func compileRules(settings config.Settings, source rules.Source) (*rules.Set, error) {
	set, err := tagger.Compile(settings, source)
	if err != nil && !isText(source.Text) {
		err = rules.Errors{{Name: source.Name, Text: "is a binary file; rules are YAML text"}}
	}
	return set, err
}

// isText reports whether a file has no control characters but white space. Zero bytes are those of UTF-16, which the
// compiler reports.
func isText(data []byte) bool {
	return !slices.ContainsFunc(data, func(b byte) bool {
		return b < ' ' && b != 0 && b != '\t' && b != '\n' && b != '\r' && b != '\f'
	})
}
