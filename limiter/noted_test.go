package limiter

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

// TestTooManyChangesShipEverything lets a partition change more than it notes, before and while everything is shipped.
func TestTooManyChangesShipEverything(t *testing.T) {
	t.Parallel()
	l := everyAlgorithm()[0]
	for _, c := range []struct {
		buckets, changed uint64
		whole            bool
	}{{0, 48, false}, {0, 49, true}, {200, 192, false}, {200, 193, true}, {20_000, 3072, false}, {20_000, 3073, true}, {0, 20_000, true}} {
		home, deputy := NewStore(DefaultConfig()), NewStore(DefaultConfig())
		for k := range c.buckets {
			home.Take(7, start, one(l, k, 1))
		}
		home.Track(7, 1)
		ship(t, home, deputy, start, 0)
		for k := range c.changed {
			home.Take(7, start, one(l, k, 1))
		}
		keys := max(c.buckets, c.changed)
		if n := home.at(7).noted; n.whole != c.whole || len(n.slots) > 4*notedMax/3 {
			t.Errorf("%+v: whole %v, %d slots", c, n.whole, len(n.slots))
		}
		more := true
		for i := uint64(0); more; i++ {
			var b []byte
			b, more = home.Changes(7, start, 2000)
			restores(t, deputy, start, b)
			if i < 100 {
				home.Reset(7, Key{Lo: i % keys})
				home.Take(7, start, one(l, 5*i, 2))
			}
		}
		ship(t, home, deputy, start, 0)
		if !bytes.Equal(whole(home, start), whole(deputy, start)) || home.Len() != deputy.Len() {
			t.Errorf("%d keys: the copy has %d buckets, the home %d", keys, deputy.Len(), home.Len())
		}
	}
}

func TestHotKeysAreNotedOnce(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 1 << 30}
	s := NewStore(DefaultConfig())
	s.Track(7, 1)
	s.Changes(7, start, 500)
	for i := range uint64(100_000) {
		s.Take(7, start, one(l, i%12, 1))
	}
	if n := s.at(7).noted; n.many != 12 || len(n.slots) != notedFirst {
		t.Errorf("%d keys in %d slots, want 12", n.many, len(n.slots))
	}
	if b, more := s.Changes(7, start, 500); len(b) > 300 || more {
		t.Errorf("%d bytes, more %v", len(b), more)
	}
}

func TestDueNamesAPartitionUntilItsChangesAreTaken(t *testing.T) {
	t.Parallel()
	l := everyAlgorithm()[0]
	s := NewStore(DefaultConfig())
	due := func(signal bool, want ...uint16) {
		t.Helper()
		select {
		case <-s.Changed():
			if !signal {
				t.Error("a signal")
			}
		default:
			if signal {
				t.Error("no signal")
			}
		}
		if got := s.Due(nil); !slices.Equal(got, want) {
			t.Errorf("due are %v, want %v", got, want)
		}
	}
	s.Take(7, start, one(l, 1, 1))
	due(false)
	for _, p := range []uint16{7, 4095, 0} {
		s.Track(p, 1)
	}
	s.Track(7, 2)
	due(true, 0, 7, 4095)
	s.Take(7, start, one(l, 1, 1))
	due(false)
	s.Track(7, 3) // the shipper of its changes has given up
	due(true, 7)
	for _, p := range []uint16{0, 7, 4095} {
		s.Changes(p, start, 0)
	}
	due(false)
	s.Peek(7, start, one(l, 1, 1))
	s.Take(7, start, one(l, 1, 1000)) // refused
	due(false)
	s.Take(7, start, one(l, 1, 1))
	s.Take(7, start, one(l, 2, 1))
	due(true, 7)
	s.Changes(7, start, 0)
	s.Take(7, start, one(l, 2, 1))
	s.Untrack(7)
	if b, more := s.Changes(7, start, 0); b != nil || more {
		t.Errorf("%x and more %v of a partition that is not tracked", b, more)
	}
	due(true)
	s.Track(0, 2)
	s.Drop(0)
	s.Take(0, start, one(l, 2, 1))
	due(true)
}

func TestTrackedTakeDoesNotAllocate(t *testing.T) {
	l := &Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 1 << 30}
	s := NewStore(DefaultConfig())
	s.Track(7, 1)
	var due []uint16
	takes := [3]Take{{Limit: l, Cost: 1}, {Limit: l, Cost: 1}, {Limit: l, Cost: 1}}
	round := func() {
		for k := range uint64(10) {
			for i := range takes {
				takes[i].Key.Lo = k + uint64(i)
			}
			s.Take(7, start, takes[:])
		}
	}
	round()
	shipped := 0
	if n := testing.AllocsPerRun(100, func() {
		round()
		due = s.Due(due[:0])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for range 10 {
		s.Changes(7, start, 0)
		if n := testing.AllocsPerRun(1, round); n != 0 {
			t.Errorf("%v allocations after a shipment", n)
		}
		shipped++
	}
	if shipped != 10 {
		t.Error(shipped)
	}
}
