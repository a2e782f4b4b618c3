package limiter

import "math/bits"

const (
	// A tracked partition notes up to notedFew keys, then as many as half the buckets it has, but no more than notedMax: past
	// that it counts as changed whole. So notes take up to 4 MB, and beside that up to 22 bytes a bucket.
	notedFew = 48
	notedMax = 3 << 10
)

// tracker is what a tracked partition knows of the copy that its changes go to.
type tracker struct {
	store *Store
	p     uint16
	going []Key  // what of that which was noted Changes is returning
	walks bool   // it is returning everything
	walk  Cursor // how far it has come; its number is that of the next chunk in any case
}

// Track has the changes of the partition noted from now on, for Changes to return; everything that is in it counts as
// changed. The sequence is that of the chunks, whose numbers begin with 0: greater than those of all earlier ones that the
// receiver had of the partition, Export's too. A partition that is tracked already begins anew, as it must when the
// receiver misses a chunk. It lasts until Untrack or Drop, and costs a few nanoseconds a take.
func (s *Store) Track(p uint16, sequence uint64) {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.tracked, pt.tracker, pt.noted.due = true, &tracker{store: s, p: p, walk: Cursor{Sequence: sequence}}, false
	pt.noteAll()
}

// Untrack has the changes of the partition noted no more, and forgets those that were.
func (s *Store) Untrack(p uint16) {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	s.untrack(p)
}

func (s *Store) untrack(p uint16) {
	pt := s.at(p)
	pt.tracked, pt.tracker, pt.noted = false, nil, noted{}
	s.due[p/64].And(^(1 << (p % 64)))
}

// Changed signals, to one receiver, that a tracked partition has something to return which had nothing before: then Due
// tells which. It has room for one signal.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// Due appends the tracked partitions that have changes, each once until all its Changes have been taken and it changes anew.
func (s *Store) Due(dst []uint16) []uint16 {
	for i := range s.due {
		for w := s.due[i].Swap(0); w != 0; w &= w - 1 {
			dst = append(dst, uint16(i*64+bits.TrailingZeros64(w)))
		}
	}
	return dst
}

// Changes returns the next chunk, as large as Export's, of what changed in a tracked partition since it was last returned,
// and whether there is more now; nil if nothing changed. Values are absolute: a store that Restores all chunks since Track,
// in order, has the partition as it was when the last one was made that left no more. A bucket that is gone is named as
// gone. When everything counts as changed the chunks come as an Export's do, stretch by stretch, and the copy is never
// worse than before. Takes go on between chunks. One goroutine at a time may call it of a partition.
func (s *Store) Changes(p uint16, now int64, most int) (out []byte, more bool) {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	t := pt.tracker
	if t == nil || !pt.noted.due {
		return nil, false
	}
	if pt.noted.whole && !t.walks {
		t.walks, t.going, pt.noted.whole = true, nil, false
		t.walk = Cursor{Sequence: t.walk.Sequence, Number: t.walk.Number}
	}
	if t.walks {
		done := false
		out, t.walk, done = pt.export(now, t.walk, most)
		t.walks = !done
	} else {
		out = pt.exportNoted(now, most)
	}
	pt.noted.due = t.walks || pt.noted.whole || len(t.going) > 0 || pt.noted.many > 0
	return out, pt.noted.due
}

// exportNoted writes what was noted: first the rest of what the chunk before had no room for.
func (pt *partition) exportNoted(now int64, most int) []byte {
	t := pt.tracker
	if len(t.going) == 0 {
		t.going = pt.noted.take()
	}
	x := pt.exporter(now, &chunk{sequence: t.walk.Sequence, number: t.walk.Number}, most)
	for len(t.going) > 0 && x.bucket(t.going[0], pt.table.find(t.going[0])) {
		t.going = t.going[1:]
	}
	t.walk.Number++
	return x.out
}

// note follows each change of the key's bucket but its death by age, which its copy dies too.
func (pt *partition) note(k Key) {
	if pt.tracked {
		pt.mark(k)
	}
}

func (pt *partition) mark(k Key) {
	n := &pt.noted
	switch {
	case n.whole || !n.add(k):
	case n.many > notedMax || n.many > max(notedFew, pt.table.len/2):
		n.fill()
	default:
		n.grow()
	}
	pt.tell()
}

// noteAll follows a change of what missing buckets are.
func (pt *partition) noteAll() {
	if pt.tracked {
		pt.noted.fill()
		pt.tell()
	}
}

// tell has the next Due name the partition, if it had nothing to return before.
func (pt *partition) tell() {
	if pt.noted.due {
		return
	}
	pt.noted.due = true
	t := pt.tracker
	t.store.due[t.p/64].Or(1 << (t.p % 64))
	select {
	case t.store.changed <- struct{}{}:
	default:
	}
}
