package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// setEnvFromUserData sets the variables that FunctionGraph passes as JSON in RUNTIME_USERDATA. It does not overwrite
// variables.
func setEnvFromUserData() error {
	text := os.Getenv("RUNTIME_USERDATA")
	if text == "" {
		return nil
	}
	var variables map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &variables); err != nil {
		return errors.New("read RUNTIME_USERDATA: it is not a JSON object") // no details: it may contain secrets
	}
	for name, raw := range variables {
		if _, isSet := os.LookupEnv(name); isSet {
			continue
		}
		value := string(raw) // a number or boolean, unchanged
		switch raw[0] {
		case '"':
			_ = json.Unmarshal(raw, &value) // it is a string
		case '{', '[', 'n':
			return fmt.Errorf("read RUNTIME_USERDATA: %s is not a string, number or boolean", name)
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("read RUNTIME_USERDATA: %s: %w", name, err)
		}
	}
	return nil
}

// runtimeTimeout returns RUNTIME_TIMEOUT, which is in seconds; a minute by default.
func runtimeTimeout() time.Duration {
	if n, err := strconv.Atoi(os.Getenv("RUNTIME_TIMEOUT")); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	return time.Minute
}
