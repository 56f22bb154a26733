// Package cloudsyaml reads credentials as OpenStack's command line does: from the cloud that OS_CLOUD names in
// clouds.yaml, or from OS_* variables. Only the command uses it; it is not linked into functions.
package cloudsyaml

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/suggest"
)

// Read returns the credentials of the cloud that OS_CLOUD names or, without OS_CLOUD, those of the OS_* and
// HUAWEICLOUD_SDK_* variables. Of the variables, only OS_REGION_NAME, OS_INTERFACE and OS_CACERT override a file.
//
// clouds.yaml is the file that OS_CLIENT_CONFIG_FILE names, or the first of ./clouds.yaml,
// ~/.config/openstack/clouds.yaml and /etc/openstack/clouds.yaml. A secure.yaml in the same directory overrides it. A
// profile in clouds-public.yaml, found in the same places, fills in what it lacks. See
// https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html
//
// Every error is a [*cloud.RefusedError]. The context is unused: Read has the signature of Source in [cloud.Options].
func Read(context.Context) (config.Credentials, error) {
	credentials, err := read()
	if err != nil {
		return config.Credentials{}, &cloud.RefusedError{Err: err}
	}
	return credentials, nil
}

func read() (config.Credentials, error) {
	fromEnv, err := config.CredentialsFromEnv()
	if err != nil {
		return config.Credentials{}, err
	}
	name := os.Getenv("OS_CLOUD")
	if name == "" {
		return fromEnv, nil
	}
	c, file, err := find(name)
	if err != nil {
		return config.Credentials{}, err
	}
	credentials, err := c.credentials()
	if err != nil {
		return config.Credentials{}, fmt.Errorf("read cloud %s in %s: %w", name, file, err)
	}
	credentials.RegionName = cmp.Or(fromEnv.RegionName, credentials.RegionName)
	credentials.Interface = cmp.Or(fromEnv.Interface, credentials.Interface)
	credentials.CACert = cmp.Or(fromEnv.CACert, credentials.CACert)
	return credentials, nil
}

// Complete is [Read] for callers that need all values for a login. The error names what is missing in clouds.yaml, the
// cloud and the file.
func Complete(ctx context.Context) (config.Credentials, error) {
	credentials, err := Read(ctx)
	name := os.Getenv("OS_CLOUD")
	if err != nil || name == "" {
		return credentials, err
	}
	if _, err := credentials.Resolve(); err != nil {
		_, file, _ := find(name) // it was found just now
		text := strings.TrimPrefix(asMembers(err.Error()), "credentials: ")
		return config.Credentials{}, &cloud.RefusedError{Err: fmt.Errorf("read cloud %s in %s: %s", name, file, text)}
	}
	return credentials, nil
}

var variable = regexp.MustCompile(`\bOS_[A-Z_]+\b`)

// asMembers replaces the names of variables by those of the members of a cloud in clouds.yaml.
func asMembers(text string) string {
	return variable.ReplaceAllStringFunc(text, func(name string) string {
		return strings.ToLower(strings.TrimPrefix(name, "OS_"))
	})
}

// entry is one cloud or profile in a file, with the fields that a login needs.
type entry struct {
	// Auth holds the names of OS_* variables, in lower case and without "OS_".
	Auth map[string]string `yaml:"auth"`

	Profile            string `yaml:"profile"`
	Cloud              string `yaml:"cloud"` // older spelling of profile
	AuthType           string `yaml:"auth_type"`
	IdentityAPIVersion string `yaml:"identity_api_version"`
	RegionName         string `yaml:"region_name"`
	Interface          string `yaml:"interface"`
	EndpointType       string `yaml:"endpoint_type"`
	CACert             string `yaml:"cacert"`

	Verify *bool  `yaml:"verify"`
	Cert   string `yaml:"cert"`
}

// find reads the cloud from the first clouds.yaml, with its secure.yaml and its profile.
func find(name string) (c entry, file string, err error) {
	file, clouds, err := load("clouds", searchPath("clouds.yaml"))
	if err != nil {
		return entry{}, "", err
	}
	if file == "" {
		return entry{}, "", fmt.Errorf(
			"read cloud %s: there is no clouds.yaml (looked for %s): unset OS_CLOUD to use OS_* variables",
			name, strings.Join(searchPath("clouds.yaml"), ", "))
	}
	c, ok := clouds[name]
	if !ok {
		return entry{}, "", fmt.Errorf("read cloud %s: it is not in %s%s", name, file, known(name, clouds))
	}

	_, secure, err := load("clouds", []string{filepath.Join(filepath.Dir(file), "secure.yaml")})
	if err != nil {
		return entry{}, "", err
	}
	c = overlay(secure[name], c)

	if profile := cmp.Or(c.Profile, c.Cloud); profile != "" {
		publicFile, public, err := load("public-clouds", searchPath("clouds-public.yaml"))
		if err != nil {
			return entry{}, "", err
		}
		p, ok := public[profile]
		if !ok && c.Auth["auth_url"] == "" {
			where := publicFile
			if where == "" {
				where = "a clouds-public.yaml, which does not exist"
			}
			return entry{}, "", fmt.Errorf(
				"read cloud %s in %s: its profile %s is not in %s: write auth_url and the rest into the cloud",
				name, file, profile, where)
		}
		c = overlay(c, p)
	}
	return c, file, nil
}

// searchPath returns the places where a file is looked for, in order.
func searchPath(base string) []string {
	if file := os.Getenv("OS_CLIENT_CONFIG_FILE"); file != "" && base == "clouds.yaml" {
		return []string{file}
	}
	files := []string{base}
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		files = append(files, filepath.Join(dir, "openstack", base))
	} else if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, ".config", "openstack", base))
	}
	return append(files, filepath.Join("/etc/openstack", base))
}

// load reads the clouds under key from the first of the files that exists; file is "" when none does.
func load(key string, files []string) (file string, clouds map[string]entry, err error) {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", nil, fmt.Errorf("read clouds: %w", err) // the error names the file
		}
		clouds, err := parse(key, text)
		if err != nil {
			return "", nil, fmt.Errorf("read %s: %w", file, err)
		}
		return file, clouds, nil
	}
	return "", nil, nil
}

// parse reports only the lines of a YAML error: its text quotes values, which may be passwords.
func parse(key string, text []byte) (map[string]entry, error) {
	var document map[string]yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("not valid YAML%s: quote values with special characters", atLines(err))
	}
	node, ok := document[key]
	if !ok {
		return nil, fmt.Errorf("it has no %q at the top level", key)
	}
	var clouds map[string]entry
	if err := node.Decode(&clouds); err != nil {
		return nil, fmt.Errorf("%s is not in the form that clouds.yaml has%s", key, atLines(err))
	}
	return clouds, nil
}

var line = regexp.MustCompile(`\bline \d+`)

func atLines(err error) string {
	lines := slices.Compact(line.FindAllString(err.Error(), -1))
	if len(lines) == 0 {
		return ""
	}
	return " at " + strings.Join(lines, ", ")
}

// known returns a hint at the existing clouds.
func known(name string, clouds map[string]entry) string {
	names := slices.Sorted(maps.Keys(clouds))
	if hint := suggest.Hint(name, names); hint != "" || len(names) == 0 {
		return hint
	}
	return fmt.Sprintf("; it has %d others", len(names))
}

// overlay returns top with its empty fields filled from under.
func overlay(top, under entry) entry {
	auth := maps.Clone(under.Auth)
	if auth == nil {
		auth = make(map[string]string)
	}
	maps.Copy(auth, top.Auth)
	verify := top.Verify
	if verify == nil {
		verify = under.Verify
	}
	return entry{
		Auth:               auth,
		Profile:            cmp.Or(top.Profile, under.Profile),
		Cloud:              cmp.Or(top.Cloud, under.Cloud),
		AuthType:           cmp.Or(top.AuthType, under.AuthType),
		IdentityAPIVersion: cmp.Or(top.IdentityAPIVersion, under.IdentityAPIVersion),
		RegionName:         cmp.Or(top.RegionName, under.RegionName),
		Interface:          cmp.Or(top.Interface, under.Interface),
		EndpointType:       cmp.Or(top.EndpointType, under.EndpointType),
		CACert:             cmp.Or(top.CACert, under.CACert),
		Verify:             verify,
		Cert:               cmp.Or(top.Cert, under.Cert),
	}
}

// credentials converts the entry to credentials by the names of the corresponding OS_* variables.
func (e entry) credentials() (config.Credentials, error) {
	if e.Verify != nil && !*e.Verify {
		return config.Credentials{}, errors.New("verify: false is not supported, " +
			"because the password would go to whoever answers: name the certificate authority's file in cacert")
	}
	if e.Cert != "" {
		return config.Credentials{}, errors.New("cert (a client certificate) is not supported")
	}
	values := map[string]string{
		"OS_AUTH_TYPE":            e.AuthType,
		"OS_IDENTITY_API_VERSION": e.IdentityAPIVersion,
		"OS_REGION_NAME":          e.RegionName,
		"OS_INTERFACE":            e.Interface,
		"OS_ENDPOINT_TYPE":        e.EndpointType,
		"OS_CACERT":               expandHome(e.CACert),
	}
	names := config.CredentialNames()
	var auth []string // the names that auth can have
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, "OS_"); ok {
			if _, taken := values[name]; !taken {
				auth = append(auth, strings.ToLower(rest))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Auth)) {
		if !slices.Contains(auth, name) {
			return config.Credentials{}, fmt.Errorf("auth.%s is not supported%s", name, suggest.Hint(name, auth))
		}
		values["OS_"+strings.ToUpper(name)] = e.Auth[name]
	}
	object, err := json.Marshal(values)
	if err != nil {
		return config.Credentials{}, errors.New("encode its values as JSON") // maps of strings always have a JSON form
	}
	return config.ParseCredentials(object)
}

// expandHome resolves ~/, as OpenStack's clients do for cacert.
func expandHome(file string) string {
	rest, ok := strings.CutPrefix(file, "~/")
	if !ok {
		return file
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return file
	}
	return filepath.Join(home, rest)
}
