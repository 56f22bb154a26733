package main

import (
	"fmt"
	"io"
	"os"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/ingress"
)

// delivered is an event from a file, or what kept it from being one.
type delivered struct {
	file  string
	event event.Event
	err   error
}

// readEvents reads event files; "-" is standard input.
func readEvents(files []string, stdin io.Reader) ([]delivered, error) {
	var all []delivered
	for _, file := range files {
		payload, err := readPayload(file, stdin)
		if err != nil {
			return nil, fmt.Errorf("read the event: %w", err)
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

func readPayload(file string, stdin io.Reader) ([]byte, error) {
	// One byte more than is taken, so that a payload that is too large is seen to be.
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

// configure reads the settings, and the rules from a file where one is named.
func configure(rulesFile string, s streams) (config.Settings, config.Rules, error) {
	settings, err := config.SettingsFromEnv()
	if err != nil {
		return config.Settings{}, config.Rules{}, err
	}
	for _, warning := range config.Unknown(os.Environ()) {
		fmt.Fprintln(s.err, "tagger:", warning)
	}
	if rulesFile != "" {
		rules, err := config.ReadRulesFile(rulesFile)
		return settings, rules, err
	}
	rules, err := settings.ReadRules()
	if err != nil {
		return config.Settings{}, config.Rules{}, fmt.Errorf("%w, or name one with --rules", err)
	}
	return settings, rules, nil
}
