package rules

import (
	"cmp"
	"maps"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/expr-lang/expr/types"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// environment is what expressions see. A field that is unknown or empty is not in it, which makes it absent.
func environment(c lifecycle.Change, e event.Event, tables map[string]any) map[string]any {
	return map[string]any{
		"action": string(c.Action),
		"time":   timeOrNil(c.Time),
		"resource": known(map[string]any{
			"kind": string(c.Resource.Kind), "id": c.Resource.ID, "name": c.Resource.Name,
			"project": c.Resource.Project, "project_name": c.Resource.ProjectName, "region": c.Resource.Region,
			"flavor": c.Resource.Flavor, "image": c.Resource.Image, "zone": c.Resource.Zone, "volume": c.Resource.Volume,
			"created": timeOrNil(c.Resource.Created),
		}),
		"actor": known(map[string]any{"id": c.Actor.ID, "name": c.Actor.Name, "kind": string(cmp.Or(c.Actor.Kind, lifecycle.UnknownActor))}),
		"event": known(map[string]any{
			"id": e.ID(), "source": e.Source(), "type": e.Type(), "subject": e.Subject(), "extensions": extensions(e),
		}),
		"data":   c.Data,
		"tables": tables,
	}
}

// environmentTypes are the types of the same; text is that of fields that hold text.
func environmentTypes(tables map[string]any, text types.Type) types.Map {
	instant := types.TypeOf(time.Time{})
	tableTypes := types.Map{}
	for name := range tables {
		tableTypes[name] = types.Map{types.Extra: text}
	}
	return types.Map{
		"action": text,
		"time":   instant,
		"resource": types.Map{
			"kind": text, "id": text, "name": text, "project": text, "project_name": text, "region": text,
			"flavor": text, "image": text, "zone": text, "volume": text, "created": instant,
		},
		"actor":  types.Map{"id": text, "name": text, "kind": text},
		"event":  types.Map{"id": text, "source": text, "type": text, "subject": text, "extensions": types.Map{types.Extra: types.Any}},
		"data":   types.Any,
		"tables": tableTypes,
	}
}

func known(fields map[string]any) map[string]any {
	maps.DeleteFunc(fields, func(_ string, v any) bool { return !present(v) })
	return fields
}

func timeOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC()
}

func extensions(e event.Event) map[string]any {
	m := map[string]any{}
	maps.Copy(m, e.Extensions())
	return m
}
