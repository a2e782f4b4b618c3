package wallet

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

// plenty lends all that is asked for and more, and confirms every report.
type plenty struct{ Lender }

func (plenty) Lend(_ context.Context, n ledger.Lend) (ledger.Receipt, error) {
	return ledger.Receipt{
		Allowance: n.Nonce, Account: n.Account, Amount: 1000 * credit, ExpiresIn: n.TTL, BalanceAfter: ledger.CreditsMax,
		Parts: []ledger.Part{{Kind: ledger.Credit, Grant: "g", Amount: 1000 * credit}},
	}, nil
}

func (plenty) Report(_ context.Context, n ledger.Report) (ledger.Receipt, error) {
	return ledger.Receipt{Allowance: n.Allowance, Account: "a", Items: n.First + uint64(len(n.Items)), BalanceAfter: ledger.CreditsMax}, nil
}

// nothing does draws at no cost.
type nothing struct{}

func (nothing) Debit(context.Context, ledger.Debit) (ledger.Receipt, error) {
	return ledger.Receipt{Amount: 1, BalanceAfter: ledger.CreditsMax}, nil
}

func (nothing) Return(context.Context, ledger.Return) (ledger.Receipt, error) {
	return ledger.Receipt{}, nil
}

func benchmarkDraw(b *testing.B, files journal.Files, way Way) {
	c := DefaultConfig()
	c.Home, c.Incarnation, c.Purse, c.Lender, c.Now, c.Log = "n1", 1, nothing{}, plenty{}, time.Now, files
	c.Way = func(*ledger.Debit) Way { return way }
	w, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	order := []ledger.Kind{ledger.Included, ledger.Promo, ledger.Credit, ledger.Overdraft}
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = fmt.Sprintf("%026d", i)
	}
	memory, n := 0, 0
	for b.Loop() {
		d := ledger.Debit{Key: keys[n&(1<<16-1)], Account: "a", Amount: 1, Order: order, Memo: "check demo", Overshoot: ledger.Deny}
		n++
		r, err := w.Debit(b.Context(), d)
		if err != nil {
			b.Fatal(err)
		}
		if r.Allowance != 0 {
			memory++
		}
	}
	b.ReportMetric(100*float64(memory)/float64(n), "%memory")
	stop()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

// BenchmarkDraw is what a draw costs from an allowance: without the spend log, with it, and of a purse that does nothing.
func BenchmarkDraw(b *testing.B) {
	b.Run("no-op", func(b *testing.B) {
		var p Purse = nothing{}
		for b.Loop() {
			_, _ = p.Debit(b.Context(), ledger.Debit{Key: "k", Account: "a", Amount: 1, Overshoot: ledger.Deny})
		}
	})
	b.Run("loose", func(b *testing.B) { benchmarkDraw(b, nil, Loose) })
	b.Run("loose-logged", func(b *testing.B) { benchmarkDraw(b, journal.Folder(b.TempDir()), Loose) })
	b.Run("direct", func(b *testing.B) { benchmarkDraw(b, nil, Direct) })
}

// BenchmarkReplay10000 reads a spend log with 10,000 draws that were not reported.
func BenchmarkReplay10000(b *testing.B) {
	files := journal.Folder(b.TempDir())
	c := DefaultConfig()
	c.Home, c.Incarnation, c.Purse, c.Lender, c.Now, c.Log = "n1", 1, nothing{}, plenty{}, time.Now, files
	w, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	a := newAllowance(&purse{account: "a"}, "n1", 1)
	a.amount = 1000 * credit
	w.log.lent(a)
	for i := range uint64(10_000) {
		w.log.item(&step{a, i, ledger.Item{ID: fmt.Sprintf("%026d", i), Amount: 1, Memo: "check demo"}})
	}
	w.log.close()
	for b.Loop() {
		w, err := New(c)
		if err != nil || w.Stats().Items != 10_000 {
			b.Fatalf("%+v, %v", w.Stats(), err)
		}
		w.log.close()
	}
}
