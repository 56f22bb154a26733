package rules

import "strings"

// isGlob reports whether a key is a pattern: * stands for any characters, ? for one. No family allows either in a key.
func isGlob(key string) bool { return strings.ContainsAny(key, "*?") }

// matchesGlob reports whether a key matches a pattern.
func matchesGlob(pattern, key string) bool {
	p, k := []rune(pattern), []rune(key)
	i, j := 0, 0
	star, from := -1, 0 // the last *, and where the text that it matches ends so far
	for j < len(k) {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == k[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(string(p[i:]), "*") == ""
}

// matchesAny returns the index of the first pattern, or key, that a key matches, -1 if there is none.
func matchesAny(patterns []string, key string) int {
	for i, pattern := range patterns {
		if matchesGlob(pattern, key) {
			return i
		}
	}
	return -1
}

// neverCopied lists keys that make sense only on the parent: they tie it to a Kubernetes cluster or a server group.
var neverCopied = []string{"openshiftClusterID", "cinder.csi.*", "kubernetes*", "metering.server_group"}
