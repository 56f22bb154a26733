package tagger_test

import (
	"testing"

	"github.com/cloudtagger/tagger/pkg/tagger"
)

// One delivery's plan, which asks nothing of the cloud.
func BenchmarkPlan(b *testing.B) {
	t := &testing.T{}
	tg := compose(t, settings(), tagger.Parts{Cloud: nobody{}})
	e := plain(t, "server.created", "")
	b.ReportAllocs()
	for b.Loop() {
		tg.Plan(b.Context(), e)
	}
}
