package limiter

// Return gives back what was Taken and zeroes it; the takes are those that Take or Charge answered, on the same partition. A
// fixed or calendar window gets it back only while the same window runs, a sliding one while it counts, a log until it
// ends, a slot while it is held; a token bucket is never fuller than its capacity. If no time has passed, every later
// decision is as if nothing had been taken, but that a slot that was renewed stays so.
func (s *Store) Return(p uint16, now int64, takes []Take) {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.seen = max(now, pt.seen)
	size := pt.size()
	for i := range takes {
		if t := &takes[i]; t.Taken > 0 {
			pt.giveBack(*t, pt.seen)
			t.Taken = 0
		}
	}
	s.recount(pt, size)
}

// giveBack undoes the take, a copy of the caller's.
func (pt *partition) giveBack(t Take, now int64) {
	before := t.was.expires
	if l := t.Limit; l.kind() == runs {
		if e := pt.table.find(t.Key); e != nil && e.kind() == runs && t.ends > now {
			slot := t.Slot
			if l.Algorithm == RollingLog {
				slot = Key{}
			}
			pt.table.runs.takeBack(e.low, slot, t.ends, t.Taken)
			pt.changed(t.Key, e)
		}
		return
	}
	units := t.Taken
	pt.load(&t, now)
	b := t.was
	switch l := t.Limit; {
	case !t.stored(now):
		return
	case l.Algorithm == TokenBucket:
		b = l.without(b, units, now)
	case b.expires == before:
		b.count -= min(units, b.count)
	case l.Algorithm == SlidingWindow && b.expires == before+int64(l.Period):
		b.prev -= min(units, b.prev)
	default:
		return
	}
	pt.put(&t, b)
}

// stored says whether a loaded bucket that is no log is one the table holds.
func (t *Take) stored(now int64) bool {
	switch t.Limit.Algorithm {
	case TokenBucket:
		return t.held != nil
	case SlidingWindow:
		return !t.miss || t.was.prev > 0
	}
	return !t.miss
}

// Refund gives back Cost units that earlier requests, it is not known which, took: what was taken last first, and never
// more than is owed. It sets Taken to 0, Remaining and Reset. To a Concurrency limit it gives nothing: see Release.
func (s *Store) Refund(p uint16, now int64, takes []Take) {
	s.mend(p, now, takes, func(pt *partition, t *Take, now int64) {
		l := t.Limit
		switch e := pt.table.find(t.Key); {
		case t.Cost <= 0 || l.Algorithm == Concurrency:
		case l.Algorithm != RollingLog:
			if t.stored(now) {
				pt.put(t, l.without(t.was, t.Cost, now))
			}
		case e != nil && e.kind() == runs:
			pt.table.runs.trim(e.low, now)
			if pt.table.runs.all[e.low].many > 0 {
				pt.table.runs.refund(e.low, t.Cost)
			}
			pt.changed(t.Key, e)
		}
	})
}

// Release frees the slots of Concurrency takes and sets Taken to 0, Remaining and Reset. It changes no other limits.
func (s *Store) Release(p uint16, now int64, takes []Take) {
	s.mend(p, now, takes, func(pt *partition, t *Take, _ int64) {
		if t.Limit.Algorithm != Concurrency || t.was.prev == 0 {
			return
		}
		e := pt.table.find(t.Key)
		pt.table.runs.yield(e.low, t.Slot)
		pt.changed(t.Key, e)
	})
}

// Renew lets the slots of Concurrency takes end a Period from now, and sets Taken to 0, Refused for a slot that is not held
// any more, Remaining and Reset. It changes no other limits.
func (s *Store) Renew(p uint16, now int64, takes []Take) {
	s.mend(p, now, takes, func(pt *partition, t *Take, _ int64) {
		if t.Limit.Algorithm != Concurrency {
			return
		}
		if t.Refused = t.was.prev == 0; t.Refused {
			return
		}
		e := pt.table.find(t.Key)
		pt.table.runs.hold(e.low, t.Slot, t.ends, 0)
		pt.changed(t.Key, e)
	})
}

// mend changes each loaded bucket and answers what is left.
func (s *Store) mend(p uint16, asked int64, takes []Take, change func(*partition, *Take, int64)) {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.seen = max(asked, pt.seen)
	size := pt.size()
	for i := range takes {
		t := &takes[i]
		t.Taken, t.Refused = 0, false
		pt.load(t, pt.seen)
		change(pt, t, pt.seen)
		gone := t.Refused
		cost := t.Cost
		t.Cost, t.Refused = 0, false
		pt.load(t, pt.seen)
		pt.reply(pt.seen, asked, takes[i:i+1], 0, Taken)
		t.Cost, t.Refused, t.held = cost, gone, nil
	}
	s.recount(pt, size)
}

// Reset forgets the bucket of the key: the next take finds what an unknown key has.
func (s *Store) Reset(p uint16, key Key) {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	size := pt.size()
	pt.remove(key)
	pt.remove(key.other())
	s.recount(pt, size)
}
