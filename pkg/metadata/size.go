package metadata

import (
	"encoding/json"
	"strconv"
	"strings"
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
