package limiter

import (
	"testing"
	"time"
)

// steps runs rows of one take each at one key: the outcome and what remains.
type step struct {
	after     time.Duration
	cost      int64
	want      Outcome
	remaining int64
}

func runs1(t *testing.T, s *Store, take Take, rows []step) {
	t.Helper()
	for i, r := range rows {
		takes := []Take{take}
		takes[0].Cost = r.cost
		if o, _ := s.Take(0, start+int64(r.after), takes); o != r.want || takes[0].Remaining != r.remaining {
			t.Errorf("row %d: %v, %d left, want %+v", i, o, takes[0].Remaining, r)
		}
	}
}

func TestSlidingWindowWeighsTheWindowBefore(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: SlidingWindow, Count: 100, Period: time.Minute}
	at := func(window int, into time.Duration) time.Duration { // start is 23.123456789 s into a minute
		return time.Duration(window)*time.Minute + into - time.Duration(start%int64(time.Minute))
	}
	runs1(t, NewStore(DefaultConfig()), Take{Limit: l}, []step{
		{at(1, 50*time.Second), 80, Taken, 20},
		{at(2, 15*time.Second), 0, Taken, 40}, // three quarters of 80 count
		{at(2, 15*time.Second), 41, Refused, 40},
		{at(2, 15*time.Second), 30, Taken, 10},
		{at(2, 30*time.Second), 30, Taken, 0},
		{at(2, 59*time.Second), 0, Taken, 38}, // 80/60, rounded up to the limit's favour
		{at(3, 0), 40, Taken, 0},
		{at(4, 0), 0, Taken, 60},
		{at(5, 0), 100, Taken, 0},
	})
}

func TestRollingLogAdmitsItsCountInAnyPeriod(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: RollingLog, Count: 3, Period: time.Minute}
	s := NewStore(DefaultConfig())
	runs1(t, s, Take{Limit: l}, []step{
		{0, 1, Taken, 2},
		{20 * time.Second, 2, Taken, 0},
		{time.Minute - 1, 1, Refused, 0},
		{time.Minute, 1, Taken, 0},
		{80*time.Second - 1, 1, Refused, 0},
		{80 * time.Second, 3, Refused, 2},
		{80 * time.Second, 2, Taken, 0},
	})
	if s.Len() != 4 { // the key, the log, two runs
		t.Errorf("%d in the store", s.Len())
	}
}

func TestFullRollingLogCountsForLongerNeverForLess(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: RollingLog, Count: 30_000, Period: time.Hour}
	s := NewStore(DefaultConfig())
	for i := range int64(20_000) {
		admits(t, s, start+i, l, 1, 1, Taken)
	}
	if s.Len() != runsMax+2 {
		t.Errorf("%d in the store, want %d runs", s.Len(), runsMax)
	}
	room(t, s, start+int64(time.Hour)+5_000, l, 1, 10_000+5_001)
	room(t, s, start+int64(time.Hour)+15_000, l, 1, 10_000+9_999)
	room(t, s, start+int64(time.Hour)+20_000, l, 1, 30_000)
}

func TestSlotsAreHeldRenewedAndReleased(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: Concurrency, Count: 2, Period: time.Minute}
	s := NewStore(DefaultConfig())
	in := func(slot uint64) Take { return Take{Limit: l, Slot: Key{Lo: slot}} }
	second := time.Second
	runs1(t, s, in(1), []step{{0, 1, Taken, 1}, {second, 1, Taken, 1}})
	runs1(t, s, in(2), []step{{2 * second, 1, Taken, 0}})
	runs1(t, s, in(3), []step{{3 * second, 1, Refused, 0}})
	third := []Take{in(3)}
	third[0].Cost = 1
	if s.Take(0, start+int64(3*second), third); third[0].Wait != 58*second {
		t.Errorf("wait %v, want until the first slot ends, which was renewed", third[0].Wait)
	}
	if s.Renew(0, start+int64(3*second), third); !third[0].Refused {
		t.Error("a slot that is not held was renewed")
	}
	first := []Take{in(1)}
	if s.Renew(0, start+int64(40*second), first); first[0].Refused || first[0].Remaining != 0 || first[0].Reset != time.Minute {
		t.Errorf("renewed: %+v", first[0])
	}
	runs1(t, s, in(3), []step{{62*second - 1, 1, Refused, 0}, {62 * second, 1, Taken, 0}})
	if s.Release(0, start+int64(63*second), first); first[0].Remaining != 1 {
		t.Errorf("released: %+v", first[0])
	}
	runs1(t, s, in(0), []step{{64 * second, 1, Taken, 0}, {64 * second, 1, Refused, 0}})
}

func TestEnvoyCountsWhatItRefuses(t *testing.T) {
	t.Parallel()
	for _, l := range []*Limit{{Algorithm: FixedWindow, Count: 3, Period: time.Minute}, {Algorithm: TokenBucket, Count: 3, Period: time.Minute, Burst: 3}} {
		runs1(t, NewStore(DefaultConfig()), Take{Limit: l, Charge: true}, []step{
			{0, 1, Taken, 2}, {0, 1, Taken, 1}, {0, 1, Taken, 0}, {0, 0, Taken, 0}, {0, 1, Refused, 0}, {0, 0, Refused, 0},
		})
		runs1(t, NewStore(DefaultConfig()), Take{Limit: l, Charge: true}, []step{{0, 0, Taken, 3}, {0, 100, Refused, 0}, {0, 0, Refused, 0}})
	}
}

func TestChargeCountsWhatAnotherLimitRefuses(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: FixedWindow, Count: 3, Period: time.Minute}
	s := NewStore(DefaultConfig())
	takes := []Take{{Key: Key{Lo: 1}, Limit: l, Cost: 2, Charge: true}, {Key: Key{Lo: 2}, Limit: l, Cost: 4}, {Key: Key{Lo: 3}, Limit: l, Cost: 9, Charge: true}}
	if o, _ := s.Take(0, start, takes); o != Refused || takes[0].Refused || takes[0].Taken != 2 || takes[0].Wait == 0 || takes[1].Taken != 0 || takes[2].Taken != 9 {
		t.Errorf("%v %+v", o, takes)
	}
	room(t, s, start, l, 1, 1)
	room(t, s, start, l, 2, 3)
	s.Return(0, start, takes)
	room(t, s, start, l, 1, 3)
	room(t, s, start, l, 3, 3)
}

func TestShadowRefusesNothing(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: FixedWindow, Count: 3, Period: time.Minute}
	for _, c := range []struct{ charge, guarded bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		s := NewStore(DefaultConfig())
		takes := []Take{{Key: Key{Lo: 1}, Limit: l, Cost: 5, Shadow: true, Charge: c.charge}, {Key: Key{Lo: 2}, Limit: l, Cost: 1}}
		want, counted := Taken, int64(0)
		if c.guarded {
			takes[1].Cost, want = 4, Refused
		}
		if c.charge {
			counted = 5
		}
		if o, short := s.Take(0, start, takes); o != want || !takes[0].Refused || takes[0].Taken != counted || short != (Shortfall{}) {
			t.Errorf("%+v: %v %+v", c, o, takes[0])
		}
	}
}

func TestRefundGivesBackNoMoreThanIsOwed(t *testing.T) {
	t.Parallel()
	for _, l := range everyAlgorithm() {
		s := NewStore(DefaultConfig())
		admits(t, s, start, l, 1, 12, Taken)
		for _, c := range []struct{ cost, want int64 }{{5, 13}, {0, 13}, {1 << 62, 20}} {
			if l.Algorithm == Concurrency {
				c.want = 8
			}
			takes := one(l, 1, c.cost)
			if s.Refund(0, start, takes); takes[0].Remaining != c.want || takes[0].Taken != 0 || takes[0].Cost != c.cost {
				t.Errorf("%v: refund of %d: %+v, want %d left", l.Algorithm, c.cost, takes[0], c.want)
			}
		}
		takes := one(l, 2, 5)
		if s.Refund(0, start, takes); takes[0].Remaining != 20 {
			t.Errorf("%v: refund to an untouched bucket: %+v", l.Algorithm, takes[0])
		}
	}
}

func TestResetForgetsTheBucket(t *testing.T) {
	t.Parallel()
	for _, l := range everyAlgorithm() {
		s := NewStore(DefaultConfig())
		for _, after := range []time.Duration{0, l.Period} {
			admits(t, s, start+int64(after), l, 1, 5, Taken)
		}
		s.Reset(0, Key{Lo: 1})
		if room(t, s, start+int64(l.Period), l, 1, 20); s.Len() != 0 {
			t.Errorf("%v: %d left in the store", l.Algorithm, s.Len())
		}
	}
}

func TestLimitOfAnotherAlgorithmStartsAnew(t *testing.T) {
	t.Parallel()
	for _, from := range everyAlgorithm() {
		for _, to := range everyAlgorithm() {
			s := NewStore(DefaultConfig())
			admits(t, s, start, from, 1, 5, Taken)
			if from.kind() != to.kind() {
				admits(t, s, start, to, 1, 20, Taken)
			}
			if s.Len() != s.at(0).size() {
				t.Errorf("%v to %v: %d counted, %d there", from.Algorithm, to.Algorithm, s.Len(), s.at(0).size())
			}
		}
	}
}

func TestSweepFreesLogsAndSlots(t *testing.T) {
	t.Parallel()
	s := NewStore(DefaultConfig())
	for k := range uint64(2000) {
		admits(t, s, start, &Limit{Algorithm: RollingLog, Count: 9, Period: time.Second}, k, 1, Taken)
	}
	for range 1000 {
		s.sweep(0, start+int64(time.Second))
	}
	if s.Len() != 0 || len(s.at(0).table.runs.all) != 0 {
		t.Errorf("%d left, room for %d runs", s.Len(), len(s.at(0).table.runs.all))
	}
}

func TestSlidingWindowGivesBackToTheWindowThatTook(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: SlidingWindow, Count: 100, Period: time.Minute}
	begin := start - start%int64(time.Minute)
	for _, c := range []struct {
		into time.Duration
		want int64
	}{{0, 90}, {time.Minute, 95}, {2 * time.Minute, 100}} { // half of what is left of the window before counts
		s := NewStore(DefaultConfig())
		admits(t, s, begin, l, 1, 10, Taken)
		takes := one(l, 1, 30)
		s.Take(0, begin, takes)
		s.Return(0, begin+int64(c.into), takes)
		room(t, s, begin+int64(c.into)+int64(min(c.into, time.Minute))/2, l, 1, c.want)
	}
	s := NewStore(DefaultConfig())
	admits(t, s, begin, l, 1, 40, Taken)
	next := begin + int64(time.Minute)
	admits(t, s, next, l, 1, 20, Taken)
	s.Refund(0, next, one(l, 1, 50))
	room(t, s, next, l, 1, 90)
}

func TestRoomOfRunsFollowsThem(t *testing.T) {
	t.Parallel()
	s := NewStore(DefaultConfig())
	long, short := &Limit{Algorithm: RollingLog, Count: 9, Period: time.Hour}, &Limit{Algorithm: RollingLog, Count: 9, Period: time.Second}
	for i := range int64(2) {
		for k := range uint64(2000) {
			l := short
			if k%100 == 0 {
				l = long
			}
			admits(t, s, start+i, l, k, 4-i, Taken)
		}
	}
	for range 500 {
		s.sweep(0, start+int64(time.Minute))
	}
	if n := len(s.at(0).table.runs.all); s.Len() != 20*4 || n > 300 {
		t.Errorf("%d left, room for %d runs", s.Len(), n)
	}
	for k := uint64(0); k < 2000; k += 100 {
		room(t, s, start+int64(time.Minute), long, k, 2)
		room(t, s, start+int64(time.Hour), long, k, 6)
	}
}
