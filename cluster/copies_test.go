package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/ring"
)

func TestADeputyIsAMomentBehind(t *testing.T) {
	shipping(t, func(h *harbour) {
		h.decides("a", true, "at first")
		for i := range byte(9) {
			h.shelf["a"].set(7, i, uint64(i))
		}
		time.Sleep(2 * shipEvery)
		h.same("b", h.shelf["a"].of(7), "after a moment")
		h.same("c", nil, "after a moment")
		was := 0
		h.lock(func() { was = h.sent })
		time.Sleep(time.Minute)
		h.lock(func() {
			if h.sent != was {
				h.t.Errorf("%d shipments of nothing", h.sent-was)
			}
		})
	})
}

func TestADeputyGoesOnOnlyWhenNobodyElseCanBeHome(t *testing.T) {
	shipping(t, func(h *harbour) {
		h.shelf["a"].set(7, 1, 1)
		time.Sleep(2 * shipEvery)
		h.unreachable("a")
		h.next("b", "c", "")
		h.decides("b", false, "before its lease covers the view")
		h.decides("a", false, "after it adopted the view")
		h.reach(2)
		h.decides("b", true, "after")
		if got := h.shelf["b"].began(7); got != "inherit" {
			t.Errorf("it began by %q", got)
		}
		time.Sleep(2 * shipEvery)
		h.same("c", map[byte]uint64{1: 1}, "the new deputy")
	})
}

func TestAHomeThatGetsNoCopyStartsCold(t *testing.T) {
	shipping(t, func(h *harbour) {
		h.unreachable("a")
		h.next("c", "b", "")
		h.reach(2)
		h.decides("c", true, "nobody is waited for")
		if got := h.shelf["c"].began(7); got != "cold" {
			t.Errorf("it began by %q", got)
		}
	})
}

func TestAPlannedMoveLosesNothingAndWaitsForNoLease(t *testing.T) {
	shipping(t, func(h *harbour) {
		h.shelf["a"].set(7, 1, 1)
		time.Sleep(4 * shipEvery)
		if got := h.nodes["a"].Tally(); got.Bytes == 0 || got.Moved != 0 {
			t.Errorf("%d bytes were shipped to the deputy, %d moved", got.Bytes, got.Moved)
		}
		h.next("a", "b", "c")
		if got := h.nodes["a"].Whole(2); len(got) != 0 {
			t.Errorf("%d partitions are ready at once", len(got))
		}
		time.Sleep(4 * shipEvery)
		if got := h.nodes["a"].Whole(2); len(got) != ring.Partitions {
			t.Errorf("%d partitions are ready", len(got))
		}
		h.lock(func() {
			if h.ready["a"] == 0 {
				h.t.Error("nobody was told")
			}
		})
		want := map[byte]uint64{1: 1}
		for i := range byte(7) { // not shipped when the view changes, and more than a parcel holds
			h.shelf["a"].set(7, 2+i, 2)
			want[2+i] = 2
		}
		h.next("c", "a", "")
		if h.nodes["a"].Begun(7, 1) {
			t.Error("the old home decides under a view that it has left")
		}
		h.decides("c", false, "before the last parcel")
		if h.nodes["a"].HandedOver() {
			t.Error("handed over before it was sent")
		}
		time.Sleep(20 * time.Millisecond)
		h.decides("c", true, "with the last parcel")
		h.same("c", want, "the new home")
		h.shelf["c"].set(7, 99, 3)
		want[99] = 3
		time.Sleep(4 * shipEvery)
		if !h.nodes["a"].HandedOver() {
			t.Error("not handed over")
		}
		if got := h.nodes["a"].Tally(); got.Moved == 0 || got.Moved >= got.Bytes {
			t.Errorf("%d bytes were shipped, %d moved", got.Bytes, got.Moved)
		}
		h.same("a", want, "the old home is deputy")
		h.same("b", nil, "who has no part any more")
	})
}

func TestANewHomeWaitsBrieflyForWhatTheOldOneHas(t *testing.T) {
	shipping(t, func(h *harbour) {
		h.shelf["a"].set(7, 1, 1)
		time.Sleep(2 * shipEvery)
		h.unreachable("b")
		h.next("c", "b", "") // c has no copy
		h.reach(2)
		h.decides("c", false, "a is there, and has not said its last")
		time.Sleep(20 * time.Millisecond)
		h.decides("c", true, "it has")
		h.same("c", map[byte]uint64{1: 1}, "with all there was")
	})
}

func TestParcelsThatAreLostComeAgain(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			shipping(t, func(h *harbour) {
				h.lock(func() { h.random, h.lossy = rand.New(rand.NewPCG(seed, 0)), true })
				random := rand.New(rand.NewPCG(seed, 1))
				for range 200 {
					h.shelf["a"].set(7, byte(random.IntN(30)), random.Uint64())
					time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond)
				}
				h.next("a", "b", "c")
				time.Sleep(20 * time.Second)
				want := h.shelf["a"].of(7)
				h.same("b", want, "the deputy")
				h.same("c", want, "the next")
				h.next("c", "a", "")
				time.Sleep(5 * time.Second)
				h.decides("c", true, "after the move")
				h.same("c", want, "the new home")
			})
		})
	}
}

func TestACheckIsReplicatedWhenItsDeputyHasIt(t *testing.T) {
	shipping(t, func(h *harbour) {
		time.Sleep(4 * shipEvery)
		h.shelf["a"].set(7, 1, 1)
		began := time.Now()
		if !h.nodes["a"].Replicated(h.t.Context(), 7) {
			t.Error("not replicated")
		}
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		h.same("b", map[byte]uint64{1: 1}, "the deputy")
		h.unreachable("b")
		began = time.Now()
		if h.nodes["a"].Replicated(h.t.Context(), 7) || time.Since(began) != replicaWait {
			t.Errorf("without the deputy: %v", time.Since(began))
		}
		if h.nodes["b"].Replicated(h.t.Context(), 7) {
			t.Error("a deputy has no deputy")
		}
	})
}

func TestParcelsAreTakenInTheirOrder(t *testing.T) {
	shipping(t, func(h *harbour) {
		time.Sleep(4 * shipEvery)
		b := h.nodes["b"]
		parcel := func(tenure, number uint64, first bool, value byte) Parcel {
			return Parcel{Partition: 7, Tenure: tenure, Number: number, First: first, State: []byte{1, 0, 0, 0, 0, 0, 0, 0, value}}
		}
		for i, c := range []struct {
			Parcel
			again, refused bool
			has            uint64
		}{
			{parcel(1, 2, false, 2), false, false, 2}, // the first one brought nothing
			{parcel(1, 4, false, 4), true, false, 2},
			{parcel(1, 3, false, 3), false, false, 3},
			{parcel(1, 2, false, 2), false, false, 3},
			{parcel(1, 9, true, 9), false, false, 9},
			{parcel(2, 10, true, 10), false, true, 9}, // nobody is home since then
			{Parcel{Partition: ring.Partitions - 1, Tenure: 1, Number: 7}, true, false, 9},
		} {
			r := b.Receive(Shipment{Parcels: []Parcel{c.Parcel}})
			if (len(r.Again) > 0) != c.again || (len(r.Refused) > 0) != c.refused || h.shelf["b"].of(7)[1] != c.has {
				t.Errorf("%d: %+v, has %v", i, r, h.shelf["b"].of(7))
			}
		}
	})
}

func TestWhatWasRefusedIsOfferedAgain(t *testing.T) {
	shipping(t, func(h *harbour) {
		h.shelf["a"].set(7, 1, 1)
		v := owned(h.view, "a", "c", "")
		h.nodes["a"].Adopt(v) // c has not heard that it is deputy now
		time.Sleep(4 * shipEvery)
		h.same("c", nil, "which does not know why")
		h.nodes["c"].Adopt(v)
		time.Sleep(2 * refusedWait)
		h.same("c", map[byte]uint64{1: 1}, "which knows by now")
	})
}

func TestAHomeThatLeavesHandsOverFirst(t *testing.T) {
	shipping(t, func(h *harbour) {
		time.Sleep(4 * shipEvery)
		h.shelf["a"].set(7, 1, 1)
		h.leaves["a"] = true
		h.next("b", "c", "")
		h.reach(2)
		h.decides("b", false, "a has not said its last")
		time.Sleep(20 * time.Millisecond)
		h.decides("b", true, "it has")
		h.same("b", map[byte]uint64{1: 1}, "the new home")
		if !h.nodes["a"].HandedOver() {
			t.Error("not handed over")
		}
	})
}

func TestAHandOverThatComesTooLateEnds(t *testing.T) {
	shipping(t, func(h *harbour) {
		h.mu.Lock()
		h.cut["b"] = true
		h.mu.Unlock()
		v := owned(h.view, "b", "c", "")
		for _, c := range h.nodes {
			c.Adopt(v)
		}
		time.Sleep(2 * awaitLast)
		h.reach(2)
		h.view = v
		h.decides("b", true, "a was out of reach for too long")
		if h.nodes["a"].HandedOver() {
			t.Error("handed over before it was sent")
		}
		h.lock(func() { delete(h.cut, "b") })
		time.Sleep(5 * time.Second)
		if !h.nodes["a"].HandedOver() {
			t.Error("it goes on trying")
		}
	})
}

func TestWhatIsShippedNamesTheReportsThatAreInIt(t *testing.T) {
	shipping(t, func(h *harbour) {
		time.Sleep(4 * shipEvery)
		report := func(to string, source uint64, last bool, want uint64) {
			h.t.Helper()
			err := h.nodes[to].Merge(Report{Partition: 7, Source: source, Last: last})
			if got := h.shelf[to].of(7)['m']; err != nil || got != want {
				h.t.Errorf("report %d to %s: %v, has %d", source, to, err, got)
			}
		}
		report("a", 41, false, 41)
		report("a", 41, true, 41)
		report("a", 42, true, 42)
		report("a", 41, true, 42) // is known
		if err := h.nodes["b"].Merge(Report{Partition: 7, Source: 43}); !errors.Is(err, policy.ErrUnavailable) {
			h.t.Errorf("who is not home: %v", err)
		}
		time.Sleep(2 * shipEvery)
		h.next("b", "c", "")
		h.reach(2)
		time.Sleep(2 * shipEvery)
		report("b", 42, true, 42)
		report("b", 41, true, 42)
		for n := uint64(50); n < 50+mergedMax; n++ {
			report("b", n, true, n)
		}
		report("b", 41, true, 41) // forgotten by now
		if n := len(h.nodes["b"].held[7].merged); n != mergedMax {
			h.t.Errorf("%d reports are remembered", n)
		}
	})
}

func TestADeputyAddsToWhatItGetsWhatItsHomeIsNotToldYet(t *testing.T) {
	shipping(t, func(h *harbour) {
		time.Sleep(4 * shipEvery)
		owes := func(want bool, when string) {
			h.t.Helper()
			h.shelf["a"].set(7, 1, uint64(time.Now().UnixNano()))
			time.Sleep(2 * shipEvery)
			h.same("b", h.shelf["a"].of(7), when)
			h.shelf["b"].mu.Lock()
			defer h.shelf["b"].mu.Unlock()
			if got := len(h.shelf["b"].owed) > 0; got != want {
				h.t.Errorf("%s: it owes: %t", when, got)
			}
		}
		owes(false, "at first")
		h.debits["b"].Take(7, time.Now().UnixNano(), asked(3))
		owes(true, "before it tells")
		h.debits["b"].cfg.Copied, h.debits["b"].cfg.Views = h.nodes["b"].Copied, NewViews(nil)
		if _, err := h.debits["b"].cfg.Views.Learn(h.view); err != nil {
			h.t.Fatal(err)
		}
		_, _, told := h.debits["b"].due(7)
		owes(true, "while it tells")
		if err := h.nodes["a"].Merge(Report{Partition: 7, Source: told.Source, Last: true}); err != nil {
			h.t.Error(err)
		}
		owes(false, "when the home has it")
	})
}

// A check that changed something is in one of the parcels that were cut at once, and before the first copy is whole in any.
func TestADeputyCountsOnlyOnceItHasAllThatThereWas(t *testing.T) {
	shipping(t, func(h *harbour) {
		time.Sleep(4 * shipEvery)
		a := h.nodes["a"]
		a.mu.Lock()
		defer a.mu.Unlock()
		l := a.lanes[tenant{"b", "1"}]
		for _, c := range []struct {
			Parcel
			whole bool
			acked uint64
		}{
			{Parcel{Number: 100}, true, 2},
			{Parcel{Number: 101, even: true}, true, 101},
			{Parcel{Number: 102, even: true}, false, 101},
			{Parcel{Number: 103, Whole: true, even: true}, false, 103},
		} {
			c.Partition, c.Tenure = 7, 1
			if !c.whole {
				delete(l.whole, 7)
			}
			if c.Number == 100 {
				a.held[7].acked = 2
			}
			if a.received(l, c.Parcel); a.held[7].acked != c.acked {
				h.t.Errorf("parcel %d: %d is acknowledged, want %d", c.Number, a.held[7].acked, c.acked)
			}
		}
	})
}

func TestADeputyThatDoesNotAcknowledgeIsToldOf(t *testing.T) {
	shipping(t, func(h *harbour) {
		time.Sleep(4 * shipEvery)
		behind := func(want ...string) {
			h.t.Helper()
			if got := h.nodes["a"].Behind(); !slices.Equal(got, want) {
				h.t.Errorf("behind: %v, want %v", got, want)
			}
		}
		h.unreachable("b")
		time.Sleep(2 * behindMost)
		behind() // nothing is on its way
		h.shelf["a"].set(7, 1, 1)
		time.Sleep(behindMost / 2)
		behind()
		time.Sleep(behindMost)
		behind("b")
		h.nodes["a"].Adopt(owned(h.view, "a", "c", ""))
		behind() // it is not deputy any more
		h.nodes["a"].Adopt(owned(h.view, "a", "b", ""))
		h.lock(func() { delete(h.cut, "b") })
		time.Sleep(3 * shipAgainMax)
		behind()
	})
}
