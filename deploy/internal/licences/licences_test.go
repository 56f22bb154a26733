package licences_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/deploy/internal/licences"
)

func TestText(t *testing.T) {
	executable := filepath.Join(t.TempDir(), "bootstrap")
	build := exec.Command("go", "build", "-tags", "lambda.norpc,nethttpomithttp2", "-o", executable,
		"../../../functions/server-created")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := licences.Text(executable)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Go standard library go1.", "The Go Authors", "github.com/gophercloud/gophercloud/v2 v2.",
		"github.com/cloudevents/sdk-go/v2 v2.",
		"github.com/aws/aws-sdk-go-v2 v1.", ": NOTICE.txt", "Apache License", "MIT License",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the text has no %q", want)
		}
	}
	// of the command, not of a function
	for _, unwanted := range []string{"github.com/spf13/cobra", "github.com/rabbitmq"} {
		if strings.Contains(string(text), unwanted) {
			t.Errorf("the text has %q", unwanted)
		}
	}
}

func TestTextOfNoExecutable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := licences.Text(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v", err)
	}
}
