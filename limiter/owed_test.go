package limiter

import (
	"testing"
	"time"
)

// TestACopyKeepsWhatItsHomeDoesNotKnowOf takes from a copy, which then gets what the home has, piece by piece and whole.
func TestACopyKeepsWhatItsHomeDoesNotKnowOf(t *testing.T) {
	t.Parallel()
	const p, start = 3, int64(1_000_000_000_000)
	slot := Key{Hi: 5, Lo: 6}
	for name, limit := range map[string]*Limit{
		"token bucket":   {Algorithm: TokenBucket, Count: 9, Period: time.Hour, Burst: 9},
		"fixed window":   {Algorithm: FixedWindow, Count: 9, Period: time.Hour},
		"sliding window": {Algorithm: SlidingWindow, Count: 9, Period: time.Hour},
		"rolling log":    {Algorithm: RollingLog, Count: 9, Period: time.Hour},
		"concurrency":    {Algorithm: Concurrency, Count: 9, Period: time.Hour},
	} {
		for _, whole := range []bool{false, true} {
			home, copies, debits := NewStore(DefaultConfig()), NewStore(DefaultConfig()), NewStore(DefaultConfig())
			take := func(s *Store, key uint64, n int64) {
				takes := []Take{{Key: Key{Hi: 1, Lo: key}, Limit: limit, Cost: n, Slot: slot}}
				if s == debits {
					s.Charge(p, start, takes)
				} else if o, _ := s.Take(p, start, takes); o != Taken {
					t.Fatal(name, o)
				}
			}
			ship := func(owed ...[]byte) {
				t.Helper()
				for more := true; more; {
					var b []byte
					if b, more = home.Changes(p, start, 1<<16); b != nil {
						if err := copies.Restore(p, start, 0, b, owed...); err != nil {
							t.Fatal(name, err)
						}
					}
				}
			}
			left := func(key uint64) int64 {
				takes := []Take{{Key: Key{Hi: 1, Lo: key}, Limit: limit, Slot: Key{Hi: 7}}}
				copies.Peek(p, start, takes)
				return takes[0].Remaining
			}
			home.Track(p, 1)
			slot = Key{Hi: 8, Lo: 1}
			take(home, 1, 2)
			take(home, 2, 2)
			ship()
			slot = Key{Hi: 5, Lo: 6}
			for key := uint64(1); key <= 3; key++ { // the third is new to the home
				take(copies, key, 3)
				take(debits, key, 3)
			}
			slot = Key{Hi: 8, Lo: 2}
			take(home, 1, 1)
			if whole {
				home.Track(p, 2)
			}
			owed, _, _ := debits.Export(p, start, Cursor{Sequence: 1}, 1<<16)
			ship(owed)
			if left(1) != 3 || left(2) != 4 || left(3) != 6 {
				t.Errorf("%s, whole %t: %d, %d and %d left, want 3, 4 and 6", name, whole, left(1), left(2), left(3))
			}
			home.Track(p, 3)
			ship() // the home knows of them by now, or so it says
			if left(1) != 6 || left(2) != 7 || left(3) != 9 {
				t.Errorf("%s, whole %t: %d, %d and %d left, want 6, 7 and 9", name, whole, left(1), left(2), left(3))
			}
		}
	}
}
