//go:build scale

package scale_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/reconcile"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// TestNeighbourOfReconcile measures the other client of [TestNeighbour] while a reconcile plans and corrects as many
// servers.
func TestNeighbourOfReconcile(t *testing.T) {
	alone := neighbour(t, 0, nil)
	beside := func(writeRate float64) float64 {
		p95 := neighbour(t, *servers, func(t *testing.T, api http.RoundTripper) { correct(t, api, writeRate) })
		ratio := p95.Seconds() / alone.Seconds()
		t.Logf("the other client's p95: %s alone; %s beside a reconcile of %d servers with TAGGER_RATE=%g, %.2f times",
			alone.Round(time.Millisecond), p95.Round(time.Millisecond), *servers, writeRate, ratio)
		return ratio
	}
	if ratio := beside(writeRate); ratio >= 1.5 {
		t.Errorf("%.2f times as long", ratio)
	}
	if ratio := beside(0); ratio < 1.5 {
		t.Error("without a limit, the other client is no slower, so the test proves nothing")
	}
}

// correct plans and corrects every server.
func correct(t *testing.T, api http.RoundTripper, writeRate float64) {
	set, err := rules.Compile([]byte("rules: [{on: server.created, add: {owner: alice}}]"), rules.Options{Name: "rules"})
	if err != nil {
		t.Error(err)
		return
	}
	own := config.Projects{config.OwnProject}
	c := cloud.New(cloud.Options{
		Credentials: config.Credentials{
			AuthURL: simcloud.DefaultEndpoint + "/identity/v3", Username: "demo", Password: config.NewSecret("secret"),
			UserDomainName: "Default", ProjectName: "demo",
		},
		Transport: api, WriteRate: writeRate, Projects: own,
	})
	tg := tagger.New(tagger.Options{
		Registry: lifecycle.New(lifecycle.Options{}), Rules: set, Cloud: c,
		Apply: apply.Options{Verify: true, GiveUpAfter: 24 * time.Hour},
	})
	path := filepath.Join(t.TempDir(), "plan.jsonl")
	s, err := reconcile.Plan(t.Context(), reconcile.Options{
		Tagger: tg, Policy: set.Policy(), Rules: set.Hash(), API: "openstack", Cloud: c, Bounds: c, Scope: own,
		Kinds: []lifecycle.Kind{lifecycle.Server},
	}, path)
	if err != nil || s.Resources != *servers {
		t.Errorf("%d planned, error %v", s.Resources, err)
		return
	}
	r, err := reconcile.Apply(t.Context(), path, reconcile.Run{
		Tagger: tg, Cloud: s.Cloud, Rules: set.Hash(), Operator: "test", MaxFailures: 5, Concurrency: concurrency,
		Limits: reconcile.Limits{Resources: *servers, Percent: 100, OneValue: 100, PerProject: 100, Confirm: -1},
	})
	if err != nil || r.Written != *servers {
		t.Errorf("%d written, error %v", r.Written, err)
	}
}
