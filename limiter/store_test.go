package limiter

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func one(l *Limit, key uint64, cost int64) []Take {
	return []Take{{Key: Key{Lo: key}, Limit: l, Cost: cost}}
}

// admits expects the outcome of one cost at one key.
func admits(t *testing.T, s *Store, now int64, l *Limit, key uint64, cost int64, want Outcome) {
	t.Helper()
	if o, _ := s.Take(0, now, one(l, key, cost)); o != want {
		t.Errorf("%d of key %d at %v: %v, want %v", cost, key, time.Duration(now-start), o, want)
	}
}

// room expects what is left at one key, looked at without taking.
func room(t *testing.T, s *Store, now int64, l *Limit, key uint64, want int64) {
	t.Helper()
	takes := one(l, key, 0)
	if s.Peek(0, now, takes); takes[0].Remaining != want {
		t.Errorf("key %d at %v: %d left, want %d", key, time.Duration(now-start), takes[0].Remaining, want)
	}
}

func TestBurstIsAdmittedWholeAtOneInstant(t *testing.T) {
	t.Parallel()
	for _, l := range []*Limit{
		{Algorithm: TokenBucket, Count: 3, Period: time.Second, Burst: 3},
		{Algorithm: TokenBucket, Count: 7, Period: time.Minute, Burst: 1000},
		{Algorithm: TokenBucket, Count: 999_983, Period: time.Second, Burst: 500},
		{Algorithm: FixedWindow, Count: 1000, Period: time.Minute},
	} {
		s := NewStore(DefaultConfig())
		for range l.capacity() {
			admits(t, s, start, l, 1, 1, Taken)
		}
		admits(t, s, start, l, 1, 1, Refused)
	}
}

func TestRefusedTakeBurnsNothingElsewhere(t *testing.T) {
	t.Parallel()
	wide, narrow := &Limit{Algorithm: TokenBucket, Count: 10, Period: time.Second, Burst: 10}, &Limit{Algorithm: FixedWindow, Count: 2, Period: time.Second}
	s := NewStore(DefaultConfig())
	takes := []Take{{Key: Key{Lo: 1}, Limit: wide, Cost: 3}, {Key: Key{Lo: 2}, Limit: narrow, Cost: 3}, {Key: Key{Lo: 3}, Limit: wide, Cost: 3}}
	if o, _ := s.Take(0, start, takes); o != Refused || takes[0].Refused || !takes[1].Refused || takes[2].Refused {
		t.Errorf("%v: %+v", o, takes)
	}
	if takes[0].Remaining != 10 || takes[1].Remaining != 2 || takes[1].Wait != Never || takes[0].Taken+takes[1].Taken+takes[2].Taken != 0 {
		t.Errorf("%+v", takes)
	}
	if s.Len() != 0 {
		t.Errorf("a refused take left %d buckets", s.Len())
	}
}

func TestSpillTakesWhatIsThereAndTellsTheShortfall(t *testing.T) {
	t.Parallel()
	l := func(burst int64) *Limit {
		return &Limit{Algorithm: TokenBucket, Count: 1, Period: time.Hour, Burst: burst}
	}
	for why, c := range map[string]struct {
		takes []Take // their keys are their places
		want  Outcome
		short Shortfall
		taken []int64
	}{
		"covered":            {[]Take{{Limit: l(5), Cost: 5, Spill: true}}, Taken, Shortfall{}, []int64{5}},
		"split":              {[]Take{{Limit: l(5), Cost: 8, Spill: true}}, Spilled, Shortfall{3}, []int64{5}},
		"whole":              {[]Take{{Limit: l(5), Cost: 8, Spill: true, Whole: true}}, Spilled, Shortfall{8}, []int64{0}},
		"largest shortfall":  {[]Take{{Limit: l(5), Cost: 8, Spill: true}, {Limit: l(2), Cost: 8, Spill: true}}, Spilled, Shortfall{6}, []int64{2, 2}},
		"guard takes all":    {[]Take{{Limit: l(9), Cost: 8}, {Limit: l(2), Cost: 8, Spill: true}}, Spilled, Shortfall{6}, []int64{8, 2}},
		"guard refuses":      {[]Take{{Limit: l(2), Cost: 8, Spill: true}, {Limit: l(7), Cost: 8}}, Refused, Shortfall{}, []int64{0, 0}},
		"guard refuses late": {[]Take{{Limit: l(7), Cost: 8}, {Limit: l(2), Cost: 8, Spill: true}}, Refused, Shortfall{}, []int64{0, 0}},
		"two meters": {
			[]Take{{Limit: l(1), Cost: 1, Whole: true, Spill: true}, {Limit: l(4), Cost: 9, Meter: 15, Spill: true}},
			Spilled,
			Shortfall{15: 5},
			[]int64{1, 4},
		},
	} {
		for i := range c.takes {
			c.takes[i].Key.Lo = uint64(i)
		}
		s := NewStore(DefaultConfig())
		o, short := s.Take(0, start, c.takes)
		if o != c.want || short != c.short {
			t.Errorf("%s: %v %v, want %v %v", why, o, short, c.want, c.short)
		}
		for i, k := range c.takes {
			if k.Taken != c.taken[i] {
				t.Errorf("%s: limit %d gave %d, want %d", why, i, k.Taken, c.taken[i])
			}
		}
	}
}

func TestTakesOfOneKeyAddUp(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 10}
	s := NewStore(DefaultConfig())
	takes := append(one(l, 1, 6), one(l, 1, 6)...)
	if o, _ := s.Take(0, start, takes); o != Refused || takes[0].Refused || !takes[1].Refused || takes[1].Wait != Never {
		t.Errorf("6 and 6 of 10: %v %+v", o, takes)
	}
	takes[1].Cost = 4
	if o, _ := s.Take(0, start, takes); o != Taken || takes[0].Remaining != 0 || takes[1].Remaining != 0 || s.Len() != 1 {
		t.Errorf("6 and 4 of 10: %v %+v, %d buckets", o, takes, s.Len())
	}
	s.Return(0, start, takes)
	room(t, s, start, l, 1, 10)
}

// TestPeekAndReturnLeaveNoTrace runs two stores through one history, one of them with peeks and returned takes in between.
func TestPeekAndReturnLeaveNoTrace(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limits := []*Limit{drawLimit(t), drawLimit(t)}
		plain, busy := NewStore(DefaultConfig()), NewStore(DefaultConfig())
		if rapid.Bool().Draw(t, "cold") {
			plain.Cold(7, start)
			busy.Cold(7, start) // which may be later than now
		}
		now := start
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now += drawStep(t)
			extra := drawTakes(t, limits)
			for i := range extra {
				extra[i].Slot = Key{} // a renewal stays
			}
			busy.Peek(7, now, extra)
			peeked := append([]Take(nil), extra...)
			busy.Take(7, now, extra)
			for i := range extra {
				if a, b := peeked[i], extra[i]; a.Wait != b.Wait || a.Reset != b.Reset || a.Remaining != b.Remaining || a.Refused != b.Refused {
					t.Fatalf("peek says %+v, take %+v", a, b)
				}
			}
			busy.Return(7, now, extra)
			a := drawTakes(t, limits)
			b := append([]Take(nil), a...)
			outA, shortA := plain.Take(7, now, a)
			outB, shortB := busy.Take(7, now, b)
			if outA != outB || shortA != shortB {
				t.Fatalf("%v %v with, %v %v without peeks and returns", outB, shortB, outA, shortA)
			}
			for i := range a {
				if a[i].Remaining != b[i].Remaining || a[i].Wait != b[i].Wait || a[i].Reset != b[i].Reset {
					t.Fatalf("%+v with, %+v without peeks and returns", b[i], a[i])
				}
			}
		}
	})
}

func TestWaitIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limits := []*Limit{drawLimit(t), drawLimit(t)}
		s := NewStore(DefaultConfig())
		now := start
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			now += drawStep(t)
			takes := drawTakes(t, limits)
			for i := range takes { // one key has one limit: same meter, spill and cost
				for _, k := range takes[:i] {
					if k.Key == takes[i].Key {
						takes[i] = k
					}
				}
			}
			if o, _ := s.Take(7, now, takes); o != Refused {
				continue // waits of what spilled are compared with the twin's
			}
			wait, never := time.Duration(0), false
			for _, k := range takes {
				if !k.Shadow && (!k.Spill || k.Cost > 0) {
					wait, never = max(wait, k.Wait), never || k.Wait == Never
				}
			}
			if o, _ := s.Peek(7, now+int64(wait), takes); (o == Taken) == never {
				t.Fatalf("after %v: %v, never is %v: %+v", wait, o, never, takes)
			}
			if o, _ := s.Peek(7, now+int64(wait)-1, takes); o == Taken {
				t.Fatalf("a nanosecond before %v: %v: %+v", wait, o, takes)
			}
		}
	})
}

func TestAnyIntervalAdmitsAtMostBurstPlusRate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := drawLimit(t)
		if l.Algorithm != TokenBucket {
			l = &Limit{Algorithm: TokenBucket, Count: l.Count, Period: 7 * time.Second, Burst: 10}
		}
		s := NewStore(DefaultConfig())
		type admitted struct{ at, units int64 }
		var all []admitted
		clock, now := start, start // now is true time, the clock may have jumped back
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			step := drawStep(t)
			clock += step
			now += max(0, step)
			takes := one(l, 1, rapid.OneOf(rapid.Int64Range(0, 5), rapid.Int64Range(0, l.Burst)).Draw(t, "cost"))
			s.Take(7, clock, takes)
			all = append(all, admitted{now, takes[0].Taken})
		}
		for i := range all {
			units := int64(0)
			for _, a := range all[i:] {
				units += a.units
				bound := earned(l, a.at-all[i].at)
				if bound.Add(bound, rat(l.Burst)).Cmp(rat(units)) < 0 {
					t.Fatalf("%d units within %v", units, time.Duration(a.at-all[i].at))
				}
			}
		}
	})
}

func TestTakeAfterClockJumpsBack(t *testing.T) {
	t.Parallel()
	for _, l := range []*Limit{{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 5}, {Algorithm: FixedWindow, Count: 5, Period: time.Second}} {
		s := NewStore(DefaultConfig())
		admits(t, s, start, l, 1, 5, Taken)
		back := start - int64(time.Hour)
		admits(t, s, back, l, 1, 1, Refused)
		takes := one(l, 1, 1)
		s.Take(0, back, takes)
		admits(t, s, back+int64(takes[0].Wait)-1, l, 1, 1, Refused)
		admits(t, s, back+int64(takes[0].Wait), l, 1, 1, Taken)
	}
}

func TestClockThatJumpsForwardGivesOneCapacityMore(t *testing.T) {
	t.Parallel()
	for _, l := range []*Limit{{Algorithm: TokenBucket, Count: 5, Period: time.Second, Burst: 5}, {Algorithm: FixedWindow, Count: 5, Period: time.Second}} {
		s := NewStore(DefaultConfig())
		admits(t, s, start, l, 1, 5, Taken)
		admits(t, s, start+int64(time.Hour), l, 1, 5, Taken)
		for now := start; now < start+int64(time.Hour); now += int64(time.Minute) {
			admits(t, s, now, l, 1, 1, Refused)
		}
	}
}

func TestColdPartitionGivesNoSecondBurst(t *testing.T) {
	t.Parallel()
	bucket, window := &Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 60}, &Limit{Algorithm: FixedWindow, Count: 60, Period: time.Hour}
	s := NewStore(DefaultConfig())
	s.Cold(0, start)
	room(t, s, start, bucket, 1, 0)
	room(t, s, start, window, 2, 60)
	room(t, s, start+int64(20*time.Second), bucket, 1, 20)
	admits(t, s, start+int64(20*time.Second), bucket, 1, 20, Taken)
	admits(t, s, start+int64(20*time.Second), bucket, 1, 1, Refused)
	room(t, s, start+int64(59*time.Second), bucket, 3, 59)
	room(t, s, start+int64(time.Hour), bucket, 3, 60)
	s.Drop(0)
	room(t, s, start+int64(20*time.Second), bucket, 1, 60)
}

func TestChargeGoesIntoDebtThatIsEarnedBack(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 10}
	s := NewStore(DefaultConfig())
	takes := one(l, 1, 30)
	if s.Charge(0, start, takes); takes[0].Taken != 30 || takes[0].Remaining != 0 || takes[0].Reset != 30*time.Second {
		t.Errorf("%+v", takes[0])
	}
	admits(t, s, start+int64(20*time.Second), l, 1, 1, Refused)
	admits(t, s, start+int64(21*time.Second), l, 1, 1, Taken)
	s.Return(0, start+int64(21*time.Second), takes)
	room(t, s, start+int64(21*time.Second), l, 1, 10)
	s.Return(0, start+int64(21*time.Second), takes)
	huge := one(l, 1, 1<<62)
	s.Charge(0, start+int64(21*time.Second), huge)
	if years := huge[0].Reset.Hours() / 24 / 365; huge[0].Taken >= 1<<62 || years < 146 || years > 147 {
		t.Errorf("a debt of %v years: %+v", years, huge[0])
	}
}

func TestReturnToAWindowThatIsOverGivesNothing(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: FixedWindow, Count: 10, Period: time.Second}
	s := NewStore(DefaultConfig())
	takes := one(l, 1, 4)
	s.Take(0, start, takes)
	later := start + int64(time.Second)
	admits(t, s, later, l, 1, 7, Taken)
	if s.Return(0, later, takes); takes[0].Taken != 0 {
		t.Errorf("%+v", takes[0])
	}
	room(t, s, later, l, 1, 3)
}

func TestChangedLimitKeepsTheDebt(t *testing.T) {
	t.Parallel()
	s := NewStore(DefaultConfig())
	second, hour := &Limit{Algorithm: FixedWindow, Count: 10, Period: time.Second}, &Limit{Algorithm: FixedWindow, Count: 10, Period: time.Hour}
	admits(t, s, start, second, 1, 7, Taken)
	room(t, s, start, hour, 1, 3)
	fine, coarse := &Limit{Algorithm: TokenBucket, Count: 7_000_000, Period: time.Second, Burst: 7_000_000}, &Limit{Algorithm: TokenBucket, Count: 3, Period: time.Second, Burst: 3}
	admits(t, s, start, fine, 2, 6_999_999, Taken)
	room(t, s, start, coarse, 2, 0)
	room(t, s, start+int64(time.Second), coarse, 2, 3)
}

func TestConcurrentTakesAdmitExactlyTheLimit(t *testing.T) {
	t.Parallel()
	for _, l := range []*Limit{{Algorithm: TokenBucket, Count: 7, Period: time.Hour, Burst: 100}, {Algorithm: FixedWindow, Count: 100, Period: time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			s := NewStore(DefaultConfig())
			var admitted atomic.Int64
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for i := range 50 {
						if o, _ := s.Take(0, start, one(l, 1, 1)); o == Taken {
							admitted.Add(1)
						}
						s.Take(uint16(i), start, one(l, uint64(i), 1))
					}
				})
			}
			wg.Wait()
			if admitted.Load() != 100 {
				t.Errorf("%v: %d of 400 admitted, want 100", l.Algorithm, admitted.Load())
			}
		})
	}
}

func TestTakeDoesNotAllocate(t *testing.T) {
	l := &Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 1 << 30}
	s, h := NewStore(DefaultConfig()), NewHasher([16]byte{1})
	text := []byte("user-rpm:alice000000")
	if n := testing.AllocsPerRun(100, func() {
		takes := [3]Take{{Key: h.Key(text), Limit: l, Cost: 1}, {Key: h.Key(text[1:]), Limit: l, Cost: 1}, {Key: h.Key(text[2:]), Limit: l, Cost: 1}}
		s.Take(3, start, takes[:])
		s.Return(3, start, takes[:])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
