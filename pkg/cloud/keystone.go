package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"

	"github.com/cloudtagger/tagger/pkg/config"
)

// issueToken requests a token for the project; "" is the project that the credentials name or belong to.
//
// It uses version 3 below the given address without version discovery: behind a TLS proxy, Keystone's version document
// often names http:// addresses, and the password would go there.
//
// A [*RefusedError] has Until set, because an immediate retry would get the same response.
func issueToken(
	ctx context.Context, transport http.RoundTripper, l config.Login, project, userAgent string,
) (*grant, error) {
	client := newProviderClient(&idempotent{transport}, userAgent)
	identity := &gophercloud.ServiceClient{ProviderClient: client, Endpoint: l.AuthURL, Type: "identity"}

	g, err := requestToken(ctx, identity, l, project)
	if err != nil {
		err = loginError(l, project, err)
	} else {
		g.login, g.send = l, transport
		err = g.checkProject(project)
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		refused.Until = time.Now().Add(refusalTTL)
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

func requestToken(
	ctx context.Context, identity *gophercloud.ServiceClient, l config.Login, project string,
) (*grant, error) {
	if l.Method == config.Token {
		// Use the token as it is: many clouds forbid exchanging a scoped one.
		identity.SetToken(l.Token.Reveal())
		result := tokens.Get(ctx, identity, l.Token.Reveal())
		g, err := readGrant(result, l.Token)
		if err != nil || g.project != "" || l.ProjectID == "" && l.ProjectName == "" {
			return g, err
		}
	}
	result := tokens.Create(ctx, identity, authOptions(l, project))
	id, err := result.ExtractTokenID()
	if err != nil {
		return nil, err
	}
	if id == "" {
		return nil, errors.New("the response has no X-Subject-Token header")
	}
	return readGrant(result, config.NewSecret(id))
}

func readGrant(result interface{ ExtractInto(any) error }, token config.Secret) (*grant, error) {
	var issued struct {
		Project tokens.Project        `json:"project"`
		User    tokens.User           `json:"user"`
		Roles   []tokens.Role         `json:"roles"`
		Catalog []tokens.CatalogEntry `json:"catalog"`
	}
	if err := result.ExtractInto(&issued); err != nil {
		return nil, err
	}
	g := &grant{
		token:   token,
		project: issued.Project.ID, projectName: issued.Project.Name,
		domain: issued.Project.Domain.ID, domainName: issued.Project.Domain.Name,
		user: issued.User.Name, userID: issued.User.ID,
		catalog: issued.Catalog,
	}
	for _, r := range issued.Roles {
		g.roles = append(g.roles, r.Name)
	}
	return g, nil
}

func authOptions(l config.Login, project string) *gophercloud.AuthOptions {
	o := &gophercloud.AuthOptions{Scope: &gophercloud.AuthScope{}}
	switch {
	case l.Method == config.ApplicationCredential:
		// Keystone rejects a scope here, and gophercloud sends none.
	case project != "":
		o.Scope.ProjectID = project
	case l.ProjectID != "":
		o.Scope.ProjectID = l.ProjectID
	case l.ProjectName != "":
		o.Scope.ProjectName, o.Scope.DomainID, o.Scope.DomainName = l.ProjectName, l.ProjectDomainID, l.ProjectDomainName
	}

	needsUser := true
	switch l.Method {
	case config.Password:
		o.Password = l.Password.Reveal()
	case config.ApplicationCredential:
		o.ApplicationCredentialID, o.ApplicationCredentialName = l.ApplicationCredentialID, l.ApplicationCredentialName
		o.ApplicationCredentialSecret = l.ApplicationCredentialSecret.Reveal()
		needsUser = l.ApplicationCredentialID == ""
	case config.Token:
		o.TokenID = l.Token.Reveal()
		needsUser = false
	}
	if needsUser && l.UserID != "" {
		o.UserID = l.UserID
	} else if needsUser {
		o.Username, o.DomainID, o.DomainName = l.Username, l.UserDomainID, l.UserDomainName
	}
	return o
}

// checkProject returns an error unless the token is for the intended project.
func (g *grant) checkProject(asked string) error {
	l := g.login
	action := loginAction(l, asked)
	switch {
	case g.project == "":
		return refusedf("%s: the token has no project: set OS_PROJECT_ID, or OS_PROJECT_NAME and its domain", action)
	case asked != "" && g.project != asked:
		return refusedf("%s: the token is for project %s", action, g.project)
	case asked != "":
		return nil
	case l.ProjectID != "" && g.project != l.ProjectID:
		return refusedf("%s: the credentials belong to project %s (%s), not to that of OS_PROJECT_ID: correct one of them",
			action, g.project, g.projectName)
	case l.ProjectID == "" && l.ProjectName != "" && !strings.EqualFold(g.projectName, l.ProjectName):
		return refusedf("%s: the credentials belong to project %s (%s), not to that of OS_PROJECT_NAME: "+
			"correct one of them", action, g.project, g.projectName)
	}
	return nil
}

// loginError adds who logged in where to a failed login's error. It is a [*RefusedError] if an operator has to fix it.
func loginError(l config.Login, project string, err error) error {
	action := loginAction(l, project)
	if response, ok := errors.AsType[gophercloud.ErrUnexpectedResponseCode](err); ok {
		status := response.Actual
		text := fmt.Sprintf("%s: %d %s", action, status, http.StatusText(status))
		if m := message(response.Body, l.Password, l.ApplicationCredentialSecret, l.Token); m != "" {
			text += ": " + m
		}
		if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout ||
			status == http.StatusTooEarly {
			return newResponseError(text, response.Method, response.URL, status, response.ResponseHeader)
		}
		text += " (" + hint(status, l, project) + ")"
		return &RefusedError{Err: newResponseError(text, response.Method, response.URL, status, response.ResponseHeader)}
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return &RefusedError{Err: fmt.Errorf("%s: %w", action, refused.Err)}
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // its text repeats the address
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w (nothing answers there: check OS_AUTH_URL)", action, err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: no response within %s: %w", action, loginTimeout, err)
	}
	return fmt.Errorf("%s: %w", action, err)
}

// hint returns the likely causes of a refusal, and the variables to check. project is not that of the variables, if
// set.
func hint(status int, l config.Login, project string) string {
	m := l.Method
	switch {
	case status == http.StatusUnauthorized && m == config.Password:
		user := "OS_USERNAME"
		if l.UserID != "" {
			user = "OS_USER_ID"
		}
		const causes = "the password is wrong, the user is disabled or locked, or has no role in that project"
		switch {
		case project != "":
			return causes
		case l.ProjectID != "":
			return causes + ": check " + user + ", OS_PASSWORD and OS_PROJECT_ID"
		}
		return causes + ": check " + user + ", OS_PASSWORD, OS_PROJECT_NAME and the domains"
	case status == http.StatusUnauthorized && m == config.ApplicationCredential:
		return "the secret is wrong, or the application credential has expired or was deleted: check " +
			"OS_APPLICATION_CREDENTIAL_ID and OS_APPLICATION_CREDENTIAL_SECRET"
	case status == http.StatusUnauthorized || m == config.Token && status == http.StatusNotFound:
		return "the token has expired or was revoked, and needs to be replaced"
	case status == http.StatusForbidden:
		return "Keystone's policy does not allow it"
	case status == http.StatusBadRequest:
		return "Keystone rejects its form: check user, project and domains"
	}
	return "OS_AUTH_URL is probably not the address of the Identity API version 3"
}

// loginAction describes the login for error messages.
func loginAction(l config.Login, project string) string {
	s := "log in at " + host(l.AuthURL) + " as " + actor(l)
	if p := cmp.Or(project, l.ProjectID, l.ProjectName); p != "" {
		s += " in project " + p
	}
	return s
}

func actor(l config.Login) string {
	switch l.Method {
	case config.Password:
		return "user " + cmp.Or(l.Username, l.UserID)
	case config.ApplicationCredential:
		return "application credential " + cmp.Or(l.ApplicationCredentialID, l.ApplicationCredentialName)
	case config.AccessKey:
		return "access key " + l.AccessKey
	}
	return "the owner of the token"
}

func methodName(m config.Method) string {
	switch m {
	case config.ApplicationCredential:
		return "an application credential"
	case config.AccessKey:
		return "an access key"
	case config.Token:
		return "a token"
	}
	return "a user"
}

// idempotent lets net/http retry a request on a reused connection that turns out to be closed, as after a function was
// frozen. Requesting a token twice is harmless.
type idempotent struct {
	next http.RoundTripper
}

func (t *idempotent) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header["Idempotency-Key"] = []string{} // empty: net/http understands it and does not send it
	return t.next.RoundTrip(req)
}
