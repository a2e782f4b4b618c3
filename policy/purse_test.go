package policy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// scriptedPurse answers with a func and counts how often it is asked.
type scriptedPurse struct {
	asked int
	debit func(context.Context, ledger.Debit) (ledger.Receipt, error)
}

func (s *scriptedPurse) Debit(ctx context.Context, d ledger.Debit) (ledger.Receipt, error) {
	s.asked++
	return s.debit(ctx, d)
}

func (s *scriptedPurse) Return(context.Context, ledger.Return) (ledger.Receipt, error) {
	return ledger.Receipt{}, nil
}

func TestThriftyAsksAgainOnlyWhenTheAnswerMayDiffer(t *testing.T) {
	insufficient := func(context.Context, ledger.Debit) (ledger.Receipt, error) {
		return ledger.Receipt{Outcome: ledger.Insufficient, BalanceAfter: 4}, nil
	}
	absent := func(context.Context, ledger.Debit) (ledger.Receipt, error) {
		return ledger.Receipt{}, ledger.ErrNoAccount
	}
	done := func(context.Context, ledger.Debit) (ledger.Receipt, error) { return ledger.Receipt{}, nil }
	for _, c := range []struct {
		name    string
		first   func(context.Context, ledger.Debit) (ledger.Receipt, error)
		account string
		amount  ledger.Credits
		after   time.Duration
		asked   int
	}{
		{"too little, the same again", insufficient, "a", 5, 0, 1},
		{"too little, more", insufficient, "a", 6, 199 * time.Millisecond, 1},
		{"too little, less", insufficient, "a", 4, 0, 2},
		{"too little, later", insufficient, "a", 5, 200 * time.Millisecond, 2},
		{"too little, another account", insufficient, "b", 5, 0, 2},
		{"no account", absent, "a", 1, 999 * time.Millisecond, 1},
		{"no account, later", absent, "a", 1, time.Second, 2},
		{"done", done, "a", 5, 0, 2},
		{"a bad key says nothing of the next", func(context.Context, ledger.Debit) (ledger.Receipt, error) {
			return ledger.Receipt{}, ledger.ErrConflict
		}, "a", 5, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			s := &scriptedPurse{debit: c.first}
			p := Thrifty(s, ThriftyConfig{Now: func() time.Time { return now }})
			r1, err1 := p.Debit(t.Context(), ledger.Debit{Account: "a", Amount: 5})
			now = now.Add(c.after)
			r2, err2 := p.Debit(t.Context(), ledger.Debit{Account: c.account, Amount: c.amount})
			if s.asked != c.asked {
				t.Errorf("the ledger was asked %d times, want %d", s.asked, c.asked)
			}
			if r1.Outcome != r2.Outcome || !errors.Is(err2, err1) {
				t.Errorf("answers %v %v and %v %v", r1.Outcome, err1, r2.Outcome, err2)
			}
		})
	}
}

func TestThriftyDoesNotWaitForALedgerOutOfReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scriptedPurse{debit: func(ctx context.Context, _ ledger.Debit) (ledger.Receipt, error) {
			<-ctx.Done()
			return ledger.Receipt{}, ctx.Err()
		}}
		p := Thrifty(s, ThriftyConfig{Now: time.Now})
		took := func() time.Duration {
			t.Helper()
			began := time.Now()
			if _, err := p.Debit(t.Context(), ledger.Debit{Account: "a", Amount: 1}); err == nil {
				t.Error("a debit was made")
			}
			return time.Since(began)
		}
		if d := took(); d != time.Second {
			t.Errorf("the first waited %s", d)
		}
		if d := took(); d != 0 || s.asked != 1 {
			t.Errorf("the second waited %s, the ledger was asked %d times", d, s.asked)
		}
		time.Sleep(250 * time.Millisecond)
		if d := took(); d != time.Second || s.asked != 2 {
			t.Errorf("the third waited %s, the ledger was asked %d times", d, s.asked)
		}
	})
}

func TestThriftyForgetsAtItsBound(t *testing.T) {
	s := &scriptedPurse{debit: func(context.Context, ledger.Debit) (ledger.Receipt, error) {
		return ledger.Receipt{}, ledger.ErrNoAccount
	}}
	p := Thrifty(s, ThriftyConfig{Now: func() time.Time { return time.Unix(1, 0) }, AccountsMax: 2})
	for _, a := range []string{"a", "b", "c", "a", "a"} {
		if _, err := p.Debit(t.Context(), ledger.Debit{Account: a, Amount: 1}); !errors.Is(err, ledger.ErrNoAccount) {
			t.Error(err)
		}
	}
	if s.asked != 4 {
		t.Errorf("the ledger was asked %d times, want 4", s.asked)
	}
}
