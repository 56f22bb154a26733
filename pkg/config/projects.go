package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cloudtagger/tagger/pkg/suggest"
)

// Projects is the list in TAGGER_PROJECTS: the projects whose resources may be written.
type Projects []string

// The words for other than project ids. A domain is domainPrefix and its name or id.
const (
	OwnProject   = "own"
	RoleProjects = "roles"
	AnyProject   = "*"

	domainPrefix = "domain:"
	// allProjects stands for AnyProject in the flag --scope, but not here.
	allProjects = "all"
)

// projectID allows more than 32 hexadecimal digits, the form in Keystone and Huawei Cloud, because identity drivers may
// use others. The length is checked apart: {1,64} makes the compiled expression large.
var projectID = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// maxProjectID is how many characters a project's ID may have.
const maxProjectID = 64

// Decode parses words separated by commas.
func (p *Projects) Decode(value string) error {
	var words List
	_ = words.Decode(value) // never fails
	for _, word := range words {
		name, isDomain := strings.CutPrefix(word, domainPrefix)
		switch {
		case isDomain && strings.TrimSpace(name) == "":
			return fmt.Errorf("%s needs the name of a domain", word)
		case word == allProjects:
			return fmt.Errorf("%q is not a project id; did you mean %s (every project)?", word, AnyProject)
		case isDomain, word == AnyProject, word == OwnProject, word == RoleProjects:
		case len(word) > maxProjectID, !projectID.MatchString(word),
			suggest.Word(word, []string{OwnProject, RoleProjects}) != "":
			known := []string{OwnProject, RoleProjects, AnyProject, domainPrefix + "NAME"}
			return fmt.Errorf("%.40q is not a project id%s", word, suggest.Hint(word, known))
		}
	}
	*p = Projects(words)
	return nil
}

// Own reports whether the list has the word for the credentials' own project.
func (p Projects) Own() bool { return slices.Contains(p, OwnProject) }

// Roles reports whether all projects in which the credentials have a role are allowed.
func (p Projects) Roles() bool { return slices.Contains(p, RoleProjects) }

// Any reports whether all projects that the credentials' token reaches are allowed.
func (p Projects) Any() bool { return slices.Contains(p, AnyProject) }

// Listed reports whether the list has the project's id.
func (p Projects) Listed(id string) bool {
	return id != OwnProject && id != RoleProjects && id != AnyProject && slices.Contains(p, id)
}

// Domains returns the names or ids of the domains whose projects are allowed.
func (p Projects) Domains() []string {
	var names []string
	for _, word := range p {
		if name, ok := strings.CutPrefix(word, domainPrefix); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// IDs returns the project ids in the list.
func (p Projects) IDs() []string {
	return slices.DeleteFunc(slices.Clone([]string(p)), func(word string) bool {
		return !p.Listed(word) || strings.HasPrefix(word, domainPrefix)
	})
}
