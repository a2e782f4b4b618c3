package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// beating runs a pulse of a desk in a bubble; the desk's elapsed time is the bubble's, as a leader would stamp it.
func beating(t *testing.T, d *desk, leads *atomic.Bool) (count func(op) int) {
	t.Helper()
	begun := time.Now()
	var proposed [opCount]atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	p := &Pulse{
		Machine: d.m, Leading: leads.Load, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		Proposer: proposing(func(ctx context.Context, command []byte) ([]byte, error) {
			in, _, err := decodeCommand(string(command))
			if err != nil {
				t.Error(err)
			}
			proposed[in.op()].Add(1)
			d.mu.Lock()
			d.at.Elapsed = time.Since(begun)
			d.mu.Unlock()
			return d.Propose(ctx, command)
		}),
	}
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(o op) int { return int(proposed[o].Load()) }
}

type proposing func(context.Context, []byte) ([]byte, error)

func (p proposing) Propose(ctx context.Context, command []byte) ([]byte, error) {
	return p(ctx, command)
}

func TestPulseEndsHoldsOnTimeAndIsSilentOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, DefaultConfig())
		var leads atomic.Bool
		count := beating(t, d, &leads)
		d.open(0)
		d.grant(Grant{Grant: "i", Amount: 10})
		hold := func(ttl time.Duration) {
			d.done(d.Authorize(t.Context(), Authorize{Key: fmt.Sprint("h", ttl), Account: "a", Amount: 1, TTL: ttl}))
		}
		hold(10 * time.Second)
		hold(10*time.Second + time.Millisecond)
		hold(time.Minute)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if open, _ := d.m.Holds(); open != 3 || count(opTick) != 0 {
			t.Errorf("who does not lead ended holds: %d open, %d ticks", open, count(opTick))
		}
		leads.Store(true)
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		if open, _ := d.m.Holds(); open != 1 || count(opTick) != 1 {
			t.Errorf("%d open after %d ticks", open, count(opTick))
		}
		time.Sleep(39 * time.Second)
		synctest.Wait()
		if count(opTick) != 1 {
			t.Errorf("%d ticks while nothing was due", count(opTick))
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if open, _ := d.m.Holds(); open != 0 || count(opTick) > 3 {
			t.Errorf("%d open after %d ticks", open, count(opTick))
		}
	})
}

func TestTickEndsABoundedNumberOfHoldsSoonestFirst(t *testing.T) {
	c := DefaultConfig()
	c.AccountHolds = 5000
	d := newDesk(t, c)
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 10_000})
	for i := range lapsesMax + 500 {
		d.apply(&Authorize{Key: fmt.Sprint("h", i), Account: "a", Amount: 1, TTL: time.Hour - time.Duration(i)*time.Second})
	}
	d.pass(time.Hour)
	for _, want := range []int{500, 0} {
		d.apply(&tick{})
		if open, _ := d.m.Holds(); open != want {
			t.Fatalf("%d are open, want %d", open, want)
		}
		if h, err := d.Hold(t.Context(), "h499", Read{}); err != nil || h.State != Lapsed {
			t.Errorf("%+v, %v", h, err) // booked or not
		}
	}
	first, err := DecodeEvent(d.log.events[2+lapsesMax+500])
	if err != nil || first.Movement != Lapsing || first.Hold != fmt.Sprint("h", lapsesMax+499) {
		t.Errorf("first ended is %+v, %v", first, err)
	}
}

// What a tick does early, a touch does late: the money is the same (LEDGER §3.2: replies do not depend on when the tick ran).
func TestTicksChangeNoReply(t *testing.T) {
	ticked, left := newDesk(t, DefaultConfig()), newDesk(t, DefaultConfig())
	for _, d := range []*desk{ticked, left} {
		d.open(0)
		d.grant(Grant{Grant: "i", Amount: 10})
		d.grant(Grant{Grant: "p", Kind: Promo, Amount: 10, Expires: d.at.Wall.Add(3 * time.Hour)})
		for i := range 4 {
			d.done(d.Authorize(t.Context(), Authorize{Key: fmt.Sprint("h", i), Account: "a", Amount: 4, TTL: time.Duration(i+1) * time.Hour}))
		}
	}
	for i := range 5 {
		ticked.pass(time.Hour)
		ticked.apply(&tick{})
		left.pass(time.Hour)
		x, y := ticked.debit(fmt.Sprint(i), 3), left.debit(fmt.Sprint(i), 3)
		if x.Outcome != y.Outcome || x.BalanceAfter != y.BalanceAfter || partsText(x.Parts) != partsText(y.Parts) {
			t.Errorf("%+v, %+v", x, y)
		}
	}
	if a, b := ticked.account(), left.account(); a.Books != b.Books {
		t.Errorf("%v, %v", a.Books, b.Books)
	}
}

// A replica that differs stops, and says so (L7).
func TestReplicaThatDiffersStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, DefaultConfig())
		other := NewMachine(d.m.config)
		var leads atomic.Bool
		leads.Store(true)
		both := func(c command) (err error) {
			d.apply(c)
			at := d.at
			at.Index--
			_, err = other.Apply(d.at, encodeCommand(c))
			return err
		}
		wantError(t, errors.Join(both(&OpenAccount{Key: "o", Account: "a", UseCredits: true}), both(&Grant{Key: "g", Account: "a", Amount: 10_000})), nil)
		for i := range compareEvery {
			wantError(t, both(&Debit{Key: fmt.Sprint("d", i), Account: "a", Amount: 1}), nil)
			if i == 1000 {
				other.accounts.sum++ // a bit flips
			}
		}
		count := beating(t, d, &leads)
		time.Sleep(time.Second)
		synctest.Wait()
		if count(opCompare) != 1 {
			t.Errorf("%d comparisons", count(opCompare))
		}
		n, digest := d.m.note()
		if _, err := d.m.Apply(d.at, encodeCommand(&compare{n, digest})); err != nil {
			t.Errorf("equal, and stops: %v", err)
		}
		for range 2 {
			_, err := other.Apply(d.at, encodeCommand(&compare{n, digest}))
			wantError(t, err, errBroken)
		}
		fresh := NewMachine(d.m.config) // was restored, say: it has nothing to compare
		_, err := fresh.Apply(d.at, encodeCommand(&compare{n, digest}))
		wantError(t, err, nil)
	})
}

func TestNotesAreOfTheLastComparisons(t *testing.T) {
	var n notes
	for i := uint64(1); i <= notesKept+3; i++ {
		n.take(i*compareEvery, [32]byte{byte(i)})
	}
	for i, want := range map[uint64]bool{0: false, 3: false, 4: true, notesKept + 3: true, notesKept + 4: false} {
		if d, ok := n.find(i * compareEvery); ok != want || (ok && d[0] != byte(i)) {
			t.Errorf("note %d: %v", i, ok)
		}
	}
	if count, d := n.newest(); count != (notesKept+3)*compareEvery || d[0] != notesKept+3 {
		t.Errorf("newest is %d", count)
	}
}

// An index of which all ids have one hash still tells them apart.
func TestIndexTellsClashingIDsApart(t *testing.T) {
	x := newTable(sumAccounts)
	x.ids.hash = func(string) uint64 { return 7 }
	record := func(id string) string {
		c := coder{}
		c.bytes(&id)
		return string(c.b)
	}
	slots := map[string]uint32{}
	for _, id := range []string{"a", "b", "c"} {
		slots[id] = x.add(id, record(id))
	}
	x.remove(slots["a"], "a")
	x.remove(slots["c"], "c")
	slots["d"] = x.add("d", record("d"))
	for id, want := range map[string]bool{"a": false, "b": true, "c": false, "d": true} {
		if slot, ok := x.find(id); ok != want || (ok && slot != slots[id]) {
			t.Errorf("%s: %d, %v", id, slot, ok)
		}
	}
}
