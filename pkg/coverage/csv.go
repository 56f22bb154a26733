package coverage

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

// CSV writes a row for each resource and key as it is read.
type CSV struct {
	w     *csv.Writer
	names bool
	begun bool
}

// NewCSV returns a writer. Without names, the name columns are empty.
func NewCSV(w io.Writer, names bool) *CSV { return &CSV{w: csv.NewWriter(w), names: names} }

// The first columns have the names of the FOCUS specification, to join them with billing data:
// https://focus.finops.org/focus-specification/
const csvColumns = "ResourceId ResourceName ResourceType RegionId SubAccountId SubAccountName " +
	"Key Status Value Alias Expected Reason Exemption AllocateTo Size Unit State Created " +
	"EstimatedMonthlyCost BillingCurrency"

// Write writes a row.
func (c *CSV) Write(f Finding) error {
	if err := c.begin(); err != nil {
		return err
	}
	name, project := "", ""
	if c.names {
		name, project = f.View.Name, f.ProjectName
	}
	row := []string{
		f.View.ID, name, string(f.Kind), f.Region, f.View.Project, project,
		f.Key, string(f.Status), f.Value, f.Alias, f.Expected, f.Why, f.Exemption, f.AllocateTo, strconv.Itoa(f.View.Size),
		string(metadata.Kind(f.Kind).Unit()), f.View.State, f.View.Created.UTC().Format(time.RFC3339),
		"", f.Currency,
	}
	if f.Currency != "" {
		row[len(row)-2] = strconv.FormatFloat(f.Cost, 'f', 2, 64)
	}
	for i := range row {
		row[i] = plainCell(row[i])
	}
	if err := c.w.Write(row); err != nil {
		return fmt.Errorf("write the rows: %w", err)
	}
	return nil
}

func (c *CSV) begin() error {
	if c.begun {
		return nil
	}
	c.begun = true
	return c.w.Write(strings.Fields(csvColumns))
}

// Close flushes the rows, and writes the header if there were none.
func (c *CSV) Close() error {
	if err := c.begin(); err != nil {
		return err
	}
	c.w.Flush()
	if err := c.w.Error(); err != nil {
		return fmt.Errorf("write the rows: %w", err)
	}
	return nil
}

// plainCell escapes a value that a spreadsheet would evaluate as a formula. Without it, anyone who can write metadata
// could run formulas in the reader's spreadsheet (https://owasp.org/www-community/attacks/CSV_Injection).
func plainCell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
