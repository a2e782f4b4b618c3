package limiter

import (
	"cmp"
	"slices"
)

const chunkMin = 256

// Cursor is how far an export has come. A new one has a Sequence alone, greater than those of all earlier exports of the
// partition, by whatever home: an epoch and a count within it, say.
type Cursor struct {
	Sequence uint64
	Number   uint64 // of the chunk that comes next
	behind   Key    // the bucket that the last chunk ended with, if begun
	begun    bool
}

// Export returns the next chunk of the partition's live buckets, the cursor of the one after it, and whether this was the
// last. A chunk has about most bytes (at least 256) and no more, but that a bucket with more runs than there is room for has
// a chunk of its own, of up to 360 kB. An export has at least one chunk. Takes may go on meanwhile: each bucket is as it was
// when its chunk was made. It changes nothing, and is independent of Track: for a copy that must follow, see Changes.
func (s *Store) Export(p uint16, now int64, from Cursor, most int) (out []byte, next Cursor, done bool) {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return pt.export(now, from, most)
}

func (pt *partition) export(now int64, from Cursor, most int) (out []byte, next Cursor, done bool) {
	head := chunk{sequence: from.Sequence, number: from.Number, scope: covers, behind: from.behind}
	if from.begun {
		head.scope |= behind
	}
	x := pt.exporter(now, &head, most)
	if done = x.pages(&from); done {
		x.out[x.scope] |= onward
	}
	from.Number++
	return x.out, from, done
}

// exporter writes one chunk.
type exporter struct {
	now   int64
	cold  bool
	table *table
	most  int
	out   []byte
	scope int // where its byte is
	head  int // bytes before the first bucket
}

func (pt *partition) exporter(now int64, head *chunk, most int) *exporter {
	x := &exporter{now: max(now, pt.seen), cold: pt.cold, table: &pt.table, most: max(most, chunkMin)}
	if pt.cold {
		head.coldAge = x.age(pt.coldSince)
	}
	if pt.inherited {
		head.inheritedAge = x.age(pt.inheritedSince)
	}
	x.out, x.scope = head.appendHead(make([]byte, 0, chunkMin))
	x.head = len(x.out)
	return x
}

// age is how long ago a moment was, plus 1. What is older than can be told, as the state of a disk that was restored as older than any
// debt lasts, is as old as can be told.
func (x *exporter) age(since int64) uint64 { return uint64(min(max(0, x.now-since), momentMax-1)) + 1 }

// pages writes buckets until there are no more, or the chunk is full.
func (x *exporter) pages(at *Cursor) (done bool) {
	t, from := x.table, at.behind.spot()
	page := make([]entry, 0, pageLen)
	for i := 0; i < len(t.dir); {
		first, n := t.span(i, t.dir[i])
		if i = first + n; at.begun && uint64(i-1) < from.place>>(64-t.depth) {
			continue
		}
		page = page[:0]
		for _, e := range t.dir[first].slots {
			if e.word != 0 && !e.dead(x.now, x.cold) && (!at.begun || from.before(e.spot())) {
				page = append(page, e)
			}
		}
		slices.SortFunc(page, func(a, b entry) int { return a.spot().compare(b.spot()) })
		for j := range page {
			if !x.bucket(page[j].key(), &page[j]) {
				return false
			}
			at.behind, at.begun = page[j].key(), true
		}
	}
	return true
}

func (e *entry) key() Key { return Key{Hi: uint64(e.hi), Lo: e.lo} }

func (s spot) compare(o spot) int {
	return cmp.Or(cmp.Compare(s.place, o.place), cmp.Compare(s.hi, o.hi))
}

// bucket writes what the key's entry says, a missing or dead one as gone, unless the chunk is full.
func (x *exporter) bucket(k Key, e *entry) bool {
	r := record{lo: k.Lo, hi: uint32(k.Hi), kind: gone}
	if e != nil && !e.dead(x.now, x.cold) {
		switch r.kind = e.kind(); r.kind {
		case tokens:
			r.ends, r.low = uint64(e.expires()-x.now), uint64(e.low)
		case window:
			r.ends, r.low = uint64(e.expires()/msNs), uint64(e.units())
		default:
			for u := range x.table.runs.each(e.low) {
				if u.ends > x.now {
					r.runs = append(r.runs, run{ends: u.ends - x.now, units: u.units, slot: u.slot})
				}
			}
		}
	}
	out := r.append(x.out)
	if len(out) > x.most && len(x.out) > x.head {
		return false
	}
	x.out = out
	return true
}
