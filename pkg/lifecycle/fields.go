package lifecycle

import "time"

// FieldType is the type of a value that rules see.
type FieldType string

// The types of fields: a string, and a time.Time in UTC.
const (
	Text    FieldType = "text"
	Instant FieldType = "instant"
)

// Field is a property of a change that rules can refer to by name.
type Field struct {
	// Object and Name are the field's path in an expression, such as resource.name. Object is "" for a top-level name
	// such as action.
	Object, Name string
	// Type is the type of the field's values.
	Type FieldType
	// Values lists the allowed values. It is nil if any value is allowed.
	Values []string

	// text or instant, depending on Type, returns the value. An unknown value is "" or the zero time.
	text    func(*Change) string
	instant func(*Change) time.Time
	// set stores a string or a time.Time, depending on Type.
	set func(*Change, any)
}

// Path returns the name of the field in an expression.
func (f Field) Path() string {
	if f.Object == "" {
		return f.Name
	}
	return f.Object + "." + f.Name
}

// Value returns the field's value in a change: a string, a time.Time in UTC, or nil if the event does not contain it.
func (f Field) Value(c *Change) any {
	if f.Type == Instant {
		if t := f.instant(c); !t.IsZero() {
			return t.UTC()
		}
		return nil
	}
	if s := f.text(c); s != "" {
		return s
	}
	return nil
}

// Fields returns the properties of a change that rules can use, apart from the event and its data. Expressions and the
// plain dialect use this list, and tests compare the documentation and the plain schema with it. The caller must not
// change it.
func Fields() []Field { return fields }

var fields = []Field{
	textField("", "action", func(c *Change) *Action { return &c.Action }, Actions()...),
	instantField("", "time", func(c *Change) *time.Time { return &c.Time }),
	textField("resource", "kind", func(c *Change) *Kind { return &c.Resource.Kind }, Kinds()...),
	textField("resource", "id", func(c *Change) *string { return &c.Resource.ID }),
	textField("resource", "name", func(c *Change) *string { return &c.Resource.Name }),
	textField("resource", "project", func(c *Change) *string { return &c.Resource.Project }),
	textField("resource", "project_name", func(c *Change) *string { return &c.Resource.ProjectName }),
	textField("resource", "region", func(c *Change) *string { return &c.Resource.Region }),
	textField("resource", "flavor", func(c *Change) *string { return &c.Resource.Flavor }),
	textField("resource", "image", func(c *Change) *string { return &c.Resource.Image }),
	textField("resource", "zone", func(c *Change) *string { return &c.Resource.Zone }),
	textField("resource", "volume", func(c *Change) *string { return &c.Resource.Volume }),
	instantField("resource", "created", func(c *Change) *time.Time { return &c.Resource.Created }),
	textField("actor", "id", func(c *Change) *string { return &c.Actor.ID }),
	textField("actor", "name", func(c *Change) *string { return &c.Actor.Name }),
	textField("actor", "kind", func(c *Change) *ActorKind { return &c.Actor.Kind }, User, Service, Agency, UnknownActor),
}

func textField[T ~string](object, name string, at func(*Change) *T, words ...T) Field {
	f := Field{
		Object: object, Name: name, Type: Text,
		text: func(c *Change) string { return string(*at(c)) },
		set:  func(c *Change, v any) { *at(c) = T(v.(string)) },
	}
	for _, w := range words {
		f.Values = append(f.Values, string(w))
	}
	return f
}

func instantField(object, name string, at func(*Change) *time.Time) Field {
	return Field{
		Object: object, Name: name, Type: Instant,
		instant: func(c *Change) time.Time { return *at(c) },
		set:     func(c *Change, v any) { *at(c) = v.(time.Time) },
	}
}
