package policy

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// unasked is a ledger that must not be asked.
type unasked struct{ t *testing.T }

func (u unasked) Debit(context.Context, ledger.Debit) (ledger.Receipt, error) {
	u.t.Error("the ledger was asked")
	return ledger.Receipt{}, errors.New("no")
}

func (u unasked) Return(context.Context, ledger.Return) (ledger.Receipt, error) {
	return ledger.Receipt{}, nil
}

const tryPolicy = `
version: 1
domains:
  llm:
    account: [user]
    limits:
      - {name: guard, key: [user], algorithm: fixed_window, limit: 5, window: 1m}
      - {name: rpm, match: {model: large}, key: [user], algorithm: fixed_window, limit: 2, window: 1m, spill: true}
      - {name: strict, match: {model: strict}, key: [user], algorithm: fixed_window, limit: 2, window: 1m, spill: true}
      - {name: charges, match: {model: strict}, key: [user], algorithm: fixed_window, limit: 3, window: 1m, on_deny: charge}
    prices: [{per: {requests: 0.01}}]
`

func TestOnlyWhatNeedsNoCreditIsDecidedAtOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		request Request
		before  int // requests of the same kind that were taken
		decided bool
		verdict Verdict
		left    int64 // of the first limit afterwards
	}{
		{"within a guard", alice(), 0, true, Allow, 4},
		{"past a guard", alice(), 5, true, Deny, 0},
		{"within a limit that spills", alice("model=large"), 1, true, Allow, 3},
		{"past a limit that spills", alice("model=large"), 2, false, Deny, 3},
		{"past both", alice("model=large", "requests:6"), 0, false, Deny, 5},
		{"a look past a limit that spills", alice("model=large", "peek"), 2, true, Deny, 3},
		{"a reservation within", alice("model=large", "reserve"), 0, true, Allow, 4},
		{"a reservation past", alice("model=large", "reserve"), 2, false, Deny, 3},
		{"a limit that spills beside one that charges", alice("model=strict"), 0, false, Deny, 5},
	} {
		g := newRig(t, tryPolicy)
		for range c.before {
			g.check(t, Request{Domain: "llm", Attributes: c.request.Attributes})
		}
		g.w.c.Purse = unasked{t}
		var d Decision
		decided, err := g.w.Try(&c.request, &d)
		if decided != c.decided || err != nil || decided && d.Verdict != c.verdict {
			t.Errorf("%s: %v, %s, %v", c.name, decided, told(d), err)
		}
		if g.w.c.Records.claimed != 0 || g.w.c.Records.reserved != 0 && d.Reservation == "" {
			t.Errorf("%s: %d places are claimed, %d reservations", c.name, g.w.c.Records.claimed, g.w.c.Records.reserved)
		}
		if look := g.check(t, Standing("llm", alice().Attributes)); look.Limits[0].Remaining != c.left {
			t.Errorf("%s: %d left, want %d", c.name, look.Limits[0].Remaining, c.left)
		}
	}
}

// What Try leaves, Check decides as if nobody had tried.
func TestCheckDecidesWhatTryLeaves(t *testing.T) {
	t.Parallel()
	tried, fresh := newRig(t, spillPolicy), newRig(t, spillPolicy)
	for _, g := range []*rig{tried, fresh} {
		g.open(t, "alice", 0, 0, 1_000_000)
		g.check(t, alice("requests:2"))
	}
	var d Decision
	r := alice("requests:2", "tokens:30", "model=large")
	if decided, err := tried.w.Try(&r, &d); decided || err != nil {
		t.Fatal(decided, err)
	}
	got, want := tried.check(t, r), fresh.check(t, r)
	if told(got) != told(want) || got.Reason != OKCredit || tried.balance(t, "alice") != fresh.balance(t, "alice") {
		t.Errorf("got %s, want %s", told(got), told(want))
	}
}

func TestAKeyIsAnsweredAtOnceWhenItsDecisionIsKnown(t *testing.T) {
	t.Parallel()
	g := newRig(t, tryPolicy)
	c := Idempotent(g.w, IdempotentConfig{Policy: func() *Policy { return g.policy }, Now: func() time.Time { return g.now }})
	var d Decision
	try := func(words ...string) (bool, error) {
		r := alice(words...)
		return c.Try(&r, &d)
	}
	if decided, err := try("key=k"); !decided || err != nil || d.Verdict != Allow {
		t.Fatal(decided, err, d)
	}
	first := d
	first.Limits, first.Sources = append([]LimitState(nil), d.Limits...), append([]Draw(nil), d.Sources...)
	if decided, err := try("key=other", "model=large"); !decided || err != nil || len(d.Limits) != 2 {
		t.Fatal(decided, err, d)
	}
	if decided, err := try("key=k"); !decided || err != nil || !reflect.DeepEqual(d, first) {
		t.Errorf("repeated: %v, %v, got %+v, want %+v", decided, err, d, first)
	}
	d.Limits[0].Name = "written over by its next user"
	if decided, err := try("key=k"); !decided || err != nil || !reflect.DeepEqual(d, first) {
		t.Errorf("after its copy was written over: %v, %v, got %+v", decided, err, d)
	}
	if again, err := c.Check(t.Context(), alice("key=k")); err != nil || !reflect.DeepEqual(again, first) {
		t.Errorf("asked by Check: %+v, %v", again, err)
	}
	if decided, err := try("key=k", "model=large"); !decided || !errors.Is(err, ErrConflict) {
		t.Errorf("with other contents: %v, %v", decided, err)
	}
	if decided, err := try("key=bad", "tokns:1"); !decided || !errors.Is(err, ErrInvalid) {
		t.Errorf("invalid: %v, %v", decided, err)
	}
	if look := g.check(t, Standing("llm", alice().Attributes)); look.Limits[0].Remaining != 3 {
		t.Errorf("%d left after two requests of 5", look.Limits[0].Remaining)
	}
}

// A key whose check has to wait for credit is nobody's until Check comes, and then repetitions wait.
func TestAKeyThatWaitsIsLeftToCheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, spillPolicy)
		g.open(t, "alice", 0, 0, 1_000_000)
		g.check(t, alice("requests:2"))
		answer := make(chan struct{})
		g.w.c.Purse = slowPurse{g.ledger, answer}
		c := Idempotent(g.w, IdempotentConfig{Policy: func() *Policy { return g.policy }, Now: func() time.Time { return g.now }, Records: g.few(1)})
		r := alice("key=k", "requests:2")
		try := func() (d Decision, decided bool) {
			t.Helper()
			decided, err := c.Try(&r, &d)
			if err != nil {
				t.Error(err)
			}
			return d, decided
		}
		for range 2 {
			if d, decided := try(); decided {
				t.Errorf("before: %s", told(d))
			}
		}
		done := make(chan Decision)
		go func() {
			d, err := c.Check(t.Context(), r)
			if err != nil {
				t.Error(err)
			}
			done <- d
		}()
		synctest.Wait()
		if d, decided := try(); decided {
			t.Errorf("while it is decided: %s", told(d))
		}
		close(answer)
		if first := <-done; first.Reason != OKCredit {
			t.Error(told(first))
		}
		if d, decided := try(); !decided || d.Reason != OKCredit || g.balance(t, "alice") != 980_000 {
			t.Errorf("afterwards: %v, %s", decided, told(d))
		}
	})
}

// slowPurse answers when it may.
type slowPurse struct {
	Purse
	answer chan struct{}
}

func (p slowPurse) Debit(ctx context.Context, d ledger.Debit) (ledger.Receipt, error) {
	<-p.answer
	return p.Purse.Debit(ctx, d)
}

func TestALimitTellsWhatAClientMustKnowOfIt(t *testing.T) {
	t.Parallel()
	g := newRig(t, around(`
    limits:
      - {name: burst, key: [user], algorithm: token_bucket, rate: 60/min, burst: 20, spill: true, fallback: open}
      - {name: plain, key: [user], algorithm: token_bucket, rate: 60/min, fallback: closed}
      - {name: window, key: [user], algorithm: fixed_window, limit: 7, window: 1m}
    prices: [{per: {requests: 0.01}}]`))
	want := []LimitState{
		{Name: "burst", Limit: 60, Burst: 20, Spill: true, Fallback: "open"},
		{Name: "plain", Limit: 60, Fallback: "closed"},
		{Name: "window", Limit: 7, Fallback: "share"},
	}
	for i, l := range g.check(t, alice()).Limits {
		if got := (LimitState{Name: l.Name, Limit: l.Limit, Burst: l.Burst, Spill: l.Spill, Fallback: l.Fallback}); got != want[i] {
			t.Errorf("got %+v, want %+v", got, want[i])
		}
	}
}
