package coverage_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

const policy = `
tables:
  centres: {shop: CC-17, crm: CC-40}
  known: {CC-17: 1, CC-40: 1, CC-900: 1}
required:
- key: cost-center
  kinds: [server, volume]
  expect: ${tables.centres[resource.project]}
  values: {table: known}
  placeholders: [CC-0, tbd]
  aliases: [CostCenter]
- key: owner
  kinds: [server]
exemptions:
- {name: amphorae, match: {name: "amphora-*"}, keys: [owner], reason: Octavia's own, by: m.weber, until: 2026-12-05}
- name: lab
  match: {project: lab}
  keys: [cost-center]
  reason: research
  allocate_to: CC-900
  by: m.weber
  until: 2027-03-31
- {name: over, match: {project: crm}, keys: [owner], reason: migration, by: m.weber, until: 2026-11-24}
rules: [{on: server.created, add: {a: b}}]
`

var now = time.Date(2026, 11, 25, 14, 20, 0, 0, time.UTC)

func compile(t *testing.T, text string) *rules.Set {
	t.Helper()
	set, err := rules.Compile([]byte(text), rules.Options{Name: "R", API: "openstack", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// fleet starts an embedded cloud with an administrator and the projects shop, crm and lab.
func fleet(t *testing.T, more ...simcloud.Project) *simcloud.Cloud {
	t.Helper()
	projects := append([]simcloud.Project{{ID: "shop", Name: "shop-prod"}, {ID: "crm", Name: "crm"},
		{ID: "lab", Name: "ml-lab"}}, more...)
	return simcloud.New(simcloud.Options{
		Projects: projects,
		Users: []simcloud.User{
			{Name: "root", Password: "secret", Roles: map[string]string{"shop-prod": "admin"}},
			{Name: "member", Password: "secret", Roles: map[string]string{"shop-prod": "member", "crm": "member"}},
		},
		Flavors: []simcloud.Flavor{{ID: "1", Name: "one", VCPUs: 1}, {ID: "4", Name: "four", VCPUs: 4}},
	})
}

func options(t *testing.T, sim *simcloud.Cloud, set *rules.Set, user string, scope ...string) coverage.Options {
	t.Helper()
	return coverage.Options{
		Rules: set, API: "openstack", Scope: scope, Region: "RegionOne", Now: now,
		Cloud: cloud.New(cloud.Options{
			Credentials: config.Credentials{
				AuthURL: simcloud.DefaultEndpoint + "/identity/v3", Username: user, Password: config.NewSecret("secret"),
				UserDomainName: "Default", ProjectName: "shop-prod", RegionName: "RegionOne",
			},
			Projects: scope, Transport: sim.Transport(), UserAgent: "test",
		}),
	}
}

type meta = map[string]string

// put creates 14 servers and 5 volumes. The expected figures below were counted by hand.
func put(sim *simcloud.Cloud) {
	for _, s := range []simcloud.Server{
		// cost-center                                                                             owner
		// ok, ok
		{Name: "a", ProjectID: "shop", Flavor: "4", Metadata: meta{"cost-center": "CC-17", "owner": "ann"}},
		// ok (alias), ok
		{Name: "b", ProjectID: "shop", Flavor: "4", Metadata: meta{"CostCenter": "CC-17", "owner": "ann"}},
		// differs, ok
		{Name: "c", ProjectID: "shop", Flavor: "1", Metadata: meta{"cost-center": "CC-40", "owner": "bob"}},
		// differs (not allowed), ok
		{Name: "d", ProjectID: "shop", Flavor: "1", Metadata: meta{"cost-center": "CC-99", "owner": "ann"}},
		// placeholder, missing
		{Name: "e", ProjectID: "shop", Flavor: "1", Metadata: meta{"cost-center": "tbd", "owner": " "}},
		// not writable, not writable
		{Name: "f", ProjectID: "shop", Flavor: "4", Locked: true},
		// not writable, ok
		{Name: "g", ProjectID: "crm", Flavor: "1", VMState: "error", Metadata: meta{"owner": "eve"}},
		// placeholder, ok
		{Name: "h", ProjectID: "crm", Flavor: "4", Locked: true, Metadata: meta{"cost-center": "CC-0", "owner": "eve"}},
		{Name: "i", ProjectID: "crm", Flavor: "4"}, // missing, missing (over ended)
		// ok, missing (self)
		{Name: "j", ProjectID: "crm", Flavor: "1", Metadata: meta{"cost-center": "CC-40", "tagger-exempt": "please"}},
		{Name: "k", ProjectID: "lab", Flavor: "4", Metadata: meta{"owner": "zed"}},                  // exempt paid, ok
		{Name: "amphora-1", ProjectID: "lab", Flavor: "1", Metadata: meta{"cost-center": "CC-900"}}, // ok, exempt
		{Name: "amphora-2", ProjectID: "lab", Flavor: "1", Metadata: meta{"cost-center": "CC-0"}},   // exempt paid, exempt
		{Name: "gone", ProjectID: "lab", Flavor: "4", VMState: "soft-delete"},                       // not counted
	} {
		sim.PutServer(s)
	}
	// ok, ok
	server := sim.PutServer(simcloud.Server{Name: "z", ProjectID: "shop", Flavor: "1",
		Metadata: meta{"cost-center": "CC-17", "owner": "ann"}})
	for _, v := range []simcloud.Volume{
		{Name: "v1", ProjectID: "shop", Size: 10, ServerID: server, Metadata: meta{"cost-center": "CC-17"}}, // ok
		// missing, unattached
		{Name: "v2", ProjectID: "shop", Size: 20},
		{Name: "v3", ProjectID: "crm", Size: 30, Metadata: meta{"cost-center": "CC-17"}}, // differs, unattached
		{Name: "v4", ProjectID: "lab", Size: 40},                                         // exempt paid, unattached
		{Name: "v5", ProjectID: "crm", Size: 50, Status: "maintenance"},                  // not writable, unattached
	} {
		sim.PutVolume(v)
	}
}

// progress summarises how much of a fleet was read.
func progress(r coverage.Report) string {
	return fmt.Sprintf("complete %t, projects %d/%d, errors %d, notes %d", r.Complete, r.ProjectsRead, r.ProjectsTotal,
		len(r.Errors), len(r.Notes))
}

// figures formats a tally in one line: total, ok, exempt, differs, placeholder, missing, not writable, each count/size.
func figures(row coverage.Row) string {
	text := fmt.Sprintf("%s/%s %d/%d", row.Key, row.Kind, row.Total.Count, row.Total.Size)
	for _, s := range coverage.Statuses() {
		text += fmt.Sprintf(" %d/%d", row.Status[s].Count, row.Status[s].Size)
	}
	return text + fmt.Sprintf(" paid %d/%d alias %d self %d", row.Paid.Count, row.Paid.Size, row.Aliases.Count,
		row.SelfExempt.Count)
}

func all(rows []coverage.Row) []string {
	var out []string
	for _, row := range rows {
		out = append(out, figures(row))
	}
	return out
}

func TestFigures(t *testing.T) {
	sim := fleet(t)
	put(sim)
	o := options(t, sim, compile(t, policy), "root", "*")
	o.Owners = true
	var out bytes.Buffer
	rows := coverage.NewCSV(&out, true)
	o.Each = rows.Write
	r, err := coverage.Read(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		//                total ok    exempt differs placeholder missing not writable
		"cost-center/server 14/32 5/11 2/5 2/2 2/5 1/4 2/5 paid 2/5 alias 1 self 0",
		"cost-center/volume 5/150 1/10 1/40 1/30 0/0 1/20 1/50 paid 1/40 alias 0 self 0",
		"owner/server 14/32 8/20 2/2 0/0 0/0 3/6 1/4 paid 0/0 alias 0 self 1",
	}
	if diff := cmp.Diff(want, all(r.Rows)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	// One note: the lab has no expected cost centre, but its amphora-1 has one.
	if got := progress(r); got != "complete true, projects 3/3, errors 0, notes 1" {
		t.Errorf("%s: %q %q", got, r.Errors, r.Notes)
	}
	// Unallocated vCPU: crm 1+4+4 = 9, shop 1+1+1+4 = 7, lab none.
	var order []string
	for _, g := range r.Projects {
		order = append(order, g.ID+" "+g.Name+" "+g.Owner)
	}
	if diff := cmp.Diff([]string{"crm crm eve", "shop shop-prod ann", "lab ml-lab zed"}, order); diff != "" {
		t.Errorf("projects (-want +got):\n%s", diff)
	}
	if got := r.Orphans[lifecycle.Kind("volume")]; got != (coverage.Amount{Count: 4, Size: 140}) {
		t.Errorf("unattached %+v", got)
	}
	var exemptions []string
	for _, x := range r.Exemptions {
		exemptions = append(exemptions, fmt.Sprintf("%s %d soon %t ended %t", x.Name, x.Covered, x.EndsSoon, x.Ended))
	}
	if diff := cmp.Diff([]string{"amphorae 2 soon true ended false", "lab 3 soon false ended false",
		"over 0 soon false ended true"}, exemptions); diff != "" {
		t.Errorf("exemptions (-want +got):\n%s", diff)
	}
	// What each payer pays for, in vCPU: CC-17 4+4+1, CC-900 1 and the exempt 4+1, CC-40 1.
	var paid []string
	for _, p := range r.Paid {
		paid = append(paid, fmt.Sprintf("%s %d vCPU %d GiB", p.Value, p.Sizes["vCPU"].Size, p.Sizes["GiB"].Size))
	}
	if diff := cmp.Diff([]string{"CC-17 9 vCPU 10 GiB", "CC-900 6 vCPU 40 GiB", "CC-40 1 vCPU 0 GiB"}, paid); diff != "" {
		t.Errorf("paid (-want +got):\n%s", diff)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	table, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(table) != 1+14+5+14 {
		t.Fatalf("%d rows, %v", len(table), err)
	}
	for _, group := range [][]coverage.Group{r.Projects, r.Owners} {
		sum := map[string]int{}
		for _, g := range group {
			for _, row := range g.Rows {
				sum[row.Key+"/"+string(row.Kind)] += row.Total.Count
			}
		}
		if diff := cmp.Diff(map[string]int{"cost-center/server": 14, "cost-center/volume": 5, "owner/server": 14}, sum); diff != "" {
			t.Errorf("groups do not add up (-want +got):\n%s", diff)
		}
	}
}

func TestScopes(t *testing.T) {
	for _, tt := range []struct {
		user  string
		scope string
		want  int // servers
		read  int // projects
	}{
		{"root", "own", 7, 1}, {"root", "crm", 4, 1}, {"root", "*", 14, 3}, {"root", "domain:Default", 14, 3},
		{"root", "domain:none", 0, 0},
		{"member", "own", 7, 1}, {"member", "roles", 11, 2}, {"member", "crm", 4, 1}, {"member", "domain:Default", 11, 2},
		{"member", "domain:none", 0, 0}, {"root", "roles", 7, 1},
	} {
		t.Run(tt.user+" "+tt.scope, func(t *testing.T) {
			sim := fleet(t)
			put(sim)
			r, err := coverage.Read(t.Context(), options(t, sim, compile(t, policy), tt.user, tt.scope))
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Rows[0].Total.Count; got != tt.want {
				t.Errorf("%d servers, want %d", got, tt.want)
			}
			want := fmt.Sprintf("complete %t, projects %d/%d, ", tt.read > 0, tt.read, tt.read)
			if !strings.HasPrefix(progress(r), want) {
				t.Errorf("%s, want %s: %q", progress(r), want, r.Errors)
			}
		})
	}
}

func TestSelfExemption(t *testing.T) {
	for word, want := range map[string]string{
		"ignore": "owner/server 1/1 0/0 0/0 0/0 0/0 1/1 0/0 paid 0/0 alias 0 self 0",
		"report": "owner/server 1/1 0/0 0/0 0/0 0/0 1/1 0/0 paid 0/0 alias 0 self 1",
		"accept": "owner/server 1/1 0/0 1/1 0/0 0/0 0/0 0/0 paid 0/0 alias 0 self 1",
	} {
		t.Run(word, func(t *testing.T) {
			sim := fleet(t)
			sim.PutServer(simcloud.Server{ProjectID: "shop", Flavor: "1", Metadata: meta{"tagger-exempt": "x"}})
			set := compile(t, "required: [{key: owner, kinds: [server]}]\nself_exemption: "+word+
				"\nrules: [{on: server.created, add: {a: b}}]")
			r, err := coverage.Read(t.Context(), options(t, sim, set, "root", "own"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{want}, all(r.Rows)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A failed list is never counted as resources without metadata.
func TestIncomplete(t *testing.T) {
	sim := fleet(t)
	put(sim)
	sim.Inject(simcloud.Fault{Service: "volume", Path: "volumes/detail",
		Answer: &simcloud.Answer{Status: http.StatusInternalServerError}})
	r, err := coverage.Read(t.Context(), options(t, sim, compile(t, policy), "root", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if got := progress(r); got != "complete false, projects 0/3, errors 1, notes 1" {
		t.Errorf("%s: %+v", got, r)
	}
	if r.NotRead != 1 {
		t.Errorf("%d lists or resources were not read, want 1", r.NotRead)
	}
	var text, metrics bytes.Buffer
	if err := coverage.WriteText(&text, r, coverage.NotBy, 0); err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(text.String(), "\n")
	if !strings.HasPrefix(first, "INCOMPLETE  25 Nov 14:20 UTC  0/3 projects, 1 list or resource not read") {
		t.Errorf("the first line is %q", first)
	}
	if err := coverage.WritePrometheus(&metrics, r, true); err != nil {
		t.Fatal(err)
	}
	if s := metrics.String(); !strings.Contains(s, "tagger_coverage_complete 0\n") ||
		strings.Contains(s, "tagger_coverage_resources") {
		t.Errorf("metrics:\n%s", s)
	}
	if coverage.Compare(r, []coverage.Point{{At: now.Add(-time.Hour), Key: "cost-center"}}) != nil {
		t.Error("an incomplete run was used for the comparison")
	}
}

func TestHistory(t *testing.T) {
	sim := fleet(t)
	put(sim)
	r, err := coverage.Read(t.Context(), options(t, sim, compile(t, policy), "root", "*"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "history")
	for days, ok := range map[int]int{9: 2, 8: 3, 1: 4} {
		p := r.Point()
		p.At = now.AddDate(0, 0, -days)
		p.Rows[0].OK.Count = ok
		p.Worst = map[string]float64{"crm": float64(10 * days)}
		if err := coverage.AppendHistory(file, p); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"at": "2026-`); err != nil { // a crash
		t.Fatal(err)
	}
	f.Close()
	if err := coverage.AppendHistory(file, r.Point()); err != nil {
		t.Fatal(err)
	}
	points, err := coverage.ReadHistory(file)
	if err != nil || len(points) != 4 {
		t.Fatalf("%d points, %v", len(points), err)
	}
	c := coverage.Compare(r, points)
	// 8 days before, 3 of 14 were ok, now 5; 80 % of crm was not allocated, now 9 of 10 vCPU.
	want := &coverage.Changes{
		Since: now.AddDate(0, 0, -8), Week: true,
		Points:   map[string]float64{"cost-center/server": 100 * 2. / 14, "cost-center/volume": 0, "owner/server": 0},
		Projects: map[string]float64{"crm": 10},
	}
	if diff := cmp.Diff(want, c, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if _, err := coverage.ReadHistory("coverage.go"); err == nil {
		t.Error("ReadHistory accepts a file that is not a history")
	}
}

// A value that looks like a formula stays text, and names are left out unless requested.
func TestCSVCells(t *testing.T) {
	var out bytes.Buffer
	w := coverage.NewCSV(&out, false)
	f := coverage.Finding{Key: "owner", Value: `=cmd|' /C calc'!A0`, ProjectName: "secret"}
	f.View.Name = "secret"
	if err := w.Write(f); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.Contains(s, `,'=cmd`) || strings.Contains(s, "secret") {
		t.Errorf("%s", s)
	}
}
