package rules_test

import (
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/rules"
)

// A problem names exactly the fields that the event lacks.
func TestAbsentOperands(t *testing.T) {
	for expression, want := range map[string]string{
		`date(time + days(14))`:                                `time is absent: the event does not have it`,
		`upper(resource.flavor)`:                               `resource.flavor is absent: the event does not have it`,
		`upper(data?.list[7].a)`:                               `data.list[7].a is absent: the event does not have it`,
		`resource.flavor + "-" + resource.image`:               `resource.flavor and resource.image are absent`,
		`resource.flavor + resource.image + resource.volume`:   `resource.flavor, resource.image and resource.volume are absent`,
		`upper(tables.cost.none)`:                              `tables.cost.none is absent`,
		`resource.flavor + (resource.image ?? "x")`:            `resource.flavor is absent: the event does not have it`,
		`resource.flavor + first(resource.image, "x")`:         `resource.flavor is absent: the event does not have it`,
		`resource.created.Format("2006") + resource.flavor`:    `resource.flavor is absent: the event does not have it`,
		`1 + first(resource.flavor)`:                           `invalid operation: int + an absent value`,
		`map(data.list, .b + 1)[0]`:                            `invalid operation: an absent value + int`,
		`data.list["a"] + (resource.flavor == "x" ? "a" : "")`: `data.list.a is absent: the event does not have it`,
	} {
		text := "tables: {cost: {a: b}}\nrules:\n- on: server.created\n  set:\n    k: '${" + expression + "}'\n"
		c := change()
		c.Time = time.Time{}
		plan := compile(t, text, "").Plan(c, sample(t), rules.Readings{})
		if len(plan.Problems) != 1 || plan.Problems[0].String() != "rule rule-1, key k: left out: "+expression+": "+want {
			t.Errorf("%v\nwant %s: %s", plan.Problems, expression, want)
		}
	}
}
