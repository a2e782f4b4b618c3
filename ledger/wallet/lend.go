package wallet

import (
	"context"
	"errors"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// request is one way to the ledger, to ask for an allowance. Its answer counts only while it is its pocket's request.
type request struct {
	nonce  uint64
	sentAt time.Time // from then on the allowance counts: the ledger's clock starts later
}

const (
	openMax  = 3  // allowances of a pocket that may be drawn from: one in use, one to come and one that ends
	lowWater = 30 // percent of what was granted, or of the time, that is left when the next allowance is asked for
	wantMin  = 16 // draws that are asked for at least
)

// ask has an allowance asked for, if there is need and none is on its way.
func (w *Wallet) ask(q *pocket, now time.Time) {
	if q.asking || q.request != nil || now.Before(q.quiet) || !q.low(now, w) || w.closed.Load() || w.log != nil && !w.log.ready() {
		return
	}
	select {
	case w.asks <- q:
		q.asking = true
	default:
	}
}

// low tells whether what can be drawn will not last long.
func (q *pocket) low(now time.Time, w *Wallet) bool {
	if !q.use.steady() || q.use.last > w.c.Unreported {
		return false
	}
	q.prune(now)
	if len(q.open) >= openMax {
		return false
	}
	var left ledger.Credits
	for _, a := range q.open {
		if a.deadline.Sub(now) > a.life*lowWater/100 {
			left += a.left
		}
	}
	trips := q.use.in(2*time.Duration(w.trip.Load()), w.c.Every)
	return left < max(q.granted*lowWater/100, trips, q.use.last)
}

// prune rests the allowances that have ended, and takes those that rest out of use.
func (q *pocket) prune(now time.Time) {
	n := 0
	for _, a := range q.open {
		if !now.Before(a.deadline) {
			a.rest(false)
		}
		if !a.resting {
			q.open[n] = a
			n++
		}
	}
	clear(q.open[n:])
	q.open = q.open[:n]
}

// borrow asks the ledger for an allowance and waits for the answer, or for Wait.
func (w *Wallet) borrow(ctx context.Context, q *pocket) {
	w.borrowing.Add(1)
	defer w.borrowing.Add(-1)
	n, sent, ok := w.prepare(q)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, w.c.Wait)
	defer cancel()
	w.counts.asks.Add(1)
	r, err := w.c.Lender.Lend(ctx, n)
	now := w.c.Now()
	w.note(now.Sub(sent.sentAt))
	if err != nil || r.Outcome != ledger.Done || r.Allowance == 0 {
		w.denied(q, sent, &r, err, now)
		return
	}
	a := w.allowance(q, &r)
	a.life, a.deadline = r.ExpiresIn, sent.sentAt.Add(r.ExpiresIn)
	if w.log != nil && !w.log.lent(a) {
		a.rest(true) // without the log nothing may be drawn
	}
	w.accept(q, sent, a, &r, now)
}

// prepare makes a request, unless there is no need any more.
func (w *Wallet) prepare(q *pocket) (ledger.Lend, *request, bool) {
	w.mu.RLock()
	full := w.open >= w.c.Allowances
	w.mu.RUnlock()
	now := w.c.Now()
	p := q.purse
	p.mu.Lock()
	defer p.mu.Unlock()
	q.asking = false
	if q.request != nil || now.Before(q.quiet) || full || w.closed.Load() {
		return ledger.Lend{}, nil, false
	}
	sent := &request{nonce: q.again, sentAt: now}
	if sent.nonce == 0 {
		sent.nonce = w.nonce.Add(1)
	}
	q.request, q.again = sent, sent.nonce
	want := min(max(q.use.in(w.c.Span, w.c.Every), wantMin*q.use.last), w.c.WantMax)
	return ledger.Lend{
		Account: p.account, Home: w.c.Home, Incarnation: w.c.Incarnation, Nonce: sent.nonce, Want: want, TTL: w.c.TTL,
		Order: q.order, Attributes: q.attributes,
	}, sent, true
}

// denied notes that the ledger lends nothing, or that it is not known whether it did: then the same is asked again, and
// the ledger gives what it gave.
func (w *Wallet) denied(q *pocket, sent *request, r *ledger.Receipt, err error, now time.Time) {
	p := q.purse
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.request != sent {
		return
	}
	q.request = nil
	q.quiet = now.Add(w.c.Quiet)
	switch {
	case err == nil:
		q.again = 0
		p.balance, p.told = r.BalanceAfter, true
	case refused(err):
		q.again = 0
	default:
		q.quiet = now.Add(w.c.Quiet / 4)
		w.counts.unanswered.Add(1)
	}
}

// refused tells whether the ledger has answered, and nothing was done.
func refused(err error) bool {
	for _, e := range [...]error{ledger.ErrInvalid, ledger.ErrConflict, ledger.ErrNoAccount, ledger.ErrFull, ledger.ErrNoAllowance, ledger.ErrTooOld} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// allowance is what the ledger granted.
func (w *Wallet) allowance(q *pocket, r *ledger.Receipt) *allowance {
	a := newAllowance(q.purse, w.c.Home, r.Allowance)
	a.amount, a.left = r.Amount, r.Amount
	for _, part := range r.Parts {
		a.slices = append(a.slices, slice{kind: part.Kind, grant: part.Grant, held: part.Amount})
	}
	return a
}

// accept takes an allowance into use, if it is the answer to what its pocket asked last; else nothing is drawn from it and it
// goes back. Each is accepted once.
func (w *Wallet) accept(q *pocket, sent *request, a *allowance, r *ledger.Receipt, now time.Time) {
	p := q.purse
	w.mu.Lock()
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := q.request == sent
	if asked {
		q.request, q.again = nil, 0
	}
	if a.id <= q.newest || p.has(a.id) {
		w.mu.Unlock()
		return
	}
	w.open++
	w.lending[p] = struct{}{}
	w.mu.Unlock()
	q.newest = a.id
	p.all = append(p.all, a)
	a.due, a.lastDraw = now.Add(w.c.Every), now
	w.counts.granted(a)
	if !asked {
		w.counts.unasked.Add(1)
		a.rest(true)
	}
	if a.resting {
		a.due = now
		w.enqueue(a)
		return
	}
	p.balance, p.told = r.BalanceAfter, true
	q.granted = a.amount
	q.open = append(q.open, a)
	if !r.Revoked {
		return
	}
	a.rest(true)
	w.enqueue(a)
}

// has tells whether the purse has an allowance, of whichever pocket.
func (p *purse) has(id uint64) bool {
	for _, a := range p.all {
		if a.id == id {
			return true
		}
	}
	return false
}

// note tells how long a call took.
func (w *Wallet) note(took time.Duration) {
	was := time.Duration(w.trip.Load())
	w.trip.Store(int64(was + (took-was)/8))
}
