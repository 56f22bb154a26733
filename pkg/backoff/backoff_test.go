package backoff_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudtagger/tagger/pkg/backoff"
)

func ExampleSleep() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	fmt.Println(backoff.Sleep(ctx, time.Hour))
	// Output: false
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if !backoff.Sleep(t.Context(), time.Hour) || time.Since(start) != time.Hour {
			t.Errorf("woken after %v", time.Since(start))
		}
	})
}

func TestJitter(t *testing.T) {
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		d := backoff.Jitter(time.Minute)
		least, most = min(least, d), max(most, d)
	}
	if least < 48*time.Second || most > 72*time.Second || least == most {
		t.Errorf("a minute becomes %v to %v", least, most)
	}
}
