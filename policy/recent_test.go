package policy

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

const recentPolicy = `
version: 1
domains:
  d:
    account: [user]
    limits:
      - {name: rpm, key: [user], algorithm: fixed_window, limit: 5, window: 1h, spill: true}
      - {name: flight, key: [user], algorithm: concurrency, limit: 50, ttl: 1h}
    prices:
      - {per: {requests: 0.01}}
`

// sent is a check of some requests that another node names by an id.
func sent(id uint64, n int64, with ...func(*Request)) Request {
	r := Request{Domain: "d", Attributes: []Attribute{{"user", "alice"}}, Cost: []Cost{{"requests", n}}, ID: id}
	for _, change := range with {
		change(&r)
	}
	return r
}

// stands checks what is left of the limits, and the balance once what waits to be undone is.
func (g *rig) stands(t *testing.T, rpm, flight int64, credits float64, when string) {
	t.Helper()
	for len(g.w.undos) > 0 {
		g.w.carryOut(t.Context(), <-g.w.undos)
	}
	d := g.check(t, Standing("d", sent(0, 1).Attributes))
	if got := g.balance(t, "alice"); d.Limits[0].Remaining != rpm || d.Limits[1].Remaining != flight || float64(got)/1e6 != credits {
		t.Errorf("%s: %d, %d and %s left, want %d, %d and %g", when, d.Limits[0].Remaining, d.Limits[1].Remaining, got, rpm, flight, credits)
	}
}

func recentRig(t *testing.T) *rig {
	t.Helper()
	g := newRig(t, recentPolicy)
	g.open(t, "alice", 0, 0, 1_000_000)
	return g
}

func TestCancelUndoesWhatACheckTook(t *testing.T) {
	g := recentRig(t)
	g.check(t, sent(1, 3))
	g.check(t, sent(2, 4))
	g.stands(t, 2, 48, 0.96, "after two checks, of which one was paid for")
	g.w.Cancel(2)
	g.stands(t, 2, 49, 1, "without the second")
	g.w.Cancel(2)
	g.w.Cancel(1)
	g.stands(t, 5, 50, 1, "without both")
	d := g.check(t, sent(3, 2, func(r *Request) { r.Mode = Reserve }))
	g.w.Cancel(3)
	g.stands(t, 5, 50, 1, "without what was reserved")
	if _, err := g.w.Settle(t.Context(), Settlement{Reservation: d.Reservation}); err == nil {
		t.Error("the reservation can be settled still")
	}
}

func TestACheckThatComesAfterItWasCancelledTakesNothing(t *testing.T) {
	g := recentRig(t)
	g.w.Cancel(1)
	g.now = g.now.Add(recentFor - 1)
	if d, err := g.w.Check(t.Context(), sent(1, 7)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%+v, %v", d, err)
	}
	g.stands(t, 5, 50, 1, "in time")
	g.now = g.now.Add(1)
	g.check(t, sent(1, 1))
	g.stands(t, 4, 49, 1, "two seconds later")
}

func TestACheckThatIsAskedAgainIsChargedOnce(t *testing.T) {
	g := recentRig(t)
	first := g.check(t, sent(1, 7))
	g.now = g.now.Add(time.Second)
	if d := g.check(t, sent(1, 7)); !reflect.DeepEqual(d, first) {
		t.Errorf("asked twice: %+v, first %+v", d, first)
	}
	g.stands(t, 5, 49, 0.93, "asked twice")
	var d Decision
	r := sent(1, 7)
	g.now = g.now.Add(time.Second)
	if decided, err := g.w.Try(&r, &d); !decided || err != nil || d.ID != first.ID {
		t.Fatal(decided, err, d)
	}
	g.stands(t, 5, 49, 0.93, "and again")
	g.w.Cancel(1)
	g.stands(t, 5, 50, 1, "and cancelled")
}

func TestARefusalIsTheSameWhenItIsAskedForAgain(t *testing.T) {
	g := newRig(t, recentPolicy)
	g.open(t, "alice", 0, 0, 0)
	g.check(t, sent(2, 3))
	first := g.check(t, sent(1, 3))
	g.w.Cancel(2)
	if d := g.check(t, sent(1, 3)); first.Verdict != Deny || d.ID != first.ID {
		t.Errorf("%+v, first %+v", d, first)
	}
}

// held is a ledger that does something before it answers.
type held struct {
	Purse
	first func()
}

func (h *held) Debit(ctx context.Context, d ledger.Debit) (ledger.Receipt, error) {
	if first := h.first; first != nil {
		h.first = nil
		first()
	}
	return h.Purse.Debit(ctx, d)
}

func TestWhatIsOvertakenWhileItIsPaidForIsUndone(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(g *rig) Decision
		flight    int64
		credits   float64
	}{
		"cancelled":   {func(g *rig) Decision { g.w.Cancel(1); return Decision{} }, 50, 1},
		"asked again": {func(g *rig) Decision { g.now = g.now.Add(1); return g.check(t, sent(1, 6)) }, 49, 0.94},
	} {
		g := recentRig(t)
		var overtook Decision
		g.w.c.Purse = &held{g.w.c.Purse, func() { overtook = c.meanwhile(g) }}
		if d := g.check(t, sent(1, 7)); overtook.Verdict == Allow && d.ID != overtook.ID {
			t.Errorf("%s: %+v, but %+v was answered", name, d, overtook)
		}
		g.stands(t, 5, c.flight, c.credits, name)
	}
}

func TestCancelForgetsWhatItMust(t *testing.T) {
	for name, c := range map[string]struct {
		r            Request
		then         func(g *rig)
		taken, slots int64
	}{
		"an old one":       {sent(1, 2), func(g *rig) { g.now = g.now.Add(recentFor) }, 2, 1},
		"of an old policy": {sent(1, 2), func(g *rig) { g.policy = g.policy.WithVersion(8); _, _ = g.w.Check(t.Context(), sent(2, 1)) }, 3, 2},
		"another one":      {sent(2, 2), func(*rig) {}, 2, 1},
		"with a key":       {sent(1, 2, func(r *Request) { r.IdempotencyKey = "k" }), func(*rig) {}, 2, 1},
		"a look":           {sent(1, 2, func(r *Request) { r.Mode = Peek }), func(*rig) {}, 0, 0},
		"its own":          {sent(1, 2), func(*rig) {}, 0, 0},
	} {
		g := recentRig(t)
		g.check(t, c.r)
		c.then(g)
		g.w.Cancel(1)
		g.stands(t, 5-c.taken, 50-c.slots, 1, name)
	}
}

func TestTheOldestIsForgottenForOneTooMany(t *testing.T) {
	g := recentRig(t)
	g.check(t, sent(0, 1))
	if g.w.recent.known != nil {
		t.Error("a check without an id is remembered")
	}
	g.check(t, sent(1, 1))
	for id := range uint64(recentMax) {
		g.w.Cancel(id + 2)
	}
	if n := len(g.w.recent.known); n != recentMax {
		t.Errorf("%d are remembered, want %d", n, recentMax)
	}
	g.w.Cancel(1)
	g.stands(t, 3, 48, 1, "it was not forgotten")
	for _, id := range []uint64{1, recentMax, recentMax + 1} {
		if _, err := g.w.Check(t.Context(), sent(id, 1)); !errors.Is(err, errCancelled) {
			t.Errorf("that %d was cancelled is forgotten: %v", id, err)
		}
	}
	g.now = g.now.Add(recentFor)
	g.check(t, sent(1, 1))
	if n := len(g.w.recent.known); n != 1 {
		t.Errorf("%d are remembered after two seconds, want the last only", n)
	}
}

func BenchmarkACheckWithAnID(b *testing.B) {
	for name, id := range map[string]uint64{"without": 0, "with": 1} {
		b.Run(name, func(b *testing.B) {
			g := newRig(b, aroundLimit("{name: l, key: [user], algorithm: token_bucket, rate: 100000000/s}"))
			r := alice("requests:1")
			var d Decision
			b.ReportAllocs()
			for b.Loop() {
				if r.ID = id; id != 0 {
					id++
				}
				if decided, err := g.w.Try(&r, &d); !decided || err != nil {
					b.Fatal(decided, err)
				}
			}
		})
	}
}
