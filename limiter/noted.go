package limiter

import (
	"math/bits"
	"slices"
)

// noted is a set of keys as entries have them, by linear probing in about the order of their spots.
type noted struct {
	slots []Key // a power of two; the zero Key is an empty slot, and no key of the set
	many  int32
	whole bool // every key is in the set, and none need be added
	due   bool // Changes has something to return, and Due has been or will be told
}

const (
	notedFirst = 16 // slots: 256 bytes
	// notedBit is set in the keys of the set, above what an entry has of a key.
	notedBit = 1 << 32
)

// add says whether the set has become too full for another one.
func (n *noted) add(k Key) (full bool) {
	if n.slots == nil {
		n.slots = make([]Key, notedFirst)
	}
	k.Hi = uint64(uint32(k.Hi)) | notedBit
	mask := uint64(len(n.slots) - 1)
	for i := k.place() >> bits.LeadingZeros64(mask); ; i++ {
		switch e := &n.slots[i&mask]; *e {
		case k:
			return false
		case Key{}:
			*e = k
			n.many++
			return 4*int(n.many) > 3*len(n.slots)
		}
	}
}

// fill has every key in the set.
func (n *noted) fill() { n.slots, n.many, n.whole = nil, 0, true }

func (n *noted) grow() {
	from := n.slots
	n.slots, n.many = make([]Key, 2*len(from)), 0
	for _, k := range from {
		if k != (Key{}) {
			n.add(k)
		}
	}
}

// take empties the set and returns its keys in order. It keeps the room for as many to come, if they filled a part of it.
func (n *noted) take() []Key {
	keys := make([]Key, 0, n.many)
	for _, k := range n.slots {
		if k != (Key{}) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return a.spot().compare(b.spot()) })
	if n.many = 0; len(n.slots) > notedFirst && 8*len(keys) < len(n.slots) {
		n.slots = nil
	} else {
		clear(n.slots)
	}
	return keys
}
