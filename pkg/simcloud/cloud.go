// Package simcloud is an in-memory cloud: Keystone, Compute and Block Storage, and the parts of Image and Network that
// clients use. It reproduces the responses of OpenStack Zed (Keystone 22, Nova 26.2, Cinder 21.3), including errors,
// odd status codes and wording. With [Options.HuaweiCloud], it follows the documentation of Huawei Cloud.
//
// A [Cloud] is an [http.Handler] for any OpenStack client, and has an [http.RoundTripper] that needs no socket. It
// starts no goroutines and no timers. Changes with time (a server builds, a token expires) are computed from the clock
// when a request reads them, so that a testing/synctest bubble controls them.
//
// All services share one address: /identity/v3, /compute/v2.1, /volume/v3, /image/v2, /network/v2.0.
package simcloud

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
)

// DefaultEndpoint is the base URL of links and of the catalog when neither the request nor [Options.Endpoint] gives
// one. The name never resolves (RFC 2606), so a client that bypasses the in-memory transport fails.
const DefaultEndpoint = "http://simcloud.invalid"

// Cloud is one cloud, created by [New]. Its methods are safe for concurrent use.
type Cloud struct {
	directory directory
	routes    map[string]routes // by service

	mu           sync.Mutex // guards everything below
	options      Options
	rand         *rand.Rand
	tokens       map[string]*token
	keys         map[string]*accessKeyState
	servers      inventory[*server]
	deleted      inventory[*server] // the latest deleted servers
	volumes      inventory[*volume]
	snapshots    inventory[*snapshot]
	transfers    map[string]*transfer
	changeQueue  changeQueue
	sequence     int // orders resources by creation
	faults       []*Fault
	journal      []Request
	journalStart int // index of the ring's oldest entry
}

// New returns a cloud. The zero Options make a usable one.
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

// newRand returns a random source, repeatable if the seed is not 0.
func newRand(seed uint64) *rand.Rand {
	if seed == 0 {
		seed = rand.Uint64()
	}
	return rand.New(rand.NewPCG(seed, seed))
}

// Tune changes options while the cloud is in use: the durations, Latency, LostUpdates, BuildFails and the like. It
// affects what starts afterwards; a server that is already building keeps its schedule. Users, projects and other
// options that New reads once do not change.
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

// nextSequence returns the creation number of the next resource. The caller holds c.mu.
func (c *Cloud) nextSequence() int {
	c.sequence++
	return c.sequence
}
