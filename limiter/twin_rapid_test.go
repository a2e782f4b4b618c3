package limiter

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawLimit draws any limit, with counts small enough to be met.
func drawLimit(t *rapid.T) *Limit {
	l := Limit{
		Algorithm: rapid.SampledFrom([]Algorithm{TokenBucket, FixedWindow, SlidingWindow, RollingLog, CalendarWindow, Concurrency}).Draw(t, "algorithm"),
		Count:     rapid.OneOf(rapid.Int64Range(1, 9), rapid.Int64Range(1, 1_000_000)).Draw(t, "count"),
		Period:    rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 7 * time.Second, time.Minute, 24 * time.Hour}).Draw(t, "period"),
		Cold:      rapid.SampledFrom([]Cold{ColdDefault, ColdDrained, ColdFresh}).Draw(t, "cold start"),
		Takeover:  rapid.SampledFrom([]Takeover{TakeoverCopy, TakeoverEmpty}).Draw(t, "take-over"),
	}
	switch l.Algorithm {
	case TokenBucket:
		l.Burst = rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(1, 1_000_000)).Draw(t, "burst")
		if l.Period == 24*time.Hour && l.Count%2 == 0 {
			l.Count = 7_777_003_000_000 // fractions of a nanosecond are counted in millions
		}
	case CalendarWindow:
		l.Calendar, l.Period = rapid.SampledFrom([]Calendar{Day, Week, Month, Year}).Draw(t, "calendar"), 0
		l.Zone = time.FixedZone("", rapid.SampledFrom([]int{0, 3600, -7 * 1800}).Draw(t, "zone"))
	case Concurrency:
		l.Count = min(l.Count, runsMax)
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
			Charge: n == 1, Shadow: rapid.IntRange(0, 3).Draw(t, "shadow") == 0, Slot: Key{Lo: rapid.Uint64Range(0, 3).Draw(t, "slot")},
		}
		if limits[n].Algorithm == Concurrency {
			takes[i].Key.Lo = uint64(i)
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
		ops := []string{"take", "take", "take", "take", "peek", "return", "charge", "inherit", "refund", "reset", "release", "renew"}
		if rapid.Bool().Draw(t, "cold") {
			since := start - rapid.Int64Range(0, int64(time.Minute)).Draw(t, "since")
			s.Cold(7, since)
			w.cold = &since
			ops = ops[:8]
		}
		var held []Take
		now, at := start, start
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = max(start, now+drawStep(t))
			takes := drawTakes(t, limits)
			switch rapid.SampledFrom(ops).Draw(t, "op") {
			case "take":
				o, sh, answers := w.check(now, takes)
				same(t, s.Take, now, takes, o, sh, answers)
			case "peek":
				o, sh, answers := w.peek(now, takes)
				same(t, s.Peek, now, takes, o, sh, answers)
			case "charge":
				takes = takes[:1]
				a := w.charge(now, takes)
				same(t, silent(s.Charge), now, takes, 0, Shortfall{}, []answer{a})
			case "return":
				w.giveBack(now, at, held)
				s.Return(7, now, held)
			case "refund":
				takes = takes[:1]
				same(t, silent(s.Refund), now, takes, 0, Shortfall{}, []answer{w.refund(now, &takes[0])})
			case "release":
				takes = takes[:1]
				same(t, silent(s.Release), now, takes, 0, Shortfall{}, []answer{w.release(now, &takes[0])})
			case "renew":
				takes = takes[:1]
				same(t, silent(s.Renew), now, takes, 0, Shortfall{}, []answer{w.renew(now, &takes[0])})
			case "inherit":
				since := now - rapid.SampledFrom([]int64{0, 0, 1, 1000, int64(time.Second)}).Draw(t, "ago")
				if w.cold != nil {
					since = max(since, *w.cold)
				}
				ops = slices.DeleteFunc(slices.Clone(ops), func(op string) bool { return op == "inherit" })
				w.inherit(since)
				s.Inherit(7, since)
			case "reset":
				delete(w.levels, takes[0].Key)
				s.Reset(7, takes[0].Key)
			}
			held, at = takes, w.seen
		}
	})
}

func silent(f func(uint16, int64, []Take)) func(uint16, int64, []Take) (Outcome, Shortfall) {
	return func(p uint16, now int64, takes []Take) (o Outcome, sh Shortfall) {
		f(p, now, takes)
		return o, sh
	}
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
	return fmt.Sprintf("%d from %+v key %v slot %v spill %v whole %v charge %v shadow %v",
		k.Cost, *k.Limit, k.Key, k.Slot, k.Spill, k.Whole, k.Charge, k.Shadow)
}
