package policy

import (
	"bytes"
	"reflect"
	"slices"
	"strconv"
)

// Verb is what became of a part of a policy.
type Verb uint8

// The verbs.
const (
	Added Verb = iota
	Removed
	Changed
)

// String returns the verb's word, such as added.
func (v Verb) String() string { return word([]string{"added", "removed", "changed"}, int(v)) }

// FieldChange is a field of the language with what it was and is, as a policy writes it; empty where it has none.
type FieldChange struct {
	Field, Old, New string
}

// Change is one difference between two policies. A limit is named by Limit; a price by Price, its number in the table
// from 1; with neither, the change is about the domain itself.
type Change struct {
	Verb   Verb
	Domain string
	Limit  string
	Price  int
	Fields []FieldChange // of what was changed, in the order of the language
	// Afresh says that buckets start afresh under the new policy: those of the limit, or all of the domain. Others go on
	// with what they owe.
	Afresh bool
}

// String returns the change as one line, such as: changed demo limit user-rpm: rate 60/min -> 90/min.
func (c Change) String() string {
	text := c.Verb.String() + " " + c.Domain
	switch {
	case c.Limit != "":
		text += " limit " + c.Limit
	case c.Price > 0:
		text += " price " + strconv.Itoa(c.Price)
	}
	for i, f := range c.Fields {
		text += [...]string{": ", ", "}[min(i, 1)] + f.Field + " " + orNone(f.Old) + " -> " + orNone(f.New)
	}
	if c.Afresh {
		text += " (buckets start afresh)"
	}
	return text
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Diff returns how was became is: by domain, first the domain itself, then its limits and its prices. A nil policy has no
// domains. What reads differently but means the same is no difference; nor is the order of limits, which has no meaning.
func Diff(was, is *Policy) []Change {
	var all []Change
	names := slices.Concat(was.domainNames(), is.domainNames())
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		all = append(all, diffDomain(name, was.domain(name), is.domain(name))...)
	}
	return all
}

func (p *Policy) domainNames() []string {
	if p == nil {
		return nil
	}
	return p.names
}

func (p *Policy) domain(name string) *Domain {
	if p == nil {
		return nil
	}
	return p.domains[name]
}

func diffDomain(name string, was, is *Domain) (all []Change) {
	switch {
	case was == nil:
		return []Change{{Verb: Added, Domain: name}}
	case is == nil:
		return []Change{{Verb: Removed, Domain: name, Afresh: true}}
	}
	fields := diffFields(was.fields(), is.fields())
	if !reflect.DeepEqual(was.envoy, is.envoy) {
		fields = append(fields, FieldChange{"envoy", choose(was.envoy == nil, "", "a tree"), choose(is.envoy == nil, "", "another tree")})
	}
	if len(fields) > 0 {
		all = append(all, Change{Verb: Changed, Domain: name, Fields: fields, Afresh: !slices.Equal(was.account, is.account)})
	}
	before := byName(was)
	for i := range is.limits {
		l := &is.limits[i]
		old := before[l.name]
		delete(before, l.name)
		if old == nil {
			all = append(all, Change{Verb: Added, Domain: name, Limit: l.name})
		} else if fields := diffFields(old.fields(was), l.fields(is)); len(fields) > 0 {
			all = append(all, Change{Verb: Changed, Domain: name, Limit: l.name, Fields: fields, Afresh: !bytes.Equal(old.prefix, l.prefix)})
		}
	}
	for i := range was.limits {
		if l := &was.limits[i]; before[l.name] != nil {
			all = append(all, Change{Verb: Removed, Domain: name, Limit: l.name, Afresh: true})
		}
	}
	for i := range max(len(was.prices), len(is.prices)) {
		c := Change{Domain: name, Price: i + 1, Verb: Changed}
		switch {
		case i >= len(was.prices):
			c.Verb = Added
		case i >= len(is.prices):
			c.Verb = Removed
		default:
			if c.Fields = diffFields(was.prices[i].fields(was), is.prices[i].fields(is)); len(c.Fields) == 0 {
				continue
			}
		}
		all = append(all, c)
	}
	return all
}

func byName(d *Domain) map[string]*limit {
	all := make(map[string]*limit, len(d.limits))
	for i := range d.limits {
		all[d.limits[i].name] = &d.limits[i]
	}
	return all
}
