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
	Number   uint32 // of the chunk that comes next
	place    uint64 // the bucket that comes next is the first at or after place and hi
	hi       uint32
	skip     int // runs of it that were exported already
}

// Export returns the next chunk of the partition's live buckets, of about most bytes and no more (at least 256), the cursor
// of the one after it, and whether this was the last. An export has at least one chunk. For a hand-off nothing may be taken
// from the partition meanwhile; where something is, each bucket is as it was when its chunk was made. It changes nothing.
func (s *Store) Export(p uint16, now int64, from Cursor, most int) (out []byte, next Cursor, done bool) {
	pt := &s.partitions[p]
	pt.mu.Lock()
	defer pt.mu.Unlock()
	x := exporter{now: max(now, pt.seen), most: max(most, chunkMin), table: &pt.table, next: from}
	head := chunk{sequence: from.Sequence, number: uint64(from.Number)}
	if pt.cold {
		head.coldAge = uint64(max(0, x.now-pt.coldSince)) + 1
	}
	x.out = head.appendHead(make([]byte, 0, chunkMin))
	x.head = len(x.out)
	done = x.pages(pt.cold)
	x.next.Number++
	return x.out, x.next, done
}

type exporter struct {
	now   int64
	most  int
	table *table
	next  Cursor
	out   []byte
	head  int // bytes before the first bucket
}

// pages writes buckets until there are no more, or the chunk is full.
func (x *exporter) pages(cold bool) (done bool) {
	t := x.table
	for i := 0; i < len(t.dir); {
		first, n := t.span(i, t.dir[i])
		if i = first + n; t.depth > 0 && uint64(i-1) < x.next.place>>(64-t.depth) {
			continue
		}
		page := make([]entry, 0, pageLen)
		for _, e := range t.dir[first].slots {
			at := place(e.lo, e.hi)
			if e.word != 0 && !e.dead(x.now, cold) && !follows(x.next.place, x.next.hi, at, e.hi) {
				page = append(page, e)
			}
		}
		slices.SortFunc(page, func(a, b entry) int {
			return cmp.Or(cmp.Compare(place(a.lo, a.hi), place(b.lo, b.hi)), cmp.Compare(a.hi, b.hi))
		})
		for j := range page {
			if !x.entry(&page[j]) {
				return false
			}
		}
	}
	return true
}

// entry writes a bucket, or of its runs as many as there is room for, and says whether the chunk holds all of it.
func (x *exporter) entry(e *entry) bool {
	r := record{lo: e.lo, hi: e.hi, kind: e.kind()}
	if at := r.place(); at != x.next.place || e.hi != x.next.hi {
		x.next.place, x.next.hi, x.next.skip = at, e.hi, 0
	}
	switch r.kind {
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
		return x.runs(&r)
	}
	out := r.append(x.out)
	if len(out) > x.most && len(x.out) > x.head {
		return false
	}
	x.out = out
	return true
}

// runs writes the runs of r that were not written yet. A run takes at most 36 bytes.
func (x *exporter) runs(r *record) bool {
	r.runs = r.runs[min(x.next.skip, len(r.runs)):]
	if len(r.runs) == 0 {
		return true
	}
	if x.next.skip > 0 {
		r.kind = more
	}
	whole := *r
	if out := whole.append(x.out); len(out) <= x.most {
		x.out = out
		return true
	}
	fit := (x.most - len(x.out) - 24) / 36
	if fit <= 0 {
		return false
	}
	r.runs = r.runs[:min(fit, len(r.runs))]
	x.out = r.append(x.out)
	x.next.skip += len(r.runs)
	return false
}
