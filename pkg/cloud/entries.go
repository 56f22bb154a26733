package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/config"
)

// domainsPath is documented at https://docs.openstack.org/api-ref/identity/v3/#list-domains
const domainsPath = "domains"

// EntryError reports an entry of TAGGER_PROJECTS that allows no project.
type EntryError struct {
	// Entry is the project id, or domain: and the name of a domain.
	Entry string
	// Unknown reports that these credentials cannot look the entry up, so it may be right.
	Unknown bool
	// NoRole reports that the project or domain may exist, but that the credentials have no role in it.
	NoRole bool
	// Why is the reason, and what to write instead where that is known.
	Why string
}

func (e EntryError) Error() string { return e.Entry + ": " + e.Why }

// CheckProjects looks up the projects and domains that [Options].Projects names, and returns those that do not exist or
// that the credentials have no role in.
func (c *Cloud) CheckProjects(ctx context.Context) ([]EntryError, error) {
	p := c.options.Projects
	if len(p.IDs()) == 0 && len(p.Domains()) == 0 {
		return nil, nil
	}
	own, err := c.Login(ctx)
	if err != nil {
		return nil, err
	}
	var all []EntryError
	add := func(entry string, unknown bool, why string, args ...any) {
		all = append(all, EntryError{Entry: entry, Unknown: unknown, Why: fmt.Sprintf(why, args...)})
	}
	noRole := func(entry, why string, args ...any) {
		all = append(all, EntryError{Entry: entry, NoRole: true, Why: fmt.Sprintf(why, args...)})
	}
	ids := slices.DeleteFunc(p.IDs(), func(id string) bool { return id == own.Project })
	if len(ids) == 0 && len(p.Domains()) == 0 {
		return nil, nil
	}
	if own.Method == config.AccessKey {
		for _, id := range ids {
			add(id, true, "it cannot be looked up with an access key, which belongs to project %s", own.Project)
		}
		for _, domain := range p.Domains() {
			add("domain:"+domain, true, "it cannot be looked up with an access key")
		}
		return all, nil
	}
	listed, err := c.Projects(ctx)
	if forbidden(err) {
		for _, entry := range p {
			if entry != config.OwnProject && entry != own.Project {
				add(entry, true, "Keystone does not let these credentials look it up")
			}
		}
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if _, found := listed[id]; found {
			continue
		}
		named := ""
		for _, project := range listed {
			if strings.EqualFold(project.Name, id) {
				named = project.ID
			}
		}
		switch {
		case named != "":
			add(id, false, "no project has the id %q; a project of that name has the id %s", id, named)
		case own.Admin():
			add(id, false, "no project has the id %q", id)
		default:
			noRole(id, "the credentials have no role in a project with the id %q", id)
		}
	}
	for _, domain := range p.Domains() {
		why, unknown, err := c.checkDomain(ctx, own, domain, listed)
		if err != nil {
			return nil, err
		}
		switch {
		case why == "":
		case own.Admin() || unknown:
			add("domain:"+domain, unknown, "%s", why)
		default:
			noRole("domain:"+domain, "%s", why)
		}
	}
	return all, nil
}

// checkDomain returns why a domain allows no project, "" if it allows some.
func (c *Cloud) checkDomain(ctx context.Context, own *Session, domain string, listed map[string]Project) (why string,
	unknown bool, err error) {
	bounds := config.Projects{"domain:" + domain}
	var others []string // ids of projects, one of each domain whose name is not known
	seen := map[string]bool{own.grant.domain: true}
	if inDomain(bounds, own.grant.domain, own.grant.domainName) {
		return "", false, nil
	}
	for id, project := range listed {
		if inDomain(bounds, project.DomainID, "") {
			return "", false, nil
		}
		if !seen[project.DomainID] {
			seen[project.DomainID] = true
			others = append(others, id)
		}
	}
	if !own.Admin() {
		for _, id := range others {
			s, err := c.open(ctx, id)
			if err != nil {
				return "the domain of project " + id + " is not known: " + err.Error(), true, nil
			}
			if inDomain(bounds, s.grant.domain, s.grant.domainName) {
				return "", false, nil
			}
		}
		return fmt.Sprintf("the credentials have no role in a project of a domain %q", domain), false, nil
	}
	var answer struct {
		Domains []Project `json:"domains"`
	}
	err = c.readIdentity(ctx, own, domainsPath+"?name="+url.QueryEscape(domain), &answer)
	if forbidden(err) {
		return "Keystone does not let these credentials look up domains", true, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("look up domain %s: %w", domain, err)
	}
	for _, found := range answer.Domains {
		if inDomain(bounds, found.ID, found.Name) {
			return "", false, nil // it may be empty
		}
	}
	if _, err := c.directory.domain(ctx, domain); err == nil {
		return "", false, nil // an id
	}
	return fmt.Sprintf("there is no domain %q", domain), false, nil
}

func forbidden(err error) bool {
	if _, ok := errors.AsType[*UnknownError](err); ok {
		return true
	}
	return gophercloud.ResponseCodeIs(err, http.StatusForbidden)
}
