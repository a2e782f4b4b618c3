package policy

import (
	"bytes"
	"maps"
	"slices"
	"time"
)

// The bounds of what the cluster agrees on.
const (
	VersionsMax     = 20      // policies kept, the one in force included
	versionBytesMax = 8 << 20 // of their texts; the one in force is kept in any case
	OverridesMax    = 10_000  // over all domains
	BlocksMax       = 10_000  // over all domains
	ResetsMax       = 10_000  // over all domains
	besideBytesMax  = 4 << 20 // of overrides, blocks and resets together, so that a peer can be sent them at once
)

// agreed is all that the cluster agreed on about its policy, after so many changes. It is immutable: a change makes
// another one, which shares what did not change.
type agreed struct {
	revision  uint64
	versions  []version // oldest first; the last is in force
	overrides map[place]override
	blocks    map[place]block
	resets    map[place]reset
}

// version is a policy as it was written, and its number.
type version struct {
	number uint64
	at     time.Time // in log time; zero when an old release agreed on it
	note   string
	text   []byte
}

// place is what an override, a block or a reset is for. A block has no limit, and neither has a reset of all limits.
type place struct{ domain, account, limit string }

func (p place) bytes() int { return 64 + len(p.domain) + len(p.account) + len(p.limit) }

type override struct {
	terms Terms
	until time.Time // zero: for good
}

type block struct {
	why   string
	until time.Time
}

// reset has every bucket of a place start afresh, by becoming a part of its key. Its number is the revision that
// brought it, so no two are alike.
type reset struct {
	number uint64
	nonce  uint64    // of the command: one that is repeated resets once
	debts  time.Time // until then the buckets from before may owe something
}

func (a *agreed) current() version {
	if len(a.versions) == 0 {
		return version{}
	}
	return a.versions[len(a.versions)-1]
}

// outcome is what became of a command, as its reply carries it.
type outcome byte

const (
	outcomeDone outcome = iota
	outcomeConflict
	outcomeMalformed
	outcomeFull
	outcomePast
	outcomeSame // done, and nothing differs; a reply says done
)

// after returns what is agreed once the command was applied at that time; the same as before when that changes nothing.
func (a agreed) after(at time.Time, c *command) (agreed, outcome) {
	was := a
	a.revision++
	o := outcomeDone
	switch {
	case c.kind == kindPut:
		o = a.put(at, c)
	case past(c.until, at):
		o = outcomePast
	default:
		o = a.mark(at, c)
	}
	switch o {
	case outcomeDone:
		return a, outcomeDone
	case outcomeSame:
		return was, outcomeDone
	}
	return was, o
}

func (a *agreed) put(at time.Time, c *command) outcome {
	last := a.current()
	if last.number > 0 && bytes.Equal(c.text, last.text) {
		return outcomeSame
	}
	if c.expect != AnyVersion && uint64(c.expect) != last.number {
		return outcomeConflict
	}
	a.versions = append(slices.Clip(a.versions), version{last.number + 1, at, c.note, bytes.Clone(c.text)})
	size := 0
	for i := len(a.versions) - 1; i >= 0; i-- {
		if size += len(a.versions[i].text); size > versionBytesMax || i == len(a.versions)-1-VersionsMax {
			a.versions = slices.Clone(a.versions[i+1:])
			break
		}
	}
	return outcomeDone
}

// mark carries out a command that is about an account.
func (a *agreed) mark(at time.Time, c *command) outcome {
	var o outcome
	switch c.kind {
	case kindOverride:
		a.overrides, o = with(a.overrides, c.place, override{c.terms, c.until})
		maps.DeleteFunc(a.overrides, func(_ place, o override) bool { return past(o.until, at) })
	case kindUnsetOverride:
		a.overrides, o = without(a.overrides, c.place)
	case kindBlock:
		a.blocks, o = with(a.blocks, c.place, block{c.why, c.until})
		maps.DeleteFunc(a.blocks, func(_ place, b block) bool { return past(b.until, at) })
	case kindUnblock:
		a.blocks, o = without(a.blocks, c.place)
	case kindReset:
		return a.reset(at, c)
	}
	grown := c.kind == kindOverride || c.kind == kindBlock
	if grown && (len(a.overrides) > OverridesMax || len(a.blocks) > BlocksMax || a.besideBytes() > besideBytesMax) {
		return outcomeFull
	}
	return o
}

// reset notes that the buckets of a place start afresh. Forgetting a reset starts them afresh once more, so a reset is
// kept until another one needs its room; then the oldest whose buckets from before owe nothing any more gives way.
func (a *agreed) reset(at time.Time, c *command) outcome {
	if was, ok := a.resets[c.place]; ok && was.nonce == c.nonce {
		return outcomeSame
	}
	a.resets, _ = with(a.resets, c.place, reset{a.revision, c.nonce, at.Add(c.debts)})
	if c.place.limit == "" {
		maps.DeleteFunc(a.resets, func(p place, _ reset) bool {
			return p.domain == c.place.domain && p.account == c.place.account && p.limit != ""
		})
	}
	for len(a.resets) > ResetsMax || a.besideBytes() > besideBytesMax {
		oldest, found := place{}, false
		for p, r := range a.resets {
			if past(r.debts, at) && (!found || r.number < a.resets[oldest].number) {
				oldest, found = p, true
			}
		}
		if !found {
			return outcomeFull
		}
		delete(a.resets, oldest)
	}
	return outcomeDone
}

func (a *agreed) besideBytes() (sum int) {
	for p, o := range a.overrides {
		sum += p.bytes() + len(o.terms.Rate) + len(o.terms.Window)
	}
	for p, b := range a.blocks {
		sum += p.bytes() + len(b.why)
	}
	for p := range a.resets {
		sum += p.bytes()
	}
	return sum
}

func with[V comparable](m map[place]V, p place, v V) (map[place]V, outcome) {
	was, is := m[p]
	if m = maps.Clone(m); m == nil {
		m = make(map[place]V, 1)
	}
	if m[p] = v; is && was == v {
		return m, outcomeSame
	}
	return m, outcomeDone
}

func without[V any](m map[place]V, p place) (map[place]V, outcome) {
	if _, ok := m[p]; !ok {
		return m, outcomeSame
	}
	m = maps.Clone(m)
	delete(m, p)
	return m, outcomeDone
}
