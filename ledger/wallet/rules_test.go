package wallet

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

// tap sees the calls to a lender on their way.
type tap struct {
	Lender
	lend   func(n ledger.Lend) (ledger.Receipt, error)
	report func(n ledger.Report) (ledger.Receipt, error)
}

func (p tap) Lend(ctx context.Context, n ledger.Lend) (ledger.Receipt, error) {
	if p.lend != nil {
		return p.lend(n)
	}
	return p.Lender.Lend(ctx, n)
}

func (p tap) Report(ctx context.Context, n ledger.Report) (ledger.Receipt, error) {
	if p.report != nil {
		return p.report(n)
	}
	return p.Lender.Report(ctx, n)
}

// The ledger's clock starts when it grants, which is after the request was sent and may be long before the answer comes: so the
// deadline counts from the sending (I6; mutant M3 of LEDGER §5.6: in borrow, now.Add instead of sent.sentAt.Add).
func TestAllowanceEndsCountedFromWhenItWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		b.open("a", 100*credit)
		var granted time.Time
		w := b.hold("n1", func(c *Config) {
			c.TTL = 10 * time.Second
			c.Lender = tap{Lender: b, lend: func(n ledger.Lend) (ledger.Receipt, error) {
				if !granted.IsZero() {
					return ledger.Receipt{Outcome: ledger.UseDirect, BalanceAfter: 80 * credit}, nil
				}
				granted, n.Want = time.Now(), 10*credit
				r, err := b.near().Lend(context.Background(), n)
				time.Sleep(1900 * time.Millisecond)
				return r, err
			}}
		})
		id := uint64(0)
		last := time.Duration(0)
		for i := range 1200 {
			if r := w.draw(fmt.Sprintf("l-%d", i), "a", credit/1000); r.Allowance != 0 {
				id, last = r.Allowance, time.Since(granted)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if id == 0 || last >= 10*time.Second || last < 9900*time.Millisecond {
			t.Errorf("allowance %d, drawn from for %s", id, last)
		}
		w.stop()
	})
}

// What was asked for before a drain, and comes after it, is not used: it goes back (mutant M9: in accept, asked := true).
func TestAnswerThatNobodyWaitsForGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		b.open("a", 100*credit)
		b.reply = time.Second
		w := b.hold("n1", func(c *Config) { c.Purse = b.near() })
		for i := range 10 {
			w.draw(fmt.Sprintf("l-%d", i), "a", credit/10)
		}
		time.Sleep(time.Millisecond)
		if len(b.lent("a")) != 1 {
			t.Fatalf("lent: %v", b.lent("a"))
		}
		if err := w.Drain(t.Context(), func(account string) bool { return account == "a" }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond)
		for i := range 10 {
			if r := w.draw(fmt.Sprintf("l2-%d", i), "a", credit/10); r.Allowance != 0 {
				t.Fatalf("%+v", r)
			}
		}
		time.Sleep(2 * time.Second)
		if s := w.Stats(); s.Unasked != 1 || s.Allowances != 0 || len(b.lent("a")) != 0 {
			t.Errorf("%+v, lent %v", s, b.lent("a"))
		}
		w.stop()
		b.sound()
	})
}

// A request whose answer was lost is repeated, and gets what it got then.
func TestRequestWithoutAnswerIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		b.open("a", 100*credit)
		lost := 0
		w := b.hold("n1", func(c *Config) {
			c.Lender = tap{Lender: b, lend: func(n ledger.Lend) (ledger.Receipt, error) {
				r, err := b.Lend(context.Background(), n)
				if lost++; lost < 3 {
					return ledger.Receipt{}, errCut
				}
				return r, err
			}}
		})
		id, _ := w.warm("a", credit/10)
		if lent := b.lent("a"); lost != 3 || len(lent) != 1 || lent[0] != id {
			t.Errorf("%d requests, lent %v", lost, lent)
		}
		w.stop()
	})
}

// An answer that comes twice is accepted once.
func TestAllowanceIsAcceptedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		b.open("a", 100*credit)
		var first *ledger.Receipt
		w := b.hold("n1", func(c *Config) {
			c.Lender = tap{Lender: b, lend: func(n ledger.Lend) (ledger.Receipt, error) {
				if first != nil {
					return *first, nil
				}
				r, err := b.Lend(context.Background(), n)
				first = &r
				return r, err
			}}
		})
		sum := ledger.Credits(0)
		for i := range 300 {
			if r := w.draw(fmt.Sprintf("l-%d", i), "a", credit/10); r.Allowance != 0 {
				sum += r.Amount
			}
			time.Sleep(10 * time.Millisecond)
		}
		if sum > first.Amount || sum < first.Amount-credit/10 {
			t.Errorf("%s was lent and %s drawn", first.Amount, sum)
		}
		_ = w.Close(t.Context())
		w.stop()
		if a := b.account("a"); a.Books[ledger.Spent] != 30*credit {
			t.Errorf("%v", a.Books)
		}
	})
}

// Once the ledger has said that an allowance is revoked, nothing is drawn from it and it goes back; until then the ledger keeps it
// (mutant M4: in settled, without r.Revoked).
func TestRevokedAllowanceIsDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		b.open("a", 100*credit)
		w := b.hold("n1", nil)
		id, _ := w.warm("a", credit/100)
		yes := true
		if r, err := b.near().Update(t.Context(), ledger.UpdateAccount{Key: "u", Account: "a", Blocked: &yes}); err != nil || r.Outcome != ledger.Done {
			t.Fatal(r, err)
		}
		blocked := 0
		for i := range 300 {
			r, err := w.Debit(t.Context(), ledger.Debit{Key: fmt.Sprintf("l-%d", i), Account: "a", Amount: credit / 100, Overshoot: ledger.Deny})
			switch {
			case err != nil:
				t.Fatal(err)
			case r.Outcome == ledger.Blocked:
				blocked++
			case r.Allowance != id || blocked > 0 || i > 120:
				t.Fatalf("%d: %+v after %d", i, r, blocked)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if blocked < 150 || len(b.lent("a")) > 0 || b.account("a").Books[ledger.Lent] != 0 {
			t.Errorf("blocked %d, lent %v", blocked, b.lent("a"))
		}
		w.stop()
		b.sound()
	})
}

// After a restart nothing is drawn from an allowance of the life before, not even when the incarnation was given again: it is
// reported, with each draw that was answered (mutant M5: in past.read, without the line that raises Incarnation).
func TestRestartedWalletUsesNoAllowanceAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		b.open("a", 100*credit)
		files := journal.Memory()
		w := b.hold("n1", func(c *Config) { c.Log = files })
		old, drawn := w.warm("a", credit/10)
		for i := range 20 {
			w.draw(fmt.Sprintf("l-%d", i), "a", credit/10)
			drawn += credit / 10
		}
		dead := left(t, files)
		b.mu.Lock()
		b.down = true
		b.mu.Unlock()
		w.stop()
		b.mu.Lock()
		b.down = false
		b.mu.Unlock()
		w = b.hold("n1", func(c *Config) { c.Log = dead })
		again, more := w.warm("a", credit/10)
		if again == old {
			t.Error("the allowance is used again")
		}
		time.Sleep(time.Second)
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if a := b.account("a"); a.Books[ledger.Spent] != drawn+more || a.Books[ledger.Lent] != 0 || a.Forgiven != 0 {
			t.Errorf("%s drawn, %v", drawn+more, a.Books)
		}
		w.stop()
		b.sound()
	})
}

// Reports say all that was spent so far, so those that are lost, repeated and overtaken change nothing (mutant M6: in compose,
// Spent of these items only, or First: 0).
func TestReportsAreCumulative(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 7)
		b.open("a", 1000*credit)
		var sent []ledger.Report
		w := b.hold("n1", func(c *Config) {
			c.Lender = tap{Lender: b, report: func(n ledger.Report) (ledger.Receipt, error) {
				sent = append(sent, n)
				if n := len(sent); n%3 == 1 {
					return ledger.Receipt{}, errCut // lost
				}
				r, err := b.near().Report(context.Background(), n)
				_, _ = b.near().Report(context.Background(), sent[b.rng.IntN(len(sent))]) // one from before comes once more
				if len(sent)%3 == 0 {
					return ledger.Receipt{}, errCut // the answer is lost
				}
				return r, err
			}}
		})
		_, drawn := w.warm("a", credit/10)
		for i := range 2000 {
			w.draw(fmt.Sprintf("l-%d", i), "a", credit/100)
			drawn += credit / 100
			if spent := b.account("a").Books[ledger.Spent]; spent > drawn {
				t.Fatalf("%s was drawn and %s charged", drawn, spent)
			}
			time.Sleep(7 * time.Millisecond)
		}
		for range 5 {
			if w.Close(t.Context()) == nil {
				break
			}
		}
		if a := b.account("a"); a.Books[ledger.Spent] != drawn || len(sent) < 15 || w.Stats().Lost != 0 {
			t.Errorf("%s drawn, %v, %d reports, %+v", drawn, a.Books, len(sent), w.Stats())
		}
		w.stop()
		b.sound()
	})
}

// With the ledger out of reach draws go on until the allowance ends, then they get the ledger's error, and afterwards all of them
// are charged.
func TestLedgerOutOfReachForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := lending()
		c.Grace = 30 * time.Second
		b := newBank(t, c, 1)
		b.open("a", 1000*credit)
		w := b.hold("n1", nil)
		_, drawn := w.warm("a", credit/100)
		out := time.Now()
		set := func(down bool) {
			b.mu.Lock()
			b.down = down
			b.mu.Unlock()
		}
		set(true)
		var last time.Duration
		var failed int
		for i := 0; time.Since(out) < time.Minute; i++ {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			r, err := w.Debit(ctx, ledger.Debit{Key: fmt.Sprintf("l-%d", i), Account: "a", Amount: credit / 1000})
			cancel()
			switch {
			case err == nil && r.Allowance != 0 && failed == 0:
				last, drawn = time.Since(out), drawn+credit/1000
			case errors.Is(err, errCut):
				failed++
			default:
				t.Fatalf("after %s: %+v, %v", time.Since(out), r, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if last < 29*time.Second || last > 30*time.Second || failed < 100 {
			t.Errorf("drawn for %s, failed %d", last, failed)
		}
		set(false)
		time.Sleep(3 * time.Second)
		if a := b.account("a"); a.Books[ledger.Spent] != drawn || a.Books[ledger.Lent] != 0 || a.Forgiven != 0 {
			t.Errorf("%s drawn, %v", drawn, a.Books)
		}
		_, more := w.warm("a", credit/100)
		_ = w.Close(t.Context())
		if a := b.account("a"); a.Books[ledger.Spent] != drawn+more {
			t.Errorf("%s drawn, %v", drawn+more, a.Books)
		}
		w.stop()
		b.sound()
	})
}
