package policy

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	nameMax       = 64   // bytes of a name in a policy
	matchMax      = 32   // attributes a match may look at
	matchValueMax = 1000 // values in one list of a match
)

// condition is what a match asks of one attribute: that its value is one of want or, negated, none of them. An
// attribute that a request lacks is not any value, so only a negated condition holds for it.
type condition struct {
	attribute string
	want      []pattern
	not       bool
}

// pattern is a value, or what a value begins with.
type pattern struct {
	text   string
	prefix bool
}

func (c *condition) holds(attributes []Attribute) bool {
	value, ok := attribute(attributes, c.attribute)
	if !ok {
		return c.not
	}
	for i := range c.want {
		if c.want[i].fits(value) {
			return !c.not
		}
	}
	return c.not
}

func (p *pattern) fits(value string) bool {
	return p.prefix && strings.HasPrefix(value, p.text) || value == p.text
}

// String returns the condition as a policy writes it.
func (c *condition) String() string {
	words := make([]string, len(c.want))
	for i, p := range c.want {
		words[i] = p.text
		if p.prefix {
			words[i] += "*"
		}
	}
	text := strings.Join(words, ", ")
	if len(words) > 1 {
		text = "[" + text + "]"
	}
	if c.not {
		text = "!" + text
	}
	return c.attribute + ": " + text
}

func attribute(attributes []Attribute, name string) (string, bool) {
	for i := range attributes {
		if attributes[i].Name == name {
			return attributes[i].Value, true
		}
	}
	return "", false
}

// unmet returns the first condition that does not hold, nil when all do.
func unmet(match []condition, attributes []Attribute) *condition {
	for i := range match {
		if !match[i].holds(attributes) {
			return &match[i]
		}
	}
	return nil
}

// conditionsOf reads the match of a limit or a price.
func (r *reader) conditionsOf(n *yaml.Node) []condition {
	pairs := r.pairs(n, "attributes and the values to match, such as {model: large}")
	if len(pairs) > matchMax {
		r.wrong(n, fmt.Sprintf("%d attributes", len(pairs)), fmt.Sprintf("at most %d", matchMax))
		return nil
	}
	r.match = r.match[:0]
	for _, p := range pairs {
		c := condition{attribute: r.attribute(p.key)}
		r.want = r.want[:0]
		if p.value.Kind == yaml.SequenceNode {
			elements := r.list(p.value, "a list of values", matchValueMax)
			if len(p.value.Content) == 0 {
				r.wrong(p.value, "an empty list", "at least one value")
			}
			for _, e := range elements {
				if want, not := r.pattern(e); not {
					r.wrong(e, "a negated value in a list", "a value (negate one alone: !x)")
				} else {
					r.want = append(r.want, want)
				}
			}
		} else {
			want, not := r.pattern(p.value)
			r.want, c.not = append(r.want, want), not
		}
		c.want = r.patterns.keep(r.want)
		r.match = append(r.match, c)
	}
	return r.conditions.keep(r.match)
}

// pattern reads x, x* or !x. YAML takes an unquoted !x for a tag on nothing, which means the same here.
func (r *reader) pattern(n *yaml.Node) (p pattern, not bool) {
	const expected = "a value, `prefix*`, `!value` or a list of values"
	text := n.Value
	if n.Kind == yaml.ScalarNode && n.Value == "" && strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		text = n.Tag
	} else if _, ok := r.text(n, expected); !ok {
		return pattern{}, false
	}
	text, not = strings.CutPrefix(text, "!")
	text, prefix := strings.CutSuffix(text, "*")
	if len(text) > AttributeValueMax || text == "" && !prefix {
		r.wrong(n, describe(n), fmt.Sprintf("%s, at most %d bytes", expected, AttributeValueMax))
	}
	return pattern{text: text, prefix: prefix}, not
}

// attribute reads the name of an attribute.
func (r *reader) attribute(n *yaml.Node) string {
	if !written(n) || len(n.Value) > AttributeNameMax {
		r.wrong(n, describe(n), fmt.Sprintf("the name of an attribute, at most %d bytes", AttributeNameMax))
	}
	if !written(n) {
		return ""
	}
	return n.Value
}

// attributes reads a list of different attribute names. The same list as before is returned again: it is not changed.
func (r *reader) attributes(n *yaml.Node) []string {
	var room [4]string
	all := room[:0]
	for _, e := range r.list(n, "a list of attribute names, such as [user]", AttributesMax) {
		w := r.attribute(e)
		for _, other := range all {
			if w == other {
				r.wrong(e, "`"+short(w)+"` again", "each attribute once")
			}
		}
		all = append(all, w)
	}
	if !slices.Equal(all, r.names) {
		r.names = slices.Clone(all)
	}
	return r.names
}
