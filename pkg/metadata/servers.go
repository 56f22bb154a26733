package metadata

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/gophercloud/gophercloud/v2"
)

// Server is what the compute API tells of a server, as far as it matters for its metadata.
type Server struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Project string `json:"tenant_id"`
	// VMState is OS-EXT-STS:vm_state, the one field that decides whether metadata can be written: "active", "building", ….
	// It is not the status, which has other words (SHUTOFF for stopped).
	VMState string `json:"OS-EXT-STS:vm_state"`
	// TaskState is OS-EXT-STS:task_state, "" for none.
	TaskState string            `json:"OS-EXT-STS:task_state"`
	Metadata  map[string]string `json:"metadata"`
}

// Servers are the metadata operations on ECS and BMS servers.
type Servers struct{ client }

// NewServers returns the operations through a compute client. The family is one of ECS, BMS or Nova.
func NewServers(compute *gophercloud.ServiceClient, o Options) *Servers {
	return &Servers{client{Options: o, service: compute}}
}

// Get reads a server.
func (s *Servers) Get(ctx context.Context, id string) (Server, error) {
	if err := CheckID(id); err != nil {
		return Server{}, fmt.Errorf("get server: %w", err)
	}
	var answer struct {
		Server *Server `json:"server"`
	}
	r := GetServer(id)
	if err := s.do(ctx, r, &answer, http.StatusOK); err != nil {
		return Server{}, err
	}
	if answer.Server == nil || answer.Server.VMState == "" || answer.Server.Metadata == nil {
		return Server{}, &Error{Request: r, Status: http.StatusOK, Class: Unavailable, Message: `the answer has no server with "OS-EXT-STS:vm_state" and "metadata"`}
	}
	return *answer.Server, nil
}

// Metadata reads all keys. An empty map is a server without metadata.
func (s *Servers) Metadata(ctx context.Context, id string) (map[string]string, error) {
	if err := CheckID(id); err != nil {
		return nil, fmt.Errorf("get server metadata: %w", err)
	}
	return s.collection(ctx, GetServerMetadata(id))
}

// Metadatum reads the value of one key; an error of class [KeyNotFound] says that the server has no such key.
func (s *Servers) Metadatum(ctx context.Context, id, key string) (string, error) {
	if err := s.check(id, key); err != nil {
		return "", fmt.Errorf("get server metadata: %w", err)
	}
	return s.item(ctx, GetServerMetadatum(id, key), key)
}

// Update adds or overwrites keys, all in one request. Nothing is sent unless every key and value is within the
// family's limits.
func (s *Servers) Update(ctx context.Context, id string, metadata map[string]string) error {
	if err := CheckID(id); err != nil {
		return fmt.Errorf("update server metadata: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		if err := s.Family.Check(key, metadata[key]); err != nil {
			return fmt.Errorf("update server metadata: %w", err)
		}
	}
	// The answer is not evidence: it holds the map as this request left it, which another writer may have undone already.
	return s.do(ctx, UpdateServer(id, metadata), nil, http.StatusOK)
}

// DeleteMetadatum deletes one key; an error of class [KeyNotFound] says that there was none.
func (s *Servers) DeleteMetadatum(ctx context.Context, id, key string) error {
	if err := s.check(id, key); err != nil {
		return fmt.Errorf("delete server metadata: %w", err)
	}
	return s.remove(ctx, DeleteServerMetadatum(id, key))
}

// check is for operations that name one key in the URL.
func (c client) check(id, key string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	return c.Family.CheckKey(key)
}
