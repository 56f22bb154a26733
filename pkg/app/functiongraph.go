package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// adoptUserData puts a FunctionGraph function's variables, which it gets as JSON in one, into the environment. What is
// set already stays.
func adoptUserData() error {
	text := os.Getenv("RUNTIME_USERDATA")
	if text == "" {
		return nil
	}
	var variables map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &variables); err != nil {
		return errors.New("read RUNTIME_USERDATA: it is not a JSON object") // no more: it may hold secrets
	}
	for name, raw := range variables {
		if _, isSet := os.LookupEnv(name); isSet {
			continue
		}
		value := string(raw) // a number or a truth value, as it is written
		switch raw[0] {
		case '"':
			_ = json.Unmarshal(raw, &value) // it is a string
		case '{', '[', 'n':
			return fmt.Errorf("read RUNTIME_USERDATA: %s is neither text nor a number", name)
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("read RUNTIME_USERDATA: %s: %w", name, err)
		}
	}
	return nil
}

// runtimeTimeout is RUNTIME_TIMEOUT, in seconds.
func runtimeTimeout() time.Duration {
	if n, err := strconv.Atoi(os.Getenv("RUNTIME_TIMEOUT")); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	return time.Minute
}
