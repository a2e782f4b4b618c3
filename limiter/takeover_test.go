package limiter

import (
	"testing"
	"time"
)

// TestTakeoverOfACopy has a deputy go on with a copy that lacks what the home took last.
func TestTakeoverOfACopy(t *testing.T) {
	t.Parallel()
	base := []Limit{
		{Algorithm: TokenBucket, Count: 60, Period: time.Minute, Burst: 20},
		{Algorithm: FixedWindow, Count: 20, Period: time.Hour},
		{Algorithm: SlidingWindow, Count: 20, Period: time.Hour},
		{Algorithm: RollingLog, Count: 20, Period: time.Hour},
		{Algorithm: CalendarWindow, Count: 20, Calendar: Month},
		{Algorithm: Concurrency, Count: 20, Period: time.Hour},
	}
	since, later := start+int64(time.Second), start+int64(6*time.Second)
	for i := range base {
		for _, c := range []struct {
			cold          Cold
			takeover      Takeover
			copied, other int64 // left 5 s after the take-over, of 15 in the copy and of a bucket that is not in it
		}{
			{ColdDefault, TakeoverCopy, 15, 20},
			{ColdDrained, TakeoverCopy, 15, 20},
			{ColdFresh, TakeoverEmpty, 15, 20},
			{ColdDrained, TakeoverEmpty, 0, 0},
		} {
			l := base[i]
			l.Cold, l.Takeover = c.cold, c.takeover
			if l.Algorithm == TokenBucket && c.copied == 15 {
				c.copied = 20 // one a second is earned
			} else if l.Algorithm == TokenBucket {
				c.copied, c.other = 5, 5
			}
			home, deputy := NewStore(DefaultConfig()), NewStore(DefaultConfig())
			home.Take(0, start, one(&l, 1, 5))
			home.Track(0, 1)
			b, _ := home.Changes(0, start, 0)
			if err := deputy.Restore(0, start, 0, b); err != nil {
				t.Fatal(err)
			}
			home.Take(0, start, one(&l, 1, 3)) // not shipped any more
			deputy.Inherit(0, since)
			room(t, deputy, later, &l, 1, c.copied)
			room(t, deputy, later, &l, 2, c.other)
			for range c.copied {
				admits(t, deputy, later, &l, 1, 1, Taken)
			}
			admits(t, deputy, later, &l, 1, 1, Refused)
			heir := NewStore(DefaultConfig()) // inherits that it is inherited
			deputy.Track(0, 2)
			b, _ = deputy.Changes(0, later, 0)
			if err := heir.Restore(0, later, 0, b); err != nil {
				t.Fatal(err)
			}
			room(t, heir, later, &l, 1, 0)
			room(t, heir, later, &l, 2, c.other)
			heir.Drop(0)
			room(t, heir, later, &l, 2, 20)
		}
	}
}

// TestDebtBeyondTheColdStartIsInherited : an empty take-over forgives nothing.
func TestDebtBeyondTheColdStartIsInherited(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 10, Takeover: TakeoverEmpty}
	s := NewStore(DefaultConfig())
	s.Charge(0, start, one(l, 1, 30))
	s.Inherit(0, start)
	room(t, s, start+int64(20*time.Second), l, 1, 0)
	room(t, s, start+int64(25*time.Second), l, 1, 5)
	s.Inherit(0, start-int64(time.Hour)) // the latest holds
	room(t, s, start+int64(5*time.Second), l, 2, 5)
}
