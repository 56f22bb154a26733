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

// Credentials is who Tagger is to the cloud and which of the cloud's endpoints it uses: the variables of an openrc
// file, and those of the Huawei Cloud SDK for access keys. The same names serve in the environment and in a secret's
// JSON object. A field that is empty counts as missing. [Credentials.Resolve] says how they log in. OS_INSECURE is
// not here on purpose: it would send the password to whoever answers; OS_CACERT is the way.
//
// Names: https://docs.openstack.org/python-openstackclient/latest/cli/man/openstack.html and the Huawei Cloud SDK's
// core/auth/provider/env.go.
type Credentials struct {
	AuthURL            string `envconfig:"OS_AUTH_URL" json:"OS_AUTH_URL,omitempty" desc:"Address of the Identity API (Keystone) version 3, for example https://keystone.example.com:5000/v3."`
	AuthType           string `envconfig:"OS_AUTH_TYPE" json:"OS_AUTH_TYPE,omitempty" desc:"Which credentials log in where several are set: v3password, v3applicationcredential or v3token."`
	IdentityAPIVersion string `envconfig:"OS_IDENTITY_API_VERSION" json:"OS_IDENTITY_API_VERSION,omitempty" desc:"Version of the Identity API; only 3 is supported."`

	Username       string `envconfig:"OS_USERNAME" json:"OS_USERNAME,omitempty" desc:"Name of the user, unique in its domain."`
	UserID         string `envconfig:"OS_USER_ID" json:"OS_USER_ID,omitempty" desc:"ID of the user, in place of a name and a domain."`
	Password       Secret `envconfig:"OS_PASSWORD" json:"OS_PASSWORD,omitzero" desc:"Password of the user."`
	UserDomainName string `envconfig:"OS_USER_DOMAIN_NAME" json:"OS_USER_DOMAIN_NAME,omitempty" desc:"Name of the user's domain, often Default."`
	UserDomainID   string `envconfig:"OS_USER_DOMAIN_ID" json:"OS_USER_DOMAIN_ID,omitempty" desc:"ID of the user's domain, often default."`

	ProjectName       string `envconfig:"OS_PROJECT_NAME" json:"OS_PROJECT_NAME,omitempty" desc:"Name of the project to act in, unique in its domain."`
	ProjectID         string `envconfig:"OS_PROJECT_ID" json:"OS_PROJECT_ID,omitempty" desc:"ID of the project to act in, in place of a name and a domain."`
	TenantName        string `envconfig:"OS_TENANT_NAME" json:"OS_TENANT_NAME,omitempty" desc:"Older spelling of OS_PROJECT_NAME."`
	TenantID          string `envconfig:"OS_TENANT_ID" json:"OS_TENANT_ID,omitempty" desc:"Older spelling of OS_PROJECT_ID."`
	ProjectDomainName string `envconfig:"OS_PROJECT_DOMAIN_NAME" json:"OS_PROJECT_DOMAIN_NAME,omitempty" desc:"Name of the project's domain; the user's domain when missing."`
	ProjectDomainID   string `envconfig:"OS_PROJECT_DOMAIN_ID" json:"OS_PROJECT_DOMAIN_ID,omitempty" desc:"ID of the project's domain; the user's domain when missing."`

	DomainName        string `envconfig:"OS_DOMAIN_NAME" json:"OS_DOMAIN_NAME,omitempty" desc:"Name of the domain of both user and project, where theirs are missing."`
	DomainID          string `envconfig:"OS_DOMAIN_ID" json:"OS_DOMAIN_ID,omitempty" desc:"ID of the domain of both user and project, where theirs are missing."`
	DefaultDomain     string `envconfig:"OS_DEFAULT_DOMAIN" json:"OS_DEFAULT_DOMAIN,omitempty" desc:"ID of the domain to use where no other is set."`
	DefaultDomainName string `envconfig:"OS_DEFAULT_DOMAIN_NAME" json:"OS_DEFAULT_DOMAIN_NAME,omitempty" desc:"Name of the domain to use where no other is set."`
	DefaultDomainID   string `envconfig:"OS_DEFAULT_DOMAIN_ID" json:"OS_DEFAULT_DOMAIN_ID,omitempty" desc:"ID of the domain to use where no other is set."`

	ApplicationCredentialID     string `envconfig:"OS_APPLICATION_CREDENTIAL_ID" json:"OS_APPLICATION_CREDENTIAL_ID,omitempty" desc:"ID of an application credential, which belongs to one user and one project."`
	ApplicationCredentialName   string `envconfig:"OS_APPLICATION_CREDENTIAL_NAME" json:"OS_APPLICATION_CREDENTIAL_NAME,omitempty" desc:"Name of an application credential of the user, in place of its ID."`
	ApplicationCredentialSecret Secret `envconfig:"OS_APPLICATION_CREDENTIAL_SECRET" json:"OS_APPLICATION_CREDENTIAL_SECRET,omitzero" desc:"Secret of the application credential."`

	Token Secret `envconfig:"OS_TOKEN" json:"OS_TOKEN,omitzero" desc:"A token issued already; it cannot be renewed, so it serves at a desk only."`

	RegionName   string `envconfig:"OS_REGION_NAME" json:"OS_REGION_NAME,omitempty" desc:"Region whose endpoints are used; needed where the catalog has several."`
	Interface    string `envconfig:"OS_INTERFACE" json:"OS_INTERFACE,omitempty" desc:"Which of a service's endpoints is used: public (the default), internal or admin."`
	EndpointType string `envconfig:"OS_ENDPOINT_TYPE" json:"OS_ENDPOINT_TYPE,omitempty" desc:"Older spelling of OS_INTERFACE; publicURL and kin are understood too."`
	CACert       string `envconfig:"OS_CACERT" json:"OS_CACERT,omitempty" desc:"File with the PEM certificates of the authorities to trust in place of the system's, or the PEM text itself."`

	AccessKey          string `envconfig:"HUAWEICLOUD_SDK_AK" json:"HUAWEICLOUD_SDK_AK,omitempty" desc:"Huawei Cloud access key ID (AK); requests are signed, and no token is needed."`
	SecretKey          Secret `envconfig:"HUAWEICLOUD_SDK_SK" json:"HUAWEICLOUD_SDK_SK,omitzero" desc:"Huawei Cloud secret access key (SK)."`
	SecurityToken      Secret `envconfig:"HUAWEICLOUD_SDK_SECURITY_TOKEN" json:"HUAWEICLOUD_SDK_SECURITY_TOKEN,omitzero" desc:"Security token that belongs to a temporary access key."`
	AccessKeyProjectID string `envconfig:"HUAWEICLOUD_SDK_PROJECT_ID" json:"HUAWEICLOUD_SDK_PROJECT_ID,omitempty" desc:"ID of the project that requests signed with the access key act in."`
}

// CredentialsFromEnv reads the credentials from the environment. It does not check them: [Credentials.Resolve] does.
func CredentialsFromEnv() (Credentials, error) {
	var c Credentials
	err := envconfig.Process("", &c)
	// envconfig's own error quotes the value, which may be a secret.
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

// ParseCredentials reads the credentials from a JSON object whose names are those of the environment and whose values
// are strings. Errors name what is wrong and never quote a value.
func ParseCredentials(object []byte) (Credentials, error) {
	var values map[string]any
	if err := json.Unmarshal(object, &values); err != nil || values == nil {
		return Credentials{}, errors.New(`read credentials: not a JSON object such as {"OS_AUTH_URL": "https://…", …}`)
	}
	known := CredentialNames()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(known, name) {
			return Credentials{}, fmt.Errorf("read credentials: unknown name %.40q%s", name, suggest.Hint(name, known))
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

// CredentialNames returns the names of all variables that [Credentials] holds, in the order of its fields.
func CredentialNames() []string {
	var names []string
	for field := range reflect.TypeFor[Credentials]().Fields() {
		names = append(names, field.Tag.Get("envconfig"))
	}
	return names
}

// SecretNames returns the names of the secrets that are set.
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
