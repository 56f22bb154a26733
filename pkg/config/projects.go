package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cloudtagger/tagger/pkg/suggest"
)

// Projects are the words of TAGGER_PROJECTS, which together say in which projects resources may be written.
type Projects []string

// The words beside project ids. A domain's is domainPrefix and its name or id.
const (
	OwnProject   = "own"
	RoleProjects = "roles"
	AnyProject   = "*"

	domainPrefix = "domain:"
)

// projectID is looser than what Keystone and Huawei Cloud make (32 hexadecimal digits): identity drivers may have
// others.
var projectID = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Decode reads words separated by commas.
func (p *Projects) Decode(value string) error {
	var words List
	_ = words.Decode(value) // never fails
	for _, word := range words {
		name, isDomain := strings.CutPrefix(word, domainPrefix)
		switch {
		case isDomain && strings.TrimSpace(name) == "":
			return fmt.Errorf("%s needs the name of a domain", word)
		case isDomain, word == AnyProject, word == OwnProject, word == RoleProjects:
		case !projectID.MatchString(word), suggest.Word(word, []string{OwnProject, RoleProjects}) != "":
			known := []string{OwnProject, RoleProjects, AnyProject, domainPrefix + "NAME"}
			return fmt.Errorf("%.40q is no project id%s", word, suggest.Hint(word, known))
		}
	}
	*p = Projects(words)
	return nil
}

// Own reports whether the credentials' own project is named by the word for it.
func (p Projects) Own() bool { return slices.Contains(p, OwnProject) }

// Roles reports whether every project in which the credentials have a role is within bounds.
func (p Projects) Roles() bool { return slices.Contains(p, RoleProjects) }

// Any reports whether every project that the credentials' own token reaches is within bounds.
func (p Projects) Any() bool { return slices.Contains(p, AnyProject) }

// Listed reports whether the project is named by its id.
func (p Projects) Listed(id string) bool {
	return id != OwnProject && id != RoleProjects && id != AnyProject && slices.Contains(p, id)
}

// Domains are the names or ids of the domains whose projects are within bounds.
func (p Projects) Domains() []string {
	var names []string
	for _, word := range p {
		if name, ok := strings.CutPrefix(word, domainPrefix); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// IDs are the projects that are named by their ids.
func (p Projects) IDs() []string {
	return slices.DeleteFunc(slices.Clone([]string(p)), func(word string) bool {
		return !p.Listed(word) || strings.HasPrefix(word, domainPrefix)
	})
}
