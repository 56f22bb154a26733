package apply

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// target is one resource, whatever its kind.
type target interface {
	name() string
	all(ctx context.Context) (map[string]string, error)
	one(ctx context.Context, key string) (string, error)
	// write returns what was certainly written, which is not everything when it fails on the way.
	write(ctx context.Context, metadata map[string]string) (map[string]string, error)
	remove(ctx context.Context, key string) error
	// server reads the server; of a resource that is none, the error is errNoState.
	server(ctx context.Context) (metadata.Server, error)
}

var errNoState = errors.New("a snapshot has no vm_state")

type server struct {
	api Servers
	id  string
}

func (s server) name() string { return "server/" + s.id }

func (s server) all(ctx context.Context) (map[string]string, error) { return s.api.Metadata(ctx, s.id) }

func (s server) one(ctx context.Context, key string) (string, error) {
	return s.api.Metadatum(ctx, s.id, key)
}

// write sends every key in one request: of two requests, one could undo the other.
func (s server) write(ctx context.Context, metadata map[string]string) (map[string]string, error) {
	if err := s.api.Update(ctx, s.id, metadata); err != nil {
		return nil, err
	}
	return metadata, nil
}

func (s server) remove(ctx context.Context, key string) error {
	return s.api.DeleteMetadatum(ctx, s.id, key)
}

func (s server) server(ctx context.Context) (metadata.Server, error) { return s.api.Get(ctx, s.id) }

type snapshot struct {
	api  Snapshots
	id   string
	plan rules.Plan
}

func (s snapshot) name() string { return "snapshot/" + s.id }

// all has what is under owner as the Owner that a plan is about: Cinder's database takes them for one key, and writes the one into the row of
// the other.
func (s snapshot) all(ctx context.Context) (map[string]string, error) {
	known, err := s.api.Metadata(ctx, s.id)
	if err != nil {
		return nil, err
	}
	for _, wanted := range []map[string]string{s.plan.Set, s.plan.Add} {
		for key := range wanted {
			if _, there := known[key]; there {
				continue
			}
			for other, value := range known {
				if strings.EqualFold(other, key) {
					delete(known, other)
					known[key] = value
					break
				}
			}
		}
	}
	return known, nil
}

// one reads all, for reading one key Cinder tells owner from Owner.
func (s snapshot) one(ctx context.Context, key string) (string, error) {
	known, err := s.all(ctx)
	if err != nil {
		return "", err
	}
	value, there := known[key]
	if !there {
		return "", &metadata.Error{Class: metadata.KeyNotFound}
	}
	return value, nil
}

// write sets one key after another: Cinder loses keys that are set at the same time.
func (s snapshot) write(ctx context.Context, metadata map[string]string) (map[string]string, error) {
	done := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		if err := s.api.SetMetadatum(ctx, s.id, key, metadata[key]); err != nil {
			return done, err
		}
		done[key] = metadata[key]
	}
	return done, nil
}

func (s snapshot) remove(ctx context.Context, key string) error {
	return s.api.DeleteMetadatum(ctx, s.id, key)
}

func (snapshot) server(context.Context) (metadata.Server, error) {
	return metadata.Server{}, errNoState
}
