package apply

import (
	"fmt"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/rules"
)

// The number of remembered keys is bounded, and the newest stay.
func TestWatermarksAreBounded(t *testing.T) {
	w := newWatermarks()
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	leftOut := func(resource, key string) bool {
		_, problems := w.leaveOut(resource, noon.Add(-time.Hour), &rules.Plan{Set: map[string]string{key: "old"}})
		return len(problems) == 1 && problems[0].Key == key
	}
	w.note("first", noon, []string{"a", "b"})
	for i := range 3 * maxRemembered {
		w.note(fmt.Sprint("resource-", i/5), noon.Add(time.Duration(i)), []string{fmt.Sprint("key-", i%5)})
	}
	if n := len(w.recent) + len(w.earlier); n > 2*maxRemembered {
		t.Errorf("%d keys are remembered", n)
	}
	for i := range 3 * maxRemembered {
		resource, key := fmt.Sprint("resource-", i/5), fmt.Sprint("key-", i%5)
		if recent := i >= 2*maxRemembered; recent && !leftOut(resource, key) {
			t.Fatalf("%s of %s is forgotten", key, resource)
		}
	}
	if leftOut("first", "a") || leftOut("first", "b") {
		t.Error("the first resource is remembered")
	}
	if last := fmt.Sprint("resource-", (3*maxRemembered-1)/5); leftOut(last, "other") {
		t.Error("a key that nothing decided is left out")
	}
}

// A key keeps its newest time, also when it is noted again with an older one, and when others have been noted since.
func TestWatermarkKeepsTheNewestTime(t *testing.T) {
	w := newWatermarks()
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	w.note("server", noon, []string{"owner"})
	for i := range maxRemembered {
		w.note("other", noon, []string{fmt.Sprint(i)})
	}
	w.note("server", noon.Add(-time.Minute), []string{"owner"})
	if !w.newer("server", "owner", noon.Add(-time.Second)) || w.newer("server", "owner", noon) {
		t.Error("the newest time is forgotten")
	}
	ancient := time.Date(1965, 1, 1, 0, 0, 0, 0, time.UTC)
	if w.note("old", ancient, []string{"owner"}); w.newer("old", "owner", ancient) {
		t.Error("a change overtakes itself")
	}
}
