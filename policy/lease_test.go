package policy

import (
	"context"
	"errors"
	"testing"
)

// lapsing is a lease that holds so many times it is asked; waiting brings one when it may.
type lapsing struct {
	left   int
	comes  bool
	waited int
}

func (l *lapsing) Holds(uint16) bool {
	l.left--
	return l.left >= 0
}

func (l *lapsing) Wait(context.Context, uint16) bool {
	l.waited++
	return l.comes
}

func TestAHomeWhoseLeaseLapsesTakesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		request Request
		lease   lapsing
	}{
		{"before", alice("model=large"), lapsing{left: 0}},
		{"between", alice("model=large"), lapsing{comes: true}},
		{"between, past what spills", alice("model=large", "requests:4"), lapsing{comes: true}},
		{"between, with a charge for denials", alice("model=strict"), lapsing{comes: true}},
		{"between, a reservation", alice("model=large", "reserve"), lapsing{comes: true}},
		{"when it was kept, a reservation", alice("model=large", "reserve"), lapsing{comes: true, left: 1}},
	} {
		g := newRig(t, tryPolicy)
		g.open(t, "alice", 0, 0, 1_000_000)
		g.w.c.Purse, g.w.c.Lease = unasked{t}, &c.lease
		if d, err := g.w.Check(t.Context(), c.request); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %s, %v", c.name, told(d), err)
		}
		g.w.c.Lease = always{}
		for _, l := range g.check(t, Standing("llm", c.request.Attributes)).Limits {
			if l.Remaining != l.Limit {
				t.Errorf("%s: %s has %d of %d left", c.name, l.Name, l.Remaining, l.Limit)
			}
		}
		if g.w.c.Records.claimed != 0 || g.w.c.Records.reserved != 0 {
			t.Errorf("%s: %d places are claimed, %d reservations", c.name, g.w.c.Records.claimed, g.w.c.Records.reserved)
		}
	}
}

func TestAHomeWaitsForALeaseUnlessItMustAnswerAtOnce(t *testing.T) {
	t.Parallel()
	g := newRig(t, tryPolicy)
	l := &lapsing{comes: true}
	g.w.c.Lease = l
	r, d := alice(), Decision{}
	if decided, err := g.w.Try(&r, &d); decided || err != nil || l.waited > 0 {
		t.Errorf("tried: %v, %v, waited %d times", decided, err, l.waited)
	}
	l.left = 0
	if _, err := g.w.Check(t.Context(), r); !errors.Is(err, ErrUnavailable) || l.waited != 1 {
		t.Errorf("checked: %v, waited %d times; the lease lapsed again", err, l.waited)
	}
	l.left = 2
	if d := g.check(t, r); d.Verdict != Allow {
		t.Errorf("with a lease: %s", told(d))
	}
}
