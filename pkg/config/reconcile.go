package config

import (
	"fmt"
	"strings"
)

// Reconcile is what a scheduled reconcile needs beside [Settings]: the function reconcile, tagger listen --reconcile and
// tagger reconcile --scheduled.
type Reconcile struct {
	Rules      string  `envconfig:"TAGGER_RECONCILE_RULES" desc:"The hash of the rules that were reviewed, or its first 8 digits or more. While other rules are in force, nothing is written; the log has their hash."`
	Max        int     `envconfig:"TAGGER_RECONCILE_MAX" default:"50" desc:"How many resources one pass may write, 1 to 10000. With more to write, it writes none."`
	MaxPercent float64 `envconfig:"TAGGER_RECONCILE_MAX_PERCENT" default:"2" desc:"How many in a hundred of the resources that were read one pass may write. With more to write, it writes none."`
}

// ReconcileFromEnv reads them. A variable that is set and empty counts as unset, and is unset.
func ReconcileFromEnv() (Reconcile, error) { return fromEnv[Reconcile]() }

// isHash reports whether a text is a SHA-256 in hexadecimal, or its beginning.
func isHash(s string) bool {
	return len(s) >= 8 && len(s) <= 64 && strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}

const maxReconciled = 10_000

func (r Reconcile) check() error {
	switch {
	case r.Rules != "" && !isHash(r.Rules):
		return fmt.Errorf("TAGGER_RECONCILE_RULES=%.70q is not 8 to 64 digits of the rules' hash, which the log line "+
			"\"rules in force\" and the plans of tagger reconcile have", r.Rules)
	case r.Max < 1 || r.Max > maxReconciled:
		return fmt.Errorf("TAGGER_RECONCILE_MAX=%d; want at least 1 and at most %d", r.Max, maxReconciled)
	case !(r.MaxPercent > 0 && r.MaxPercent <= 100): // so written, it refuses NaN too
		return fmt.Errorf("TAGGER_RECONCILE_MAX_PERCENT=%v; want more than 0 and at most 100", r.MaxPercent)
	}
	return nil
}
