package policy

import "slices"

// index finds the rules of a list that may match a request without walking all of them. A rule that asks an attribute
// for values or prefixes hangs on these, and of several such conditions on the one whose patterns fewest rules have; a
// rule without one is a candidate always. The zero value has no rules.
type index struct {
	always []int32
	hooks  map[string]*hook // by attribute
}

// hook holds the rules that hang on one attribute.
type hook struct {
	exact, prefix map[string][]int32
	lengths       []int // of the prefixes, ascending
}

// newIndex indexes n rules, of which match tells what they ask.
func newIndex(n int, match func(i int) []condition) index {
	type place struct {
		attribute string
		pattern
	}
	shared := map[place]int{}
	for i := range n {
		for _, c := range match(i) {
			for _, p := range c.want {
				if !c.not {
					shared[place{c.attribute, p}]++
				}
			}
		}
	}
	var x index
	for i := range n {
		var best *condition
		fewest := 0
		for j, c := range match(i) {
			crowd := 0
			for _, p := range c.want {
				crowd += shared[place{c.attribute, p}]
			}
			if !c.not && (best == nil || crowd < fewest) {
				best, fewest = &match(i)[j], crowd
			}
		}
		x.add(int32(i), best)
	}
	return x
}

func (x *index) add(rule int32, c *condition) {
	if c == nil {
		x.always = append(x.always, rule)
		return
	}
	if x.hooks == nil {
		x.hooks = map[string]*hook{}
	}
	h := x.hooks[c.attribute]
	if h == nil {
		h = &hook{exact: map[string][]int32{}, prefix: map[string][]int32{}}
		x.hooks[c.attribute] = h
	}
	for _, p := range c.want {
		if !p.prefix {
			h.exact[p.text] = append(h.exact[p.text], rule)
			continue
		}
		h.prefix[p.text] = append(h.prefix[p.text], rule)
		if i, known := slices.BinarySearch(h.lengths, len(p.text)); !known {
			h.lengths = slices.Insert(h.lengths, i, len(p.text))
		}
	}
}

// candidates appends to found, which is empty, the rules that the attributes may match: ascending, each once. Every rule
// that does match is among them.
func (x *index) candidates(found []int32, attributes []Attribute) []int32 {
	found = append(found, x.always...)
	if len(x.hooks) == 0 {
		return found
	}
	for i := range attributes {
		h := x.hooks[attributes[i].Name]
		if h == nil {
			continue
		}
		value := attributes[i].Value
		found = append(found, h.exact[value]...)
		for _, n := range h.lengths {
			if n > len(value) {
				break
			}
			found = append(found, h.prefix[value[:n]]...)
		}
	}
	if len(found) > len(x.always) {
		slices.Sort(found)
		found = slices.Compact(found)
	}
	return found
}
