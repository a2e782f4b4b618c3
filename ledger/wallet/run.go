package wallet

import (
	"context"
	"sync"
	"time"
)

// idleFor is how long an account is remembered that nothing is drawn from.
const idleFor = time.Minute

// Run asks for allowances and reports what is drawn until ctx ends; then it writes the spend log out and closes it, and draws go to
// Purse. It returns nil when all that it started has ended. Call Close before, while the ledger is still in reach.
func (w *Wallet) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for range w.c.Calls {
		all.Go(func() { w.work(ctx) })
	}
	if w.log != nil {
		all.Go(func() { _ = w.log.journal.Run(ctx) }) // it always returns nil
	}
	turn := time.NewTicker(max(w.c.Every/4, time.Millisecond))
	defer turn.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-turn.C:
			w.turn(w.c.Now())
		}
	}
	all.Wait()
	w.closed.Store(true)
	if w.log != nil {
		w.log.close()
	}
	return nil
}

// work calls the ledger.
func (w *Wallet) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-w.asks:
			w.borrow(ctx, q)
		case a := <-w.reports:
			w.report(ctx, a)
		}
	}
}

// turn finds what is due, and forgets accounts that nobody uses.
func (w *Wallet) turn(now time.Time) {
	w.mu.RLock()
	lending := make([]*purse, 0, len(w.lending))
	for p := range w.lending {
		lending = append(lending, p)
	}
	crowded := len(w.purses) > w.c.Accounts/2
	w.mu.RUnlock()
	pending := 0
	for _, p := range lending {
		pending += w.visit(p, now)
	}
	w.pending.Store(int64(pending))
	if crowded {
		w.sweep(now)
	}
	if w.log != nil {
		w.log.measure()
	}
}

// visit finds what is due of an account, and returns how many items it has that are not confirmed. What nobody draws from goes
// back, and so does all when the ledger has less than is held here: somebody else may need it more.
func (w *Wallet) visit(p *purse, now time.Time) (pending int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	idle := true
	for _, q := range p.pockets {
		q.prune(now)
		if q.request != nil && now.Sub(q.request.sentAt) > 2*w.c.Wait {
			q.request = nil
		}
		if now.Sub(q.use.at) < w.c.Every {
			idle = false
			continue
		}
		for _, a := range q.open {
			a.rest(true)
		}
	}
	short := p.told && p.balance < p.held()
	if short {
		p.hush(now.Add(pausedFor))
	}
	for _, a := range p.all {
		if pending += len(a.items) - a.acked; idle || short {
			a.rest(true)
		}
		if !now.Before(a.due) || a.urgent && !a.frozen {
			w.enqueue(a)
		}
	}
	return pending
}

// sweep forgets accounts that were not drawn from for a while.
func (w *Wallet) sweep(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for account, p := range w.purses {
		p.mu.Lock()
		busy := len(p.all) > 0 || now.Sub(p.touched) < idleFor
		for _, q := range p.pockets {
			busy = busy || q.asking || q.request != nil
		}
		p.mu.Unlock()
		if !busy {
			delete(w.purses, account)
		}
	}
}
