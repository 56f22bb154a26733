package cloud_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
)

// entry is one service of a catalog with endpoints written "interface region url".
func entry(serviceType string, endpoints ...string) string {
	var list []string
	for _, e := range endpoints {
		f := strings.Fields(e)
		list = append(list, fmt.Sprintf(`{"interface": %q, "region": %q, "region_id": %q, "url": %q}`, f[0], f[1], f[1],
			f[2]))
	}
	return fmt.Sprintf(`{"type": %q, "name": "x", "endpoints": [%s]}`, serviceType, strings.Join(list, ","))
}

func catalog(entries ...string) string { return "[" + strings.Join(entries, ",") + "]" }

func TestEndpoints(t *testing.T) {
	const compute, volume = "compute", "volume"
	twoRegions := catalog(entry("compute", "public A http://nova.a/v2.1", "public B http://nova.b/v2.1",
		"internal A http://nova.internal/v2.1/PROJECT"))
	tests := []struct {
		name    string
		service string
		catalog string
		change  func(*cloud.Options)
		want    string // the endpoint, or a part of the error
		refused bool
	}{
		{name: "Nova", service: compute, catalog: catalog(entry("compute", "public A https://nova/v2.1")),
			want: "https://nova/v2.1/"},
		{name: "Nova with a project", service: compute,
			catalog: catalog(entry("compute", "public A https://nova/v2.1/PROJECT/")), want: "https://nova/v2.1/p-demo/"},
		{name: "Nova below a path", service: compute,
			catalog: catalog(entry("compute", "public A https://cloud/compute/v2.1")), want: "https://cloud/compute/v2.1/"},
		{
			name: "Huawei Cloud", service: compute, want: "https://ecs.eu-west-101.myhuaweicloud.eu/v2/p-demo/",
			catalog: catalog(entry("ecs", "public eu-west-101 https://ecs.eu-west-101.myhuaweicloud.eu/v1/PROJECT"),
				entry("compute", "public eu-west-101 https://ecs.eu-west-101.myhuaweicloud.eu/v2/PROJECT")),
		},
		{name: "legacy Nova is not taken", service: compute,
			catalog: catalog(entry("compute_legacy", "public A https://nova/v2/PROJECT")), refused: true,
			want: "it has compute_legacy"},

		{name: "EVS", service: volume, catalog: catalog(entry("volumev2", "public A https://evs/v2/PROJECT")),
			want: "https://evs/v2/p-demo/"},
		{
			name: "the official type first", service: volume, want: "https://new/v3/p-demo/",
			catalog: catalog(entry("volume", "public A https://old/v1/PROJECT"),
				entry("volumev2", "public A https://old/v2/PROJECT"),
				entry("volumev3", "public A https://old/v3/PROJECT"), entry("block-storage", "public A https://new/v3/PROJECT")),
		},
		{
			name: "the newer version first", service: volume, want: "https://cinder/v3/p-demo/",
			catalog: catalog(entry("volumev2", "public A https://cinder/v2/PROJECT"),
				entry("volumev3", "public A https://cinder/v3/PROJECT")),
		},
		{name: "version 1 is not taken", service: volume,
			catalog: catalog(entry("volume", "public A https://cinder/v1/PROJECT")), refused: true,
			want: "it has volume public in region A"},
		{
			name: "a type without a fitting interface is passed over", service: volume, want: "https://cinder/v3/p-demo/",
			catalog: catalog(entry("block-storage", "internal A https://internal/v3/PROJECT"),
				entry("volumev3", "public A https://cinder/v3/PROJECT")),
		},

		{name: "region", service: compute, catalog: twoRegions, change: func(o *cloud.Options) {
			o.Credentials.RegionName = "B"
		}, want: "http://nova.b/v2.1/"},
		{
			name: "interface", service: compute, catalog: twoRegions, want: "http://nova.internal/v2.1/p-demo/",
			change: func(o *cloud.Options) { o.Credentials.EndpointType = "internalURL" },
		},
		{
			name: "several regions and none configured", service: compute, catalog: twoRegions, refused: true,
			want: "find the compute endpoint: the catalog has it in several regions (A, B): set OS_REGION_NAME",
		},
		{
			name: "no such region", service: compute, catalog: twoRegions, refused: true,
			change: func(o *cloud.Options) { o.Credentials.RegionName = "C" },
			want: "the catalog of keystone.test has none with interface public in region C; " +
				"it has compute internal in region A, compute public in region A, compute public in region B",
		},
		{name: "empty catalog", service: compute, catalog: "[]", refused: true,
			want: "it has nothing (set TAGGER_COMPUTE_ENDPOINT)"},
		{
			name: "no version", service: compute, catalog: catalog(entry("compute", "public A https://cloud/compute")),
			refused: true, want: "endpoint https://cloud/compute has no version: set TAGGER_COMPUTE_ENDPOINT",
		},
		{name: "not an address", service: volume, catalog: catalog(entry("volumev3", "public A /v3/PROJECT")), refused: true,
			want: "the catalog's is not an address"},

		{
			name: "override", service: compute, catalog: "[]", want: "https://nova.example.com/v2.1/",
			change: func(o *cloud.Options) { o.ComputeEndpoint = " https://nova.example.com/v2.1 " },
		},
		{
			name: "override with a project", service: compute, catalog: "[]", want: "https://nova/v2.1/p-demo/",
			change: func(o *cloud.Options) { o.ComputeEndpoint = "https://nova/v2.1/{project_id}" },
		},
		{
			name: "override with a project as Keystone writes it", service: volume, catalog: "[]",
			want:   "https://cinder/v3/p-demo/",
			change: func(o *cloud.Options) { o.VolumeEndpoint = "https://cinder/v3/$(project_id)s/" },
		},
		{
			name: "override with something else", service: volume, catalog: "[]", refused: true,
			want:   "only {project_id} is known",
			change: func(o *cloud.Options) { o.VolumeEndpoint = "https://evs.{region}.example.com/v2/{project_id}" },
		},
		{
			name: "override without a scheme", service: volume, catalog: "[]", refused: true,
			want:   "TAGGER_VOLUME_ENDPOINT is not an address",
			change: func(o *cloud.Options) { o.VolumeEndpoint = "evs.example.com/v2" },
		},
		{
			name: "override with a password", service: volume, catalog: "[]", refused: true,
			want:   "TAGGER_VOLUME_ENDPOINT contains more than scheme, host and path",
			change: func(o *cloud.Options) { o.VolumeEndpoint = "https://u:" + thePassword + "@evs.example.com/v2" },
		},

		{
			name: "access key", service: compute, want: "https://ecs.eu-1.myhuaweicloud.com/v2.1/p-demo/",
			change: func(o *cloud.Options) {
				o.Credentials = keyCredentials()
				o.ComputeEndpoint = "https://ecs.eu-1.myhuaweicloud.com/v2.1/{project_id}"
			},
		},
		{
			name: "access key without an endpoint", service: compute, refused: true,
			change: func(o *cloud.Options) { o.Credentials = keyCredentials() },
			want:   "set TAGGER_COMPUTE_ENDPOINT, on Huawei Cloud to https://ecs.<region>.myhuaweicloud.com/v2.1/{project_id}",
		},
		{
			name: "access key without an endpoint, region known", service: volume, refused: true,
			change: func(o *cloud.Options) { o.Credentials = keyCredentials(); o.Credentials.RegionName = "eu-1" },
			want:   "set TAGGER_VOLUME_ENDPOINT, on Huawei Cloud to https://evs.eu-1.myhuaweicloud.com/v2/{project_id}",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			f.catalog = tt.catalog
			o := cloud.Options{Credentials: passwordCredentials(), Transport: f}
			o.Credentials.RegionName = ""
			if tt.change != nil {
				tt.change(&o)
			}
			s := mustSession(t, cloud.New(o), "")
			client := s.Compute
			if tt.service == volume {
				client = s.Volume
			}
			var sc *gophercloud.ServiceClient
			sc, err := client()
			if !tt.refused {
				if err != nil {
					t.Fatal(err)
				}
				if sc.Endpoint != tt.want {
					t.Errorf("endpoint %s, want %s", sc.Endpoint, tt.want)
				}
				return
			}
			if _, ok := errors.AsType[*cloud.RefusedError](err); !ok || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want a RefusedError with %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), thePassword) {
				t.Errorf("error %q holds a secret", err)
			}
		})
	}
}

func TestClientsAreTheCallersOwn(t *testing.T) {
	s := mustSession(t, cloud.New(cloud.Options{Credentials: passwordCredentials(), Transport: newFake()}), "")
	one, err := s.Compute()
	if err != nil {
		t.Fatal(err)
	}
	one.Microversion = "2.93"
	two, err := s.Compute()
	if err != nil {
		t.Fatal(err)
	}
	if two.Microversion != "" {
		t.Error("a microversion set on one client shows on another")
	}
	if _, err := (config.Credentials{}).Resolve(); err == nil {
		t.Error("empty credentials resolve")
	}
}
