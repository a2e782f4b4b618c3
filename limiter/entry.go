package limiter

import "math"

// An entry is 24 bytes: 96 bits of the key's hash and 96 bits of state. Two keys of a partition agree in all 96 bits once in
// 2^96 pairs; with 10 million keys that is one chance in 10^18.
//
// The state is the word and 32 bits more, low, and tells its kind by the word's top bits, so that a page is swept without
// knowing any limit; 0 is an empty entry:
//
//	token bucket  0  63 bits of ns                    when the debt is earned;  low: the fraction that it is earned earlier
//	window       10  46 bits of ms, 16 bits of count  when the window ends;     low: the rest of the count
//	runs         11  62 bits of ns                    when the last run ends;   low: where the runs are
type entry struct {
	lo   uint64
	word uint64
	hi   uint32
	low  uint32
}

type kind uint8

const (
	tokens kind = iota
	window
	runs
)

const (
	windowBit = 1 << 63
	runsBits  = 3 << 62
	momentMax = 1<<62 - 1
	msMax     = 1<<46 - 1
	msNs      = 1_000_000
)

func (l *Limit) kind() kind {
	switch l.Algorithm {
	case TokenBucket:
		return tokens
	case RollingLog, Concurrency:
		return runs
	}
	return window
}

func (e *entry) kind() kind {
	switch {
	case e.word < windowBit:
		return tokens
	case e.word < runsBits:
		return window
	}
	return runs
}

// expires is the moment from which the entry says nothing that a missing one does not.
func (e *entry) expires() int64 {
	switch e.kind() {
	case tokens:
		return int64(e.word)
	case window:
		return int64(e.word>>16&msMax) * msNs
	}
	return int64(e.word & momentMax)
}

// dead says whether the entry may be dropped. In a cold partition an empty window is not what a missing one is.
func (e *entry) dead(now int64, cold bool) bool {
	return now >= e.expires() || !cold && e.kind() == window && e.units() == 0
}

// units is the count of a window.
func (e *entry) units() int64 { return int64(e.word&math.MaxUint16)<<32 | int64(e.low) }

func (e *entry) setWindow(ends, units int64) {
	e.word = windowBit | uint64(ends/msNs)<<16 | uint64(units)>>32
	e.low = uint32(units)
}

func (e *entry) setRuns(ends int64, at uint32) {
	e.word, e.low = runsBits|uint64(min(ends, momentMax)), at
}

// setTokens stores a token bucket of the limit. Counts that fractions of a nanosecond have no room for are coarse, and so
// are then their fractions: both units * Period and Count are multiples of 10^6.
func (l *Limit) setTokens(e *entry, b bucket) {
	if e.word = uint64(b.expires); l.Count >= fractionMax {
		b.count /= coarse
	}
	e.low = uint32(b.count)
}

func (l *Limit) tokens(e *entry) bucket {
	b := bucket{expires: int64(e.word), count: int64(e.low)}
	if l.Count >= fractionMax {
		b.count *= coarse
	}
	if b.count < l.Count || l.Count == 0 { // a share of nothing leaves the debt as it was
		return b
	}
	if n := b.count / l.Count; n < mergedMax { // merged debts leave the sum of their fractions
		return bucket{expires: b.expires - n, count: b.count - n*l.Count}
	}
	return bucket{expires: b.expires} // the limit has changed: less than a nanosecond of debt is added
}
