package policy

import (
	"slices"

	"github.com/cespare/xxhash/v2"
)

// index finds the rules of a list that may match a request without walking all of them. A rule that asks an attribute
// for values or prefixes hangs on these, and of several such conditions on the one whose patterns fewest rules have; a
// rule without one is a candidate always. The zero value has no rules.
//
// Patterns are known by a hash alone: whoever's hash is the same is one candidate more, which then does not match. So
// whatever the rules say, the index is three arrays that the collector need not look into.
type index struct {
	always []int32
	hooks  map[string]hook // by attribute
	slots  []slot          // a power of two, of which at most half are taken
	rules  []int32         // those of each slot in a row, ascending
}

// hook is an attribute that rules hang on.
type hook struct {
	seed    uint64 // tells its patterns from those of others
	lengths []int  // of the prefixes, ascending
}

// slot is a pattern that rules hang on.
type slot struct {
	hash uint64 // 0 when it is free
	from uint32 // index into rules
	many uint32
}

const (
	valueSalt  = 0x9e3779b97f4a7c15
	prefixSalt = 0xc2b2ae3d27d4eb4f
)

// hash is never 0.
func (h *hook) hash(text string, prefix bool) uint64 {
	salt := uint64(valueSalt)
	if prefix {
		salt = prefixSalt
	}
	return (xxhash.Sum64String(text)^h.seed)*salt | 1<<63
}

// newIndex indexes n rules, of which match tells what they ask.
func newIndex(n int, match func(i int) []condition) index {
	var x index
	patterns := x.hang(n, match)
	if patterns == 0 {
		for i := range n {
			x.always = append(x.always, int32(i))
		}
		return x
	}
	crowd := newTable(patterns)
	for i := range n {
		for _, c := range match(i) {
			x.each(&c, func(hash uint64) { crowd[find(crowd, hash)].add(hash) })
		}
		makeWay(i)
	}
	on := make([]int8, n) // the condition that each rule hangs on, -1 if none
	x.slots = newTable(patterns)
	for i := range n {
		if on[i] = x.choose(crowd, match(i)); on[i] < 0 {
			x.always = append(x.always, int32(i))
		} else {
			x.each(&match(i)[on[i]], func(hash uint64) { x.slots[find(x.slots, hash)].add(hash) })
		}
		makeWay(i)
	}
	x.fill(on, match)
	return x
}

// hang makes a hook for each attribute, and returns how many patterns all rules have.
func (x *index) hang(n int, match func(i int) []condition) (patterns int) {
	x.hooks = map[string]hook{}
	for i := range n {
		for _, c := range match(i) {
			if c.not {
				continue
			}
			h, known := x.hooks[c.attribute]
			if !known {
				h.seed = xxhash.Sum64String(c.attribute)
				x.hooks[c.attribute] = h
			}
			for _, p := range c.want {
				if patterns++; !p.prefix {
					continue
				}
				if i, known := slices.BinarySearch(h.lengths, len(p.text)); !known {
					h.lengths = slices.Insert(h.lengths, i, len(p.text))
					x.hooks[c.attribute] = h
				}
			}
		}
		makeWay(i)
	}
	return patterns
}

// each calls f with what a condition can be found by.
func (x *index) each(c *condition, f func(hash uint64)) {
	if c.not {
		return
	}
	h := x.hooks[c.attribute]
	for _, p := range c.want {
		f(h.hash(p.text, p.prefix))
	}
}

// choose returns which condition of a rule shares its patterns with fewest others, -1 if none has any.
func (x *index) choose(crowd []slot, match []condition) int8 {
	best, fewest := int8(-1), uint32(0)
	for i := range match {
		if match[i].not {
			continue
		}
		sum := uint32(0)
		x.each(&match[i], func(hash uint64) { sum += crowd[find(crowd, hash)].many })
		if best < 0 || sum < fewest {
			best, fewest = int8(i), sum // there are at most matchMax
		}
	}
	return best
}

// fill gives each slot its rules, now that it is known how many they are.
func (x *index) fill(on []int8, match func(i int) []condition) {
	sum := uint32(0)
	for i := range x.slots {
		s := &x.slots[i]
		s.from, sum = sum, sum+s.many
		s.many = 0
	}
	x.rules = make([]int32, sum)
	for i := range on {
		if on[i] >= 0 {
			x.each(&match(i)[on[i]], func(hash uint64) {
				s := &x.slots[find(x.slots, hash)]
				x.rules[s.from+s.many] = int32(i)
				s.many++
			})
		}
		makeWay(i)
	}
}

// newTable returns room for n hashes.
func newTable(n int) []slot {
	size := 2
	for size < 2*n {
		size *= 2
	}
	return make([]slot, size)
}

// find returns where in a table a hash is, or would be.
func find(table []slot, hash uint64) int {
	mask := len(table) - 1
	i := int(hash>>20) & mask
	for table[i].hash != hash && table[i].hash != 0 {
		i = (i + 1) & mask
	}
	return i
}

func (s *slot) add(hash uint64) {
	s.hash = hash
	s.many++
}

// candidates appends to found, which is empty, the rules that the attributes may match: ascending, each once. Every rule
// that does match is among them.
func (x *index) candidates(found []int32, attributes []Attribute) []int32 {
	found = append(found, x.always...)
	if len(x.slots) == 0 {
		return found
	}
	for i := range attributes {
		h, known := x.hooks[attributes[i].Name]
		if !known {
			continue
		}
		value := attributes[i].Value
		found = x.hanging(found, h.hash(value, false))
		for _, n := range h.lengths {
			if n > len(value) {
				break
			}
			found = x.hanging(found, h.hash(value[:n], true))
		}
	}
	if len(found) > len(x.always) {
		slices.Sort(found)
		found = slices.Compact(found)
	}
	return found
}

// hanging appends the rules that hang on a pattern.
func (x *index) hanging(found []int32, hash uint64) []int32 {
	s := x.slots[find(x.slots, hash)]
	return append(found, x.rules[s.from:s.from+s.many]...)
}
