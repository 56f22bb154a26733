package config

import (
	"fmt"
	"strings"
)

// Reconcile is the configuration of a scheduled reconcile, in addition to [Settings]: of the function reconcile, of
// tagger listen --reconcile and of tagger reconcile --scheduled.
type Reconcile struct {
	Rules      string  `envconfig:"TAGGER_RECONCILE_RULES" desc:"Hash of the reviewed rules, or at least its first 8 digits. While other rules are in force, nothing is written; the log has their hash."`
	Max        int     `envconfig:"TAGGER_RECONCILE_MAX" default:"50" desc:"Maximum number of resources that one pass writes, 1 to 10000. If more need a write, it writes none."`
	MaxPercent float64 `envconfig:"TAGGER_RECONCILE_MAX_PERCENT" default:"2" desc:"Maximum percentage of the resources read that one pass writes. If more need a write, it writes none."`
}

// ReconcileFromEnv reads the configuration from the environment. It unsets empty variables, because they count as
// unset.
func ReconcileFromEnv() (Reconcile, error) { return fromEnv[Reconcile]() }

// isHash reports whether s is a SHA-256 in hexadecimal, or its first digits.
func isHash(s string) bool {
	return len(s) >= 8 && len(s) <= 64 && strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}

const maxReconciled = 10_000

func (r Reconcile) check() error {
	switch {
	case r.Rules != "" && !isHash(r.Rules):
		return fmt.Errorf("TAGGER_RECONCILE_RULES=%.70q is not 8 to 64 digits of the rules' hash, which is in the log line "+
			"\"rules in force\" and in the plans of tagger reconcile", r.Rules)
	case r.Max < 1 || r.Max > maxReconciled:
		return fmt.Errorf("TAGGER_RECONCILE_MAX=%d; want at least 1 and at most %d", r.Max, maxReconciled)
	case !(r.MaxPercent > 0 && r.MaxPercent <= 100): // this form also rejects NaN
		return fmt.Errorf("TAGGER_RECONCILE_MAX_PERCENT=%v; want more than 0 and at most 100", r.MaxPercent)
	}
	return nil
}
