package policy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// ThriftyConfig is what Thrifty works with. Now is needed.
type ThriftyConfig struct {
	Now func() time.Time
	// Wait bounds one debit, default 1 s: past it the ledger counts as out of reach.
	Wait time.Duration
	// Absent is how long it is remembered that the ledger has no such account, Short how long that it has too little,
	// and Away how long that it was out of reach; defaults 1 s, 200 ms and 250 ms.
	Absent, Short, Away time.Duration
	// AccountsMax bounds what is remembered, default 65,536 accounts; at the bound all is forgotten, which only costs
	// the ledger some calls.
	AccountsMax int
}

// Thrifty returns a Purse that does not ask the ledger again at once for what it has just refused, so that a caller who
// hammers a limit without having credit costs the ledger a few calls a second and not one each, and that a ledger
// out of reach is not waited for by every check. The price: a new account, a new grant, is seen by a home that has
// just been refused up to Absent or Short later. A debit that is allowed is never answered from memory.
func Thrifty(next Purse, c ThriftyConfig) Purse {
	c.Wait = defaulted(c.Wait, time.Second)
	c.Absent = defaulted(c.Absent, time.Second)
	c.Short = defaulted(c.Short, 200*time.Millisecond)
	c.Away = defaulted(c.Away, 250*time.Millisecond)
	if c.AccountsMax <= 0 {
		c.AccountsMax = 65_536
	}
	return &thrifty{next: next, c: c, refused: make(map[string]refusal)}
}

func defaulted(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

type thrifty struct {
	next Purse
	c    ThriftyConfig

	mu      sync.Mutex
	refused map[string]refusal // by account
	away    time.Time          // until when the ledger counts as out of reach
}

// refusal is what the ledger last said to a debit it did not make, and until when that is believed.
type refusal struct {
	until   time.Time
	amount  ledger.Credits // refused; less than that may be had
	receipt ledger.Receipt
	err     error
}

// Debit asks the ledger, unless it has just refused as much.
func (t *thrifty) Debit(ctx context.Context, d ledger.Debit) (ledger.Receipt, error) {
	now := t.c.Now()
	if r, ok := t.recall(d, now); ok {
		return r.receipt, r.err
	}
	ctx, cancel := context.WithTimeout(ctx, t.c.Wait)
	defer cancel()
	receipt, err := t.next.Debit(ctx, d)
	t.learn(d, receipt, err)
	return receipt, err
}

func (t *thrifty) recall(d ledger.Debit, now time.Time) (refusal, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.away) {
		return refusal{err: fmt.Errorf("%w: the ledger was out of reach a moment ago", ErrUnavailable)}, true
	}
	r, ok := t.refused[d.Account]
	return r, ok && now.Before(r.until) && (r.err != nil || d.Amount >= r.amount)
}

func (t *thrifty) learn(d ledger.Debit, receipt ledger.Receipt, err error) {
	now := t.c.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case errors.Is(err, ledger.ErrNoAccount):
		t.note(d.Account, refusal{until: now.Add(t.c.Absent), err: err})
	case err == nil && (receipt.Outcome == ledger.Insufficient || receipt.Outcome == ledger.Unwilling):
		t.note(d.Account, refusal{until: now.Add(t.c.Short), amount: d.Amount, receipt: receipt})
	case err == nil:
		delete(t.refused, d.Account)
	case !errors.Is(err, ledger.ErrConflict) && !errors.Is(err, ledger.ErrTooOld) && !errors.Is(err, ledger.ErrInvalid) && !errors.Is(err, context.Canceled):
		t.away = now.Add(t.c.Away)
	}
}

func (t *thrifty) note(account string, r refusal) {
	if len(t.refused) >= t.c.AccountsMax {
		clear(t.refused)
	}
	t.refused[account] = r
}

// Return passes on.
func (t *thrifty) Return(ctx context.Context, r ledger.Return) (ledger.Receipt, error) {
	return t.next.Return(ctx, r)
}
