package tagger

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// checkedResource checks a resource's project at each read, and refuses to write if it is not the expected one. With a
// token that sees more than one project, it reads the resource before anything else. It then honours a server's lock
// too, because Nova lets an administrator write to a locked server.
//
// If a job reads metadata first, one GET serves both purposes; only a job that just writes costs one more call.
type checkedResource struct {
	apply.Resource
	one     *metadata.Resource // the same, for reading one key
	project string
	// wide reports that the token sees more than one project, or would need to in order to see this resource.
	wide        bool
	writeLocked bool

	mu     sync.Mutex
	known  bool
	locked bool  // when last read
	err    error // an *otherProjectError
}

// otherProjectError reports that a resource is in another project than expected.
type otherProjectError struct {
	path, want, have string
}

func (e *otherProjectError) Error() string {
	if e.have == "" {
		return fmt.Sprintf("the project of %s is unknown, and the credentials reach more than project "+
			"%s: it is not written", e.path, e.want)
	}
	return fmt.Sprintf("%s belongs to project %s, not to the event's project %s: it is not written", e.path, e.have,
		e.want)
}

// failed returns the *otherProjectError that stopped the job, nil when there was none.
func (p *checkedResource) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// isForeign reports whether a resource is in another project. A resource without a project is foreign only if the token
// sees more than one project.
func (p *checkedResource) isForeign(v metadata.View) bool {
	return v.Project != p.project && (p.wide || v.Project != "")
}

// Get reads the resource and compares its project.
func (p *checkedResource) Get(ctx context.Context) (metadata.View, error) {
	v, err := p.Resource.Get(ctx)
	if err != nil {
		return metadata.View{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isForeign(v) {
		p.err = &otherProjectError{p.Path(), p.project, v.Project}
		return metadata.View{}, p.err
	}
	p.known, p.locked = true, v.Locked
	return v, nil
}

// checkProject reads the resource, unless it has been read or the token sees only one project. view is nil if it did
// not read.
func (p *checkedResource) checkProject(ctx context.Context) (view *metadata.View, err error) {
	p.mu.Lock()
	known := p.known || !p.wide
	p.mu.Unlock()
	if known {
		return nil, nil
	}
	v, err := p.Get(ctx)
	return &v, err
}

// Metadata reads all keys.
func (p *checkedResource) Metadata(ctx context.Context) (map[string]string, error) {
	v, err := p.checkProject(ctx)
	if err != nil || v != nil {
		return v.Metadata, err
	}
	return p.Resource.Metadata(ctx)
}

// writable reads the resource if it has not been read, and returns an error of class [metadata.Locked] for a locked
// server.
func (p *checkedResource) writable(ctx context.Context) error {
	if _, err := p.checkProject(ctx); err != nil || p.writeLocked {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.locked || !p.wide { // otherwise Nova itself refuses
		return nil
	}
	p.known = false // the next attempt reads again
	return &metadata.Error{
		Request: metadata.Request{Method: http.MethodGet, Path: p.Path()}, Class: metadata.Locked,
		Message: "the server is locked, and TAGGER_WRITE_LOCKED is not set: an administrator's token could write to it",
	}
}

// Write writes keys.
func (p *checkedResource) Write(ctx context.Context, keys map[string]string) (map[string]string, error) {
	if err := p.writable(ctx); err != nil {
		return nil, err
	}
	return p.Resource.Write(ctx, keys)
}

// Remove deletes a key.
func (p *checkedResource) Remove(ctx context.Context, key string) error {
	if err := p.writable(ctx); err != nil {
		return err
	}
	return p.Resource.Remove(ctx, key)
}
