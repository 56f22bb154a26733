package coverage_test

import (
	"bytes"
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/coverage"
)

const priceList = `currency: EUR
source: price list of October 2026
monthly:
  server: {vcpu: 10, flavors: {four: 100}}
  volume: {gib: 0.5}
`

func prices(t *testing.T, text string) (*coverage.Prices, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "prices.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := coverage.ReadPrices(file)
	if err != nil && !strings.HasPrefix(err.Error(), "read the prices: "+file+":") {
		t.Errorf("the error does not name the file: %v", err)
	}
	return p, err
}

// Without a price for volumes, the text estimates nothing for the unattached ones.
func TestUnattachedWithoutPrice(t *testing.T) {
	sim := fleet(t)
	put(sim)
	o := options(t, sim, compile(t, policy), "root", "*")
	var err error
	if o.Prices, err = prices(t, "currency: EUR\nsource: list\nmonthly: {server: {vcpu: 10}}\n"); err != nil {
		t.Fatal(err)
	}
	r, err := coverage.Read(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := coverage.WriteText(&out, r, coverage.NotBy, -1); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "unattached") {
			if strings.Contains(line, "a month") {
				t.Error(line)
			}
			return
		}
	}
	t.Errorf("no unattached volumes in:\n%s", out.String())
}

// The costs of the 14 servers and 5 volumes were computed by hand: servers of flavor 4 cost 100, the others 10; a GiB
// 0.5.
func TestCosts(t *testing.T) {
	sim := fleet(t)
	put(sim)
	o := options(t, sim, compile(t, policy), "root", "*")
	var err error
	if o.Prices, err = prices(t, priceList); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	rows := coverage.NewCSV(&out, false)
	o.Each = rows.Write
	r, err := coverage.Read(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, row := range r.AllocationRows() {
		of := string(row.Kind) + " "
		got[of+"total"], got[of+"unallocated"], got[of+"paid"] = row.Total.Cost, row.Unallocated().Cost, row.Paid.Cost
	}
	got["total"], got["unallocated"] = r.Costs()
	got["crm"], got["unattached"] = r.Projects[0].UnallocatedCost("cost-center"), r.Orphans["volume"].Cost
	for _, p := range r.Paid {
		got[p.Value] = p.Cost()
	}
	// Flavor 4: a, b, f, h, i, k. Unallocated: c, d, e (10 each), f, g (10), h, i; and v2, v3, v5 with 100 GiB.
	want := map[string]float64{
		"server total": 6*100 + 8*10, "server unallocated": 3*100 + 4*10, "server paid": 100 + 10,
		"volume total": 75, "volume unallocated": 50, "volume paid": 20, "total": 755, "unallocated": 390,
		"crm": 10 + 100 + 100 + 40, "unattached": 70, "CC-17": 2*100 + 10 + 5, "CC-40": 10, "CC-900": 100 + 10 + 10 + 20,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r.Projects[0].ID != "crm" || r.Paid[0].Value != "CC-17" {
		t.Errorf("not in the order of costs: %s, %s", r.Projects[0].ID, r.Paid[0].Value)
	}
	var text, metrics bytes.Buffer
	if err := coverage.WriteText(&text, r, coverage.NotBy, -1); err != nil {
		t.Fatal(err)
	}
	if s := text.String(); !strings.Contains(s,
		"\nestimate     about €390 of €755 a month is not allocated (prices: price list of October 2026)\n") ||
		!strings.Contains(s, ", weighted by vCPU\n") || !strings.Contains(s, "4 volumes, 140 GiB, about €70 a month\n") {
		t.Errorf("text:\n%s", s)
	}
	if err := coverage.WritePrometheus(&metrics, r, false); err != nil {
		t.Fatal(err)
	}
	const series = `tagger_coverage_monthly_cost{key="cost-center",kind="server",status="missing",currency="EUR"} `
	if s := metrics.String(); !strings.Contains(s, series+"100.00\n") {
		t.Errorf("metrics:\n%s", s)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	table, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	sum := map[string]int{}
	for _, row := range table {
		sum[strings.Join(row[len(row)-2:], " ")]++
	}
	if sum["EstimatedMonthlyCost BillingCurrency"] != 1 || sum["100.00 EUR"] != 12 || sum["10.00 EUR"] != 2*8+1 {
		t.Errorf("%v", sum)
	}
}

// The report names a kind without a price.
func TestUnpriced(t *testing.T) {
	sim := fleet(t)
	put(sim)
	o := options(t, sim, compile(t, policy), "root", "*")
	var err error
	if o.Prices, err = prices(t, "{currency: CHF, source: x, monthly: {server: {vcpu: 0.001}}}"); err != nil {
		t.Fatal(err)
	}
	r, err := coverage.Read(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, "there is no price for volumes: 5 counted at no cost") {
		t.Errorf("notes %q", notes)
	}
	for amount, want := range map[float64]string{
		0: "about CHF 0", 0.01: "less than CHF 1", 7.4: "about CHF 7", 999.4: "about CHF 999", 11_234: "about CHF 11,200",
		1_994_999: "about CHF 1,990,000",
	} {
		if got := r.Prices.About(amount); got != want {
			t.Errorf("%g: %s, want %s", amount, got, want)
		}
	}
}

func TestBadPrices(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "it is empty",
		"a: [":                         "not YAML",
		"- EUR":                        ":1: the file: want names with values",
		"currency: EUR\nsource: x":     ":1: monthly: is missing",
		"curency: EUR":                 `:1: the file: unknown field curency: want currency, source, monthly; did you mean currency?`,
		"currency: EUR\ncurrency: USD": ":2: the file: duplicate field currency",
		strings.Replace(priceList, "EUR", "€",
			1): ":1: currency: \"€\": want the three letters of ISO 4217",
		strings.Replace(priceList, "price list of October 2026", `" "`, 1): ":2: source: want the origin of the prices",
		strings.Replace(priceList, "volume:", "volumes:", 1):               ":5: monthly: unknown field volumes",
		strings.Replace(priceList, "gib: 0.5", "gb: 0.5", 1):               ":5: monthly: volume: unknown field gb: want gib",
		strings.Replace(priceList, "gib: 0.5", "gib: -1",
			1): `:5: monthly: volume: gib: "-1": want a price a month`,
		strings.Replace(priceList, "gib: 0.5", "gib: .inf", 1): "want a price a month",
		strings.Replace(priceList, "gib: 0.5", "gib: [1]", 1):  "want a price a month",
		strings.Replace(priceList, `four: 100`, `four: much`,
			1): `:4: monthly: server: flavors: four: "much": want a price a month`,
		strings.Replace(priceList, "vcpu: 10, ", "", 1): ":4: monthly: server: vcpu: is missing",
		strings.Replace(priceList, "vcpu", "gib",
			1): ":4: monthly: server: unknown field gib: want vcpu, flavors",
		"{currency: EUR, source: x, monthly: {}}":            ":1: monthly: has no price",
		priceList + strings.Repeat("# a comment\n", 100_000): "",
	} {
		_, err := prices(t, text)
		if want == "" {
			want = "larger than 1 MiB"
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %s", text, err, want)
		}
	}
}
