package wallet

import (
	"sync/atomic"

	"github.com/weir-cluster/weir/ledger"
)

// Stats is what a wallet has done and holds. Sums are since it was made.
type Stats struct {
	Draws, Undone      uint64         // from memory; of them given back in memory
	Direct             uint64         // passed on to the ledger
	Asks, Reports      uint64         // calls to the ledger
	Unanswered         uint64         // of them, those without an answer, which are repeated
	Unasked            uint64         // allowances that came too late and went back
	Lent, Spent        ledger.Credits // in all; of it drawn and confirmed, less what was undone
	Forgiven           ledger.Credits // of it reported when there was no credit any more: the ledger wrote it off
	Credited           ledger.Credits // of it not charged, since it had been debited already
	Lost               ledger.Credits // drawn and never confirmed: charged to nobody
	Unreported         ledger.Credits // drawn now and not confirmed yet
	Items              int            // that make it up
	Left               ledger.Credits // that can be drawn
	Accounts           int
	Allowances         int
	LogBytes           int64
	LogFull, LogFailed bool // draws go to the ledger
}

// counts are those of Stats that only grow.
type counts struct {
	draws, undone, direct, asks, reports, unanswered, unasked atomic.Uint64
	lent, spent, forgiven, credited, lost                     atomic.Int64
}

func (c *counts) granted(a *allowance) { c.lent.Add(int64(a.amount)) }

// confirmed notes the items that the ledger has confirmed: the last of those that are acknowledged.
func (c *counts) confirmed(a *allowance, items int, r *ledger.Receipt) {
	var sum ledger.Credits
	for i := a.acked - items; i < a.acked; i++ {
		sum += a.items[i].Amount
	}
	c.spent.Add(int64(sum))
	c.forgiven.Add(int64(r.Forgiven))
	c.credited.Add(int64(r.Credited))
}

// close ends an allowance, of which the ledger has so many items at least.
func (c *counts) close(a *allowance, items int) {
	before := a.acked
	a.ack(a.first + uint64(items))
	c.confirmed(a, a.acked-before, &ledger.Receipt{})
	a.over, a.resting = true, true
}

// lose ends an allowance whose last items will never be confirmed.
func (c *counts) lose(a *allowance) {
	c.lost.Add(int64(a.unacked))
	a.over, a.resting = true, true
}

// Stats returns the wallet's numbers.
func (w *Wallet) Stats() Stats {
	c := &w.counts
	s := Stats{
		Draws: c.draws.Load(), Undone: c.undone.Load(), Direct: c.direct.Load(), Asks: c.asks.Load(), Reports: c.reports.Load(),
		Unanswered: c.unanswered.Load(), Unasked: c.unasked.Load(), Lent: ledger.Credits(c.lent.Load()), Spent: ledger.Credits(c.spent.Load()),
		Forgiven: ledger.Credits(c.forgiven.Load()), Credited: ledger.Credits(c.credited.Load()), Lost: ledger.Credits(c.lost.Load()),
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	s.Accounts, s.Allowances = len(w.purses), w.open
	for p := range w.lending {
		p.mu.Lock()
		s.Left += p.left()
		for _, a := range p.all {
			s.Unreported += a.unacked
			s.Items += len(a.items) - a.acked
		}
		p.mu.Unlock()
	}
	if w.log != nil {
		s.LogBytes, s.LogFull, s.LogFailed = w.log.bytes.Load(), w.log.full.Load(), w.log.failed.Load()
	}
	return s
}
