package rules

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.yaml.in/yaml/v4"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/suggest"
)

// Policy is the part of a rules file about the fleet as a whole: which keys are required, and what is exempt. It has no
// effect on plans for events.
type Policy struct {
	Required   []Required
	Exemptions []Exemption
	// SelfExemption says how to treat a resource with the key tagger-exempt. Anyone who may write its metadata can set
	// that key.
	SelfExemption SelfExemption
	// ProtectedKeys are keys and patterns of keys that a repair never writes or deletes.
	ProtectedKeys []string
	// VolumesWrite says which volumes' metadata may be written.
	VolumesWrite VolumesWrite
	// YieldTo has names, ids and patterns of users. Keys that these users remove are never written again.
	YieldTo []string
}

// RequiredKeys returns the required keys, each once, in their order.
func (p Policy) RequiredKeys() []string {
	var keys []string
	for _, r := range p.Required {
		if !slices.Contains(keys, r.Key) {
			keys = append(keys, r.Key)
		}
	}
	return keys
}

// Protects reports whether protected_keys: lists a key.
func (p Policy) Protects(key string) bool {
	return slices.ContainsFunc(p.ProtectedKeys, func(pattern string) bool { return matchesGlob(pattern, key) })
}

// YieldsTo reports whether yield_to: lists an actor, by name or by id.
func (p Policy) YieldsTo(a lifecycle.Actor) bool {
	return slices.ContainsFunc(p.YieldTo, func(pattern string) bool {
		return a.Name != "" && matchesGlob(pattern, a.Name) || a.ID != "" && matchesGlob(pattern, a.ID)
	})
}

// SelfExemption is the value of self_exemption:.
type SelfExemption string

// The values of self_exemption:. ReportSelfExemption, the default, reports the exemption and counts the keys as
// missing.
const (
	IgnoreSelfExemption SelfExemption = "ignore"
	ReportSelfExemption SelfExemption = "report"
	AcceptSelfExemption SelfExemption = "accept"
)

// VolumesWrite is the value of volumes: {write: …}.
type VolumesWrite string

// The values of volumes: {write: …}. UnmanagedVolumes, the default, means volumes that have no metadata except
// Tagger's: Terraform and Heat own all metadata of the volumes that they manage.
const (
	NoVolumes        VolumesWrite = "never"
	UnmanagedVolumes VolumesWrite = "unmanaged"
	AllVolumes       VolumesWrite = "all"
)

// Required is a key that resources must have.
type Required struct {
	Key   string
	Kinds []lifecycle.Kind
	// At most one of these limits the values: Table names a table whose keys are the values, OneOf lists them, Pattern
	// matches them.
	Table   string
	OneOf   []string
	Pattern *regexp.Regexp
	// Placeholders are values that count as missing. Aliases are other spellings of the key.
	Placeholders, Aliases []string
	// Overwrite replaces a value other than the expected one. Restore writes a key again after it was removed.
	Overwrite, Restore bool
	// Line is its line in the file.
	Line   int
	expect template
}

// Exemption exempts some resources from some required keys.
type Exemption struct {
	Name string
	// Match has a pattern for each field to compare: project, project_name, kind, name, id, region, zone. All must
	// match.
	Match map[string]string
	Keys  []string
	// Reason is why, By who decided, and Ticket where the decision is recorded. AllocateTo is who pays. Ticket and
	// AllocateTo can be "".
	Reason, By, Ticket, AllocateTo string
	// Until is the start of the last day, in UTC.
	Until time.Time
	Line  int
}

// Policy returns the policy in the rules file.
func (s *Set) Policy() Policy { return s.policy }

// Expected returns the value that expect: gives a required key on the resource that c describes. why is the reason if
// there is no value; both are "" without expect:. The error is a [*BudgetError].
func (s *Set) Expected(r Required, c lifecycle.Change, e event.Event, readings Readings) (value, why string,
	err error) {
	if r.expect == nil {
		return "", "", nil
	}
	p := s.planner(c, e, readings)
	value, why, err = r.expect.render(p.env(), p.left)
	if err != nil {
		return "", "", &BudgetError{Rule: "required", Key: r.Key}
	}
	value, _ = p.plan.Family.FitValue(value)
	return value, why, nil
}

// Allows reports whether values: allows a value. Without values:, every value is allowed.
func (s *Set) Allows(r Required, value string) bool {
	switch {
	case r.Table != "":
		_, ok := s.scope.tables[r.Table].rows[value]
		return ok
	case r.OneOf != nil:
		return slices.Contains(r.OneOf, value)
	case r.Pattern != nil:
		return r.Pattern.MatchString(value)
	}
	return true
}

// Covers reports whether the exemption applies to a resource at a time.
func (x Exemption) Covers(r lifecycle.Resource, at time.Time) bool {
	if at.UTC().After(x.Until.AddDate(0, 0, 1)) {
		return false
	}
	for field, pattern := range x.Match {
		if !matchesGlob(pattern, exemptionFields[field](r)) {
			return false
		}
	}
	return true
}

// Exemption returns the first exemption that covers a key of a resource at a time.
func (p Policy) Exemption(key string, r lifecycle.Resource, at time.Time) (Exemption, bool) {
	for _, x := range p.Exemptions {
		if slices.Contains(x.Keys, key) && x.Covers(r, at) {
			return x, true
		}
	}
	return Exemption{}, false
}

// SelfExemptKey is the key with which a resource exempts itself. See [SelfExemption].
const SelfExemptKey = "tagger-exempt"

// exemptionFields has the fields that match: can use. It is only read.
var exemptionFields = map[string]func(lifecycle.Resource) string{
	"project":      func(r lifecycle.Resource) string { return r.Project },
	"project_name": func(r lifecycle.Resource) string { return r.ProjectName },
	"kind":         func(r lifecycle.Resource) string { return string(r.Kind) },
	"name":         func(r lifecycle.Resource) string { return r.Name },
	"id":           func(r lifecycle.Resource) string { return r.ID },
	"region":       func(r lifecycle.Resource) string { return r.Region },
	"zone":         func(r lifecycle.Resource) string { return r.Zone },
}

// maxExemption limits how far ahead an exemption may end, so that it is reviewed at least once a year.
const maxExemption = 366 * 24 * time.Hour

// mapped returns the fields of a mapping, nil after a fault.
func (c *compiler) mapped(node *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	if node.Kind != yaml.MappingNode {
		c.fail(node, "%s: want a mapping, found %s", what, describe(node))
		return nil
	}
	return c.fields(node, known...)
}

// sequence returns the elements of a list.
func (c *compiler) sequence(node *yaml.Node, what string) []*yaml.Node {
	if node.Kind != yaml.SequenceNode || len(node.Content) == 0 {
		c.fail(node, "%s: want a list, found %s", what, describe(node))
		return nil
	}
	return node.Content
}

// text returns the text of a field, "" if it is missing.
func (c *compiler) text(fields map[string]*yaml.Node, name, where string) string {
	node, ok := fields[name]
	if !ok {
		return ""
	}
	text, _ := c.scalar(node, where+": "+name)
	return text
}

// word returns a field's text, which must be one of words; the first word is the default.
func (c *compiler) word(node *yaml.Node, where string, words ...string) string {
	if node == nil {
		return words[0]
	}
	text, ok := c.scalar(node, where)
	if ok && !slices.Contains(words, text) {
		last := len(words) - 1
		choice := strings.Join(words[:last], ", ") + " or " + words[last]
		c.fail(node, "%s: want %s, found %q%s", where, choice, text, didYouMean(text, words))
		return words[0]
	}
	return text
}

func didYouMean(word string, words []string) string {
	if best := suggest.Word(word, words); best != "" {
		return "; did you mean " + best + "?"
	}
	return ""
}

func (c *compiler) texts(fields map[string]*yaml.Node, name, where string) []string {
	node, ok := fields[name]
	if !ok {
		return nil
	}
	var all []string
	for _, item := range c.items(node, where+": "+name, "texts") {
		if text, ok := c.name(item, where+": "+name); ok {
			all = append(all, text)
		}
	}
	return all
}

// kinds reads a list of kinds; the default is all of them.
func (c *compiler) kinds(fields map[string]*yaml.Node, where string) []lifecycle.Kind {
	node, ok := fields["kinds"]
	if !ok {
		return lifecycle.Kinds()
	}
	var all []lifecycle.Kind
	for _, item := range c.items(node, where+": kinds", "kinds") {
		if text, ok := c.name(item, where+": kinds"); ok && c.kind(item, where+": kinds", text) {
			all = append(all, lifecycle.Kind(text))
		}
	}
	return all
}

func (c *compiler) kind(node *yaml.Node, where, text string) bool {
	if !slices.Contains(lifecycle.Kinds(), lifecycle.Kind(text)) {
		c.fail(node, "%s: unknown kind %q%s", where, text, suggest.Hint(text, words(lifecycle.Kinds())))
		return false
	}
	return true
}

func (c *compiler) required(node *yaml.Node) {
	seen := map[string]bool{}
	for _, item := range c.sequence(node, "required") {
		fields := c.mapped(item, "required",
			"key", "kinds", "expect", "values", "placeholders", "aliases", "on_differs", "on_removed")
		if fields == nil {
			continue
		}
		keyNode, ok := fields["key"]
		if c.lacks(item, fields, "key") {
			c.fail(item, "required: no key: name the required key")
		}
		if !ok {
			continue
		}
		key, ok := c.scalar(keyNode, "required: key")
		if !ok {
			continue
		}
		where := "required: " + key
		r := Required{Key: key, Line: item.Line, Kinds: c.kinds(fields, where)}
		for _, kind := range r.Kinds {
			if err := FamilyOf(c.API, kind).CheckKey(key); err != nil {
				c.fail(keyNode, "required: %v", err)
				break
			}
		}
		for _, kind := range r.Kinds {
			if seen[key+"\n"+string(kind)] {
				c.fail(item, "%s: is already required of a %s", where, kind)
			}
			seen[key+"\n"+string(kind)] = true
		}
		c.expect(&r, fields["expect"], where)
		c.allowed(&r, fields["values"], where)
		r.Placeholders, r.Aliases = c.texts(fields, "placeholders", where), c.texts(fields, "aliases", where)
		if slices.Contains(r.Aliases, key) {
			c.fail(fields["aliases"], "%s: aliases: names the key itself", where)
		}
		r.Overwrite = c.word(fields["on_differs"], where+": on_differs", "report", "overwrite") == "overwrite"
		r.Restore = c.word(fields["on_removed"], where+": on_removed", "leave", "restore") == "restore"
		if fields["on_differs"] != nil && c.lacks(item, fields, "expect") {
			c.fail(fields["on_differs"], "%s: on_differs: needs expect:, the expected value", where)
		}
		c.set.policy.Required = append(c.set.policy.Required, r)
	}
}

// expect reads the expected value of a required key.
func (c *compiler) expect(r *Required, node *yaml.Node, where string) {
	if node == nil {
		return
	}
	text, ok := c.scalar(node, where+": expect")
	if !ok {
		return
	}
	t, err := parseTemplate(text, func(source string) (*expression, error) {
		return compileExpression(source, c.set.scope, false)
	})
	if err != nil {
		c.fail(node, "%s: expect: %v", where, err)
	}
	r.expect = t
}

// allowed reads values: {table: …}, {one_of: […]} or {pattern: …}.
func (c *compiler) allowed(r *Required, node *yaml.Node, where string) {
	if node == nil {
		return
	}
	where += ": values"
	fields := c.mapped(node, where, "table", "one_of", "pattern")
	if fields != nil && len(fields) != 1 {
		c.fail(node, "%s: want one of table:, one_of:, pattern:", where)
		return
	}
	r.OneOf = c.texts(fields, "one_of", where)
	if r.Table = c.text(fields, "table", where); r.Table != "" {
		if _, ok := c.set.scope.tables[r.Table]; !ok {
			var known []string
			for name := range c.set.scope.tables {
				known = append(known, name)
			}
			slices.Sort(known)
			c.fail(fields["table"], "%s: unknown table %q%s", where, r.Table, suggest.Hint(r.Table, known))
		}
	}
	if pattern := c.text(fields, "pattern", where); pattern != "" {
		var err error
		if r.Pattern, err = regexp.Compile(pattern); err != nil {
			c.fail(fields["pattern"], "%s: pattern: %v", where, err)
		} else if !strings.HasPrefix(pattern, "^") || !strings.HasSuffix(pattern, "$") {
			c.fail(fields["pattern"], "%s: pattern: matches a part of a value; begin it with ^ and end it with $", where)
		}
	}
}

func (c *compiler) exemptions(node *yaml.Node) {
	seen := map[string]int{}
	for _, item := range c.sequence(node, "exemptions") {
		fields := c.mapped(item, "exemptions", "name", "match", "keys", "reason", "allocate_to", "by", "ticket", "until")
		if fields == nil {
			continue
		}
		where := "exemptions"
		for _, needed := range []string{"name", "match", "keys", "reason", "by", "until"} {
			if c.lacks(item, fields, needed) {
				c.fail(item, "exemptions: no %s:", needed)
			}
		}
		x := Exemption{Name: c.text(fields, "name", where), Line: item.Line}
		where += ": " + x.Name
		if first, ok := seen[x.Name]; ok && x.Name != "" {
			c.fail(item, "%s: line %d already has an exemption of this name", where, first)
		}
		seen[x.Name] = item.Line
		x.Keys = c.texts(fields, "keys", where)
		x.Reason, x.By = c.text(fields, "reason", where), c.text(fields, "by", where)
		x.Ticket, x.AllocateTo = c.text(fields, "ticket", where), c.text(fields, "allocate_to", where)
		if match := fields["match"]; match != nil {
			x.Match = c.match(match, where)
		}
		if until := fields["until"]; until != nil {
			x.Until = c.until(until, where)
		}
		c.set.policy.Exemptions = append(c.set.policy.Exemptions, x)
	}
}

// match reads the resources that an exemption applies to.
func (c *compiler) match(node *yaml.Node, where string) map[string]string {
	where += ": match"
	var known []string
	for name := range exemptionFields {
		known = append(known, name)
	}
	slices.Sort(known)
	fields := c.mapped(node, where, known...)
	if fields == nil {
		return nil
	}
	match := map[string]string{}
	narrow := false
	for _, name := range known {
		value, ok := fields[name]
		if !ok {
			continue
		}
		text, ok := c.scalar(value, where+": "+name)
		if !ok {
			continue
		}
		if name == "kind" {
			c.kind(value, where+": kind", text)
		} else if strings.Trim(text, "*?") != "" {
			narrow = true
		}
		match[name] = text
	}
	if !narrow {
		c.fail(node, "%s: matches everything; name a project, a name or an id", where)
	}
	return match
}

func (c *compiler) until(node *yaml.Node, where string) time.Time {
	text, ok := c.scalar(node, where+": until")
	if !ok {
		return time.Time{}
	}
	day, err := time.Parse(time.DateOnly, text)
	switch {
	case err != nil:
		c.fail(node, "%s: until: want a day such as 2027-03-31, found %q", where, text)
	case day.After(c.Now.Add(maxExemption)):
		c.fail(node, "%s: until: %s is more than a year ahead; review exemptions at least once a year", where,
			text)
	case c.Now.After(day.AddDate(0, 0, 1)):
		c.notice(node, "%s: it ended with %s; its keys count as missing", where, text)
	}
	return day
}

func (c *compiler) selfExemption(node *yaml.Node) {
	c.set.policy.SelfExemption = SelfExemption(c.word(node, "self_exemption", "report", "ignore", "accept"))
}

func (c *compiler) protectedKeys(node *yaml.Node) {
	c.set.policy.ProtectedKeys = c.patterns(node, "protected_keys", "keys", "every key")
}

func (c *compiler) yieldTo(node *yaml.Node) {
	c.set.policy.YieldTo = c.patterns(node, "yield_to", "users",
		"every user; set TAGGER_REPAIR=false to write nothing again")
}

// patterns reads a list of names and patterns. No pattern may match everything; everything describes that in the error.
func (c *compiler) patterns(node *yaml.Node, section, what, everything string) []string {
	var all []string
	for _, item := range c.items(node, section, what) {
		name, ok := c.name(item, section)
		if !ok {
			continue
		}
		if strings.Trim(name, "*?") == "" {
			c.fail(item, "%s: %q matches %s", section, name, everything)
		}
		if slices.Contains(all, name) {
			c.fail(item, "%s: %s is given twice", section, name)
		}
		all = append(all, name)
	}
	return all
}

func (c *compiler) volumes(node *yaml.Node) {
	if fields := c.mapped(node, "volumes", "write"); fields != nil {
		c.set.policy.VolumesWrite = VolumesWrite(c.word(fields["write"], "volumes: write", "unmanaged", "never", "all"))
	}
}
