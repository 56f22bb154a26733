package cloud

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"

	"github.com/cloudtagger/tagger/pkg/config"
)

// service is an API that sessions have clients for.
type service struct {
	name     string
	types    []string // in the catalog, the preferred first
	override string   // from Options
	variable string   // the setting of override
	pattern  string   // the endpoint on Huawei Cloud, %s being the region
}

// services is the table of the APIs. The types of the volume API are the official one, then the aliases with the newer
// version first: https://service-types.openstack.org/
func (o Options) services() []service {
	return []service{
		{
			name:     "compute",
			types:    []string{"compute"},
			override: o.ComputeEndpoint, variable: "TAGGER_COMPUTE_ENDPOINT",
			pattern: "https://ecs.%s.myhuaweicloud.com/v2.1/{project_id}",
		},
		{
			name:     "volume",
			types:    []string{"block-storage", "block-store", "volumev3", "volumev2", "volume"},
			override: o.VolumeEndpoint, variable: "TAGGER_VOLUME_ENDPOINT",
			pattern: "https://evs.%s.myhuaweicloud.com/v2/{project_id}",
		},
	}
}

// endpoint returns the service's URL for the grant, with a trailing slash.
func (s service) endpoint(g *grant) (string, error) {
	switch {
	case s.override != "":
		return s.fromOverride(g.project)
	case g.login.Method == config.AccessKey:
		return "", fmt.Errorf("find the %s endpoint: an access key has no catalog: set %s, on Huawei Cloud to %s",
			s.name, s.variable, fmt.Sprintf(s.pattern, cmp.Or(g.login.RegionName, "<region>")))
	}
	return s.fromCatalog(g)
}

func (s service) fromOverride(project string) (string, error) {
	filled := strings.NewReplacer(
		"{project_id}", project, "$(project_id)s", project, "%(project_id)s", project,
		"{tenant_id}", project, "$(tenant_id)s", project, "%(tenant_id)s", project,
	).Replace(strings.TrimSpace(s.override))
	if strings.ContainsAny(filled, "{}$%()<>") {
		return "", fmt.Errorf("find the %s endpoint: %s has an unknown placeholder: only {project_id} is known",
			s.name, s.variable)
	}
	if err := checkEndpoint(filled); err != nil {
		return "", fmt.Errorf("find the %s endpoint: %s %w", s.name, s.variable, err)
	}
	return gophercloud.NormalizeURL(filled), nil
}

// checkEndpoint does not quote the address, which may contain a password.
func checkEndpoint(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("is not an address such as https://nova.example.com/v2.1")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("contains more than scheme, host and path")
	}
	return nil
}

// version matches the API version in an endpoint's path.
var version = regexp.MustCompile(`/v([0-9]+)(\.[0-9]+)?(/|$)`)

// fromCatalog returns the endpoint of the configured interface and region, whatever its version. One without a version
// is an error: every resource would seem to be missing.
func (s service) fromCatalog(g *grant) (string, error) {
	l := g.login
	for _, serviceType := range s.types {
		var found []tokens.Endpoint
		for _, e := range g.endpoints(serviceType) {
			if e.Interface == l.Interface && (l.RegionName == "" || e.Region == l.RegionName || e.RegionID == l.RegionName) {
				found = append(found, e)
			}
		}
		// Version 1 of the volume API, which "volume" can be, has no metadata of snapshots.
		found = slices.DeleteFunc(found, func(e tokens.Endpoint) bool {
			m := version.FindStringSubmatch(e.URL)
			return m != nil && m[1] == "1"
		})
		if len(found) == 0 {
			continue
		}
		if regions := regionsOf(found); len(regions) > 1 {
			return "", fmt.Errorf("find the %s endpoint: the catalog has it in several regions (%s): set OS_REGION_NAME",
				s.name, strings.Join(regions, ", "))
		}
		address := found[0].URL
		if err := checkEndpoint(address); err != nil {
			return "", fmt.Errorf("find the %s endpoint: the catalog's %w: set %s", s.name, err, s.variable)
		}
		if !version.MatchString(address) {
			return "", fmt.Errorf("find the %s endpoint: the catalog's endpoint %s has no version: set %s to one with a version",
				s.name, address, s.variable)
		}
		return gophercloud.NormalizeURL(address), nil
	}
	return "", fmt.Errorf("find the %s endpoint: the catalog of %s has none with interface %s%s; it has %s",
		s.name, host(l.AuthURL), l.Interface, inRegion(l.RegionName), s.inCatalog(g))
}

func (g *grant) endpoints(serviceType string) []tokens.Endpoint {
	var found []tokens.Endpoint
	for _, entry := range g.catalog {
		if entry.Type == serviceType {
			found = append(found, entry.Endpoints...)
		}
	}
	return found
}

func regionsOf(endpoints []tokens.Endpoint) []string {
	var regions []string
	for _, e := range endpoints {
		regions = append(regions, cmp.Or(e.Region, e.RegionID))
	}
	slices.Sort(regions)
	return slices.Compact(regions)
}

func inRegion(region string) string {
	if region == "" {
		return ""
	}
	return " in region " + region
}

// inCatalog lists the catalog's endpoints of the service, or if there are none, its services, for error messages.
func (s service) inCatalog(g *grant) string {
	var have []string
	for _, serviceType := range s.types {
		for _, e := range g.endpoints(serviceType) {
			have = append(have, serviceType+" "+e.Interface+inRegion(cmp.Or(e.Region, e.RegionID)))
		}
	}
	if len(have) == 0 {
		for _, entry := range g.catalog {
			have = append(have, entry.Type)
		}
	}
	if len(have) == 0 {
		return "nothing (set " + s.variable + ")"
	}
	slices.Sort(have)
	have = slices.Compact(have)
	const maxListed = 12
	if more := len(have) - maxListed; more > 0 {
		have = append(have[:maxListed], fmt.Sprintf("%d more", more))
	}
	return strings.Join(have, ", ")
}
