package limiter

import (
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

// pages counts each page of the table once.
func (t *table) pages() (n int) {
	for i := 0; i < len(t.dir); n++ {
		_, times := t.span(i, t.dir[i])
		i += times
	}
	return n
}

func TestTableHoldsWhatAMapHolds(t *testing.T) {
	t.Parallel()
	type state struct{ ends, units int64 }
	rapid.Check(t, func(t *rapid.T) {
		var tb table
		twin := map[Key]state{}
		now := int64(0)
		keys := rapid.SampledFrom([]uint64{20, 600}).Draw(t, "keys")
		for range rapid.IntRange(1, 1500).Draw(t, "steps") {
			k := Key{Lo: rapid.Uint64Range(0, keys).Draw(t, "key")}
			switch rapid.IntRange(0, 30).Draw(t, "op") {
			case 0:
				now += rapid.Int64Range(0, 200).Draw(t, "step")
				had := int(tb.len)
				for range tb.pages() { // a page at a time, and merging: no more than all of them
					tb.sweep(now*msNs, false)
				}
				for k, b := range twin {
					if now >= b.ends && tb.find(k) == nil {
						delete(twin, k)
						had--
					}
				}
				if int(tb.len) != had {
					t.Fatalf("%d are left, want %d", tb.len, had)
				}
			case 1:
				tb.remove(k)
				delete(twin, k)
			default:
				b := state{now + rapid.Int64Range(1, 400).Draw(t, "life"), rapid.Int64Range(1, unitsMax).Draw(t, "count")}
				e := tb.find(k)
				if e == nil {
					e = tb.insert(k)
				}
				e.setWindow(b.ends*msNs, b.units)
				twin[k] = b
			}
			if int(tb.len) != len(twin) {
				t.Fatalf("%d entries, want %d", tb.len, len(twin))
			}
		}
		for k := range keys + 1 {
			b, held := twin[Key{Lo: k}]
			if e := tb.find(Key{Lo: k}); (e != nil) != held || held && (state{e.expires() / msNs, e.units()}) != b {
				t.Fatalf("key %d is %+v, want %+v", k, e, b)
			}
		}
		for range 4*tb.pages() + 1 {
			tb.sweep((now+1000)*msNs, false)
		}
		if tb.len != 0 || tb.dir != nil {
			t.Fatalf("%d dead entries are left on %d pages", tb.len, tb.pages())
		}
	})
}

func TestFullStoreNeverEvictsALiveBucket(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 10}
	s := NewStore(Config{BucketsMax: 100})
	for k := range uint64(100) {
		admits(t, s, start, l, k, 5, Taken)
	}
	for k := uint64(100); k < 300; k++ {
		admits(t, s, start, l, k, 1, Full)
		takes := one(l, k, 1)
		if o, _ := s.Peek(0, start, takes); o != Full {
			t.Errorf("peek: %v", o)
		}
		if s.Charge(0, start, takes); takes[0].Taken != 0 {
			t.Errorf("charged %d to a bucket there is no room for", takes[0].Taken)
		}
	}
	admits(t, s, start, l, 300, 11, Refused) // a limit that refuses needs no room
	admits(t, s, start, l, 300, 0, Taken)
	if takes := append(one(l, 1, 1), one(l, 300, 1)...); s.Len() != 100 {
		t.Error(s.Len())
	} else if o, _ := s.Take(0, start, takes); o != Full || takes[0].Taken != 0 {
		t.Errorf("%v %+v", o, takes)
	}
	for k := range uint64(100) {
		room(t, s, start, l, k, 5)
	}
}

func TestDeadBucketsOfAnyPartitionMakeRoom(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 10}
	later := start + int64(2*time.Second)
	for _, way := range []string{"take", "charge"} {
		s := NewStore(Config{BucketsMax: 1000})
		for k := range uint64(1000) {
			s.Take(uint16(k*4), start, one(l, k, 1+9*int64(k%2))) // every other one is alive later
		}
		added := int64(0)
		for k := range uint64(2000) {
			takes := one(l, k, 1)
			if way == "charge" {
				s.Charge(1, later, takes)
			} else {
				s.Take(1, later, takes)
			}
			added += takes[0].Taken
		}
		if added != 500 || s.Len() != 1000 {
			t.Errorf("%s: %d new buckets, %d in all, want 500 in the place of the dead", way, added, s.Len())
		}
		for k := uint64(1); k < 1000; k += 2 {
			takes := one(l, k, 0)
			if s.Peek(uint16(k*4), later, takes); takes[0].Remaining != 2 {
				t.Fatalf("%s: live bucket %d has %d left, want 2", way, k, takes[0].Remaining)
			}
		}
	}
}

func TestPeekAddsNoBucket(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 10}
	s := NewStore(Config{BucketsMax: 1})
	for range 2 {
		if o, _ := s.Peek(0, start, one(l, 1, 1)); o != Taken || s.Len() != 0 {
			t.Errorf("%v, then %d buckets", o, s.Len())
		}
	}
}

// TestMemoryFollowsLiveKeys sends keys that live for a thousand takes through one partition, then leaves it idle.
func TestMemoryFollowsLiveKeys(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 10}
	s := NewStore(DefaultConfig())
	now := start
	for k := range uint64(20_000) {
		now += int64(time.Millisecond)
		s.Take(0, now, one(l, k, 1))
		if k > 2000 && s.Len() > 2000 {
			t.Fatalf("%d buckets after %d takes, 1000 are live", s.Len(), k)
		}
	}
	hand := s.hand.Load()
	for range 10 * sweepEvery {
		s.Take(1, now, one(l, 1, 1))
	}
	if swept := s.hand.Load() - hand; swept != 10 {
		t.Errorf("%d takes swept %d pages of other partitions, want 10", 10*sweepEvery, swept)
	}
	now += int64(time.Hour)
	for range 1000 * partitions {
		if s.sweepNext(now); s.at(0).table.dir == nil {
			break
		}
	}
	if s.Len() != 0 {
		t.Errorf("after an hour of sweeping %d buckets are left", s.Len())
	}
}

func TestDropForgetsOnePartition(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: 10}
	s := NewStore(DefaultConfig())
	admits(t, s, start, l, 1, 10, Taken)
	s.Take(1, start, one(l, 2, 10))
	s.Drop(0)
	if s.Len() != 1 {
		t.Errorf("%d buckets left, want 1", s.Len())
	}
	admits(t, s, start, l, 1, 10, Taken)
	if o, _ := s.Take(1, start, one(l, 2, 1)); o != Refused {
		t.Error("another partition was dropped")
	}
}

// TestTakeNeedsOneCacheLineOfPartition holds the layout that BenchmarkTakeAgainstFloor measures.
func TestTakeNeedsOneCacheLineOfPartition(t *testing.T) {
	t.Parallel()
	const line = 64
	var pt partition
	if size := unsafe.Sizeof(pt); size != 3*line {
		t.Errorf("a partition has %d bytes", size)
	}
	if ends := unsafe.Offsetof(pt.table) + unsafe.Offsetof(pt.table.depth) + unsafe.Sizeof(pt.table.depth); ends > line {
		t.Errorf("what a take needs ends at %d", ends)
	}
}

func TestDeepTableHoldsNoPageByItsRoot(t *testing.T) {
	t.Parallel()
	var tb table
	for i := range uint64(1000) {
		tb.insert(Key{Lo: i * 0x9e3779b97f4a7c15}).setWindow(int64(time.Second), 1)
	}
	if tb.depth <= rootDepth || tb.root != [1 << rootDepth]*page{} {
		t.Errorf("depth %d, root %v", tb.depth, tb.root)
	}
	for tb.dir != nil {
		if tb.sweep(int64(time.Hour), false); tb.depth == rootDepth && (tb.root[0] == nil || &tb.dir[0] != &tb.root[0]) {
			t.Fatal("a shallow table is not in its root")
		}
	}
}
