package limiter

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// ship takes all changes of partition 7 to a copy.
func ship(t interface{ Error(...any) }, from, to *Store, now int64, most int) (chunks int) {
	for more := true; more; chunks++ {
		var b []byte
		if b, more = from.Changes(7, now, most); b == nil {
			return chunks
		}
		restores(t, to, now, b)
	}
	return chunks
}

// whole is all that partition 7 says.
func whole(s *Store, now int64) []byte {
	b, _, _ := s.Export(7, now, Cursor{}, 1<<24)
	return b
}

// change makes a random change of partition 7, some of them to many buckets.
func change(t *rapid.T, s *Store, now int64, limits []*Limit, held *[]Take, ops []string) {
	takes := drawTakes(t, limits)
	crowd := &Limit{Algorithm: FixedWindow, Count: 9, Period: time.Minute}
	switch op := rapid.SampledFrom(ops).Draw(t, "op"); op {
	case "take":
		s.Take(7, now, takes)
	case "charge":
		s.Charge(7, now, takes[:1])
	case "return":
		s.Return(7, now, *held)
	case "refund":
		s.Refund(7, now, takes)
	case "release":
		s.Release(7, now, takes)
	case "renew":
		s.Renew(7, now, takes)
	case "reset":
		s.Reset(7, takes[0].Key)
	case "sweep":
		s.sweep(7, now)
	case "crowd":
		for k := range rapid.Uint64Range(1, 150).Draw(t, "keys") {
			s.Take(7, now, one(crowd, 100+k, 1))
		}
	case "inherit":
		s.Inherit(7, now-1)
	case "merge":
		other := NewStore(DefaultConfig())
		other.Take(7, now, takes)
		if err := s.Merge(7, now, uint64(now), whole(other, now)); err != nil {
			t.Fatal(err)
		}
	}
	*held = takes
}

func TestCopyDecidesAsItsSource(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limits := []*Limit{drawLimit(t), drawLimit(t), drawLimit(t)}
		home, deputy := NewStore(DefaultConfig()), NewStore(DefaultConfig())
		ops := []string{"take", "take", "take", "charge", "return", "sweep", "crowd", "inherit", "refund", "reset", "release", "renew", "merge"}
		if rapid.Bool().Draw(t, "cold") {
			home.Cold(7, start-rapid.Int64Range(0, int64(time.Minute)).Draw(t, "since"))
			ops = ops[:8] // a cold bucket that owes less than is supposed is another one once it is swept
		}
		for k := range uint64(60) { // what its copy has and the home has not
			deputy.Take(7, start, one(limits[0], 1000+k, 1))
		}
		var held []Take
		now, sequence := start, uint64(1)
		change(t, home, now, limits, &held, ops)
		home.Track(7, sequence)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += max(0, drawStep(t)/4)
			most := rapid.SampledFrom([]int{0, 500, 1 << 16}).Draw(t, "most")
			switch rapid.IntRange(0, 7).Draw(t, "ship") {
			case 0, 1:
				if b, _ := home.Changes(7, now, most); b != nil {
					restores(t, deputy, now, slices.Repeat([][]byte{b}, rapid.IntRange(1, 2).Draw(t, "times"))...)
				}
			case 2:
				home.Changes(7, now, most) // lost
				sequence++
				home.Track(7, sequence)
			case 3:
				ship(t, home, deputy, now, most)
				sameCopy(t, home, deputy, now, drawTakes(t, limits))
			default:
				change(t, home, now, limits, &held, ops)
			}
		}
		ship(t, home, deputy, now, 1<<16)
		sameCopy(t, home, deputy, now, drawTakes(t, limits))
		if out, more := home.Changes(7, now, 0); out != nil || more {
			t.Fatalf("%d bytes and %v when nothing has changed", len(out), more)
		}
	})
}

func sameCopy(t *rapid.T, home, deputy *Store, now int64, takes []Take) {
	if a, b := whole(home, now), whole(deputy, now); !bytes.Equal(a, b) {
		x, _ := decodeChunk(a)
		y, _ := decodeChunk(b)
		t.Fatalf("the copy has\n%+v, want\n%+v", y, x)
	}
	other := slices.Clone(takes)
	o, short := deputy.Peek(7, now, other)
	if wo, ws := home.Peek(7, now, takes); o != wo || short != ws {
		t.Fatalf("%v %v, want %v %v", o, short, wo, ws)
	}
	for i, k := range takes {
		if g := other[i]; g.Remaining != k.Remaining || g.Refused != k.Refused || g.Wait != k.Wait || g.Reset != k.Reset {
			t.Fatalf("%s: %+v, want %+v", describe(k), g, k)
		}
	}
}

// TestEachWayToChangeIsShipped changes one bucket in each way, with the copy in step before.
func TestEachWayToChangeIsShipped(t *testing.T) {
	t.Parallel()
	later := start + int64(100*time.Microsecond)
	for name, way := range map[string]func(s *Store, takes []Take){
		"take":     func(s *Store, takes []Take) { s.Take(7, later, takes) },
		"together": func(s *Store, takes []Take) { s.Take(7, later, append(takes, one(everyAlgorithm()[0], 9, 0)...)) },
		"charge":   func(s *Store, takes []Take) { s.Charge(7, later, takes) },
		"return":   func(s *Store, takes []Take) { takes[0].Taken = 2; s.Return(7, start, takes) },
		"refund":   func(s *Store, takes []Take) { s.Refund(7, later, takes) },
		"release":  func(s *Store, takes []Take) { s.Release(7, later, takes) },
		"renew":    func(s *Store, takes []Take) { s.Renew(7, later, takes) },
		"reset":    func(s *Store, takes []Take) { s.Reset(7, takes[0].Key) },
		"cold":     func(s *Store, _ []Take) { s.Cold(7, later) },
		"inherit":  func(s *Store, _ []Take) { s.Inherit(7, later-1) },
		"merge": func(s *Store, takes []Take) {
			other := NewStore(DefaultConfig())
			other.Take(7, later, takes)
			if err := s.Merge(7, later, 1, whole(other, later)); err != nil {
				t.Error(err)
			}
		},
		"restore": func(s *Store, takes []Take) { restores(t, s, later, whole(NewStore(DefaultConfig()), later)) },
	} {
		for _, l := range everyAlgorithm() {
			home, deputy := NewStore(DefaultConfig()), NewStore(DefaultConfig())
			first := slotted(l, 3, 1)
			home.Take(7, start, first)
			home.Track(7, 1)
			ship(t, home, deputy, start, 0)
			before := whole(home, later)
			takes := slotted(l, 2, 1)
			if takes[0] = first[0]; name == "take" || name == "charge" || name == "merge" {
				takes = slotted(l, 2, 2)
			}
			way(home, takes)
			changed := !bytes.Equal(before, whole(home, later))
			if chunks := ship(t, home, deputy, later, 0); changed && chunks != 1 || !bytes.Equal(whole(home, later), whole(deputy, later)) {
				t.Errorf("%s of %v: %d chunks, the copy has\n%x, want\n%x", name, l.Algorithm, chunks, whole(deputy, later), whole(home, later))
			}
			if slots := l.Algorithm == Concurrency; !changed && slots == (name == "release" || name == "renew") {
				t.Errorf("%s of %v changes nothing", name, l.Algorithm)
			}
		}
	}
}

// TestWindowBeforeIsShippedAsGone gives back all that the window before took, which stands at a key of its own.
func TestWindowBeforeIsShippedAsGone(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: SlidingWindow, Count: 20, Period: time.Hour}
	home, deputy := NewStore(DefaultConfig()), NewStore(DefaultConfig())
	home.Track(7, 1)
	home.Take(7, start, one(l, 1, 3))
	now := windowEnd(start, int64(time.Hour))
	home.Take(7, now, one(l, 1, 1))
	ship(t, home, deputy, now, 0)
	home.Refund(7, now, one(l, 1, 4))
	home.Take(7, now, one(l, 1, 1))
	ship(t, home, deputy, now, 0)
	if look := one(l, 1, 0); !bytes.Equal(whole(home, now), whole(deputy, now)) || deputy.Len() != 1 {
		deputy.Peek(7, now, look)
		t.Errorf("the copy has %d buckets and %d left, want 1 and 19", deputy.Len(), look[0].Remaining)
	}
}

// TestCopyOfACopyFollows has a home, its deputy, and one that copies from the deputy.
func TestCopyOfACopyFollows(t *testing.T) {
	t.Parallel()
	l, other := everyAlgorithm()[0], everyAlgorithm()[2]
	home, deputy, third := NewStore(DefaultConfig()), NewStore(DefaultConfig()), NewStore(DefaultConfig())
	home.Track(7, 1)
	deputy.Track(7, 1)
	old := NewStore(DefaultConfig())
	old.Take(7, start-int64(time.Hour), one(other, 1, 1))
	ended, cold := whole(old, start-int64(time.Hour)), NewStore(DefaultConfig())
	cold.Cold(7, start-5)
	for _, c := range []struct {
		name string
		step func()
	}{
		{"take", func() { home.Take(7, start, one(l, 1, 1)) }},
		{"again", func() { home.Take(7, start, one(l, 1, 1)) }},
		{"other", func() { home.Take(7, start, one(other, 2, 1)) }},
		{"reset", func() { home.Reset(7, Key{Lo: 2}) }},
		{"ended", func() { merges(t, home, start, 1, ended) }}, // of another algorithm: what there was gives way
		{"cold", func() { merges(t, home, start, 2, whole(cold, start)) }},
		{"inherit", func() { home.Inherit(7, start-5) }},
	} {
		c.step()
		ship(t, home, deputy, start, 0)
		ship(t, deputy, third, start, 0)
		if want, a, b := whole(home, start), whole(deputy, start), whole(third, start); !bytes.Equal(a, want) || !bytes.Equal(b, want) {
			t.Errorf("%s: the copies have\n%x and\n%x, want\n%x", c.name, a, b, want)
		}
	}
}

// TestShippingEverythingAgainLeavesTheCopyWhole looks at the copy while it is shipped to anew.
func TestShippingEverythingAgainLeavesTheCopyWhole(t *testing.T) {
	t.Parallel()
	l := everyAlgorithm()[0]
	home, deputy := NewStore(DefaultConfig()), NewStore(DefaultConfig())
	for k := range uint64(1000) {
		home.Take(7, start, one(l, k, 1))
	}
	home.Track(7, 1)
	ship(t, home, deputy, start, 1<<16)
	home.Untrack(7) // so it is not noted that these go
	for k := range uint64(300) {
		home.Reset(7, Key{Lo: k})
	}
	home.Track(7, 2)
	chunks := 0
	for more := true; more; chunks++ {
		var b []byte
		b, more = home.Changes(7, start, 0)
		restores(t, deputy, start, b)
		for k := uint64(300); k < 1000; k++ {
			if look := one(l, k, 0); deputy.at(7).table.find(look[0].Key) == nil {
				t.Fatalf("after %d chunks bucket %d is not in the copy", chunks, k)
			}
		}
	}
	if chunks < 50 || deputy.Len() != 700 {
		t.Errorf("%d chunks, then %d buckets, want 700", chunks, deputy.Len())
	}
}

// TestChangesAreNoExport has a store refuse to add absolute values to its own.
func TestChangesAreNoExport(t *testing.T) {
	t.Parallel()
	l := everyAlgorithm()[0]
	home, heir := NewStore(DefaultConfig()), NewStore(DefaultConfig())
	home.Take(7, start, one(l, 1, 1))
	home.Track(7, 1)
	all, _ := home.Changes(7, start, 0)
	merges(t, heir, start, 1, all)
	home.Take(7, start, one(l, 1, 1))
	changes, _ := home.Changes(7, start, 0)
	if err := heir.Merge(7, start, 1, changes); !errors.Is(err, ErrChunk) {
		t.Error(err)
	}
}

func TestConcurrentTakesReachTheCopy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		home, deputy := NewStore(DefaultConfig()), NewStore(DefaultConfig())
		limits := everyAlgorithm()
		home.Track(7, 1)
		var wg sync.WaitGroup
		for w := range uint64(4) {
			wg.Go(func() {
				for i := range uint64(2000) {
					l := i % uint64(len(limits))
					takes := []Take{{Key: Key{Hi: l, Lo: w*i%300 + 1}, Limit: limits[l], Cost: 1, Slot: Key{Lo: i}}}
					home.Take(7, start+int64(i), takes)
					if i%3 == 0 {
						home.Return(7, start+int64(i), takes)
					}
					home.Release(7, start+int64(i), takes)
					if i%50 == 0 {
						home.Reset(7, takes[0].Key)
					}
				}
			})
		}
		done := make(chan struct{})
		sequence := uint64(1)
		var shipper sync.WaitGroup
		shipper.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-home.Changed():
				case <-done:
					return
				}
				for range home.Due(nil) {
					for more := true; more; {
						var b []byte
						b, more = home.Changes(7, start, 400)
						restores(t, deputy, start, b)
					}
				}
				if n%7 == 0 {
					sequence++
					home.Track(7, sequence)
				}
			}
		})
		wg.Wait()
		close(done)
		shipper.Wait()
		now := start + 2000
		ship(t, home, deputy, now, 1<<16)
		home.Track(7, sequence+1) // what was shipped at another time is so much younger
		ship(t, home, deputy, now, 400)
		if a, b := whole(home, now), whole(deputy, now); !bytes.Equal(a, b) {
			t.Errorf("the copy has %d bytes, want %d", len(b), len(a))
		}
	})
}
