package limiter

import (
	"testing"
	"time"
)

// TestAWindowOfAClockAheadEndsWithTheRunningOne merges what was taken by a clock that is ahead, in the next window, and waits
// as long as told.
func TestAWindowOfAClockAheadEndsWithTheRunningOne(t *testing.T) {
	t.Parallel()
	const (
		p, window = 3, int64(10 * time.Second)
		end       = 1_000 * window
		now       = end - window/4
	)
	for _, algorithm := range []Algorithm{FixedWindow, SlidingWindow} {
		limit := &Limit{Algorithm: algorithm, Count: 6, Period: time.Duration(window)}
		ahead, home := NewStore(DefaultConfig()), NewStore(DefaultConfig())
		take := func(s *Store, now, cost int64) Take {
			takes := []Take{{Key: Key{Hi: 1, Lo: 2}, Limit: limit, Cost: cost}}
			s.Take(p, now, takes)
			return takes[0]
		}
		take(ahead, end+window/4, 1)
		parcel, _, _ := ahead.Export(p, end+window/4, Cursor{Sequence: 1}, 1<<10)
		take(home, now, 5)
		if err := home.Merge(p, now, 7, parcel); err != nil {
			t.Fatal(err)
		}
		told := take(home, now, 1)
		if !told.Refused || told.Wait <= 0 {
			t.Fatalf("%v: the seventh of six was taken: %+v", algorithm, told)
		}
		if again := take(home, now+int64(told.Wait), 1); again.Refused {
			t.Errorf("%v: told to wait %v, then %v more", algorithm, told.Wait, again.Wait)
		}
		if home.Len() != int64(home.at(p).table.len) {
			t.Errorf("%v: %d buckets are counted, %d there", algorithm, home.Len(), home.at(p).table.len)
		}
	}
}
