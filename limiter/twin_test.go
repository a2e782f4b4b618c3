package limiter

import (
	"fmt"
	"maps"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// start is a time in the middle of every window.
const start = int64(1_700_000_000_123_456_789)

// twin is a store written for being obviously right: buckets hold levels as exact fractions of units, windows are counted by
// their number, and nothing is ever forgotten.
type twin struct {
	seen   int64
	cold   *int64
	levels map[Key]*level
}

// level is one bucket: what is left of a token bucket at a moment, or what each window has taken.
type level struct {
	left *big.Rat
	at   int64
	used map[int64]int64
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
	return r.Quo(r, rat(int64(l.Period)))
}

func floor(r *big.Rat) int64 { return new(big.Int).Div(r.Num(), r.Denom()).Int64() }

func ceil(r *big.Rat) int64 { return -floor(new(big.Rat).Neg(r)) }

func (w *twin) level(k Key, l *Limit) *level {
	v := w.levels[k]
	if v == nil {
		v = &level{left: rat(l.Burst), at: w.seen, used: map[int64]int64{}}
		if w.cold != nil {
			v.left, v.at = new(big.Rat), *w.cold
		}
		w.levels[k] = v
	}
	v.left.Add(v.left, earned(l, w.seen-v.at))
	v.at = w.seen
	if v.left.Cmp(rat(l.Burst)) > 0 {
		v.left.Set(rat(l.Burst))
	}
	return v
}

func (w *twin) available(k Key, l *Limit) int64 {
	v := w.level(k, l)
	if l.Algorithm == FixedWindow {
		return max(0, l.Count-v.used[w.seen/int64(l.Period)])
	}
	return max(0, floor(v.left))
}

func (w *twin) add(k Key, l *Limit, units int64) {
	v := w.level(k, l)
	v.used[w.seen/int64(l.Period)] += units
	v.left.Sub(v.left, rat(units))
}

// peek checks on a copy.
func (w *twin) peek(asked int64, takes []Take) (Outcome, Shortfall, []answer) {
	c := &twin{seen: w.seen, cold: w.cold, levels: map[Key]*level{}}
	for k, v := range w.levels {
		c.levels[k] = &level{new(big.Rat).Set(v.left), v.at, maps.Clone(v.used)}
	}
	outcome, short, answers := c.check(asked, takes)
	for i := range answers {
		answers[i].taken = 0
	}
	return outcome, short, answers
}

func (w *twin) check(asked int64, takes []Take) (Outcome, Shortfall, []answer) {
	w.seen = max(w.seen, asked)
	as := make([]answer, len(takes))
	outcome, short := Taken, Shortfall{}
	for i, t := range takes { // as if alone, one after the other
		left := w.available(t.Key, t.Limit)
		switch as[i].refused = t.Cost > left; {
		case !as[i].refused:
			as[i].taken = t.Cost
		case !t.Spill:
			outcome = Refused
			as[i].taken = t.Cost
		case t.Whole:
			short[t.Meter] = max(short[t.Meter], t.Cost)
		default:
			as[i].taken = left
			short[t.Meter] = max(short[t.Meter], t.Cost-left)
		}
		w.add(t.Key, t.Limit, as[i].taken)
	}
	for i, t := range takes {
		w.add(t.Key, t.Limit, -as[i].taken)
		if t.Spill {
			as[i].taken = t.Cost - short[t.Meter]
		}
		if outcome == Refused {
			as[i].taken = 0
		}
	}
	if outcome == Refused {
		short = Shortfall{}
	} else if short != (Shortfall{}) {
		outcome = Spilled
	}
	for i, t := range takes {
		w.add(t.Key, t.Limit, as[i].taken)
	}
	for i := range takes {
		w.answer(asked, takes[:i+1], &as[i])
	}
	return outcome, short, as
}

// answer fills in what is left and the waits of the last take, whose key others before it may want too.
func (w *twin) answer(asked int64, takes []Take, a *answer) {
	t := takes[len(takes)-1]
	l, v, behind := t.Limit, w.level(t.Key, t.Limit), w.seen-asked
	a.remaining = w.available(t.Key, l)
	window := int64(l.Period)
	next := time.Duration((w.seen/window+1)*window - asked)
	need := int64(0)
	for _, other := range takes {
		if other.Key == t.Key {
			need += other.Cost
		}
	}
	perUnit := new(big.Rat).Quo(rat(int64(l.Period)), rat(l.Count))
	switch {
	case l.Algorithm == FixedWindow && v.used[w.seen/window] > 0:
		a.reset = next
	case l.Algorithm == TokenBucket && v.left.Cmp(rat(l.Burst)) < 0:
		gap := new(big.Rat).Sub(rat(l.Burst), v.left)
		a.reset = time.Duration(ceil(gap.Mul(gap, perUnit)) + behind)
	}
	switch {
	case !a.refused:
	case need > l.capacity():
		a.wait = Never
	case l.Algorithm == FixedWindow:
		a.wait = next
	default:
		gap := new(big.Rat).Sub(rat(need), v.left)
		a.wait = time.Duration(ceil(gap.Mul(gap, perUnit)) + behind)
	}
}

// charge takes the one cost in full, as long as the debt stays within 2^62 ns.
func (w *twin) charge(now int64, takes []Take) answer {
	w.seen = max(w.seen, now)
	t := takes[0]
	a := answer{taken: t.Cost}
	if t.Limit.Algorithm == TokenBucket {
		owed := new(big.Rat).Sub(rat(t.Limit.Burst), w.level(t.Key, t.Limit).left)
		a.taken = max(0, min(a.taken, floor(owed.Sub(earned(t.Limit, 1<<62), owed))))
	}
	w.add(t.Key, t.Limit, a.taken)
	w.answer(now, takes, &a)
	return a
}

func (w *twin) giveBack(now int64, takes []Take, window []int64) {
	w.seen = max(w.seen, now)
	for i, t := range takes {
		v := w.level(t.Key, t.Limit)
		v.left.Add(v.left, rat(t.Taken))
		w.level(t.Key, t.Limit)
		if window[i] == w.seen/int64(t.Limit.Period) {
			v.used[window[i]] -= t.Taken
		}
	}
}

func drawLimit(t *rapid.T) *Limit {
	l := Limit{
		Algorithm: rapid.SampledFrom([]Algorithm{TokenBucket, FixedWindow}).Draw(t, "algorithm"),
		Count:     rapid.OneOf(rapid.Int64Range(1, 9), rapid.Int64Range(1, 1_000_000)).Draw(t, "count"),
		Period:    rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 7 * time.Second, time.Minute, 24 * time.Hour}).Draw(t, "period"),
	}
	if l.Algorithm == TokenBucket {
		l.Burst = rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(1, 1_000_000)).Draw(t, "burst")
	}
	if l.Validate() != nil {
		l.Burst = 20
	}
	return &l
}

// drawTakes asks for some of the limits; a key belongs to one limit, a meter to one kind of request.
func drawTakes(t *rapid.T, limits []*Limit) []Take {
	takes := make([]Take, rapid.IntRange(1, 4).Draw(t, "takes"))
	costs := [2]int64{}
	for m := range costs {
		costs[m] = rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, 30), rapid.Int64Range(0, 2_000_000)).Draw(t, "cost")
	}
	for i := range takes {
		n := rapid.IntRange(0, len(limits)-1).Draw(t, "limit")
		m := rapid.IntRange(0, 1).Draw(t, "meter")
		takes[i] = Take{
			Key: Key{Hi: uint64(n), Lo: rapid.Uint64Range(0, 1).Draw(t, "key")}, Limit: limits[n],
			Cost: costs[m], Meter: uint8(m), Whole: m == 0, Spill: rapid.Bool().Draw(t, "spill"),
		}
	}
	return takes
}

func drawStep(t *rapid.T) int64 {
	return rapid.OneOf(
		rapid.Just(int64(0)), rapid.Int64Range(0, 1000), rapid.Int64Range(0, int64(2*time.Second)), rapid.Int64Range(0, int64(30*time.Hour)),
		rapid.Int64Range(-int64(time.Minute), 0),
	).Draw(t, "step")
}

func TestStoreAnswersAsItsTwin(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limits := []*Limit{drawLimit(t), drawLimit(t), drawLimit(t)}
		s, w := NewStore(DefaultConfig()), &twin{levels: map[Key]*level{}}
		if rapid.Bool().Draw(t, "cold") {
			since := start - rapid.Int64Range(0, int64(time.Minute)).Draw(t, "since")
			s.Cold(7, since)
			w.cold = &since
		}
		var held []Take
		var window []int64
		now := start
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = max(start, now+drawStep(t))
			takes := drawTakes(t, limits)
			switch rapid.SampledFrom([]string{"take", "take", "take", "peek", "return", "charge"}).Draw(t, "op") {
			case "take":
				o, sh, answers := w.check(now, takes)
				same(t, s.Take, now, takes, o, sh, answers)
			case "peek":
				o, sh, answers := w.peek(now, takes)
				same(t, s.Peek, now, takes, o, sh, answers)
			case "charge":
				takes = takes[:1]
				a := w.charge(now, takes)
				charge := func(p uint16, now int64, takes []Take) (o Outcome, sh Shortfall) {
					s.Charge(p, now, takes)
					return o, sh
				}
				same(t, charge, now, takes, 0, Shortfall{}, []answer{a})
			case "return":
				w.giveBack(now, held, window)
				s.Return(7, now, held)
			}
			held, window = takes, nil
			for _, k := range takes {
				window = append(window, w.seen/int64(k.Limit.Period))
			}
		}
	})
}

func same(t *rapid.T, ask func(uint16, int64, []Take) (Outcome, Shortfall), now int64, takes []Take,
	outcome Outcome, short Shortfall, answers []answer,
) {
	if o, sh := ask(7, now, takes); o != outcome || sh != short {
		t.Fatalf("%v %v, want %v %v", o, sh, outcome, short)
	}
	for i, k := range takes {
		got := answer{k.Taken, k.Refused, k.Remaining, k.Wait, k.Reset}
		if got != answers[i] {
			t.Fatalf("take %d of %s: %+v, want %+v", i, describe(k), got, answers[i])
		}
	}
}

func describe(k Take) string {
	return fmt.Sprintf("%d from %+v key %v spill %v whole %v", k.Cost, *k.Limit, k.Key, k.Spill, k.Whole)
}
