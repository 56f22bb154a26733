package contract_test

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

// operation is one of our own operations, and the class of its error.
type operation struct {
	name string
	as   string // the user, the member by default
	// id is the placeholder of the resource's id.
	id string
	// compute and volume, if not "", replace the catalog's endpoints.
	compute, volume string
	do              func(ctx context.Context, api ourAPI, id string) error
	// class is that of the error; "" means success.
	class metadata.Class
}

// ourAPI holds our operations on a cloud.
type ourAPI struct {
	servers   resources
	snapshots resources
}

// resources are the operations on resources of one kind, by id.
type resources struct {
	service *gophercloud.ServiceClient
	kind    metadata.Kind
}

func (r resources) one(id string) (*metadata.Resource, error) {
	return metadata.New(r.service, r.kind, id, metadata.Options{Family: r.kind.Family(metadata.OpenStack)})
}

func (r resources) Get(ctx context.Context, id string) (metadata.View, error) {
	one, err := r.one(id)
	if err != nil {
		return metadata.View{}, err
	}
	return one.Get(ctx)
}

func (r resources) Metadata(ctx context.Context, id string) (map[string]string, error) {
	one, err := r.one(id)
	if err != nil {
		return nil, err
	}
	return one.Metadata(ctx)
}

func (r resources) Metadatum(ctx context.Context, id, key string) (string, error) {
	one, err := r.one(id)
	if err != nil {
		return "", err
	}
	return one.Metadatum(ctx, key)
}

func (r resources) Update(ctx context.Context, id string, metadata map[string]string) error {
	one, err := r.one(id)
	if err != nil {
		return err
	}
	_, err = one.Write(ctx, metadata)
	return err
}

func (r resources) SetMetadatum(ctx context.Context, id, key, value string) error {
	return r.Update(ctx, id, map[string]string{key: value})
}

func (r resources) DeleteMetadatum(ctx context.Context, id, key string) error {
	one, err := r.one(id)
	if err != nil {
		return err
	}
	return one.Remove(ctx, key)
}

// ours returns the operations as a user, at the endpoints.
func (s *session) ours(who, compute, volume string) ourAPI {
	service := func(endpoint string) *gophercloud.ServiceClient {
		provider := &gophercloud.ProviderClient{HTTPClient: http.Client{Transport: s.client.Transport,
			CheckRedirect: s.client.CheckRedirect}}
		provider.UseTokenLock()
		provider.SetToken(s.tokens[who])
		return &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: endpoint}
	}
	return ourAPI{
		resources{service(compute), metadata.Server},
		resources{service(volume), metadata.Snapshot},
	}
}

func (o operation) check(t *testing.T, s *session, names map[string]string) {
	t.Helper()
	who := o.as
	if who == "" {
		who = "member"
	}
	fill, _ := replacers(names)
	api := s.ours(who, fill.Replace(cmp.Or(o.compute, "{nova}/v2.1/")),
		fill.Replace(cmp.Or(o.volume, "{cinder}/v3/{demo}/")))
	err := o.do(t.Context(), api, names[o.id])
	e, _ := errors.AsType[*metadata.Error](err)
	switch {
	case err == nil && o.class == "":
	case err == nil:
		t.Errorf("no refusal, want one of class %q", o.class)
	case e == nil || e.Class != o.class:
		t.Errorf("got %v, want class %q", err, o.class)
	}
}

// The operations on a server that has the key env.
func ourServerOperations(read, write, remove, missing metadata.Class) []operation {
	return []operation{
		{name: "Get", id: "server", do: func(ctx context.Context, api ourAPI, id string) error {
			_, err := api.servers.Get(ctx, id)
			return err
		}, class: read},
		{name: "Metadata", id: "server", do: func(ctx context.Context, api ourAPI, id string) error {
			_, err := api.servers.Metadata(ctx, id)
			return err
		}, class: read},
		{name: "Metadatum", id: "server", do: func(ctx context.Context, api ourAPI, id string) error {
			_, err := api.servers.Metadatum(ctx, id, "env")
			return err
		}, class: read},
		{name: "Metadatum that is missing", id: "server", do: func(ctx context.Context, api ourAPI, id string) error {
			_, err := api.servers.Metadatum(ctx, id, "missing")
			return err
		}, class: missing},
		{name: "Update", id: "server", do: func(ctx context.Context, api ourAPI, id string) error {
			return api.servers.Update(ctx, id, map[string]string{"env": "é <&>", "ours": ""})
		}, class: write},
		{name: "DeleteMetadatum that is missing", id: "server", do: func(ctx context.Context, api ourAPI, id string) error {
			return api.servers.DeleteMetadatum(ctx, id, "missing")
		}, class: missing},
		{name: "DeleteMetadatum", id: "server", do: func(ctx context.Context, api ourAPI, id string) error {
			return api.servers.DeleteMetadatum(ctx, id, "env")
		}, class: remove},
	}
}

// The operations on a snapshot that has the key env.
func ourSnapshotOperations(read, write, missing metadata.Class) []operation {
	return []operation{
		{name: "Metadata", id: "snapshot", do: func(ctx context.Context, api ourAPI, id string) error {
			_, err := api.snapshots.Metadata(ctx, id)
			return err
		}, class: read},
		{name: "SetMetadatum", id: "snapshot", do: func(ctx context.Context, api ourAPI, id string) error {
			return api.snapshots.SetMetadatum(ctx, id, "env", "é <&>")
		}, class: write},
		{name: "DeleteMetadatum that is missing", id: "snapshot", do: func(ctx context.Context, api ourAPI, id string) error {
			return api.snapshots.DeleteMetadatum(ctx, id, "missing")
		}, class: missing},
		{name: "DeleteMetadatum", id: "snapshot", do: func(ctx context.Context, api ourAPI, id string) error {
			return api.snapshots.DeleteMetadatum(ctx, id, "env")
		}, class: write},
	}
}
