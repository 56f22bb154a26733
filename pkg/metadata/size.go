package metadata

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
)

// Unit is the unit of size of a kind's resources.
type Unit string

// The units: virtual processors of a server's flavor, and the size of a volume in GiB. A snapshot's size is that of its
// volume.
const (
	VCPU Unit = "vCPU"
	GiB  Unit = "GiB"
)

// Unit returns the unit of [View].Size, "" for an unknown kind.
func (k Kind) Unit() Unit { return k.row().unit }

// ListsOthers reports whether the kind is in an earlier kind's list: Nova lists bare metal among the servers.
func (k Kind) ListsOthers() bool {
	for i := range table {
		if table[i].kind == k {
			return false
		}
		if r := k.row(); table[i].service == r.service && table[i].collection == r.collection {
			return true
		}
	}
	return false
}

// FlavorSizes reads the sizes of resources by the ids and the names of their flavors, for lists that leave the sizes
// out. It returns none for a kind without flavors.
func FlavorSizes(
	ctx context.Context, service *gophercloud.ServiceClient, kind Kind, o Options,
) (map[string]int, error) {
	row := kind.row()
	if row.flavors == "" {
		return nil, nil
	}
	var response struct {
		Flavors []struct {
			ID    string `json:"id"`
			Name  string `json:"name"`
			VCPUs number `json:"vcpus"`
		} `json:"flavors"`
	}
	r := Request{Method: http.MethodGet, Path: row.flavors + "?limit=" + strconv.Itoa(maxPageSize)}
	if err := (client{Options: o, service: service}).do(ctx, r, &response, http.StatusOK); err != nil {
		return nil, err
	}
	sizes := make(map[string]int, 2*len(response.Flavors))
	for _, f := range response.Flavors {
		sizes[f.ID], sizes[f.Name] = int(f.VCPUs), int(f.VCPUs)
	}
	return sizes, nil
}

// number reads a whole number, which Huawei Cloud puts in quotes; any other value is 0.
type number int

func (n *number) UnmarshalJSON(text []byte) error {
	i, _ := strconv.Atoi(strings.Trim(string(text), `"`))
	*n = number(max(i, 0))
	return nil
}

// serverSize reads a server's processors, which its flavor has from microversion 2.47.
func serverSize(text []byte) int {
	var b struct {
		Flavor struct {
			VCPUs number `json:"vcpus"`
		} `json:"flavor"`
	}
	_ = json.Unmarshal(text, &b) // decode has read it
	return int(b.Flavor.VCPUs)
}

func volumeSize(text []byte) int {
	var b struct {
		Size number `json:"size"`
	}
	_ = json.Unmarshal(text, &b) // decode has read it
	return int(b.Size)
}
