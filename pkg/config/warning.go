package config

import (
	"net"
	"net/url"
	"slices"
	"strings"
)

// Warning is about a setting that works and is probably not what is meant.
type Warning struct {
	// Variable is the setting's name.
	Variable string
	// Text says what is wrong and the way out.
	Text string
}

func (w Warning) String() string { return w.Variable + " " + w.Text }

// Warnings are about the credentials. They quote no value but a host.
func (c Credentials) Warnings() []Warning {
	return withoutTLS("OS_AUTH_URL", c.AuthURL, "passwords and tokens go")
}

// Warnings are about the settings.
func (s Settings) Warnings() []Warning {
	return slices.Concat(
		withoutTLS("TAGGER_COMPUTE_ENDPOINT", s.ComputeEndpoint, "tokens go"),
		withoutTLS("TAGGER_VOLUME_ENDPOINT", s.VolumeEndpoint, "tokens go"),
		namesOnly("TAGGER_IGNORE_ACTORS", s.IgnoreActors),
	)
}

// namesOnly warns about patterns none of which can match a user's id, which is hexadecimal digits (and dashes).
func namesOnly(variable string, patterns []string) []Warning {
	matchesIDs := func(pattern string) bool { return strings.Trim(strings.ToLower(pattern), "0123456789abcdef-*?") == "" }
	if len(patterns) == 0 || slices.ContainsFunc(patterns, matchesIDs) {
		return nil
	}
	return []Warning{{variable,
		"has patterns for names only: snapshots' and volumes' events from Cinder name users by id; add the ids"}}
}

// withoutTLS warns about an address that is reached over a network without TLS.
func withoutTLS(variable, address, what string) []Warning {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return nil
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return []Warning{{variable, "begins with http://: " + what + " to " + u.Hostname() + " unencrypted; use https://"}}
}
