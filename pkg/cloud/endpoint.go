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

// service is one of the APIs that sessions have clients for.
type service struct {
	name     string
	types    []string // in the catalog, the preferred first
	override string   // from Options
	variable string   // that sets override
	pattern  string   // of the endpoint on Huawei Cloud
}

func computeService(override string) service {
	return service{
		name:     "compute",
		types:    []string{"compute"},
		override: override, variable: "TAGGER_COMPUTE_ENDPOINT",
		pattern: "https://ecs.%s.myhuaweicloud.com/v2.1/{project_id}",
	}
}

// volumeService has the official service type first, then the aliases with the newer version first:
// https://service-types.openstack.org/
func volumeService(override string) service {
	return service{
		name:     "volume",
		types:    []string{"block-storage", "block-store", "volumev3", "volumev2", "volume"},
		override: override, variable: "TAGGER_VOLUME_ENDPOINT",
		pattern: "https://evs.%s.myhuaweicloud.com/v2/{project_id}",
	}
}

// endpoint returns the service's address for the grant, with a slash at its end.
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
		return "", fmt.Errorf("find the %s endpoint: %s has something to fill in that is not known: only {project_id} is",
			s.name, s.variable)
	}
	if err := checkEndpoint(filled); err != nil {
		return "", fmt.Errorf("find the %s endpoint: %s %w", s.name, s.variable, err)
	}
	return gophercloud.NormalizeURL(filled), nil
}

// checkEndpoint does not quote the address: it may hold a password.
func checkEndpoint(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("is not an address such as https://nova.example.com/v2.1")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("holds more than scheme, host and path")
	}
	return nil
}

// version is what an endpoint's path says of the API's version.
var version = regexp.MustCompile(`/v([0-9]+)(\.[0-9]+)?(/|$)`)

// fromCatalog finds the endpoint of the configured interface and region. Its version is taken as it is; what names
// none is refused, because below it every resource would seem to be missing.
func (s service) fromCatalog(g *grant) (string, error) {
	l := g.login
	for _, serviceType := range s.types {
		var found []tokens.Endpoint
		for _, e := range g.endpoints(serviceType) {
			if e.Interface == l.Interface && (l.RegionName == "" || e.Region == l.RegionName || e.RegionID == l.RegionName) {
				found = append(found, e)
			}
		}
		// Version 1 of the volume API, which "volume" can be, knows no metadata of snapshots.
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
			return "", fmt.Errorf("find the %s endpoint: the catalog's, %s, names no version: set %s to the one that does",
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

// inCatalog says which endpoints of the service the catalog has, or else which services.
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
	const most = 12
	if more := len(have) - most; more > 0 {
		have = append(have[:most], fmt.Sprintf("%d more", more))
	}
	return strings.Join(have, ", ")
}
