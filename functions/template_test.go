package functions_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/cloudtagger/tagger/pkg/config"
)

// node is a part of template.yaml, with its tags (!Ref and others).
type node struct{ *yaml.Node }

func template(t *testing.T) node {
	t.Helper()
	text, err := os.ReadFile("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return node{doc.Content[0]}
}

// at returns the node at a path of names, an empty node if there is none.
func (n node) at(names ...string) node {
	for _, name := range names {
		next := node{&yaml.Node{}}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				next = node{n.Content[i+1]}
			}
		}
		n = next
	}
	return n
}

func (n node) keys() []string {
	var keys []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		keys = append(keys, n.Content[i].Value)
	}
	return keys
}

func (n node) number(t *testing.T) int {
	t.Helper()
	var i int
	if err := n.Decode(&i); err != nil {
		t.Fatal(err)
	}
	return i
}

// Template validators cannot check that the template fits the code.
func TestTemplate(t *testing.T) {
	root := template(t)
	var known []string
	for _, v := range config.Variables[config.Settings]() {
		known = append(known, v.Name)
	}
	for _, v := range config.Variables[config.Reconcile]() {
		known = append(known, v.Name)
	}
	known = append(known, config.CredentialNames()...)

	globals := root.at("Globals", "Function")
	timeout := globals.at("Timeout").number(t)
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	functions := 0
	resources := root.at("Resources")
	for _, name := range resources.keys() {
		r := resources.at(name)
		if r.at("Type").Value != "AWS::Serverless::Function" {
			continue
		}
		functions++
		for _, variables := range []node{globals.at("Environment", "Variables"),
			r.at("Properties", "Environment", "Variables")} {
			for _, v := range variables.keys() {
				if !slices.Contains(known, v) {
					t.Errorf("%s: the code reads no variable %s", name, v)
				}
			}
		}
		if r.at("Metadata", "BuildMethod").Value != "makefile" || !strings.Contains(string(makefile), "\nbuild-"+name+":\n") {
			t.Errorf("%s: the Makefile has no target build-%s", name, name)
		}
		if r.at("Properties", "Events", "Schedule").at("Type").Value == "Schedule" {
			if r.at("Condition").Value == "" || r.at("Properties", "Timeout").number(t) != 900 ||
				r.at("Properties", "EventInvokeConfig", "MaximumRetryAttempts").number(t) != 0 {
				t.Errorf("%s: a schedule's function is there on demand, has a quarter of an hour, and is not tried again", name)
			}
			continue
		}
		event := r.at("Properties", "Events", "Queue")
		if event.at("Type").Value != "SQS" || len(event.at("Properties", "FunctionResponseTypes").Content) != 1 ||
			event.at("Properties", "FunctionResponseTypes").Content[0].Value != "ReportBatchItemFailures" {
			t.Errorf("%s: no partial batch responses", name)
		}
		id := strings.TrimSuffix(name, "Function")
		queue := resources.at(id+"Queue", "Properties")
		if visibility := queue.at("VisibilityTimeout").number(t); visibility < 6*timeout {
			t.Errorf("%s: a visibility of %d s is less than six times the timeout of %d s", name, visibility, timeout)
		}
		if queue.at("RedrivePolicy", "deadLetterTargetArn").Value != id+"DeadLetterQueue.Arn" ||
			queue.at("RedrivePolicy", "maxReceiveCount").number(t) != 200 {
			t.Errorf("%s: redrive policy", name)
		}
		// A delay is at most an hour plus jitter.
		if kept := queue.at("MessageRetentionPeriod").number(t); kept < 200*3600*6/5 {
			t.Errorf("%s: a record may expire after %d s, before 200 receives have taken it to the dead-letter queue", name,
				kept)
		}
		dead := resources.at(id+"DeadLetterQueue", "Properties", "MessageRetentionPeriod").number(t)
		if dead <= queue.at("MessageRetentionPeriod").number(t) {
			t.Errorf("%s: a dead letter keeps its age, so its queue must keep it longer than the first", name)
		}
		if got := r.at("Properties", "Environment", "Variables", "TAGGER_DEAD_LETTER_QUEUE_URL").Value; got != id+"DeadLetterQueue" {
			t.Errorf("%s: dead-letter queue %q", name, got)
		}
	}
	if functions != 6 {
		t.Errorf("%d functions", functions)
	}
}

// A secret that a template resolves becomes plain text in the function's configuration.
func TestTemplateHoldsNoSecrets(t *testing.T) {
	text, err := os.ReadFile("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "{{resolve:") {
		t.Error("template.yaml resolves a secret")
	}
	for _, name := range config.CredentialNames() {
		if name != "OS_REGION_NAME" && strings.Contains(string(text), name+":") {
			t.Errorf("template.yaml sets %s, which belongs into the secret", name)
		}
	}
}

// Functions must not link what only the command line needs, which would make them larger and slower to start.
func TestFunctionsDoNotLink(t *testing.T) {
	out := goList(t)
	for _, unwanted := range []string{
		"github.com/cloudtagger/tagger/pkg/simcloud", "github.com/cloudtagger/tagger/pkg/cloud/cloudsyaml",
		"github.com/spf13/cobra",
		"github.com/aws/aws-sdk-go-v2/config", "github.com/rabbitmq/amqp091-go", "go.uber.org/zap",
		"github.com/cloudevents/sdk-go/v2/client", "testing",
	} {
		if slices.Contains(out, unwanted) {
			t.Errorf("a function links %s", unwanted)
		}
	}
	if i := slices.IndexFunc(out, func(name string) bool {
		return strings.HasPrefix(name, "github.com/aws/aws-sdk-go-v2/service/")
	}); i >= 0 {
		t.Errorf("a function links %s; see pkg/awsapi for its cost", out[i])
	}
	for _, wanted := range []string{
		"github.com/cloudtagger/tagger/pkg/host",
		"time/tzdata", // Lambda's image may have no time zone data, which timezone() needs
	} {
		if !slices.Contains(out, wanted) {
			t.Errorf("no function links %s", wanted)
		}
	}
}
