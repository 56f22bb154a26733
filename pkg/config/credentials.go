package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/kelseyhightower/envconfig"

	"github.com/cloudtagger/tagger/pkg/suggest"
)

// Credentials are the identity and the endpoints that Tagger uses: the variables of an openrc file, and those of the
// Huawei Cloud SDK for access keys. The names are the same in the environment and in the JSON object of a secret. An
// empty field counts as missing. [Credentials.Resolve] chooses the method. OS_INSECURE is not supported on purpose,
// because it would send the password to any server; use OS_CACERT.
//
// Names: https://docs.openstack.org/python-openstackclient/latest/cli/man/openstack.html and the Huawei Cloud SDK's
// core/auth/provider/env.go.
type Credentials struct {
	AuthURL            string `envconfig:"OS_AUTH_URL" json:"OS_AUTH_URL,omitempty" desc:"Address of the Identity API (Keystone) version 3, for example https://keystone.example.com:5000/v3."`
	AuthType           string `envconfig:"OS_AUTH_TYPE" json:"OS_AUTH_TYPE,omitempty" desc:"Credentials to use if several are set: v3password, v3applicationcredential or v3token."`
	IdentityAPIVersion string `envconfig:"OS_IDENTITY_API_VERSION" json:"OS_IDENTITY_API_VERSION,omitempty" desc:"Version of the Identity API; only 3 is supported."`

	Username       string `envconfig:"OS_USERNAME" json:"OS_USERNAME,omitempty" desc:"Name of the user, unique in its domain."`
	UserID         string `envconfig:"OS_USER_ID" json:"OS_USER_ID,omitempty" desc:"ID of the user, instead of name and domain."`
	Password       Secret `envconfig:"OS_PASSWORD" json:"OS_PASSWORD,omitzero" desc:"Password of the user."`
	UserDomainName string `envconfig:"OS_USER_DOMAIN_NAME" json:"OS_USER_DOMAIN_NAME,omitempty" desc:"Name of the user's domain, often Default."`
	UserDomainID   string `envconfig:"OS_USER_DOMAIN_ID" json:"OS_USER_DOMAIN_ID,omitempty" desc:"ID of the user's domain, often default."`

	ProjectName       string `envconfig:"OS_PROJECT_NAME" json:"OS_PROJECT_NAME,omitempty" desc:"Name of the project, unique in its domain."`
	ProjectID         string `envconfig:"OS_PROJECT_ID" json:"OS_PROJECT_ID,omitempty" desc:"ID of the project, instead of name and domain."`
	TenantName        string `envconfig:"OS_TENANT_NAME" json:"OS_TENANT_NAME,omitempty" desc:"Former name of OS_PROJECT_NAME."`
	TenantID          string `envconfig:"OS_TENANT_ID" json:"OS_TENANT_ID,omitempty" desc:"Former name of OS_PROJECT_ID."`
	ProjectDomainName string `envconfig:"OS_PROJECT_DOMAIN_NAME" json:"OS_PROJECT_DOMAIN_NAME,omitempty" desc:"Name of the project's domain. The default is the user's domain."`
	ProjectDomainID   string `envconfig:"OS_PROJECT_DOMAIN_ID" json:"OS_PROJECT_DOMAIN_ID,omitempty" desc:"ID of the project's domain. The default is the user's domain."`

	DomainName        string `envconfig:"OS_DOMAIN_NAME" json:"OS_DOMAIN_NAME,omitempty" desc:"Name of the domain of both user and project, if theirs are not set."`
	DomainID          string `envconfig:"OS_DOMAIN_ID" json:"OS_DOMAIN_ID,omitempty" desc:"ID of the domain of both user and project, if theirs are not set."`
	DefaultDomain     string `envconfig:"OS_DEFAULT_DOMAIN" json:"OS_DEFAULT_DOMAIN,omitempty" desc:"ID of the domain to use if no other is set."`
	DefaultDomainName string `envconfig:"OS_DEFAULT_DOMAIN_NAME" json:"OS_DEFAULT_DOMAIN_NAME,omitempty" desc:"Name of the domain to use if no other is set."`
	DefaultDomainID   string `envconfig:"OS_DEFAULT_DOMAIN_ID" json:"OS_DEFAULT_DOMAIN_ID,omitempty" desc:"ID of the domain to use if no other is set."`

	ApplicationCredentialID     string `envconfig:"OS_APPLICATION_CREDENTIAL_ID" json:"OS_APPLICATION_CREDENTIAL_ID,omitempty" desc:"ID of an application credential. It belongs to one user and one project."`
	ApplicationCredentialName   string `envconfig:"OS_APPLICATION_CREDENTIAL_NAME" json:"OS_APPLICATION_CREDENTIAL_NAME,omitempty" desc:"Name of an application credential of the user, instead of its ID."`
	ApplicationCredentialSecret Secret `envconfig:"OS_APPLICATION_CREDENTIAL_SECRET" json:"OS_APPLICATION_CREDENTIAL_SECRET,omitzero" desc:"Secret of the application credential."`

	Token Secret `envconfig:"OS_TOKEN" json:"OS_TOKEN,omitzero" desc:"Existing token. It cannot be renewed, so it is only for use on the command line."`

	RegionName   string `envconfig:"OS_REGION_NAME" json:"OS_REGION_NAME,omitempty" desc:"Region whose endpoints are used. Required if the catalog has several."`
	Interface    string `envconfig:"OS_INTERFACE" json:"OS_INTERFACE,omitempty" desc:"Interface of the endpoints: public (the default), internal or admin."`
	EndpointType string `envconfig:"OS_ENDPOINT_TYPE" json:"OS_ENDPOINT_TYPE,omitempty" desc:"Former name of OS_INTERFACE. It also accepts publicURL, internalURL and adminURL."`
	CACert       string `envconfig:"OS_CACERT" json:"OS_CACERT,omitempty" desc:"File with the PEM certificates of the CAs to trust instead of the system's, or the PEM text itself."`

	AccessKey          string `envconfig:"HUAWEICLOUD_SDK_AK" json:"HUAWEICLOUD_SDK_AK,omitempty" desc:"Huawei Cloud access key ID (AK). It signs requests; no token is used."`
	SecretKey          Secret `envconfig:"HUAWEICLOUD_SDK_SK" json:"HUAWEICLOUD_SDK_SK,omitzero" desc:"Huawei Cloud secret access key (SK)."`
	SecurityToken      Secret `envconfig:"HUAWEICLOUD_SDK_SECURITY_TOKEN" json:"HUAWEICLOUD_SDK_SECURITY_TOKEN,omitzero" desc:"Security token of a temporary access key."`
	AccessKeyProjectID string `envconfig:"HUAWEICLOUD_SDK_PROJECT_ID" json:"HUAWEICLOUD_SDK_PROJECT_ID,omitempty" desc:"ID of the project in which requests signed with the access key act."`
}

// CredentialsFromEnv reads the credentials from the environment. [Credentials.Resolve] checks them.
func CredentialsFromEnv() (Credentials, error) {
	var c Credentials
	err := envconfig.Process("", &c)
	// envconfig's error quotes the value, which may be a secret.
	if parse, ok := errors.AsType[*envconfig.ParseError](err); ok {
		return Credentials{}, fmt.Errorf("read the environment: %s is not a valid %s", parse.KeyName, parse.TypeName)
	}
	if err != nil {
		return c, err
	}
	if err := readSecretFiles(&c); err != nil {
		return Credentials{}, fmt.Errorf("read the environment: %w", err)
	}
	return c, nil
}

// ParseCredentials parses a JSON object with the names of the environment variables and string values. Errors never
// quote a value.
func ParseCredentials(object []byte) (Credentials, error) {
	var values map[string]any
	if err := json.Unmarshal(object, &values); err != nil || values == nil {
		return Credentials{}, errors.New(`read credentials: not a JSON object such as {"OS_AUTH_URL": "https://…", …}`)
	}
	known := CredentialNames()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(known, name) {
			return Credentials{}, fmt.Errorf("read credentials: unknown name %.40q%s", name, suggest.Variable(name, known))
		}
		if _, ok := values[name].(string); !ok {
			return Credentials{}, fmt.Errorf("read credentials: %s is not a JSON string: put its value in quotes", name)
		}
	}
	var c Credentials
	if err := json.Unmarshal(object, &c); err != nil {
		return Credentials{}, errors.New("read credentials: the JSON object cannot be decoded")
	}
	return c, nil
}

// CredentialNames returns the names of all variables of [Credentials], in the order of its fields.
func CredentialNames() []string {
	var names []string
	for field := range reflect.TypeFor[Credentials]().Fields() {
		names = append(names, field.Tag.Get("envconfig"))
	}
	return names
}

// SecretNames returns the variables of the secrets that are set.
func (c Credentials) SecretNames() []string {
	var names []string
	v := reflect.ValueOf(c)
	for field := range v.Type().Fields() {
		if secret, ok := v.FieldByIndex(field.Index).Interface().(Secret); ok && !secret.IsZero() {
			names = append(names, field.Tag.Get("envconfig"))
		}
	}
	return names
}
