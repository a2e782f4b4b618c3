package wallet

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

func TestDrawsFromMemoryAreChargedOnceAndExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		b.open("a", 1000*credit)
		w := b.hold("n1", nil)
		_, drawn := w.warm("a", credit/10)
		for i := range 500 {
			r := w.draw(fmt.Sprintf("l-%d", i), "a", credit/10)
			drawn += credit / 10
			if r.Allowance == 0 || len(r.Parts) != 1 || r.Parts[0] != (ledger.Part{Kind: ledger.Credit, Grant: "g", Amount: credit / 10}) || r.Account != "a" ||
				r.Had[ledger.Credit] < credit/10 || r.BalanceAfter > 1000*credit-drawn {
				t.Fatalf("%d: %+v", i, r)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if a := b.account("a"); a.Books[ledger.Spent] != drawn || a.Books[ledger.Lent] != 0 || a.Balance != 1000*credit-drawn {
			t.Errorf("drawn %s, %v", drawn, a.Books)
		}
		s := w.Stats()
		if s.Draws < 500 || s.Direct > 10 || s.Spent+s.Lost == 0 || s.Unreported != 0 || s.Allowances != 0 || s.Lost != 0 || s.Forgiven != 0 {
			t.Errorf("%+v", s)
		}
		if r := w.draw("l-after", "a", credit); r.Allowance != 0 {
			t.Errorf("after Close: %+v", r)
		}
		w.stop()
		b.sound()
	})
}

// Draws that may be paid by different grants do not share an allowance.
func TestAllowancePaysOnlyForDrawsItWasLentFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		b.open("a", 100*credit)
		r, err := b.near().Grant(t.Context(), ledger.Grant{
			Key: "p", Account: "a", Grant: "gift", Kind: ledger.Promo, Amount: 100 * credit, AppliesTo: []ledger.Label{{Name: "model", Value: "large"}},
		})
		if err != nil || r.Outcome != ledger.Done {
			t.Fatal(r, err)
		}
		w := b.hold("n1", nil)
		ways := []ledger.Debit{
			{Order: []ledger.Kind{ledger.Promo, ledger.Credit}, Attributes: []ledger.Label{{Name: "model", Value: "large"}}},
			{Order: []ledger.Kind{ledger.Promo, ledger.Credit}},
			{Order: []ledger.Kind{ledger.Promo}, Attributes: []ledger.Label{{Name: "model", Value: "large"}}},
		}
		want := []string{"gift", "g", "gift"}
		memory := make([]int, len(ways))
		for i := range 60 {
			for k, d := range ways {
				d.Key, d.Account, d.Amount, d.Overshoot = fmt.Sprintf("l-%d-%d", i, k), "a", credit/10, ledger.Deny
				r, err := w.Debit(t.Context(), d)
				if err != nil || len(r.Parts) != 1 || r.Parts[0].Grant != want[k] {
					t.Fatalf("%d of way %d: %+v, %v", i, k, r, err)
				}
				if r.Allowance != 0 {
					memory[k]++
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
		if memory[0] < 30 || memory[1] < 30 || memory[2] < 30 {
			t.Errorf("from memory: %v", memory)
		}
		_ = w.Close(t.Context())
		w.stop()
		b.sound()
	})
}

// What memory does not cover goes to the ledger at once, also while a request is on its way.
func TestDrawNeverWaitsForAnAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		b.open("a", 100*credit)
		w := b.hold("n1", func(c *Config) { c.Purse = b.near() })
		b.reply = 1500 * time.Millisecond
		for i := range 20 {
			before := time.Now()
			w.draw(fmt.Sprintf("l-%d", i), "a", credit/10)
			if took := time.Since(before); took > 0 {
				t.Fatalf("draw %d took %s", i, took)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if s := w.Stats(); s.Asks != 1 || s.Direct != 20 {
			t.Errorf("%+v", s)
		}
		_ = w.Close(t.Context())
		w.stop()
	})
}

func TestLooseDrawIsUndoneInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		b.open("a", 100*credit)
		w := b.hold("n1", nil)
		_, drawn := w.warm("a", credit/10)
		for i := range 3 { // one that is not reported, one that is, and one whose allowance has gone back
			key := fmt.Sprintf("l-%d", i)
			if r := w.draw(key, "a", credit/10); r.Allowance == 0 {
				t.Fatalf("%+v", r)
			}
			switch i {
			case 1:
				time.Sleep(1200 * time.Millisecond)
				_, more := w.warm("a", credit/10)
				drawn += more
			case 2:
				if err := w.Drain(t.Context(), func(string) bool { return true }); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				back := ledger.Return{Key: "undo-" + key, Account: "a", Debit: key}
				if r, err := w.Return(t.Context(), back); err != nil || r.Outcome != ledger.Done || r.Amount != credit/10 {
					t.Errorf("%d: %+v, %v", i, r, err)
				}
			}
			if _, err := w.Return(t.Context(), ledger.Return{Key: "more-" + key, Account: "a", Debit: key, Amount: 1}); !errors.Is(err, ledger.ErrInvalid) {
				t.Errorf("%d: more than was drawn: %v", i, err)
			}
		}
		_ = w.Close(t.Context())
		w.stop()
		if a := b.account("a"); a.Books[ledger.Spent] != drawn || a.Books[ledger.Lent] != 0 {
			t.Errorf("%s was drawn, %v", drawn, a.Books)
		}
		b.sound()
	})
}

// A Keyed draw is answered again, here and at the ledger, whoever asks, and charged once.
func TestKeyedDrawIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		b.open("a", 100*credit)
		one, two := b.hold("n1", nil), b.hold("n2", nil)
		_, x := one.warm("a", credit/10)
		_, y := two.warm("a", credit/10)
		first := one.draw("k", "a", credit)
		again := one.draw("k", "a", credit)
		if first.Allowance == 0 || !again.Replayed || again.Allowance != first.Allowance || len(again.Parts) != 1 {
			t.Errorf("%+v, %+v", first, again)
		}
		if _, err := one.Debit(t.Context(), ledger.Debit{Key: "k", Account: "a", Amount: 2 * credit}); !errors.Is(err, ledger.ErrConflict) {
			t.Errorf("other contents: %v", err)
		}
		two.draw("k", "a", credit) // of the same client, after a move
		direct, err := b.Debit(t.Context(), ledger.Debit{Key: "k2", Account: "a", Amount: credit})
		if err != nil || direct.Amount != credit {
			t.Fatal(err)
		}
		one.draw("k2", "a", credit)
		if r, err := two.Return(t.Context(), ledger.Return{Key: "back", Account: "a", Debit: "k", Amount: credit / 4}); err != nil || r.Amount != credit/4 {
			t.Errorf("%+v, %v", r, err)
		}
		if one.Close(t.Context()) != nil || two.Close(t.Context()) != nil {
			t.Error("not closed")
		}
		one.draw("k", "a", credit)
		want := x + y + 2*credit - credit/4
		if a := b.account("a"); a.Books[ledger.Spent] != want {
			t.Errorf("%s is charged, want %s", a.Books[ledger.Spent], want)
		}
		one.stop()
		two.stop()
		if s := one.Stats(); s.Credited+two.Stats().Credited != 2*credit {
			t.Errorf("%s credited", s.Credited)
		}
		b.sound()
	})
}
