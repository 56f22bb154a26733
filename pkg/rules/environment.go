package rules

import (
	"cmp"
	"maps"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/expr-lang/expr/types"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// maxNames is the approximate number of names in an environment and its largest object, so that their maps do not
// grow.
const maxNames = 14

// environment returns the variables of expressions. It leaves out unknown and empty fields, which makes them absent.
func environment(c lifecycle.Change, e event.Event, tables map[string]any) map[string]any {
	c.Actor.Kind = cmp.Or(c.Actor.Kind, lifecycle.UnknownActor)
	env := make(map[string]any, maxNames)
	env["event"] = known(map[string]any{
		"id": e.ID(), "source": e.Source(), "type": e.Type(), "subject": e.Subject(), "extensions": extensions(e),
	})
	env["data"], env["tables"] = c.Data, tables
	env["resource"] = make(map[string]any, maxNames)
	for _, f := range lifecycle.Fields() {
		within := env
		if f.Object != "" {
			var ok bool
			if within, ok = env[f.Object].(map[string]any); !ok {
				within = map[string]any{}
				env[f.Object] = within
			}
		}
		if value := f.Value(&c); value != nil {
			within[f.Name] = value
		} else if f.Object == "" {
			within[f.Name] = nil
		}
	}
	return env
}

// environmentTypes returns the types of the environment. text is the type of text fields.
func environmentTypes(s scope, text types.Type) types.Map {
	tableTypes := types.Map{}
	for name, t := range s.tables {
		tableTypes[name] = t.types(text)
	}
	env := types.Map{
		"event": types.Map{
			"id": text, "source": text, "type": text, "subject": text, "extensions": types.Map{types.Extra: types.Any},
		},
		"data":   types.Any,
		"tables": tableTypes,
	}
	for _, f := range lifecycle.Fields() {
		within := env
		if f.Object != "" {
			var ok bool
			if within, ok = env[f.Object].(types.Map); !ok {
				within = types.Map{}
				env[f.Object] = within
			}
		}
		within[f.Name] = text
		if f.Type == lifecycle.Instant {
			within[f.Name] = types.TypeOf(time.Time{})
		}
	}
	readingTypes(env, text)
	return env
}

// fieldValues returns all possible values of a field, nil if any value is possible.
func fieldValues(path string) []string {
	for _, f := range lifecycle.Fields() {
		if f.Path() == path {
			return f.Values
		}
	}
	return nil
}

func known(fields map[string]any) map[string]any {
	maps.DeleteFunc(fields, func(_ string, v any) bool { return !present(v) })
	return fields
}

func extensions(e event.Event) map[string]any {
	m := map[string]any{}
	maps.Copy(m, e.Extensions())
	return m
}
