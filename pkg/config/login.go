package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"
)

// Method is how to authenticate. The first three have Keystone's names.
type Method string

// The methods.
const (
	Password              Method = "password"
	ApplicationCredential Method = "application_credential"
	Token                 Method = "token"
	// AccessKey signs each request with a Huawei Cloud access key (SDK-HMAC-SHA256); there is no token.
	AccessKey Method = "access_key"
)

// Login is a set of complete and unambiguous credentials. [Credentials.Resolve] returns it.
type Login struct {
	// Credentials are normalised: former names are replaced by the current ones, white space around values except
	// secrets is removed, required domains are set, AuthURL ends in "/v3/", and Interface is public, internal or admin.
	Credentials
	Method Method
	// Reason is one sentence that names the variables that are used, and those that are set but not used.
	Reason string
}

// Resolve chooses the method. Its error names what is missing and how to fix it.
//
// Resolve uses the method whose variables are all set, and ignores incomplete ones. If several are complete,
// OS_AUTH_TYPE decides; without it, Resolve returns an error, because acting as the wrong identity is worse than not
// acting.
func (c Credentials) Resolve() (Login, error) {
	c = c.trimmed()
	m, err := c.choose()
	if err != nil {
		return Login{}, fmt.Errorf("credentials: %w", err)
	}
	l := Login{Credentials: c, Method: m.Method, Reason: c.reason(m)}
	l.Interface, err = c.endpointInterface()
	if err == nil && l.Method != AccessKey {
		err = l.completeKeystone()
	}
	if err != nil {
		return Login{}, fmt.Errorf("credentials: %w", err)
	}
	return l, nil
}

// method lists the variables of a method.
type method struct {
	Method
	authTypes []string   // values of OS_AUTH_TYPE
	own       []string   // variables that no other method uses
	needs     [][]string // one variable of each row must be set
}

// methods returns the methods in the order in which [Credentials.incomplete] guesses the intended one.
func methods() []method {
	return []method{
		{
			Method:    ApplicationCredential,
			authTypes: []string{"v3applicationcredential"},
			own: []string{
				"OS_APPLICATION_CREDENTIAL_ID", "OS_APPLICATION_CREDENTIAL_NAME", "OS_APPLICATION_CREDENTIAL_SECRET",
			},
			needs: [][]string{
				{"OS_APPLICATION_CREDENTIAL_ID", "OS_APPLICATION_CREDENTIAL_NAME"},
				{"OS_APPLICATION_CREDENTIAL_SECRET"},
				{"OS_AUTH_URL"},
			},
		},
		{
			Method:    Password,
			authTypes: []string{"v3password", "password"},
			own:       []string{"OS_PASSWORD"},
			needs:     [][]string{{"OS_USERNAME", "OS_USER_ID"}, {"OS_PASSWORD"}, {"OS_AUTH_URL"}},
		},
		{
			Method:    Token,
			authTypes: []string{"v3token", "token"},
			own:       []string{"OS_TOKEN"},
			needs:     [][]string{{"OS_TOKEN"}, {"OS_AUTH_URL"}},
		},
		{
			Method: AccessKey,
			own:    []string{"HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK"},
			needs:  [][]string{{"HUAWEICLOUD_SDK_AK"}, {"HUAWEICLOUD_SDK_SK"}, {"HUAWEICLOUD_SDK_PROJECT_ID"}},
		},
	}
}

// missing returns the first row of needs in which no variable is set, nil if the method is complete.
func (c Credentials) missing(m method) []string {
	for _, row := range m.needs {
		if len(c.nonEmpty(row)) == 0 {
			return row
		}
	}
	return nil
}

func (c Credentials) choose() (method, error) {
	all := methods()
	if c.AuthType != "" {
		i := slices.IndexFunc(all, func(m method) bool { return slices.Contains(m.authTypes, c.AuthType) })
		if i < 0 {
			const format = "OS_AUTH_TYPE %.40q is not supported: use v3applicationcredential, v3password or v3token"
			return method{}, fmt.Errorf(format, c.AuthType)
		}
		if row := c.missing(all[i]); row != nil {
			return method{}, fmt.Errorf("%s is missing: OS_AUTH_TYPE %s needs it", strings.Join(row, " or "), c.AuthType)
		}
		return all[i], nil
	}

	var complete []method
	for _, m := range all {
		if c.missing(m) == nil {
			complete = append(complete, m)
		}
	}
	switch len(complete) {
	case 0:
		return method{}, c.incomplete(all)
	case 1:
		return complete[0], nil
	}
	var names, types []string
	for _, m := range complete {
		names = append(names, m.own[len(m.own)-1]) // the secret
		types = append(types, m.authTypes[:min(1, len(m.authTypes))]...)
	}
	return method{}, fmt.Errorf(
		"%s are set, but only one can be used: unset the others, or choose one with OS_AUTH_TYPE (%s)",
		strings.Join(names, " and "), strings.Join(types, ", "))
}

// incomplete returns an error with what is missing for the method that was probably intended.
func (c Credentials) incomplete(all []method) error {
	for _, m := range all {
		have := c.nonEmpty(m.own)
		if len(have) == 0 && m.Method == Password {
			have = c.nonEmpty(m.needs[0])
		}
		if len(have) > 0 {
			return fmt.Errorf("%s is missing: %s needs it", strings.Join(c.missing(m), " or "), have[0])
		}
	}
	return errors.New("no credentials are set: " +
		"set OS_AUTH_URL, OS_APPLICATION_CREDENTIAL_ID and OS_APPLICATION_CREDENTIAL_SECRET, " +
		"or OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and a project, " +
		"or HUAWEICLOUD_SDK_AK, HUAWEICLOUD_SDK_SK and HUAWEICLOUD_SDK_PROJECT_ID")
}

// reason returns the text of [Login.Reason].
func (c Credentials) reason(chosen method) string {
	var used, unused []string
	for _, row := range chosen.needs {
		used = append(used, c.nonEmpty(row)...)
	}
	for _, m := range methods() {
		if m.Method != chosen.Method {
			unused = append(unused, c.nonEmpty(m.own)...)
		}
	}
	s := strings.Join(used, ", ") + " log in"
	if c.AuthType != "" {
		s += ", chosen by OS_AUTH_TYPE"
	}
	if len(unused) > 0 {
		s += "; set but not used: " + strings.Join(unused, ", ")
	}
	return s
}

// completeKeystone checks and completes the values for the Identity API.
func (l *Login) completeKeystone() error {
	if v := l.IdentityAPIVersion; v != "" && strings.TrimPrefix(v, "v") != "3" {
		return fmt.Errorf("OS_IDENTITY_API_VERSION %.40q is not supported: only 3 is", v)
	}
	var err error
	if l.AuthURL, err = identityURL(l.AuthURL); err != nil {
		return err
	}

	l.ProjectID, l.ProjectName = cmp.Or(l.ProjectID, l.TenantID), cmp.Or(l.ProjectName, l.TenantName)
	l.TenantID, l.TenantName = "", ""
	fallback := []domain{{l.DomainID, l.DomainName}, {l.DefaultDomainID, l.DefaultDomainName}, {id: l.DefaultDomain}}
	user := firstDomain(append([]domain{{l.UserDomainID, l.UserDomainName}}, fallback...))
	project := firstDomain(append([]domain{{l.ProjectDomainID, l.ProjectDomainName}}, append(fallback, user)...))

	needsUser := l.Method == Password || l.Method == ApplicationCredential && l.ApplicationCredentialID == ""
	if needsUser && l.UserID == "" {
		if l.Username == "" {
			return errors.New("OS_USERNAME or OS_USER_ID is missing: " +
				"OS_APPLICATION_CREDENTIAL_NAME is unique only for one user; or set OS_APPLICATION_CREDENTIAL_ID")
		}
		if user == (domain{}) {
			return errors.New("OS_USER_DOMAIN_NAME or OS_USER_DOMAIN_ID is missing: " +
				"OS_USERNAME is unique only in a domain, often Default")
		}
	}
	// An application credential has a fixed project; the one set here is only compared with it.
	if l.Method != ApplicationCredential && l.ProjectID == "" && l.ProjectName != "" && project == (domain{}) {
		return errors.New("OS_PROJECT_DOMAIN_NAME or OS_PROJECT_DOMAIN_ID is missing: " +
			"OS_PROJECT_NAME is unique only in a domain, often Default")
	}
	l.UserDomainID, l.UserDomainName = user.id, user.name
	l.ProjectDomainID, l.ProjectDomainName = project.id, project.name
	return nil
}

type domain struct{ id, name string }

// firstDomain returns the first domain that is set, only its ID if it has both.
func firstDomain(domains []domain) domain {
	for _, d := range domains {
		if d.id != "" {
			return domain{id: d.id}
		}
		if d.name != "" {
			return d
		}
	}
	return domain{}
}

// identityURL returns the address of the Identity API version 3 with a trailing slash. Its errors do not quote the
// address, because it may contain a password.
func identityURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("OS_AUTH_URL is not an address such as https://keystone.example.com:5000/v3")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("OS_AUTH_URL has more than scheme, host and path: remove user, password, query and fragment")
	}
	switch path.Base(u.Path) {
	case "v3":
	case "v2.0", "v2":
		return "",
			errors.New("OS_AUTH_URL is of version 2 of the Identity API, which is not supported: use the one ending in /v3")
	default:
		u = u.JoinPath("v3")
	}
	return strings.TrimSuffix(u.String(), "/") + "/", nil
}

func (c Credentials) endpointInterface() (string, error) {
	name, value := "OS_INTERFACE", c.Interface
	if value == "" && c.EndpointType != "" {
		name, value = "OS_ENDPOINT_TYPE", c.EndpointType
	}
	switch v := strings.TrimSuffix(value, "URL"); v {
	case "":
		return "public", nil
	case "public", "internal", "admin":
		return v, nil
	}
	return "", fmt.Errorf("%s %.40q is not an interface: use public, internal or admin", name, value)
}

// trimmed returns c without white space around its values, which files and consoles add. Secrets are unchanged, because
// white space may be a part of them.
func (c Credentials) trimmed() Credentials {
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.String {
			f.SetString(strings.TrimSpace(f.String()))
		}
	}
	return c
}

// nonEmpty returns the given variables that are not empty.
func (c Credentials) nonEmpty(names []string) []string {
	v := reflect.ValueOf(c)
	var set []string
	for i, name := range CredentialNames() {
		if slices.Contains(names, name) && !v.Field(i).IsZero() {
			set = append(set, name)
		}
	}
	return set
}
