package main

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "51a05755"}
	for _, tt := range []struct {
		name string
		info *debug.BuildInfo
		want string
	}{
		{"a module's version", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"},
			Settings: []debug.BuildSetting{revision}}, "v1.2.3"},
		{"a working tree", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{revision}},
			"51a05755"},
		{"neither", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "(devel)"},
		{"no module", &debug.BuildInfo{}, "unknown"},
		{"nothing", nil, "unknown"},
	} {
		if got := version(func() (*debug.BuildInfo, bool) { return tt.info, tt.info != nil }); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	flag, _, _ := taggerCommand(t, "", "--version")
	out, errOut, status := taggerCommand(t, "", "version")
	if status != exitDone || errOut != "" || out != flag || !strings.HasPrefix(out, "tagger ") ||
		strings.Count(out, "\n") != 1 {
		t.Errorf("status %d: %q, %q%s", status, out, flag, errOut)
	}
}

func TestUnknownCommands(t *testing.T) {
	for args, want := range map[string]string{
		"paln x.json":   `unknown command "paln" for "tagger"; did you mean plan?`,
		"rules chekc":   `unknown command "chekc" for "tagger rules"; did you mean check?`,
		"rules compile": `unknown command "compile" for "tagger rules"; known: check, test`,
	} {
		if out, errOut, status := taggerCommand(t, "", strings.Fields(args)...); status != exitUsage || out != "" ||
			errOut != "tagger: "+want+"\n" {
			t.Errorf("%s: status %d: %s%s", args, status, out, errOut)
		}
	}
	for _, args := range [][]string{nil, {"rules"}} {
		if out, errOut, status := taggerCommand(t, "", args...); status != exitDone || errOut != "" ||
			!strings.Contains(out, " COMMAND\n") {
			t.Errorf("%q: status %d: %s%s", args, status, out, errOut)
		}
	}
}
