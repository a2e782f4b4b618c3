package limiter

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

var (
	// ErrGap is wrapped by the error for a chunk that comes before the one that it follows. The chunk that is missing, or the
	// whole export, must be sent again.
	ErrGap = errors.New("chunk out of turn")
	// ErrFull is wrapped by the error for a chunk that the store has no room for.
	ErrFull = errors.New("bucket store is full")
)

// mergedMax bounds the exports that a partition remembers to have merged.
const mergedMax = 16

// imports is what a partition knows of the exports it got chunks of.
type imports struct {
	merged   []merged // the latest last
	restored restored
}

// merged is an export that is being merged, or was.
type merged struct{ source, next uint64 }

// Merge adds what the buckets of a chunk owe to what those of the partition do. Each chunk of a source is merged once, in
// the order of their numbers: one that comes again changes nothing. A source is one export, by an id that no other export
// to this partition has; the 16 latest are remembered, until Drop. Changes that cover no stretch are no part of one. A slot
// that both have is one slot. Debts add up exactly, but where fractions of a nanosecond of a Count above 2^31 add up to more
// than an entry has room for: then to less than a nanosecond more. The error wraps ErrChunk, ErrGap or ErrFull, and then
// nothing was changed.
func (s *Store) Merge(p uint16, now int64, source uint64, b []byte) error {
	c, err := decodeChunk(b)
	if err == nil && c.scope == 0 {
		err = fmt.Errorf("%w: changes of a copy", ErrChunk)
	}
	if err != nil {
		return fmt.Errorf("merge into partition %d: %w", p, err)
	}
	return s.absorb(p, now, &c, func(pt *partition) (bool, error) { return pt.merges(source, c.number) }, func(pt *partition) {
		pt.markMerged(source, c.number)
		for i := range c.records {
			pt.absorb(&c.records[i])
		}
		was := pt.loss()
		if c.coldAge > 0 {
			pt.cold, pt.coldSince = true, max(pt.ago(c.coldAge), pt.coldSince)
		}
		if c.inheritedAge > 0 {
			pt.inherit(pt.ago(c.inheritedAge))
		}
		if pt.loss() != was {
			pt.noteAll()
		}
	})
}

func (s *Store) absorb(p uint16, now int64, c *chunk, due func(*partition) (bool, error), change func(*partition)) error {
	err := s.tryAbsorb(p, now, c, due, change)
	if errors.Is(err, ErrFull) && s.reclaim(p, now, len(c.records)+len(c.owed)) {
		err = s.tryAbsorb(p, now, c, due, change)
	}
	return err
}

func (s *Store) tryAbsorb(p uint16, now int64, c *chunk, due func(*partition) (bool, error), change func(*partition)) error {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if pt.imports == nil {
		pt.imports = &imports{}
	}
	if is, err := due(pt); !is {
		return err
	}
	room := pt.room(c)
	if !s.reserve(room) {
		return fmt.Errorf("%w: no room for %d more in partition %d", ErrFull, room, p)
	}
	size := pt.size()
	pt.seen = max(now, pt.seen)
	change(pt)
	s.recount(pt, size+room)
	return nil
}

// room is the most that the chunk can add to the partition.
func (pt *partition) room(c *chunk) (n int64) {
	for _, all := range [...][]record{c.records, c.owed} {
		for i := range all {
			r := &all[i]
			if r.kind != gone && pt.table.find(r.key()) == nil {
				n++
			}
			if len(r.runs) > 0 {
				n += int64(len(r.runs)) + 1
			}
		}
	}
	return n
}

// loss is what says that missing buckets, or those of a copy, are not what they seem.
func (pt *partition) loss() [2]bool { return [2]bool{pt.cold, pt.inherited} }

// ago is the moment of an age as chunks have it.
func (pt *partition) ago(age uint64) int64 { return pt.seen + 1 - int64(age) }

func (pt *partition) merges(source, number uint64) (bool, error) {
	next := uint64(0)
	if i := pt.source(source); i >= 0 {
		next = pt.imports.merged[i].next
	}
	if number > next {
		return false, fmt.Errorf("%w: number %d of source %d, want %d", ErrGap, number, source, next)
	}
	return number == next, nil
}

func (pt *partition) source(id uint64) int {
	return slices.IndexFunc(pt.imports.merged, func(m merged) bool { return m.source == id })
}

// markMerged remembers the source as the latest.
func (pt *partition) markMerged(source, number uint64) {
	if i := pt.source(source); i >= 0 {
		pt.imports.merged = slices.Delete(pt.imports.merged, i, i+1)
	} else if len(pt.imports.merged) == mergedMax {
		pt.imports.merged = slices.Delete(pt.imports.merged, 0, 1)
	}
	pt.imports.merged = append(pt.imports.merged, merged{source, number + 1})
}

// absorb adds the record to the bucket of its key. A bucket of another kind, which a limit had that changed, gives way.
func (pt *partition) absorb(r *record) {
	now, k := pt.seen, r.key()
	e := pt.table.find(k)
	if e != nil && (e.kind() != r.kind || now >= e.expires()) {
		pt.remove(k)
		e = nil
	}
	switch r.kind {
	case tokens:
		debt, low := int64(r.ends), uint32(r.low)
		if e == nil {
			e = pt.table.insert(k)
		} else {
			debt = min(debtMax, debt+e.expires()-now)
			if sum, over := bits.Add32(low, e.low, 0); over == 0 {
				low = sum
			} else {
				low = max(low, e.low) // less than a nanosecond of debt is added
			}
		}
		e.word, e.low = uint64(now+debt), low
	case window:
		ends, units := int64(r.ends)*msNs, int64(r.low)
		if ends <= now {
			return
		}
		if e == nil {
			e = pt.table.insert(k)
		} else {
			ends, units = max(ends, e.expires()), min(unitsMax, units+e.units())
		}
		e.setWindow(ends, units)
	default:
		pt.absorbRuns(r, e)
	}
	pt.note(k)
}

func (pt *partition) absorbRuns(r *record, e *entry) {
	now, a := pt.seen, &pt.table.runs
	if e == nil {
		e = pt.table.insert(r.key())
		e.setRuns(now, a.add(run{}))
	}
	for _, u := range r.runs {
		u.ends = min(now+u.ends, momentMax)
		switch {
		case u.slot != (Key{}):
			held := a.yield(e.low, u.slot)
			u.ends, u.units = max(u.ends, held.ends), max(u.units, held.units)
			a.insert(e.low, u)
		case a.all[e.low].units <= unitsMax: // beyond it the limit, whatever it is, admits nothing
			a.log(e.low, u.ends, u.units)
		}
	}
	pt.changed(r.key(), e)
}
