package limiter

import (
	"maps"
	"math"
	"math/big"
	"slices"
	"time"
)

// start is a time in the middle of every window.
const start = int64(1_700_000_000_123_456_789)

// twin is a store written for being obviously right: token buckets hold levels as exact fractions of units, windows are
// counted by their number, logs and slots are lists of what was taken, and nothing is ever forgotten. Waits are searched for.
type twin struct {
	seen      int64
	cold      *int64
	inherited *int64
	levels    map[Key]*level
}

// level is one bucket.
type level struct {
	left  *big.Rat        // of a token bucket, at that moment
	at    int64           //
	used  map[int64]int64 // by window
	taken []run           // by log and slots
}

// answer is what a Take must say.
type answer struct {
	taken       int64
	refused     bool
	remaining   int64
	wait, reset time.Duration
}

func rat(n int64) *big.Rat { return new(big.Rat).SetInt64(n) }

// earned is how many units the limit gains in ns.
func earned(l *Limit, ns int64) *big.Rat {
	r := new(big.Rat).Mul(rat(ns), rat(l.Count))
	if l.Algorithm == CalendarWindow {
		return r
	}
	return r.Quo(r, rat(int64(l.Period)))
}

func floor(r *big.Rat) int64 { return new(big.Int).Div(r.Num(), r.Denom()).Int64() }

func ceil(r *big.Rat) int64 { return -floor(new(big.Rat).Neg(r)) }

// windowOf numbers windows: by their period, or by the day that a calendar's begin with.
func windowOf(l *Limit, now int64) int64 {
	if l.Algorithm != CalendarWindow {
		return now / int64(l.Period)
	}
	y, m, d := time.Unix(0, now).In(l.Zone).Date()
	first := map[Calendar]time.Time{Day: date(y, m, d), Week: date(y, m, d), Month: date(y, m, 1), Year: date(y, 1, 1)}[l.Calendar]
	for l.Calendar == Week && first.Weekday() != time.Monday {
		first = first.AddDate(0, 0, -1)
	}
	return first.Unix()
}

func date(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

func (w *twin) level(k Key, l *Limit) *level {
	v := w.levels[k]
	if v == nil {
		v = &level{left: rat(l.Burst), at: w.seen, used: map[int64]int64{}}
		if w.cold != nil && drains(l) {
			v.left, v.at = new(big.Rat), *w.cold
			v.taken = []run{{ends: *w.cold + int64(l.Period), units: l.Count}}
			v.used[windowOf(l, *w.cold)] = l.Count
		}
		w.levels[k] = v
	}
	v.left.Add(v.left, earned(l, w.seen-v.at))
	v.at = w.seen
	if v.left.Cmp(rat(l.Burst)) > 0 {
		v.left.Set(rat(l.Burst))
	}
	if w.inherits(l) {
		if most := earned(l, w.seen-*w.inherited); v.left.Cmp(most) > 0 {
			v.left.Set(most)
		}
		first := windowOf(l, *w.inherited)
		v.used[first] = max(v.used[first], l.Count)
	}
	return v
}

func drains(l *Limit) bool {
	return l.Cold == ColdDrained || l.Cold == ColdDefault && l.Algorithm == TokenBucket
}

// inherits says whether the buckets of a limit owe more than the copy said.
func (w *twin) inherits(l *Limit) bool {
	return w.inherited != nil && l.Takeover == TakeoverEmpty && drains(l)
}

func (w *twin) inherit(since int64) {
	if w.inherited == nil || since > *w.inherited {
		w.inherited = &since
	}
	w.seen = max(w.seen, since+1)
}

// until is when the slots or the log of a copy are free of what is supposed of them.
func (w *twin) until(l *Limit) int64 {
	if !w.inherits(l) {
		return math.MinInt64
	}
	return *w.inherited + int64(l.Period)
}

// spare is how much there is to take at a time that has not come yet, negative in debt.
func (w *twin) spare(k Key, l *Limit, at int64) int64 {
	v := w.level(k, l)
	n := l.Count
	switch l.Algorithm {
	case TokenBucket:
		left := earned(l, at-w.seen)
		return min(l.Burst, floor(left.Add(left, v.left)))
	case RollingLog, Concurrency:
		copied := int64(0)
		for _, r := range v.taken {
			if r.ends > at && r.ends <= w.until(l) {
				copied += r.units
			} else if r.ends > at {
				n -= r.units
			}
		}
		if at < w.until(l) {
			copied = max(copied, l.Count)
		}
		return n - copied
	case SlidingWindow:
		period := int64(l.Period)
		prev := big.NewRat(period-at%period, period)
		n -= ceil(prev.Mul(prev, rat(v.used[windowOf(l, at)-1])))
	}
	return n - v.used[windowOf(l, at)]
}

func (w *twin) has(t *Take) (units int64) {
	if t.Limit.Algorithm == Concurrency && t.Slot != (Key{}) {
		for _, r := range w.level(t.Key, t.Limit).taken {
			if r.slot == t.Slot && r.ends > w.seen {
				units += r.units
			}
		}
	}
	return units
}

func (w *twin) add(t *Take, units int64) {
	v := w.level(t.Key, t.Limit)
	v.used[windowOf(t.Limit, w.seen)] += units
	v.left.Sub(v.left, rat(units))
	had := w.has(t)
	if had > 0 {
		v.taken = slices.DeleteFunc(v.taken, func(r run) bool { return r.slot == t.Slot })
	}
	slot := t.Slot
	if t.Limit.Algorithm != Concurrency {
		slot = Key{}
	}
	v.taken = append(v.taken, run{ends: w.seen + int64(t.Limit.Period), units: had + units, slot: slot})
}

func (w *twin) copy() *twin {
	c := &twin{seen: w.seen, cold: w.cold, inherited: w.inherited, levels: map[Key]*level{}}
	for k, v := range w.levels {
		c.levels[k] = &level{new(big.Rat).Set(v.left), v.at, maps.Clone(v.used), slices.Clone(v.taken)}
	}
	return c
}

// peek checks on a copy.
func (w *twin) peek(asked int64, takes []Take) (Outcome, Shortfall, []answer) {
	outcome, short, answers := w.copy().check(asked, takes)
	for i := range answers {
		answers[i].taken = 0
	}
	return outcome, short, answers
}

func (w *twin) check(asked int64, takes []Take) (Outcome, Shortfall, []answer) {
	w.seen = max(w.seen, asked)
	as, needs := make([]answer, len(takes)), make([]int64, len(takes))
	outcome, short := Taken, Shortfall{}
	alone := w.copy()
	for i := range takes { // as if alone, one after the other
		t, m := &takes[i], takes[i].Meter
		charge := t.Charge && t.Limit.Algorithm != Concurrency
		needs[i] = max(0, t.Cost-w.has(t))
		left := alone.spare(t.Key, t.Limit, w.seen)
		as[i].refused, as[i].taken = needs[i] > left && (needs[i] > 0 || charge), needs[i]
		switch {
		case !as[i].refused:
		case t.Shadow && !charge:
			as[i].taken = 0
		case t.Shadow:
			as[i].taken = min(needs[i], alone.chargeable(t))
		case !t.Spill:
			outcome = Refused
		default:
			if as[i].taken = max(0, left); t.Whole {
				as[i].taken = 0
			}
			short[m] = max(short[m], needs[i]-as[i].taken)
		}
		free := *t
		free.Slot = Key{}
		alone.add(&free, as[i].taken)
	}
	if outcome == Refused {
		short = Shortfall{}
	} else if short != (Shortfall{}) {
		outcome = Spilled
	}
	for i := range takes {
		switch t := &takes[i]; {
		case outcome == Refused && t.Charge && t.Limit.Algorithm != Concurrency:
			as[i].taken = min(needs[i], w.chargeable(t))
		case outcome == Refused:
			as[i].taken = 0
		case t.Spill && !t.Shadow:
			as[i].taken = max(0, needs[i]-short[t.Meter])
		}
		if as[i].taken > 0 || outcome != Refused && needs[i] < takes[i].Cost {
			w.add(&takes[i], as[i].taken)
		}
	}
	for i := range takes {
		w.answer(asked, takes[:i+1], needs, &as[i], outcome)
	}
	return outcome, short, as
}

// answer fills in what is left and the waits of the last take, whose key others before it may want too.
func (w *twin) answer(asked int64, takes []Take, needs []int64, a *answer, o Outcome) {
	t := takes[len(takes)-1]
	l := t.Limit
	a.remaining = max(0, w.spare(t.Key, l, w.seen))
	need := int64(0)
	for i, other := range takes {
		if other.Key == t.Key {
			need += needs[i]
		}
	}
	if !w.untouched(t.Key, l, w.seen) {
		a.reset = time.Duration(w.first(func(at int64) bool { return w.untouched(t.Key, l, at) }) - asked)
	}
	charged := o == Refused && t.Charge && l.Algorithm != Concurrency && w.spare(t.Key, l, w.seen) < need
	if blocked := a.refused || charged; blocked && (need > l.capacity() || t.Cost > l.capacity()) {
		a.wait = Never
	} else if blocked {
		had := t.Cost - needs[len(takes)-1]
		a.wait = time.Duration(w.first(func(at int64) bool {
			spare := w.spare(t.Key, l, at)
			if had > 0 && at >= w.end(&t) {
				spare -= had // it has to take its slot again
			}
			return spare >= need
		}) - asked)
	}
}

func (w *twin) end(t *Take) (ends int64) {
	for _, r := range w.level(t.Key, t.Limit).taken {
		if r.slot == t.Slot {
			ends = max(ends, r.ends)
		}
	}
	return ends
}

func (w *twin) untouched(k Key, l *Limit, at int64) bool {
	v := w.level(k, l)
	switch n := windowOf(l, at); l.Algorithm {
	case TokenBucket:
		left := earned(l, at-w.seen)
		return left.Add(left, v.left).Cmp(rat(l.Burst)) >= 0
	case RollingLog, Concurrency:
		return at >= w.until(l) && !slices.ContainsFunc(v.taken, func(r run) bool { return r.units > 0 && r.ends > at })
	case SlidingWindow:
		return v.used[n] == 0 && v.used[n-1] == 0
	default:
		return v.used[n] == 0
	}
}

// first finds when something begins that then stays.
func (w *twin) first(is func(at int64) bool) int64 {
	low, high := w.seen, int64(math.MaxInt64)
	for step := int64(1); step < 1<<59 && high == math.MaxInt64; step *= 8 {
		if is(w.seen + step) {
			high = w.seen + step
		} else {
			low = w.seen + step
		}
	}
	if is(w.seen) {
		return w.seen
	}
	for low < high {
		if mid := low + (high-low)/2; is(mid) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// chargeable is how much can be taken past the limit: a debt stays within 2^62 ns, and there are so many slots at most.
func (w *twin) chargeable(t *Take) int64 {
	switch spare := w.spare(t.Key, t.Limit, w.seen); t.Limit.Algorithm {
	case TokenBucket:
		owed := new(big.Rat).Sub(rat(t.Limit.Burst), w.level(t.Key, t.Limit).left)
		return max(0, floor(owed.Sub(earned(t.Limit, 1<<62), owed)))
	case Concurrency:
		return max(0, runsMax-(t.Limit.Count-spare))
	}
	return math.MaxInt64
}

// charge takes the one cost in full, as far as it can be.
func (w *twin) charge(now int64, takes []Take) answer {
	w.seen = max(w.seen, now)
	t := takes[0]
	a := answer{taken: max(0, t.Cost-w.has(&t))}
	needs := []int64{a.taken}
	a.taken = min(a.taken, w.chargeable(&t))
	if a.taken > 0 || needs[0] < t.Cost {
		w.add(&t, a.taken)
	}
	w.answer(now, takes, needs, &a, Taken)
	return a
}

// giveBack takes back what was taken at that time, as far as it still counts.
func (w *twin) giveBack(now, at int64, takes []Take) {
	w.seen = max(w.seen, now)
	for i := range takes {
		t := &takes[i]
		l, v, n := t.Limit, w.level(t.Key, t.Limit), t.Taken
		if n <= 0 {
			continue
		}
		v.left.Add(v.left, rat(n))
		w.level(t.Key, l)
		used := windowOf(l, at)
		v.used[used] = max(0, v.used[used]-n)
		for j := range v.taken {
			r := &v.taken[j]
			if r.ends < at+int64(l.Period) || l.Algorithm == Concurrency && r.slot != t.Slot || at+int64(l.Period) <= w.seen {
				continue
			}
			back := min(n, r.units)
			r.units -= back
			n -= back
		}
	}
}

// refund gives back what was taken last.
func (w *twin) refund(now int64, t *Take) (a answer) {
	w.seen = max(w.seen, now)
	l, v, n := t.Limit, w.level(t.Key, t.Limit), t.Cost
	v.left.Add(v.left, rat(n))
	w.level(t.Key, l)
	used := windowOf(l, w.seen)
	back := min(n, v.used[used])
	v.used[used] -= back
	if l.Algorithm == SlidingWindow {
		v.used[used-1] = max(0, v.used[used-1]-(n-back))
	}
	for j := len(v.taken) - 1; j >= 0 && l.Algorithm == RollingLog; j-- {
		if r := &v.taken[j]; r.ends > w.seen {
			back := min(n, r.units)
			r.units -= back
			n -= back
		}
	}
	w.answer(now, []Take{*t}, []int64{0}, &a, Taken)
	return a
}

func (w *twin) release(now int64, t *Take) (a answer) {
	w.seen = max(w.seen, now)
	if v := w.level(t.Key, t.Limit); t.Limit.Algorithm == Concurrency && t.Slot != (Key{}) {
		v.taken = slices.DeleteFunc(v.taken, func(r run) bool { return r.slot == t.Slot })
	}
	w.answer(now, []Take{*t}, []int64{0}, &a, Taken)
	return a
}

func (w *twin) renew(now int64, t *Take) (a answer) {
	w.seen = max(w.seen, now)
	gone := t.Limit.Algorithm == Concurrency && w.has(t) == 0
	if t.Limit.Algorithm == Concurrency && !gone {
		w.add(t, 0)
	}
	w.answer(now, []Take{*t}, []int64{0}, &a, Taken)
	a.refused = gone
	return a
}
