package limiter

// Inherit says that the partition goes on with a copy, whose source decided for the last time before since, Unix
// nanoseconds. To limits with TakeoverCopy the buckets are as the copy has them. To those with TakeoverEmpty it is a cold
// start: a bucket, in the copy or not, owes no less than the limit's Cold says of one that was lost at since; what is taken
// from then on comes on top. The partition has seen since. Of several calls the latest since holds. A bucket that is only
// supposed can be given nothing back.
func (s *Store) Inherit(p uint16, since int64) {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.inherit(since)
	pt.seen = max(since+1, pt.seen) // so that what is taken from now on ends later than what is supposed
	pt.noteAll()
}

func (pt *partition) inherit(since int64) {
	if !pt.inherited || since > pt.inheritedSince {
		pt.inherited, pt.inheritedSince = true, since
	}
}

// lost returns since when a limit's buckets owe no less than a cold start says, whatever is known of them: where a copy is
// taken over by a limit that takes none, and where the state was lost, since what a deputy took is merged without it.
func (pt *partition) lost(l *Limit) (since int64, some bool) {
	if pt.inherited && l.Takeover == TakeoverEmpty {
		since, some = pt.inheritedSince, true
	}
	if pt.cold && (!some || pt.coldSince > since) {
		since, some = pt.coldSince, true
	}
	return since, some
}

// suppose has the present bucket of the take owe what a cold start at since says.
func (pt *partition) suppose(t *Take, since, now int64) {
	l := t.Limit
	b := l.drained(since, now)
	if now >= b.expires {
		return
	}
	switch l.Algorithm {
	case TokenBucket:
		if b.expires > t.was.expires || b.expires == t.was.expires && b.count < t.was.count {
			t.was = b
		}
	case SlidingWindow:
		t.was.count, t.was.prev = max(t.was.count, b.count), max(t.was.prev, b.prev)
	case RollingLog, Concurrency:
		if e := pt.table.find(t.Key); e != nil && e.kind() == runs && now < e.expires() {
			_, spare := pt.supposed(l, e, now)
			t.was.count += max(0, -spare)
		} else {
			t.was.count = max(t.was.count, b.count)
		}
		t.was.expires = max(t.was.expires, b.expires)
	default:
		t.was.count = max(t.was.count, l.present(b, now).count)
	}
}

// supposed returns, for a log or slots that a cold start of a copy holds of, until when it does, and how many more units
// they have in runs that end by then: if they have less, those that are missing count too. Else it returns zeros.
func (pt *partition) supposed(l *Limit, e *entry, now int64) (ends, spare int64) {
	since, some := pt.lost(l)
	if !some {
		return 0, 0
	}
	b := l.drained(since, now)
	if now >= b.expires {
		return 0, 0
	}
	spare = -b.count
	for r := range pt.table.runs.each(e.low) {
		if r.ends > now && r.ends <= b.expires {
			spare += r.units
		}
	}
	return b.expires, spare
}
