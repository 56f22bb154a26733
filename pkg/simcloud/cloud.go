// Package simcloud is a cloud in memory: Keystone, Compute and Block Storage (and as much of Image and Network as
// clients ask for), answering as the real services do, refusals, odd status codes and wording included. The model is
// OpenStack Zed (Keystone 22, Nova 26.2, Cinder 21.3), and, with [Options.HuaweiCloud], what the documentation of
// Huawei Cloud says.
//
// A [Cloud] is an [http.Handler] for any OpenStack client, and has an [http.RoundTripper] that needs no socket. It
// starts no goroutine and has no timer of its own: what changes with time (a server that builds, a token that expires)
// is computed from the clock when somebody looks, so a test in a testing/synctest bubble owns time completely.
//
// Every service is below one address: /identity/v3, /compute/v2.1, /volume/v3, /image/v2, /network/v2.0.
package simcloud

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
)

// DefaultEndpoint is the base URL of links and of the catalog when neither the request nor [Options.Endpoint] gives
// one. The name never resolves (RFC 2606), so a client that left the in-memory transport is noticed.
const DefaultEndpoint = "http://simcloud.invalid"

// Cloud is one cloud. Make it with [New]. All methods may be called from any goroutine.
type Cloud struct {
	directory directory
	routes    map[string]routes // by service

	mu           sync.Mutex // guards everything below
	options      Options
	rand         *rand.Rand
	tokens       map[string]*token
	keys         map[string]*accessKeyState
	servers      inventory[*server]
	deleted      inventory[*server] // the last of those that are gone
	volumes      inventory[*volume]
	snapshots    inventory[*snapshot]
	transfers    map[string]*transfer
	agenda       agenda
	sequence     int // of creation, for the order of lists
	faults       []*Fault
	journal      []Request
	journalStart int // where the ring's oldest entry is
}

// New returns a cloud as the options describe it; the zero Options make a usable one.
func New(o Options) *Cloud {
	o = o.withDefaults()
	c := &Cloud{
		options:   o,
		rand:      newRand(o.Seed),
		tokens:    map[string]*token{},
		servers:   newInventory[*server](),
		deleted:   newInventory[*server](),
		volumes:   newInventory[*volume](),
		snapshots: newInventory[*snapshot](),
		transfers: map[string]*transfer{},
		keys:      map[string]*accessKeyState{},
		routes: map[string]routes{
			serviceIdentity: identityRoutes(),
			serviceCompute:  computeRoutes(),
			serviceVolume:   volumeRoutes(),
			serviceImage:    imageRoutes(),
			serviceNetwork:  networkRoutes(),
		},
	}
	c.directory = newDirectory(o)
	for _, f := range o.Faults {
		c.faults = append(c.faults, &f)
	}
	return c
}

// newRand returns a source of random numbers that a seed other than 0 makes repeatable.
func newRand(seed uint64) *rand.Rand {
	if seed == 0 {
		seed = rand.Uint64()
	}
	return rand.New(rand.NewPCG(seed, seed))
}

// Tune changes options while the cloud is in use: the durations, Latency, LostUpdates, BuildFails and the like. It
// affects what begins afterwards; a server that builds already keeps its schedule. Changes to users, projects and other
// things that New reads once have no effect.
func (c *Cloud) Tune(change func(*Options)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.options)
}

// newUUID returns a version 4 UUID. The caller holds c.mu.
func (c *Cloud) newUUID() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], c.rand.Uint64())
	binary.BigEndian.PutUint64(b[8:], c.rand.Uint64())
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// nextSequence numbers what is created. The caller holds c.mu.
func (c *Cloud) nextSequence() int {
	c.sequence++
	return c.sequence
}
