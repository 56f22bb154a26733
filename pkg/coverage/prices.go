package coverage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/suggest"
)

// maxPrices limits a price file in bytes.
const maxPrices = 1 << 20

// Prices are monthly prices of resources, read from a file.
type Prices struct {
	// Currency is an ISO 4217 code, Source the origin of the prices.
	Currency string `json:"currency"`
	Source   string `json:"source"`

	kinds map[lifecycle.Kind]price
}

// price is the price of one unit, and for servers of each flavor by name or id.
type price struct {
	unit    float64
	flavors map[string]float64
}

// of returns a resource's monthly cost, and whether its price is known.
func (p *Prices) of(kind lifecycle.Kind, v metadata.View) (float64, bool) {
	price, ok := p.kinds[kind]
	if !ok {
		return 0, false
	}
	if whole, ok := price.flavors[v.Flavor]; ok {
		return whole, true
	}
	return price.unit * float64(v.Size), true
}

var currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)

// ReadPrices reads a price file (docs/coverage.md). An error names the file and the line.
func ReadPrices(path string) (*Prices, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the prices: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPrices+1))
	if err != nil {
		return nil, fmt.Errorf("read the prices: %w", err)
	}
	if len(text) > maxPrices {
		return nil, fmt.Errorf("read the prices: %s: it is larger than 1 MiB", path)
	}
	p, err := parsePrices(text)
	if err != nil {
		return nil, fmt.Errorf("read the prices: %s%w", path, err)
	}
	return p, nil
}

// parsePrices reads a single YAML document. An error begins with the position: ":3: …" or ": …".
func parsePrices(text []byte) (*Prices, error) {
	var document yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New(": it is empty: want currency, source and monthly")
		}
		return nil, fmt.Errorf(": not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	root := document.Content[0]
	p := &Prices{kinds: map[lifecycle.Kind]price{}}
	fields, err := fieldsOf(root, "the file", "currency", "source", "monthly")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"currency", "source", "monthly"} {
		if fields[name] == nil {
			return nil, fmt.Errorf(":%d: %s: is missing", root.Line, name)
		}
	}
	p.Currency, p.Source = fields["currency"].Value, strings.TrimSpace(fields["source"].Value)
	if !currencyCode.MatchString(p.Currency) {
		return nil, fmt.Errorf(":%d: currency: %q: want the three letters of ISO 4217, such as EUR", fields["currency"].Line,
			p.Currency)
	}
	if p.Source == "" {
		return nil, fmt.Errorf(":%d: source: want the origin of the prices, which is shown with every amount",
			fields["source"].Line)
	}
	var names []string
	for _, kind := range lifecycle.Kinds() {
		if metadata.Kind(kind).Unit() != "" && !metadata.Kind(kind).ListsOthers() {
			names = append(names, string(kind))
		}
	}
	kinds, err := fieldsOf(fields["monthly"], "monthly:", names...)
	if err != nil {
		return nil, err
	}
	if len(kinds) == 0 {
		return nil, fmt.Errorf(":%d: monthly: has no price: want %s", fields["monthly"].Line, strings.Join(names, ", "))
	}
	for _, name := range names {
		if node := kinds[name]; node != nil {
			if p.kinds[lifecycle.Kind(name)], err = parsePrice(node, lifecycle.Kind(name)); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func parsePrice(node *yaml.Node, kind lifecycle.Kind) (price, error) {
	what := "monthly: " + string(kind) + ":"
	known := []string{strings.ToLower(string(metadata.Kind(kind).Unit()))}
	if metadata.Kind(kind).Unit() == metadata.VCPU {
		known = append(known, "flavors")
	}
	fields, err := fieldsOf(node, what, known...)
	if err != nil {
		return price{}, err
	}
	p := price{flavors: map[string]float64{}}
	if fields[known[0]] == nil {
		return p, fmt.Errorf(":%d: %s %s: is missing", node.Line, what, known[0])
	}
	if p.unit, err = money(fields[known[0]], what+" "+known[0]+":"); err != nil {
		return p, err
	}
	if fields["flavors"] == nil {
		return p, nil
	}
	flavors, err := fieldsOf(fields["flavors"], what+" flavors:")
	for name, node := range flavors {
		var one error
		p.flavors[name], one = money(node, what+" flavors: "+name+":")
		err = errors.Join(err, one)
	}
	return p, err
}

// fieldsOf returns the values of a mapping by name. Without known names, every name is accepted.
func fieldsOf(node *yaml.Node, what string, known ...string) (map[string]*yaml.Node, error) {
	if node.Kind != yaml.MappingNode {
		return nil, fmt.Errorf(":%d: %s: want names with values", node.Line, strings.TrimSuffix(what, ":"))
	}
	fields := map[string]*yaml.Node{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		if len(known) > 0 && !slices.Contains(known, name.Value) {
			return nil, fmt.Errorf(":%d: %s: unknown field %s: want %s%s", name.Line, strings.TrimSuffix(what, ":"), name.Value,
				strings.Join(known, ", "), suggest.Meant(name.Value, known))
		}
		if fields[name.Value] != nil {
			return nil, fmt.Errorf(":%d: %s: duplicate field %s", name.Line, strings.TrimSuffix(what, ":"), name.Value)
		}
		fields[name.Value] = value
	}
	return fields, nil
}

// money reads a price, which must not be negative.
func money(node *yaml.Node, what string) (float64, error) {
	var n float64
	if err := node.Decode(&n); err != nil || node.Kind != yaml.ScalarNode || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) {
		return 0, fmt.Errorf(":%d: %s %q: want a price a month, such as 14.20", node.Line, what, node.Value)
	}
	return n, nil
}

// About formats an amount of money without false precision, as in "about €11,200".
func (p *Prices) About(amount float64) string {
	step := 1.0
	for amount/step >= 1_000 {
		step *= 10
	}
	text := Thousands(int(math.Round(amount/step) * step))
	switch symbol := map[string]string{"EUR": "€", "USD": "$", "GBP": "£"}[p.Currency]; {
	case amount > 0 && amount < 0.5:
		return "less than " + p.Currency + " 1"
	case symbol != "":
		return "about " + symbol + text
	}
	return "about " + p.Currency + " " + text
}
