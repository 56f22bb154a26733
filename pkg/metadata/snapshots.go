package metadata

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
)

// Snapshots are the metadata operations on EVS and Cinder volume snapshots.
type Snapshots struct{ client }

// NewSnapshots returns the operations through a volume client. The family is one of EVS or Cinder.
func NewSnapshots(volume *gophercloud.ServiceClient, o Options) *Snapshots {
	return &Snapshots{client{Options: o, service: volume}}
}

// Metadata reads all keys. An empty map is a snapshot without metadata.
func (s *Snapshots) Metadata(ctx context.Context, id string) (map[string]string, error) {
	if err := CheckID(id); err != nil {
		return nil, fmt.Errorf("get snapshot metadata: %w", err)
	}
	return s.collection(ctx, GetSnapshotMetadata(id))
}

// SetMetadatum adds or overwrites one key. Nothing is sent unless key and value are within the family's limits.
// Keys of one snapshot must be set one after another: the API merges without a lock.
func (s *Snapshots) SetMetadatum(ctx context.Context, id, key, value string) error {
	if err := CheckID(id); err != nil {
		return fmt.Errorf("set snapshot metadata: %w", err)
	}
	if err := s.Family.Check(key, value); err != nil {
		return fmt.Errorf("set snapshot metadata: %w", err)
	}
	return s.do(ctx, SetSnapshotMetadatum(id, key, value), nil, http.StatusOK)
}

// DeleteMetadatum deletes one key; an error of class [KeyNotFound] says that there was none.
func (s *Snapshots) DeleteMetadatum(ctx context.Context, id, key string) error {
	if err := s.check(id, key); err != nil {
		return fmt.Errorf("delete snapshot metadata: %w", err)
	}
	return s.remove(ctx, DeleteSnapshotMetadatum(id, key))
}
