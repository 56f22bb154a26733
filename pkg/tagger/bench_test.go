package tagger_test

import (
	"testing"

	"github.com/cloudtagger/tagger/pkg/tagger"
)

// The plan of one delivery, which makes no call.
func BenchmarkPlan(b *testing.B) {
	t := &testing.T{}
	tg := compose(t, settings(), tagger.Parts{Cloud: noCloud{}})
	e := plain(t, "server.created", "")
	b.ReportAllocs()
	for b.Loop() {
		tg.Plan(b.Context(), e)
	}
}
