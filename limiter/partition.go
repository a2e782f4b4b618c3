package limiter

import "sync"

// partition has what most takes need in its first cache line. It has three: lines whose places are odd multiples apart do
// not crowd each other out of the caches.
type partition struct {
	mu        sync.Mutex // guards all below
	seen      int64      // the largest now of any operation
	ops       uint32
	cold      bool
	inherited bool
	tracked   bool  // changes are noted: a take of another partition looks no further
	added     uint8 // how many operations added buckets since the last sweep for it
	table     table

	coldSince, inheritedSince int64

	imports *imports // nil before the first
	noted   noted
	tracker *tracker // nil if it is not tracked
}

// size is what the partition counts for in the store's bound.
func (pt *partition) size() int64 { return int64(pt.table.len) + int64(pt.table.runs.used) }

// load fills in the present bucket of the take and what it needs.
func (pt *partition) load(t *Take, now int64) {
	t.need, t.held, t.ahead = max(0, t.Cost), nil, false
	switch l := t.Limit; l.Algorithm {
	case SlidingWindow:
		pt.loadSliding(t, now)
	case RollingLog, Concurrency:
		pt.loadRuns(t, now)
	case TokenBucket:
		e := pt.table.find(t.Key)
		if t.miss = e == nil; e != nil && e.kind() == tokens {
			t.held = e
			t.was = l.present(l.tokens(e), now)
		} else {
			t.was = l.present(pt.unknown(l, now), now)
		}
	default:
		e := pt.table.find(t.Key)
		if t.miss = e == nil; e != nil && e.kind() == window {
			t.was = l.present(bucket{expires: e.expires(), count: e.units()}, now)
			t.ahead = e.expires() > t.was.expires && now < e.expires()
		} else {
			t.was = l.present(pt.unknown(l, now), now)
		}
	}
	if since, some := pt.lost(t.Limit); some {
		pt.suppose(t, since, now)
	}
	t.spare = t.Limit.left(t.was, now)
}

// unknown is what a missing bucket is.
func (pt *partition) unknown(l *Limit, now int64) bucket {
	if pt.cold {
		return l.drained(pt.coldSince, now)
	}
	return missing()
}

// put stores the bucket of a limit that is no log.
func (pt *partition) put(t *Take, b bucket) {
	switch l := t.Limit; l.Algorithm {
	case TokenBucket:
		e := t.held
		if e == nil {
			e = pt.entry(t.Key)
		}
		l.setTokens(e, b)
		pt.note(t.Key)
	case SlidingWindow:
		pt.putSliding(t, b)
	default:
		pt.putWindow(t.Key, b.expires, b.count)
	}
}

// putWindow stores a window.
func (pt *partition) putWindow(k Key, ends, units int64) {
	e := pt.entry(k)
	was := *e
	if e.setWindow(ends, units); *e != was { // the second of a sliding window's often stays
		pt.note(k)
	}
}

// remove forgets the bucket of a key.
func (pt *partition) remove(k Key) {
	if pt.table.remove(k) {
		pt.note(k)
	}
}

// entry returns the entry of a key that holds no runs, a new one if there is none: its state must be set at once.
func (pt *partition) entry(k Key) *entry {
	e := pt.table.find(k)
	if e == nil {
		return pt.table.insert(k)
	}
	if e.kind() == runs {
		pt.table.runs.drop(e.low)
	}
	return e
}

// twins returns the two keys of a sliding window: what a window took stands at the first while it runs and then, until the
// next one ends, at the second.
func twins(k Key, end int64, l *Limit) (running, before Key) {
	if end/int64(l.Period)%2 == 0 {
		return k, k.other()
	}
	return k.other(), k
}

// other is the second key of a sliding window, in the same place of the table.
func (k Key) other() Key { return Key{Hi: k.Hi ^ 1<<31, Lo: k.Lo} }

func (pt *partition) loadSliding(t *Take, now int64) {
	l := t.Limit
	t.was = bucket{expires: windowEnd(now, int64(l.Period))}
	running, before := twins(t.Key, t.was.expires, l)
	known := false
	for _, k := range [2]Key{running, before} {
		e := pt.table.find(k)
		if k == running {
			t.miss = e == nil
		}
		if e == nil || e.kind() != window || now >= e.expires() {
			continue
		}
		known, t.ahead = true, t.ahead || e.expires() > t.was.expires+int64(l.Period)
		if e.expires() == t.was.expires {
			t.was.prev += e.units()
		} else { // of the running window, or carried from one of another length
			t.was.count = min(unitsMax, t.was.count+e.units())
		}
	}
	if b := pt.unknown(l, now); !known && now < b.expires {
		t.was = b
	}
}

// putSliding stores each window to expire when the next one ends.
func (pt *partition) putSliding(t *Take, b bucket) {
	running, before := twins(t.Key, b.expires, t.Limit)
	if b.prev == 0 {
		pt.remove(before)
	} else {
		pt.putWindow(before, b.expires, b.prev)
	}
	pt.putWindow(running, b.expires+int64(t.Limit.Period), b.count)
}

func (pt *partition) loadRuns(t *Take, now int64) {
	t.ends = now + int64(t.Limit.Period)
	e := pt.table.find(t.Key)
	t.miss = e == nil
	if e == nil || e.kind() != runs || now >= e.expires() {
		if t.was = pt.unknown(t.Limit, now); now >= t.was.expires {
			t.was = bucket{expires: now}
		}
		return
	}
	a := &pt.table.runs
	t.was = bucket{expires: e.expires(), count: a.all[e.low].units}
	slots := t.Limit.Algorithm == Concurrency
	for r := range a.each(e.low) {
		switch {
		case r.ends <= now:
			t.was.count -= r.units
		case !slots:
			return
		case r.slot == t.Slot && r.slot != (Key{}):
			t.was.prev = r.units
		}
	}
	t.need = max(0, t.need-t.was.prev)
}

// putRuns lets the take's units count until they end.
func (pt *partition) putRuns(t *Take, now int64) {
	a := &pt.table.runs
	e := pt.table.find(t.Key)
	switch {
	case e == nil:
		e = pt.table.insert(t.Key)
		e.low = a.add(run{})
		e.setRuns(t.ends, e.low)
	case e.kind() != runs:
		e.setRuns(t.ends, a.add(run{}))
	default:
		a.trim(e.low, now)
	}
	if a.all[e.low].many == 0 && t.was.count > 0 {
		a.insert(e.low, run{ends: t.was.expires, units: t.was.count})
	}
	if t.Limit.Algorithm == Concurrency {
		a.hold(e.low, t.Slot, t.ends, t.Taken)
	} else {
		a.log(e.low, t.ends, t.Taken)
	}
	e.setRuns(a.last(e.low), e.low)
	pt.note(t.Key)
}

// changed sets the entry of a key after runs were taken from it, and forgets it if none is left.
func (pt *partition) changed(k Key, e *entry) {
	a := &pt.table.runs
	if a.all[e.low].many > 0 {
		e.setRuns(a.last(e.low), e.low)
		pt.note(k)
		return
	}
	pt.remove(k)
}

// opensRuns returns from when a log or the slots have the units, which are within the capacity, if those of added end as
// the take's do. A slot that the take holds is no help: when it ends, the take needs its units too.
func (pt *partition) opensRuns(t *Take, now, units, added int64) int64 {
	over := t.was.count + added + units - t.Limit.Count
	e := pt.table.find(t.Key)
	if e == nil || e.kind() != runs || now >= e.expires() { // at most what a cold limit supposes
		if over <= t.was.count {
			return t.was.expires
		}
		return max(t.was.expires, t.ends)
	}
	a := &pt.table.runs
	supposed, spare := pt.supposed(t.Limit, e, now)
	kept := max(0, -spare) // units that end when what is supposed does
	log, full := t.Limit.Algorithm == RollingLog, a.all[e.low].many >= runsMax && added > 0
	left := a.all[e.low].many
	for r := range a.each(e.low) {
		ends, units := r.ends, r.units
		if left--; left == 0 && log && full {
			ends = max(ends, t.ends)
		}
		if ends <= now || !log && r.slot == t.Slot && r.slot != (Key{}) {
			continue
		}
		if ends <= supposed {
			units = min(units, max(0, spare))
			spare -= units
			kept += r.units - units
		} else if kept > 0 {
			if over, kept = over-kept, 0; over <= 0 {
				return supposed
			}
		}
		if ends > t.ends {
			if over, added = over-added, 0; over <= 0 {
				return t.ends
			}
		}
		if over -= units; over <= 0 {
			return ends
		}
	}
	if kept > 0 && over <= kept {
		return supposed
	}
	return t.ends
}

// admits takes from a token bucket that is at hand and has enough, and answers, if the take is alone: what weigh and
// commit come to then, which is most of all takes.
func (pt *partition) admits(t *Take, now, asked int64) bool {
	if t.need > t.spare {
		return false
	}
	b := t.Limit.after(t.was, t.need)
	t.Taken, t.Refused, t.Remaining, t.Wait, t.Reset = t.need, false, t.spare-t.need, 0, 0
	if b.expires > now {
		t.Reset = until(b.expires, asked)
	}
	if t.need > 0 {
		t.Limit.setTokens(t.held, b)
		pt.note(t.Key)
	}
	t.held = nil
	return true
}

// commit answers the takes and stores what was taken. Entries that it has at hand come first: inserting moves others.
func (pt *partition) commit(now, asked int64, takes []Take, o Outcome) {
	others := false
	for i := range takes {
		t := &takes[i]
		if b := pt.reply(now, asked, takes, i, o); t.held == nil {
			others = true
		} else if t.Taken > 0 {
			t.Limit.setTokens(t.held, b)
			pt.note(t.Key)
		}
	}
	if !others {
		return
	}
	for i := range takes {
		t := &takes[i]
		switch {
		case t.Limit.kind() == runs:
			if t.lasts(o) {
				pt.putRuns(t, now)
			}
		case t.held == nil && (t.Taken > 0 || t.ahead): // left ahead, it would count in its own window again
			pt.put(t, t.Limit.after(t.was, takenOf(t.Key, takes)))
		}
	}
}

// reply sets what is left after the takes, and returns the i-th's bucket. now is the partition's time; asked, the caller's,
// is what waits count from: after a clock jumped back they last until it has caught up, and longer.
func (pt *partition) reply(now, asked int64, takes []Take, i int, o Outcome) bucket {
	t := &takes[i]
	l := t.Limit
	taken := takenOf(t.Key, takes)
	b := l.after(t.was, taken)
	t.Remaining = max(0, t.spare-taken)
	t.Wait, t.Reset = 0, 0
	if at := t.resets(b, now, takes, o); at > now {
		t.Reset = until(at, asked)
	}
	need := t.need
	for j := range i { // asked again, those before it come first again
		if takes[j].Key == t.Key {
			need = addUnits(need, takes[j].need)
		}
	}
	switch charged := o == Refused && t.charges() && t.spare-taken < need; {
	case !t.Refused && !charged:
	case need > l.capacity() || t.Cost > l.capacity():
		t.Wait = Never
	case l.kind() == runs:
		t.Wait = until(pt.opensRuns(t, now, need, taken), asked)
	default:
		t.Wait = until(l.opens(b, need), asked)
	}
	return b
}

// resets returns the moment from which the bucket, which the takes left so, is untouched.
func (t *Take) resets(b bucket, now int64, takes []Take, o Outcome) int64 {
	if t.Limit.kind() != runs {
		return t.Limit.resets(b, now)
	}
	at := now
	if t.was.count > 0 {
		at = t.was.expires
	}
	for i := range takes {
		if u := &takes[i]; u.Key == t.Key && u.lasts(o) {
			at = max(at, t.ends)
		}
	}
	return at
}
