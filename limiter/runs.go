package limiter

// run is units that count until they end: those a log took at one instant, or a slot's. Runs of one key are a ring ordered
// by their end, which begins behind its last; a head stands before it, with their sum, their number and the last's place.
type run struct {
	ends  int64
	units int64
	slot  Key
	next  uint32
	many  uint32 // of a head: how many runs
}

// arena holds the runs of a partition, without a pointer that the collector would follow.
type arena struct {
	all  []run
	free uint32 // the first free place + 1; its next is that of the next
	used uint32
}

func (a *arena) add(r run) uint32 {
	a.used++
	if a.free == 0 {
		a.all = append(a.all, r)
		return uint32(len(a.all) - 1)
	}
	i := a.free - 1
	a.free = a.all[i].next
	a.all[i] = r
	return i
}

func (a *arena) give(i uint32) {
	a.used--
	a.all[i] = run{next: a.free}
	a.free = i + 1
}

// sparse says whether most of the room is free.
func (a *arena) sparse() bool { return len(a.all) > 64 && 4*int(a.used) < len(a.all) }

func (a *arena) copy(from *arena, head uint32) uint32 {
	to := a.add(run{})
	for r := range from.each(head) {
		a.insert(to, *r)
	}
	return to
}

// drop frees a head and its runs.
func (a *arena) drop(head uint32) {
	for range a.all[head].many {
		a.cut(head, a.all[head].next)
	}
	a.give(head)
}

// each yields the runs of a head, the first to end first.
func (a *arena) each(head uint32) func(func(*run) bool) {
	return func(yield func(*run) bool) {
		at := a.all[head].next
		for range a.all[head].many {
			at = a.all[at].next
			if !yield(&a.all[at]) {
				return
			}
		}
	}
}

// cut removes the run behind the place before.
func (a *arena) cut(head, before uint32) {
	at := a.all[before].next
	h := &a.all[head]
	h.units -= a.all[at].units
	h.many--
	a.all[before].next = a.all[at].next
	if h.next == at {
		h.next = before
	}
	a.give(at)
}

// insert adds a run in its order.
func (a *arena) insert(head uint32, r run) {
	at := a.add(r)
	h := &a.all[head]
	h.units += r.units
	h.many++
	last := h.next
	switch {
	case h.many == 1:
		h.next, last = at, at
		a.all[at].next = at
		return
	case a.all[last].ends <= r.ends:
		h.next = at
	default:
		for a.all[a.all[last].next].ends <= r.ends {
			last = a.all[last].next
		}
	}
	a.all[at].next = a.all[last].next
	a.all[last].next = at
}

// trim cuts the runs that have ended.
func (a *arena) trim(head uint32, now int64) {
	for a.all[head].many > 0 {
		last := a.all[head].next
		if a.all[a.all[last].next].ends > now {
			return
		}
		a.cut(head, last)
	}
}

// last is the end of the last run.
func (a *arena) last(head uint32) int64 { return a.all[a.all[head].next].ends }

// log adds units to the run that ends then, or a run of them. A log that is full gives them to its last run, which then
// ends no earlier than they.
func (a *arena) log(head uint32, ends, units int64) {
	h := &a.all[head]
	if h.many > 0 {
		last := &a.all[h.next]
		if h.many >= runsMax {
			last.ends = max(last.ends, ends)
			ends = last.ends
		}
		if last.ends == ends && last.slot == (Key{}) {
			last.units += units
			h.units += units
			return
		}
	}
	a.insert(head, run{ends: ends, units: units})
}

// hold adds units to a slot and lets it end then. The zero slot is always a new one.
func (a *arena) hold(head uint32, slot Key, ends, units int64) {
	if slot != (Key{}) {
		units += a.yield(head, slot).units
	}
	if units > 0 {
		a.insert(head, run{ends: ends, units: units, slot: slot})
	}
}

// yield cuts the slot and returns what it was; the zero run if there is none.
func (a *arena) yield(head uint32, slot Key) run {
	before := a.all[head].next
	for range a.all[head].many {
		at := a.all[before].next
		if r := a.all[at]; r.slot == slot {
			a.cut(head, before)
			return r
		}
		before = at
	}
	return run{}
}

// takeBack takes units from what the slot, or the log, has in runs that end at ends or later, first to end first.
func (a *arena) takeBack(head uint32, slot Key, ends, units int64) {
	for r := range a.each(head) {
		if r.slot == slot && r.ends >= ends {
			n := min(units, r.units)
			r.units -= n
			a.all[head].units -= n
			units -= n
		}
	}
	a.prune(head)
}

// refund takes units from the runs, last to end first.
func (a *arena) refund(head uint32, units int64) {
	left := max(0, a.all[head].units-units)
	kept := int64(0)
	for r := range a.each(head) {
		n := min(r.units, left-kept)
		kept += n
		r.units = n
	}
	a.all[head].units = left
	a.prune(head)
}

// prune cuts runs that have no units left.
func (a *arena) prune(head uint32) {
	before := a.all[head].next
	for range a.all[head].many {
		if at := a.all[before].next; a.all[at].units > 0 {
			before = at
		} else {
			a.cut(head, before)
		}
	}
}
