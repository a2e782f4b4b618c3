package limiter

import (
	"fmt"
	"slices"
	"time"
)

// restored is the export that copies were made of last.
type restored struct{ sequence, next uint64 }

// Restore makes the buckets of a chunk, of Changes or an Export that was made so long ago, those of the partition: a copy.
// Debts shrink and runs end the sooner by the age; windows end when they did. What a copy has not, in the stretch that a
// chunk covers, is gone. Of different sequences the newest wins: a chunk of an older one, or one that comes again, changes
// nothing. The error wraps ErrChunk, ErrGap or ErrFull, and then nothing was changed: the source must Track anew, or after
// ErrFull the same chunk may come again.
//
// owed are the chunks of Exports of what the source does not know of yet: to each bucket that is replaced, or gone, it is added.
func (s *Store) Restore(p uint16, now int64, age time.Duration, b []byte, owed ...[]byte) error {
	c, err := decodeChunk(b)
	if err != nil {
		return fmt.Errorf("restore partition %d: %w", p, err)
	}
	c.grow(max(0, int64(age)))
	if c.owed, err = c.owes(owed); err != nil {
		return fmt.Errorf("restore partition %d: debits: %w", p, err)
	}
	return s.absorb(p, now, &c, func(pt *partition) (bool, error) { return pt.restores(c.sequence, c.number) }, func(pt *partition) {
		pt.imports.restored = restored{c.sequence, c.number + 1}
		pt.cover(&c)
		for i := range c.records {
			pt.replace(&c.records[i])
		}
		for i := range c.owed {
			pt.absorb(&c.owed[i])
		}
		was := pt.loss()
		if pt.cold, pt.coldSince = c.coldAge > 0, 0; pt.cold {
			pt.coldSince = pt.ago(c.coldAge)
		}
		if pt.inherited, pt.inheritedSince = c.inheritedAge > 0, 0; pt.inherited {
			pt.inheritedSince = pt.ago(c.inheritedAge)
		}
		if pt.loss() != was {
			pt.noteAll()
		}
	})
}

func (pt *partition) restores(sequence, number uint64) (bool, error) {
	next := uint64(0)
	switch r := &pt.imports.restored; {
	case sequence < r.sequence:
		return false, nil
	case sequence == r.sequence:
		next = r.next
	}
	if number > next {
		return false, fmt.Errorf("%w: number %d of sequence %d, want %d", ErrGap, number, sequence, next)
	}
	return number == next, nil
}

// owes returns, of what chunks have, the records of the keys that this one sets.
func (c *chunk) owes(chunks [][]byte) (owed []record, err error) {
	for _, b := range chunks {
		o, err := decodeChunk(b)
		if err != nil {
			return nil, err
		}
		for _, r := range o.records {
			if c.sets(r.key().spot()) {
				owed = append(owed, r)
			}
		}
	}
	return owed, nil
}

// sets says whether the chunk says what stands at a spot, if only that nothing does.
func (c *chunk) sets(at spot) bool {
	if c.scope == 0 {
		_, named := c.find(at)
		return named
	}
	return (c.scope&behind == 0 || c.behind.spot().before(at)) &&
		(c.scope&onward != 0 || !c.records[len(c.records)-1].key().spot().before(at))
}

func (c *chunk) find(at spot) (int, bool) {
	return slices.BinarySearchFunc(c.records, at, func(r record, at spot) int { return r.key().spot().compare(at) })
}

// cover removes what a chunk does not name in the stretch that it covers.
func (pt *partition) cover(c *chunk) {
	if c.scope == 0 {
		return
	}
	to := spot{1<<64 - 1, 1<<32 - 1}
	if c.scope&onward == 0 {
		to = c.records[len(c.records)-1].key().spot()
	}
	pt.table.prune(c.behind.spot(), to, func(e *entry) bool {
		at := e.spot()
		if c.scope&behind != 0 && at == c.behind.spot() {
			return true
		}
		_, named := c.find(at)
		if !named {
			pt.note(e.key())
		}
		return named
	})
}

// replace makes the record the bucket of its key.
func (pt *partition) replace(r *record) {
	k, now := r.key(), pt.seen
	switch ends := int64(r.ends) * msNs; {
	case r.kind == tokens:
		e := pt.entry(k)
		e.word, e.low = uint64(now+int64(r.ends)), uint32(r.low)
	case r.kind == window && ends > now:
		pt.entry(k).setWindow(ends, int64(r.low))
	case r.kind == runs:
		pt.remove(k)
		e, a := pt.table.insert(k), &pt.table.runs
		head := a.add(run{})
		for _, u := range r.runs {
			u.ends = min(now+u.ends, momentMax)
			a.insert(head, u)
		}
		e.setRuns(a.last(head), head)
	default:
		pt.remove(k)
	}
	pt.note(k)
}
