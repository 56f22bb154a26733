package apply

import (
	"fmt"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/rules"
)

// Users can choose the keys that a pattern removes, so the number of remembered keys is bounded, and the newest stay.
func TestWatermarksAreBounded(t *testing.T) {
	var w watermarks
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	at := func(i int) time.Time { return noon.Add(time.Duration(i) * time.Second) }
	overtaken := func(resource, key string) bool {
		_, keys, _ := w.leaveOut(resource, noon.Add(-time.Hour), &rules.Plan{Set: map[string]string{key: "old"}})
		return keys[key]
	}
	for i := range 3 * maxDecided {
		w.note("one", at(i), []string{fmt.Sprint("key-", i)})
	}
	if w.keys != maxDecided || overtaken("one", "key-0") || !overtaken("one", fmt.Sprint("key-", 3*maxDecided-1)) {
		t.Errorf("%d keys of one resource", w.keys)
	}
	many := make([]string, maxDecided)
	for i := range many {
		many[i] = fmt.Sprint("key-", i)
	}
	resources := 2 * maxAllDecided / maxDecided
	for i := range resources {
		w.note(fmt.Sprint("resource-", i), at(i), many)
	}
	if w.keys > maxAllDecided || overtaken("resource-0", "key-0") ||
		!overtaken(fmt.Sprint("resource-", resources-1), "key-0") {
		t.Errorf("%d keys of %d resources", w.keys, w.order.Len())
	}
	for i := range 2 * maxWatermarks {
		w.note(fmt.Sprint("small-", i), at(i), []string{"a"})
	}
	if w.order.Len() != maxWatermarks || len(w.resources) != maxWatermarks || w.keys != maxWatermarks {
		t.Errorf("%d keys of %d resources", w.keys, w.order.Len())
	}
}
