package limiter

import (
	"fmt"
	"testing"
	"time"
)

// A node's share of a limit becomes nothing at all when there are more nodes than units, while its store holds what the
// larger share took.
func TestShareOfNothingKeepsWhatTheLargerShareOwes(t *testing.T) {
	t.Parallel()
	algorithms := []Limit{
		{Algorithm: TokenBucket, Count: 7, Period: time.Minute, Burst: 5},
		{Algorithm: FixedWindow, Count: 7, Period: time.Minute},
		{Algorithm: SlidingWindow, Count: 7, Period: time.Minute},
		{Algorithm: RollingLog, Count: 7, Period: time.Minute},
		{Algorithm: Concurrency, Count: 7, Period: time.Minute},
		{Algorithm: CalendarWindow, Count: 7, Calendar: Day, Zone: time.UTC},
	}
	for name, touch := range map[string]func(s *Store, now int64, takes []Take){
		"take":    func(s *Store, now int64, takes []Take) { s.Take(0, now, takes) },
		"peek":    func(s *Store, now int64, takes []Take) { s.Peek(0, now, takes) },
		"charge":  func(s *Store, now int64, takes []Take) { s.Charge(0, now, takes) },
		"renew":   func(s *Store, now int64, takes []Take) { s.Renew(0, now, takes) },
		"nothing": func(s *Store, now int64, takes []Take) { takes[0].Cost = 0; s.Take(0, now, takes) },
		"export":  func(s *Store, now int64, _ []Take) { s.Export(0, now, Cursor{}, 1<<20) },
	} {
		for _, whole := range algorithms {
			t.Run(fmt.Sprintf("%s/%d", name, whole.Algorithm), func(t *testing.T) {
				t.Parallel()
				none, s := whole.Share(100), NewStore(DefaultConfig())
				admits(t, s, start, &whole, 1, 3, Taken)
				touch(s, start+1, one(&none, 1, 1))
				admits(t, s, start+2, &none, 1, 1, Refused)
				room(t, s, start+2, &none, 1, 0)
				room(t, s, start+3, &whole, 1, whole.capacity()-3)
			})
		}
	}
}

func TestShareOfNothingGivesBack(t *testing.T) {
	t.Parallel()
	whole := Limit{Algorithm: TokenBucket, Count: 7, Period: time.Minute, Burst: 5}
	none := whole.Share(100)
	for name, give := range map[string]func(s *Store, takes []Take){
		"return":  func(s *Store, takes []Take) { takes[0].Taken = 1; s.Return(0, start+1, takes) },
		"refund":  func(s *Store, takes []Take) { s.Refund(0, start+1, takes) },
		"release": func(s *Store, takes []Take) { takes[0].Taken = 1; s.Release(0, start+1, takes) },
	} {
		s := NewStore(DefaultConfig())
		admits(t, s, start, &whole, 1, 3, Taken)
		give(s, one(&none, 1, 1))
		takes := one(&whole, 1, 0)
		if s.Peek(0, start+1, takes); takes[0].Remaining < 2 {
			t.Errorf("%s: %d left of %d", name, takes[0].Remaining, whole.Burst)
		}
	}
}
