package config

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"
)

// Method is how credentials log in. The first three are Keystone's own words.
type Method string

// The methods.
const (
	Password              Method = "password"
	ApplicationCredential Method = "application_credential"
	Token                 Method = "token"
	// AccessKey signs each request with a Huawei Cloud access key (SDK-HMAC-SHA256); there is no token.
	AccessKey Method = "access_key"
)

// Login is credentials that were found complete and unambiguous: what [Credentials.Resolve] returns.
type Login struct {
	// Credentials is as it was, but for this: older spellings are moved to the current ones, white space around
	// values is gone (secrets are not touched), domains that are needed are filled in, AuthURL ends in "/v3/", and
	// Interface is public, internal or admin.
	Credentials
	Method Method
	// Reason says in one sentence which variables log in, and which are set but not used.
	Reason string
}

// Resolve says how the credentials log in, or what is missing and the way out.
//
// The one method whose variables are all there is used; what is incomplete beside it is not. When several are complete,
// OS_AUTH_TYPE decides; without it they are refused, for acting as the wrong identity is worse than not acting.
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

// method is what one method takes.
type method struct {
	Method
	authTypes []string   // what OS_AUTH_TYPE says for it
	own       []string   // variables that no other method uses
	needs     [][]string // of each row, one variable has to be set
}

// methods are in the order in which a half-filled set of credentials is taken to mean one of them.
func methods() []method {
	return []method{
		{
			Method:    ApplicationCredential,
			authTypes: []string{"v3applicationcredential"},
			own: []string{"OS_APPLICATION_CREDENTIAL_ID", "OS_APPLICATION_CREDENTIAL_NAME",
				"OS_APPLICATION_CREDENTIAL_SECRET"},
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

// missing returns the first row of needs of which nothing is set, nil when the method is complete.
func (c Credentials) missing(m method) []string {
	for _, row := range m.needs {
		if len(c.setOf(row)) == 0 {
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
			return method{}, fmt.Errorf(
				"OS_AUTH_TYPE %.40q is not supported: use v3applicationcredential, v3password or v3token", c.AuthType)
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
		"%s are set, and each can log in: unset those that shall not, or say which with OS_AUTH_TYPE (%s)",
		strings.Join(names, " and "), strings.Join(types, ", "))
}

// incomplete says what is missing of the method that was probably meant.
func (c Credentials) incomplete(all []method) error {
	for _, m := range all {
		have := c.setOf(m.own)
		if len(have) == 0 && m.Method == Password {
			have = c.setOf(m.needs[0])
		}
		if len(have) > 0 {
			return fmt.Errorf("%s is missing: %s needs it", strings.Join(c.missing(m), " or "), have[0])
		}
	}
	return fmt.Errorf("nothing to log in with is set: set OS_AUTH_URL, OS_APPLICATION_CREDENTIAL_ID and " +
		"OS_APPLICATION_CREDENTIAL_SECRET, " +
		"or OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and a project, or HUAWEICLOUD_SDK_AK, HUAWEICLOUD_SDK_SK and " +
		"HUAWEICLOUD_SDK_PROJECT_ID")
}

func (c Credentials) reason(chosen method) string {
	var used, unused []string
	for _, row := range chosen.needs {
		used = append(used, c.setOf(row)...)
	}
	for _, m := range methods() {
		if m.Method != chosen.Method {
			unused = append(unused, c.setOf(m.own)...)
		}
	}
	s := strings.Join(used, ", ") + " log in"
	if c.AuthType != "" {
		s += ", as OS_AUTH_TYPE says"
	}
	if len(unused) > 0 {
		s += "; set but not used: " + strings.Join(unused, ", ")
	}
	return s
}

// completeKeystone checks and fills in what the Identity API needs.
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
			return fmt.Errorf("OS_USERNAME or OS_USER_ID is missing: OS_APPLICATION_CREDENTIAL_NAME is unique only for one " +
				"user; " +
				"or set OS_APPLICATION_CREDENTIAL_ID")
		}
		if user == (domain{}) {
			return fmt.Errorf("OS_USER_DOMAIN_NAME or OS_USER_DOMAIN_ID is missing: OS_USERNAME is unique only in a domain; " +
				"it is often Default")
		}
	}
	// An application credential has its project; what is set here is only compared with it.
	if l.Method != ApplicationCredential && l.ProjectID == "" && l.ProjectName != "" && project == (domain{}) {
		return fmt.Errorf("OS_PROJECT_DOMAIN_NAME or OS_PROJECT_DOMAIN_ID is missing: OS_PROJECT_NAME is unique only in a " +
			"domain; it is often Default")
	}
	l.UserDomainID, l.UserDomainName = user.id, user.name
	l.ProjectDomainID, l.ProjectDomainName = project.id, project.name
	return nil
}

type domain struct{ id, name string }

// firstDomain returns the first that is set, by ID where it has both.
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

// identityURL returns the address of the Identity API version 3 with a slash at its end. What is not an address is
// not quoted: it may hold a password.
func identityURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("OS_AUTH_URL is not an address such as https://keystone.example.com:5000/v3")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "",
			fmt.Errorf("OS_AUTH_URL holds more than scheme, host and path: leave out user, password, query and fragment")
	}
	switch path.Base(u.Path) {
	case "v3":
	case "v2.0", "v2":
		return "", fmt.Errorf("OS_AUTH_URL names version 2 of the Identity API, which is not supported: it ends in /v3")
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

// trimmed returns c without white space around its values. Files and consoles add it; only in secrets can it be meant.
func (c Credentials) trimmed() Credentials {
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.String {
			f.SetString(strings.TrimSpace(f.String()))
		}
	}
	return c
}

// setOf returns those of the named variables that are not empty.
func (c Credentials) setOf(names []string) []string {
	v := reflect.ValueOf(c)
	var set []string
	for i, name := range CredentialNames() {
		if slices.Contains(names, name) && !v.Field(i).IsZero() {
			set = append(set, name)
		}
	}
	return set
}
