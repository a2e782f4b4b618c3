// Package wallet is the home's side of allowances. A Wallet answers draws from memory, out of credit that the ledger has lent it,
// and reports them by and by; what it has no allowance for it passes on to the ledger as a plain debit. A draw never waits for an
// allowance. Safe spending rests on a few rules: an allowance ends counted from when it was asked for, is given back only by a
// report after which nothing is drawn from it, and is never used again after a restart.
package wallet

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/weir-cluster/weir/ledger"
)

// Purse takes draws, and returns of draws; a *ledger.Ledger is one, and so is a Wallet.
type Purse interface {
	Debit(ctx context.Context, d ledger.Debit) (ledger.Receipt, error)
	Return(ctx context.Context, r ledger.Return) (ledger.Receipt, error)
}

// Lender is the ledger that allowances come from.
type Lender interface {
	Lend(ctx context.Context, n ledger.Lend) (ledger.Receipt, error)
	Report(ctx context.Context, n ledger.Report) (ledger.Receipt, error)
}

// Wallet holds a home's allowances. All methods may be called from any goroutine. Without Run, draws go to Purse and nothing
// is reported.
type Wallet struct {
	c       Config
	log     *spendLog // nil: none
	counts  counts
	nonce   atomic.Uint64
	trip    atomic.Int64 // nanoseconds that a call to the ledger takes, of late
	closed  atomic.Bool  // draws go to Purse
	pending atomic.Int64 // items that were not confirmed at the last turn

	borrowing atomic.Int32    // calls that ask for an allowance
	asks      chan *pocket    // those that want an allowance; at its bound the next draw asks again
	reports   chan *allowance // those that are due; at its bound the next turn finds them again

	mu      sync.RWMutex
	purses  map[string]*purse
	lending map[*purse]struct{} // those with allowances, also such as are in purses no more
	open    int                 // allowances
}

const queueMax = 4096 // of asks and of reports

// New returns a wallet, which has read its spend log: what an earlier life left unreported Run will report. It starts nothing.
func New(c Config) (*Wallet, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Way == nil {
		c.Way = func(*ledger.Debit) Way { return Keyed }
	}
	w := &Wallet{
		c: c, asks: make(chan *pocket, queueMax), reports: make(chan *allowance, queueMax),
		purses: make(map[string]*purse), lending: make(map[*purse]struct{}),
	}
	if c.Log != nil {
		if err := w.openLog(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Debit draws an amount: from an allowance that covers all of it, else at the ledger. The receipt of a draw from memory says what a
// ledger's would, but for its place in the log; BalanceAfter and Had are what is known here. A Keyed draw that is repeated is
// answered again; with other contents it is ledger.ErrConflict.
func (w *Wallet) Debit(ctx context.Context, d ledger.Debit) (ledger.Receipt, error) {
	way := w.c.Way(&d)
	if way == Direct || w.closed.Load() || !sound(&d) {
		w.counts.direct.Add(1)
		return w.c.Purse.Debit(ctx, d)
	}
	p := w.purse(d.Account)
	if p == nil {
		w.counts.direct.Add(1)
		return w.c.Purse.Debit(ctx, d)
	}
	now := w.c.Now()
	s, receipt, err := w.draw(p, &d, way, now)
	switch {
	case err != nil:
		return ledger.Receipt{}, fmt.Errorf("debit with key %q on account %q: %w", d.Key, d.Account, err)
	case s.from == nil:
		return w.direct(ctx, p, &d)
	}
	w.counts.draws.Add(1)
	w.keep(s)
	return receipt, nil
}

// sound tells whether the ledger would take the draw as an item: a report with one that it would not take is refused as a whole.
func sound(d *ledger.Debit) bool {
	return d.Amount >= 1 && d.Amount <= ledger.CreditsMax && len(d.Key) >= 1 && len(d.Key) <= ledger.KeyMax && len(d.Memo) <= ledger.MemoMax &&
		len(d.Order) <= ledger.KindCount && len(d.Attributes) <= ledger.LabelsMax && utf8.ValidString(d.Key) && utf8.ValidString(d.Memo)
}

// direct passes a draw on. When the ledger may have too little for it, because this home holds the rest, that goes back first.
func (w *Wallet) direct(ctx context.Context, p *purse, d *ledger.Debit) (ledger.Receipt, error) {
	w.counts.direct.Add(1)
	if p.scarce(d.Amount) {
		_ = w.giveBack(ctx, []*purse{p}) // if it fails, the debit will say so
	}
	r, err := w.c.Purse.Debit(ctx, *d)
	if err != nil {
		return r, err
	}
	p.hear(&r)
	if r.Outcome == ledger.Insufficient && p.scarce(d.Amount) { // the key has its answer; the next draw finds it there
		w.expel(p, w.c.Now())
	}
	return r, nil
}

// Return gives back what a draw took: in memory while that is known here, else at the ledger, which learns of the draw first.
func (w *Wallet) Return(ctx context.Context, r ledger.Return) (ledger.Receipt, error) {
	p := w.known(r.Account)
	if p == nil {
		return w.c.Purse.Return(ctx, r)
	}
	s, receipt, confirm, err := w.takeBack(p, &r)
	switch {
	case err != nil:
		return ledger.Receipt{}, fmt.Errorf("return with key %q on account %q: %w", r.Key, r.Account, err)
	case s.from == nil:
		return w.c.Purse.Return(ctx, r)
	}
	w.keep(s)
	if !confirm {
		return receipt, nil
	}
	limited, cancel := context.WithTimeout(ctx, w.c.Wait)
	defer cancel()
	if err := w.until(limited, s.from, func() bool { return s.from.over || s.at < s.from.first+uint64(s.from.acked) }); err != nil {
		return ledger.Receipt{}, fmt.Errorf("return with key %q on account %q: report it: %w", r.Key, r.Account, err)
	}
	if receipt.Outcome == ledger.Done {
		return receipt, nil
	}
	return w.c.Purse.Return(ctx, r)
}

// until has an allowance reported and waits until something is so, which is asked under the lock of its purse.
func (w *Wallet) until(ctx context.Context, a *allowance, so func() bool) error {
	for {
		a.purse.mu.Lock()
		yes, heard := so(), a.heard
		if !yes {
			a.due = time.Time{}
			w.enqueue(a)
		}
		a.purse.mu.Unlock()
		if yes {
			return nil
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// known returns the purse of an account, nil if there is none.
func (w *Wallet) known(account string) *purse {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.purses[account]
}

// purse is known, with a new one if there is room.
func (w *Wallet) purse(account string) *purse {
	if p := w.known(account); p != nil {
		return p
	}
	if len(account) == 0 || len(account) > ledger.AccountMax {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.purses[account]
	if p == nil && len(w.purses) < w.c.Accounts {
		p = &purse{account: account, keyed: make(map[string]place)}
		w.purses[account] = p
	}
	return p
}

// giveBack ends all allowances of some purses and waits until the ledger knows.
func (w *Wallet) giveBack(ctx context.Context, purses []*purse) error {
	ctx, cancel := context.WithTimeout(ctx, w.c.Wait)
	defer cancel()
	return w.retire(ctx, purses)
}

func (w *Wallet) retire(ctx context.Context, purses []*purse) error {
	now := w.c.Now()
	for _, p := range purses {
		w.expel(p, now)
	}
	left := 0
	for _, p := range purses {
		for _, a := range p.list() {
			if w.until(ctx, a, func() bool { return a.over }) != nil {
				left++
			}
		}
	}
	if left > 0 {
		return fmt.Errorf("give back %d allowances: %w", left, ctx.Err())
	}
	return nil
}

// expel stops all draws from a purse's allowances and has them given back at once.
func (w *Wallet) expel(p *purse, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.all {
		a.rest(true)
		a.due = now
		w.enqueue(a)
	}
}

// Drain gives back the allowances of the accounts that leave, with their draws, and asks for none of them for a while: their
// home is about to be another. It returns when the ledger has confirmed it, or with ctx; what is left then goes on being
// reported, and comes back to its account by itself when its time is over. Draws go on meanwhile, at the ledger.
func (w *Wallet) Drain(ctx context.Context, leaves func(account string) bool) error {
	w.mu.RLock()
	var going []*purse
	for account, p := range w.purses {
		if leaves(account) {
			going = append(going, p)
		}
	}
	for p := range w.lending {
		if w.purses[p.account] != p && leaves(p.account) {
			going = append(going, p)
		}
	}
	w.mu.RUnlock()
	until := w.c.Now().Add(pausedFor)
	for _, p := range going {
		p.mu.Lock()
		p.hush(until)
		p.mu.Unlock()
	}
	return w.retire(ctx, going)
}

// Close sends all draws to Purse from now on and drains all accounts. Run must still be running. What could not be reported is
// in the spend log, if there is one.
func (w *Wallet) Close(ctx context.Context) error {
	w.closed.Store(true)
	for {
		if err := w.Drain(ctx, func(string) bool { return true }); err != nil {
			return err
		}
		w.mu.RLock()
		over := w.open == 0
		w.mu.RUnlock()
		if over && w.borrowing.Load() == 0 { // what was asked for before may still come, and goes back
			return nil
		}
		pause := time.NewTimer(w.c.Every / 20)
		select {
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("give back what was asked for: %w", ctx.Err())
		case <-pause.C:
		}
	}
}
