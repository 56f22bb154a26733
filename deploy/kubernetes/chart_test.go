package kubernetes

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the settings of docs/configuration.md into values.schema.json")

const directory = "chart"

// needed has the required values.
func needed() map[string]any {
	return map[string]any{"existingSecret": "openstack", "rules": "rules: []\n"}
}

// with returns the required values and others.
func with(others map[string]any) map[string]any {
	values := needed()
	for name, v := range others {
		values[name] = v
	}
	return values
}

// everything turns every option on.
func everything() map[string]any {
	return map[string]any{
		"existingSecret": "openstack", "existingRulesConfigMap": "our-rules", "ca": map[string]any{"configMap": "ca"},
		"audit":          map[string]any{"existingClaim": "audit"},
		"serve":          map[string]any{"enabled": true, "replicas": 1},
		"listen":         map[string]any{"extraArgs": []any{"--sink", "http://broker"}},
		"config":         map[string]any{"TAGGER_CONCURRENCY": 5, "OS_REGION_NAME": "RegionOne", "TAGGER_DRY_RUN": true},
		"image":          map[string]any{"digest": "sha256:" + strings.Repeat("a", 64)},
		"podMonitor":     map[string]any{"enabled": true, "labels": map[string]any{"release": "prometheus"}},
		"prometheusRule": map[string]any{"enabled": true, "labels": map[string]any{"release": "prometheus"}},
		"networkPolicy": map[string]any{"ingressFrom": []any{
			map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"name": "monitoring"}}},
		}},
		"imagePullSecrets": []any{map[string]any{"name": "registry"}},
		"nodeSelector":     map[string]any{"kubernetes.io/os": "linux"},
		"tolerations":      []any{map[string]any{"key": "infra", "operator": "Exists"}},
		"podAnnotations":   map[string]any{"a": "b"}, "podLabels": map[string]any{"team": "cloud"},
	}
}

// objects are the rendered objects, decoded strictly into their APIs' types.
type objects struct {
	deployments     map[string]appsv1.Deployment
	services        []corev1.Service
	configMaps      []corev1.ConfigMap
	accounts        []corev1.ServiceAccount
	pods            []corev1.Pod
	budgets         []policyv1.PodDisruptionBudget
	networkPolicies []networkingv1.NetworkPolicy
	podMonitors     []monitoringv1.PodMonitor
	prometheusRules []monitoringv1.PrometheusRule
}

func render(t *testing.T, values map[string]any) (objects, error) {
	t.Helper()
	c, err := loader.Load(directory)
	if err != nil {
		t.Fatal(err)
	}
	if err := chartutil.ValidateAgainstSchema(c, coalesced(t, values)); err != nil {
		return objects{}, err
	}
	options := chartutil.ReleaseOptions{Name: "prod", Namespace: "tagging", IsInstall: true}
	all, err := chartutil.ToRenderValues(c, values, options, chartutil.DefaultCapabilities)
	if err != nil {
		return objects{}, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return objects{}, err
	}
	o := objects{deployments: map[string]appsv1.Deployment{}}
	for name, text := range files {
		if strings.HasSuffix(name, ".txt") {
			continue
		}
		for documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text))); ; {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(bytes.TrimSpace(document)) > 0 {
				o.add(t, name, document)
			}
		}
	}
	return o, nil
}

func coalesced(t *testing.T, values map[string]any) map[string]any {
	t.Helper()
	c, err := loader.Load(directory)
	if err != nil {
		t.Fatal(err)
	}
	v, err := chartutil.CoalesceValues(c, values)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (o *objects) add(t *testing.T, file string, document []byte) {
	t.Helper()
	var kind struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(document, &kind); err != nil {
		t.Fatalf("%s: %v\n%s", file, err, document)
	}
	switch kind.APIVersion + " " + kind.Kind {
	case "apps/v1 Deployment":
		d := strictly[appsv1.Deployment](t, file, document)
		o.deployments[d.Labels["app.kubernetes.io/component"]] = d
	case "v1 Service":
		o.services = append(o.services, strictly[corev1.Service](t, file, document))
	case "v1 ConfigMap":
		o.configMaps = append(o.configMaps, strictly[corev1.ConfigMap](t, file, document))
	case "v1 ServiceAccount":
		o.accounts = append(o.accounts, strictly[corev1.ServiceAccount](t, file, document))
	case "v1 Pod":
		o.pods = append(o.pods, strictly[corev1.Pod](t, file, document))
	case "policy/v1 PodDisruptionBudget":
		o.budgets = append(o.budgets, strictly[policyv1.PodDisruptionBudget](t, file, document))
	case "networking.k8s.io/v1 NetworkPolicy":
		o.networkPolicies = append(o.networkPolicies, strictly[networkingv1.NetworkPolicy](t, file, document))
	case "monitoring.coreos.com/v1 PodMonitor":
		o.podMonitors = append(o.podMonitors, strictly[monitoringv1.PodMonitor](t, file, document))
	case "monitoring.coreos.com/v1 PrometheusRule":
		o.prometheusRules = append(o.prometheusRules, strictly[monitoringv1.PrometheusRule](t, file, document))
	default:
		t.Fatalf("%s: a %s %s", file, kind.APIVersion, kind.Kind)
	}
}

func strictly[T any](t *testing.T, file string, document []byte) T {
	t.Helper()
	var v T
	if err := yaml.UnmarshalStrict(document, &v); err != nil {
		t.Fatalf("%s: %v\n%s", file, err, document)
	}
	return v
}

func TestLint(t *testing.T) {
	for name, values := range map[string]map[string]any{"least": needed(), "most": everything()} {
		for _, m := range lint.All(directory, values, "tagging", true).Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %s", name, m)
			}
		}
	}
}

func TestLeast(t *testing.T) {
	o, err := render(t, needed())
	if err != nil {
		t.Fatal(err)
	}
	listen, ok := o.deployments["listen"]
	if !ok || len(o.deployments) != 1 || len(o.services) != 0 {
		t.Fatalf("%d deployments, %d services", len(o.deployments), len(o.services))
	}
	if n := len(o.podMonitors) + len(o.prometheusRules); n != 0 {
		t.Fatalf("%d objects of the Prometheus operator", n)
	}
	if *listen.Spec.Replicas != 2 || listen.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() != 0 {
		t.Errorf("%d replicas, %v", *listen.Spec.Replicas, listen.Spec.Strategy)
	}
	if len(o.budgets) != 1 || o.budgets[0].Spec.MinAvailable.IntValue() != 1 {
		t.Errorf("budgets %v", o.budgets)
	}
	if len(o.configMaps) != 1 || o.configMaps[0].Data["rules.yaml"] != "rules: []\n" {
		t.Errorf("rules %v", o.configMaps)
	}
	if got := listen.Spec.Template.Spec.Volumes[0].ConfigMap.Name; got != o.configMaps[0].Name {
		t.Errorf("the rules are those of %s", got)
	}
	if len(o.networkPolicies) != 1 || len(o.networkPolicies[0].Spec.Ingress[0].From) != 1 {
		t.Errorf("a policy whose ingress has no from allows every client:  %v", o.networkPolicies)
	}
}

// Selectors select the intended Pods.
func TestSelectors(t *testing.T) {
	o, err := render(t, everything())
	if err != nil {
		t.Fatal(err)
	}
	selects := func(selector, labels map[string]string) bool {
		for name, value := range selector {
			if labels[name] != value {
				return false
			}
		}
		return len(selector) > 0
	}
	listen, serve := o.deployments["listen"], o.deployments["serve"]
	for what, s := range map[string]struct {
		selector      map[string]string
		listen, serve bool
	}{
		"listen":         {listen.Spec.Selector.MatchLabels, true, false},
		"serve":          {serve.Spec.Selector.MatchLabels, false, true},
		"service":        {o.services[0].Spec.Selector, false, true},
		"budget":         {o.budgets[0].Spec.Selector.MatchLabels, true, false},
		"network policy": {o.networkPolicies[0].Spec.PodSelector.MatchLabels, true, true},
		"pod monitor":    {o.podMonitors[0].Spec.Selector.MatchLabels, true, true},
	} {
		l, v := selects(s.selector, listen.Spec.Template.Labels), selects(s.selector, serve.Spec.Template.Labels)
		if l != s.listen || v != s.serve {
			t.Errorf("%s selects listen: %t, serve: %t", what, l, v)
		}
	}
	if o.services[0].Spec.Ports[0].TargetPort.String() != "http" ||
		o.podMonitors[0].Spec.PodMetricsEndpoints[0].Port == nil {
		t.Error("the ports have other names")
	}
	if len(o.prometheusRules[0].Spec.Groups) != 3 || len(o.prometheusRules[0].Spec.Groups[0].Rules) < 10 {
		t.Errorf("alerts %v", o.prometheusRules[0].Spec.Groups)
	}
}

// Every container is as restricted as possible, and has what it needs.
func TestContainers(t *testing.T) {
	o, err := render(t, everything())
	if err != nil {
		t.Fatal(err)
	}
	specs := map[string]corev1.PodSpec{"check": o.pods[0].Spec}
	for name, d := range o.deployments {
		specs[name] = d.Spec.Template.Spec
	}
	if len(specs) != 3 {
		t.Fatalf("%d Pods", len(specs))
	}
	for name, spec := range specs {
		c := spec.Containers[0]
		s := c.SecurityContext
		if !*s.RunAsNonRoot || *s.RunAsUser == 0 {
			t.Errorf("%s: runs as root: %v", name, s)
		}
		if !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || s.Capabilities.Drop[0] != "ALL" {
			t.Errorf("%s: has privileges: %v", name, s)
		}
		if s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: seccomp profile %v", name, s.SeccompProfile)
		}
		if *spec.AutomountServiceAccountToken || c.Resources.Limits.Memory().IsZero() ||
			spec.ServiceAccountName != o.accounts[0].Name {
			t.Errorf("%s: token, memory or account", name)
		}
		if c.EnvFrom[0].SecretRef.Name != "openstack" || !strings.HasSuffix(c.Image, "@sha256:"+strings.Repeat("a", 64)) {
			t.Errorf("%s: secret %v, image %s", name, c.EnvFrom, c.Image)
		}
		mounts := map[string]string{}
		for _, m := range c.VolumeMounts {
			mounts[m.Name] = m.MountPath
		}
		env := map[string]string{}
		for _, e := range c.Env {
			env[e.Name] = e.Value
		}
		if env["TAGGER_RULES_FILE"] != filepath.Join(mounts["rules"], "rules.yaml") ||
			env["OS_CACERT"] != filepath.Join(mounts["ca"], "ca.crt") {
			t.Errorf("%s: %v, %v", name, env, mounts)
		}
		if env["TAGGER_AUDIT_FILE"] != filepath.Join(mounts["audit"], "$(POD_NAME).jsonl") || mounts["audit"] == "" ||
			!slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool {
				return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == "audit"
			}) {
			t.Errorf("%s: no place for the audit file: %v, %v", name, env, mounts)
		}
		// Numbers and booleans in the values become text in the environment.
		if env["TAGGER_CONCURRENCY"] != "5" || env["TAGGER_DRY_RUN"] != "true" {
			t.Errorf("%s: %v", name, env)
		}
		if name != "check" && (c.ReadinessProbe.HTTPGet.Path != "/healthz" || c.LivenessProbe.TCPSocket == nil) {
			t.Errorf("%s: probes %v, %v", name, c.ReadinessProbe, c.LivenessProbe)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, test := range map[string]struct {
		values map[string]any
		want   string
	}{
		"no secret":          {map[string]any{"rules": "rules: []"}, "existingSecret"},
		"no rules":           {map[string]any{"existingSecret": "s"}, "rules"},
		"rules twice":        {with(map[string]any{"existingRulesConfigMap": "r"}), "give one of them"},
		"a misspelt setting": {with(map[string]any{"config": map[string]any{"TAGGER_PROJECT": "x"}}), "TAGGER_PROJECT"},
		"a secret in values": {with(map[string]any{"config": map[string]any{"OS_PASSWORD": "x"}}), "OS_PASSWORD"},
		"a misspelt value":   {with(map[string]any{"lisen": map[string]any{}}), "lisen"},
		"text for a number":  {with(map[string]any{"listen": map[string]any{"replicas": "two"}}), "replicas"},
		"a port out of range": {with(map[string]any{"networkPolicy": map[string]any{"egressPorts": []any{70000}}}),
			"egressPorts"},
	} {
		if _, err := render(t, test.values); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, test.want)
		}
	}
}

// config accepts the variables of docs/configuration.md, except the secret ones and those that the chart sets. -update
// writes them into the schema.
func TestSettings(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := []string{ // secret, set by the chart, or for another platform
		"TAGGER_RULES", "TAGGER_RULES_FILE", "TAGGER_RULES_PARAMETER", "TAGGER_SECRET_ARN", "TAGGER_DEAD_LETTER_QUEUE_URL",
		"TAGGER_INVOCATION_CREDENTIALS", "TAGGER_RECONCILE_RULES", "TAGGER_HTTP_SECRET", "TAGGER_AMQP_URL", "K_SINK",
		"K_CE_OVERRIDES",
		"OS_PASSWORD", "OS_TOKEN", "OS_APPLICATION_CREDENTIAL_SECRET",
		"HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_SECURITY_TOKEN",
	}
	var want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `((?:TAGGER|OS|HUAWEICLOUD|K)_\\w+)` \\|").FindAllStringSubmatch(
		string(text), -1) {
		if !slices.Contains(elsewhere, row[1]) {
			want = append(want, row[1])
		}
	}
	if len(want) < 20 {
		t.Fatalf("docs/configuration.md has %d variables", len(want))
	}
	slices.Sort(want)
	path := filepath.Join(directory, "values.schema.json")
	schema, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var enum struct {
		Properties struct {
			Config struct {
				PropertyNames struct{ Enum []string }
			}
		}
	}
	if err := json.Unmarshal(schema, &enum); err != nil {
		t.Fatal(err)
	}
	if slices.Equal(enum.Properties.Config.PropertyNames.Enum, want) {
		return
	}
	if !*update {
		t.Fatalf("the schema allows\n%q\nand docs/configuration.md has\n%q\ngo test -run Settings -update . in "+
			"deploy/kubernetes writes them", enum.Properties.Config.PropertyNames.Enum, want)
	}
	list := strings.ReplaceAll(fmt.Sprintf("%q", want), " ", ",\n          ")
	list = "[\n          " + strings.TrimSuffix(strings.TrimPrefix(list, "["), "]") + "\n        ]"
	schema = regexp.MustCompile(`(?s)("propertyNames": \{\s*"enum": )\[.*?\]`).ReplaceAll(schema, []byte("${1}"+list))
	if err := os.WriteFile(path, schema, 0o644); err != nil {
		t.Fatal(err)
	}
}

// The command accepts the arguments, and serve and listen respond at the probes' paths.
func TestArguments(t *testing.T) {
	tagger := filepath.Join(t.TempDir(), "tagger")
	build := exec.Command("go", "build", "-o", tagger, "./cmd/tagger")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	o, err := render(t, everything())
	if err != nil {
		t.Fatal(err)
	}
	commands := [][]string{o.pods[0].Spec.Containers[0].Args}
	for _, d := range o.deployments {
		commands = append(commands, d.Spec.Template.Spec.Containers[0].Args)
	}
	// The CronJob beside the manifests for Knative has no other test.
	text, err := os.ReadFile("../knative/reconcile.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var job batchv1.CronJob
	if err := yaml.UnmarshalStrict(text, &job); err != nil {
		t.Fatal(err)
	}
	pod := job.Spec.JobTemplate.Spec.Template.Spec
	commands = append(commands, pod.Containers[0].Args)
	if !strings.Contains(string(text), "tmp, mountPath: /tmp") || pod.Volumes[1].EmptyDir == nil {
		t.Error("the CronJob has no place for plans")
	}
	for _, args := range commands {
		if out, err := exec.Command(tagger, append(slices.Clone(args), "--help")...).CombinedOutput(); err != nil {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
}

// A scheduled reconcile needs an argument, the hash of the reviewed rules, and a directory for its plans.
func TestReconcile(t *testing.T) {
	every := func(reconcile map[string]any) corev1.PodSpec {
		t.Helper()
		o, err := render(t, with(map[string]any{"listen": map[string]any{"reconcile": reconcile}}))
		if err != nil {
			t.Fatal(err)
		}
		return o.deployments["listen"].Spec.Template.Spec
	}
	on := every(map[string]any{"every": "1h", "rules": "9f3c1a2eb0d4"})
	c := on.Containers[0]
	if got := strings.Join(c.Args, " "); got != "listen --listen :8080 --reconcile 1h" {
		t.Errorf("arguments %q", got)
	}
	if !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
		return e.Name == "TAGGER_RECONCILE_RULES" && e.Value == "9f3c1a2eb0d4"
	}) {
		t.Errorf("environment %v", c.Env)
	}
	if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return m.MountPath == "/tmp" &&
			!m.ReadOnly
	}) ||
		!slices.ContainsFunc(on.Volumes, func(v corev1.Volume) bool { return v.Name == "tmp" && v.EmptyDir != nil }) {
		t.Errorf("no place for plans: %v, %v", c.VolumeMounts, on.Volumes)
	}
	off := every(map[string]any{})
	if strings.Contains(strings.Join(off.Containers[0].Args, " "), "reconcile") || len(off.Volumes) != len(on.Volumes)-1 {
		t.Errorf("it is on by default: %v", off.Containers[0].Args)
	}
	for _, bad := range []map[string]any{{"every": "hourly"}, {"rules": "9f3c"}, {"evry": "1h"}} {
		if _, err := render(t, with(map[string]any{"listen": map[string]any{"reconcile": bad}})); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

// The image runs as the user that the chart names.
func TestImageUser(t *testing.T) {
	text, err := os.ReadFile("../release/image.go")
	if err != nil {
		t.Fatal(err)
	}
	o, err := render(t, needed())
	if err != nil {
		t.Fatal(err)
	}
	s := o.deployments["listen"].Spec.Template.Spec.Containers[0].SecurityContext
	if want := fmt.Sprintf("nonroot = \"%d:%d\"", *s.RunAsUser, *s.RunAsGroup); !strings.Contains(string(text), want) {
		t.Errorf("deploy/release has no %s", want)
	}
}
