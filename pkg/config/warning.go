package config

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Warning reports a valid setting that is probably a mistake.
type Warning struct {
	// Variable is the setting's name.
	Variable string
	// Text describes the problem and the solution.
	Text string
}

func (w Warning) String() string { return w.Variable + " " + w.Text }

// Warnings returns warnings about the credentials. They quote no value except a host.
func (c Credentials) Warnings() []Warning {
	return slices.Concat(
		warnWithoutTLS("OS_AUTH_URL", c.AuthURL, "passwords and tokens go"),
		warnInsecure("OS_INSECURE"),
	)
}

// Warnings returns warnings about the settings.
func (s Settings) Warnings() []Warning {
	return slices.Concat(
		warnWithoutTLS("TAGGER_COMPUTE_ENDPOINT", s.ComputeEndpoint, "tokens go"),
		warnWithoutTLS("TAGGER_VOLUME_ENDPOINT", s.VolumeEndpoint, "tokens go"),
		warnNamesOnly("TAGGER_IGNORE_ACTORS", s.IgnoreActors),
		warnEveryone("TAGGER_IGNORE_ACTORS", s.IgnoreActors),
		warnHold("TAGGER_HOLD_FILE", s.HoldFile),
	)
}

// Warnings returns warnings about the broker. They quote no value except hosts.
func (l Listen) Warnings() []Warning {
	management := warnWithoutTLS("TAGGER_AMQP_MANAGEMENT_URL", l.ManagementURL, "the broker's password goes")
	brokers, err := l.Brokers()
	if err != nil { // the check of the settings reports it
		return management
	}
	var hosts []string
	for _, broker := range brokers {
		u, err := url.Parse(broker.Reveal())
		if err == nil && u.Scheme == "amqp" && !isLoopback(u.Hostname()) && !slices.Contains(hosts, u.Hostname()) {
			hosts = append(hosts, u.Hostname())
		}
	}
	if len(hosts) == 0 {
		return management
	}
	return append(management, Warning{"TAGGER_AMQP_URL", "has addresses without TLS: the password and all events go to " +
		strings.Join(hosts, ", ") + " unencrypted; use amqps:// and the broker's port for TLS, usually 5671"})
}

// warnNamesOnly warns if no pattern can match a user's id, which consists of hexadecimal digits and dashes.
func warnNamesOnly(variable string, patterns []string) []Warning {
	matchesIDs := func(pattern string) bool { return strings.Trim(strings.ToLower(pattern), "0123456789abcdef-*?") == "" }
	if len(patterns) == 0 || slices.ContainsFunc(patterns, matchesIDs) {
		return nil
	}
	return []Warning{{variable,
		"matches only names, but Cinder's events of volumes and snapshots have only user IDs; add the IDs"}}
}

// warnEveryone warns if a pattern matches every user.
func warnEveryone(variable string, patterns []string) []Warning {
	if !slices.ContainsFunc(patterns, func(p string) bool { return p != "" && strings.Trim(p, "*") == "" }) {
		return nil
	}
	return []Warning{{variable, "matches every user, so every event is ignored"}}
}

// warnHold warns if the hold file cannot be made.
func warnHold(variable, file string) []Warning {
	if file == "" {
		return nil
	}
	dir := filepath.Dir(file)
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	return []Warning{{variable, "names a file in " + dir + ", which is no directory, so the file cannot be made"}}
}

// warnWithoutTLS warns if requests to the address leave the host without TLS.
func warnWithoutTLS(variable, address, what string) []Warning {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return nil
	}
	if isLoopback(u.Hostname()) {
		return nil
	}
	return []Warning{{variable, "begins with http://: " + what + " to " + u.Hostname() + " unencrypted; use https://"}}
}

// warnInsecure warns if the variable of OpenStack's clients that turns off the check of certificates is set.
func warnInsecure(variable string) []Warning {
	value := strings.TrimSpace(os.Getenv(variable))
	if on, err := strconv.ParseBool(value); value == "" || err == nil && !on {
		return nil
	}
	return []Warning{{variable, "is not supported: set OS_CACERT to trust a private CA"}}
}

// isLoopback reports whether connections to a host stay on this one.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
