package wallet

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// itemBytes is what the ledger counts for an item beside its texts.
const itemBytes = 24

// enqueue has an allowance reported, by whichever of Run's workers is free. It is called under the purse's lock.
func (w *Wallet) enqueue(a *allowance) {
	if a.queued || a.sending || a.over { // the answer to what is sent sees what is due
		return
	}
	select {
	case w.reports <- a:
		a.queued = true
	default:
	}
}

// report tells the ledger what it does not have of an allowance, and whether that is all.
func (w *Wallet) report(ctx context.Context, a *allowance) {
	p := a.purse
	p.mu.Lock()
	a.queued = false
	now := w.c.Now()
	if a.sending || a.over {
		p.mu.Unlock()
		return
	}
	n, something := w.compose(a, now)
	if !something {
		a.due = now.Add(w.c.Every)
		p.mu.Unlock()
		return
	}
	a.sending = true
	p.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, w.c.Wait)
	defer cancel()
	w.counts.reports.Add(1)
	r, err := w.c.Lender.Report(ctx, n)
	after := w.c.Now()
	w.note(after.Sub(now))
	p.mu.Lock()
	a.sending = false
	w.answered(a, &n, &r, err, after)
	if !a.over && !a.due.After(after) {
		w.enqueue(a)
	}
	over := a.over
	a.tell()
	p.mu.Unlock()
	if over {
		w.forget(a)
	}
}

// compose makes the report that is next, if there is anything to say. A final one is made only when nothing can be drawn or undone
// any more: whether it will come is not known from then on.
func (w *Wallet) compose(a *allowance, now time.Time) (ledger.Report, bool) {
	if !now.Before(a.deadline) {
		a.rest(false)
	}
	a.trim(now, w.c.Items)
	unsent := a.items[a.acked:]
	n := ledger.Report{Allowance: a.id, Home: a.home, Incarnation: w.c.Incarnation, First: a.first + uint64(a.acked), Spent: a.spent}
	final := a.ripe(now)
	bytes, count := 0, 0
	for i := range unsent {
		it := &unsent[i]
		bytes += itemBytes + len(it.ID) + len(it.Memo)
		if !it.kept || count == ledger.ItemsMax || bytes > ledger.ItemBytesMax {
			break
		}
		count++
	}
	if final && count == len(unsent) {
		n.Final, a.frozen = true, true
	}
	mark := !a.plain && (n.Final || w.ending(a, now))
	n.Items = make([]ledger.Item, count)
	for i := range n.Items {
		it := &unsent[i]
		if mark && it.Amount > 0 && it.undone == 0 && now.Sub(it.at) < undoFor {
			it.marked = true
		}
		n.Items[i] = it.Item
		n.Items[i].Keyed = it.Keyed || it.marked
	}
	for i := range unsent[count:] {
		n.Spent -= unsent[count+i].Amount
	}
	a.sent = max(a.sent, n.First+uint64(count))
	return n, n.Final || count > 0
}

// ending tells whether an allowance may go back soon, so that its last draws, should they be returned, have to be at the ledger by
// their keys: nothing was drawn for a moment, or the account has little more than is held here.
func (w *Wallet) ending(a *allowance, now time.Time) bool {
	return now.Sub(a.lastDraw) >= w.c.Every/2 || a.purse.told && a.purse.balance < 2*a.purse.held()
}

// answered takes in what the ledger said to a report, or that it said nothing.
func (w *Wallet) answered(a *allowance, n *ledger.Report, r *ledger.Receipt, err error, now time.Time) {
	switch {
	case errors.Is(err, ledger.ErrFull):
		a.plain, a.due = true, now.Add(w.c.Every)
		for i := range a.items[a.acked:] {
			a.items[a.acked+i].marked = false
		}
	case err != nil && refused(err):
		w.lose(a, err.Error())
	case err != nil:
		w.counts.unanswered.Add(1)
		a.due = now.Add(w.c.Every / 2)
	case r.Outcome == ledger.AllowanceClosed && (n.Final || a.past):
		w.counts.close(a, len(a.items))
	case r.Outcome == ledger.AllowanceClosed:
		w.lose(a, r.Outcome.String())
	case r.Outcome == ledger.ItemsMissing && r.Items < a.first:
		w.lose(a, r.Outcome.String())
	case r.Outcome == ledger.ItemsMissing:
		a.acked, a.due = int(r.Items-a.first), now
		a.unacked = 0
		for i := range a.items[a.acked:] {
			a.unacked += max(a.items[a.acked+i].Amount, 0)
		}
	default:
		w.settled(a, n, r, now)
	}
}

// settled notes what the ledger has booked.
func (w *Wallet) settled(a *allowance, n *ledger.Report, r *ledger.Receipt, now time.Time) {
	before := a.acked
	a.ack(r.Items)
	w.counts.confirmed(a, a.acked-before, r)
	if r.BalanceAfter != 0 || r.Account != "" {
		a.purse.balance, a.purse.told = r.BalanceAfter, true
	}
	a.due = now.Add(w.c.Every)
	if n.Final {
		w.counts.close(a, 0)
		return
	}
	if r.Revoked || r.State != ledger.Open {
		a.rest(true)
	}
	if a.ripe(now) || a.unacked > w.c.Unreported/2 || len(a.items)-a.acked > w.c.Items/2 {
		a.due = now
	}
}

// lose gives up on an allowance that the ledger does not know, or not as this home does. What was drawn and is not confirmed
// is charged to nobody.
func (w *Wallet) lose(a *allowance, why string) {
	w.counts.lose(a)
	w.c.Logger.Error("draws from an allowance could not be reported and are charged to nobody", "allowance", a.id, "account", a.purse.account,
		"credits", a.unacked.String(), "why", why)
}

// forget drops an allowance that is over.
func (w *Wallet) forget(a *allowance) {
	p := a.purse
	w.mu.Lock()
	p.mu.Lock()
	same := func(b *allowance) bool { return a == b }
	had := slices.ContainsFunc(p.all, same)
	p.all = slices.DeleteFunc(p.all, same)
	for _, q := range p.pockets {
		q.open = slices.DeleteFunc(q.open, same)
	}
	for i := range a.items {
		if it := &a.items[i]; it.Keyed && p.keyed[it.ID].in == a {
			delete(p.keyed, it.ID)
		}
	}
	if had {
		w.open--
	}
	if len(p.all) == 0 {
		delete(w.lending, p)
	}
	p.mu.Unlock()
	w.mu.Unlock()
	if w.log != nil {
		w.log.ended(a)
	}
}
