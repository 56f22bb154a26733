package main

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/cloudtagger/tagger/pkg/config"
)

// The Knative service manifest fits the code, which no manifest validator can check.
func TestKnativeManifest(t *testing.T) {
	type container struct {
		Args []string
		Env  []struct{ Name, Value string }
	}
	var containers []container
	for documents := yaml.NewDecoder(bytes.NewReader([]byte(readFile(t, "../../deploy/knative/tagger.yaml")))); ; {
		var manifest struct {
			Spec struct {
				Template struct {
					Spec struct{ Containers []container }
				}
			}
		}
		err := documents.Decode(&manifest)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		containers = append(containers, manifest.Spec.Template.Spec.Containers...)
	}
	if len(containers) != 1 {
		t.Fatalf("%d containers", len(containers))
	}
	c := containers[0]
	clearEnv(t)
	if _, errOut, status := taggerCommand(t, "", append(c.Args, "--help")...); status != exitDone ||
		!slices.Equal(c.Args, []string{"serve"}) {
		t.Errorf("args %q: status %d: %s", c.Args, status, errOut)
	}
	var set []string
	for _, v := range c.Env {
		t.Setenv(v.Name, v.Value)
		set = append(set, v.Name+"="+v.Value)
	}
	if unknown := config.Unknown(set); len(unknown) > 0 || len(set) == 0 {
		t.Errorf("variables %q: %q", set, unknown)
	}
	if _, err := config.SettingsFromEnv(); err != nil {
		t.Error(err)
	}
}
