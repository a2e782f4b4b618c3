package wallet

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// purse is what a wallet has of an account.
type purse struct {
	account string

	mu      sync.Mutex // guards all below, with what it points to
	pockets []*pocket
	all     []*allowance     // of all pockets, until they are over
	keyed   map[string]place // the Keyed draws that are known
	balance ledger.Credits   // that the ledger told last
	told    bool             // it told one
	touched time.Time
}

// pocketsMax bounds the pockets of an account; draws that would need another go to the ledger.
const pocketsMax = 8

// pocket has the allowances that may pay for the same draws: those of one order and one list of attributes.
type pocket struct {
	purse      *purse
	order      []ledger.Kind
	attributes []ledger.Label
	open       []*allowance // that may be drawn from, oldest first
	request    *request     // that waits for its answer
	again      uint64       // the nonce of a request that may have been heard though it was not answered
	newest     uint64       // the greatest id that it had
	asking     bool         // it is in Wallet.asks
	quiet      time.Time    // until when the ledger is not asked
	granted    ledger.Credits
	use        use
}

// place is where a Keyed draw stands.
type place struct {
	in    *allowance
	of    *pocket
	n     uint64 // of the item
	parts []ledger.Part
}

// use is how much is drawn, and how often, in the present span of time and in the one before.
type use struct {
	since          time.Time
	amount, before ledger.Credits
	draws, earlier int
	last           ledger.Credits
	at             time.Time
}

func (u *use) note(amount ledger.Credits, now time.Time, every time.Duration) {
	if age := now.Sub(u.since); age >= every {
		if age >= 2*every {
			u.amount, u.draws = 0, 0
		}
		u.before, u.earlier, u.amount, u.draws, u.since = u.amount, u.draws, 0, 0, now
	}
	u.amount, u.draws, u.last, u.at = u.amount+amount, u.draws+1, amount, now
}

// in is what would be used in some time, by the faster of the two spans; the present one counts as an eighth at least.
func (u *use) in(d, every time.Duration) ledger.Credits {
	now := float64(u.amount) / float64(max(u.at.Sub(u.since), every/8))
	return ledger.Credits(min(max(now, float64(u.before)/float64(every))*float64(d), float64(ledger.CreditsMax)))
}

// steady tells whether it is used so often that an allowance costs the ledger less than the draws.
func (u *use) steady() bool { return max(u.draws, u.earlier) >= 4 }

// pocket finds the one for a draw, or makes it. Nil: there is no room.
func (p *purse) pocket(d *ledger.Debit) *pocket {
	for _, q := range p.pockets {
		if slices.Equal(q.order, d.Order) && slices.Equal(q.attributes, d.Attributes) {
			return q
		}
	}
	if len(p.pockets) == pocketsMax {
		return nil
	}
	q := &pocket{purse: p, order: slices.Clone(d.Order), attributes: slices.Clone(d.Attributes)}
	p.pockets = append(p.pockets, q)
	return q
}

// step is a change of an allowance. If it has an item the spend log must have that before it is answered. Without an allowance
// nothing was done here.
type step struct {
	from *allowance
	at   uint64 // number of the item
	item ledger.Item
}

// draw makes a draw from memory, if it can, and asks for an allowance, if it should.
func (w *Wallet) draw(p *purse, d *ledger.Debit, way Way, now time.Time) (step, ledger.Receipt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touched = now
	q := p.pocket(d)
	if q == nil {
		return step{}, ledger.Receipt{}, nil
	}
	if was, ok := p.keyed[d.Key]; ok && way == Keyed {
		return p.again(q, was, d)
	}
	q.use.note(d.Amount, now, w.c.Every)
	a := q.payer(d.Amount, now, w)
	defer w.ask(q, now)
	if a == nil {
		return step{}, ledger.Receipt{}, nil
	}
	receipt := ledger.Receipt{Account: p.account, Amount: d.Amount, Allowance: a.id, Had: a.had()}
	receipt.Parts = a.take(d.Amount, way == Keyed)
	receipt.Held, receipt.Captured, receipt.BalanceAfter = a.left, a.spent, p.balance+p.left()
	s := step{from: a, item: ledger.Item{ID: d.Key, Amount: d.Amount, Memo: d.Memo, Keyed: way == Keyed}}
	s.at = a.add(item{Item: s.item, at: now, kept: w.log == nil})
	a.lastDraw = now
	if way == Keyed {
		p.keyed[d.Key] = place{a, q, s.at, receipt.Parts}
	}
	if a.unacked > w.c.Unreported/2 || len(a.items)-a.acked > w.c.Items/2 {
		w.enqueue(a)
	}
	return s, receipt, nil
}

// payer returns the oldest allowance that pays for a draw. Those before it that have too little rest: they go back.
func (q *pocket) payer(amount ledger.Credits, now time.Time, w *Wallet) *allowance {
	if w.log != nil && !w.log.ready() || w.pending.Load() >= int64(w.c.AllItems) {
		return nil
	}
	for i, a := range q.open {
		if !a.pays(amount, now, &w.c) {
			continue
		}
		for _, old := range q.open[:i] {
			if old.left < amount {
				old.rest(false)
			}
		}
		return a
	}
	return nil
}

// again answers a Keyed draw that was made before.
func (p *purse) again(q *pocket, was place, d *ledger.Debit) (step, ledger.Receipt, error) {
	it := was.in.item(was.n)
	if was.of != q || it.Amount != d.Amount {
		return step{}, ledger.Receipt{}, fmt.Errorf("%w: it was a draw of %s", ledger.ErrConflict, it.Amount)
	}
	r := ledger.Receipt{
		Account: p.account, Amount: d.Amount, Allowance: was.in.id, Parts: was.parts, Held: was.in.left, Captured: was.in.spent,
		BalanceAfter: p.balance + p.left(), Replayed: true,
	}
	return step{from: was.in}, r, nil
}

// takeBack undoes a loose draw in memory. Then the return is answered, but where the ledger first has to have the item that undoes
// it: without a log that would be lost with this process, after the draw was charged. Of a draw that it knows but cannot undo,
// the receipt's Outcome is ItemsMissing: the ledger has to have the draw first.
func (w *Wallet) takeBack(p *purse, r *ledger.Return) (s step, receipt ledger.Receipt, confirm bool, err error) {
	now := w.c.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	elsewhere := ledger.Receipt{Outcome: ledger.ItemsMissing}
	if was, ok := p.keyed[r.Debit]; ok {
		return step{from: was.in, at: was.n}, elsewhere, true, nil
	}
	a, n := p.find(r.Debit)
	if a == nil {
		return step{}, ledger.Receipt{}, false, nil
	}
	receipt = ledger.Receipt{Account: p.account, Allowance: a.id, BalanceAfter: p.balance + p.left()}
	confirm = (w.log == nil || !w.log.ready()) && n < a.sent
	if back, was := a.itemOf(r.Key); was != nil {
		receipt.Amount, receipt.Replayed = -was.Amount, true
		return step{from: a, at: back}, receipt, confirm, nil
	}
	it := a.item(n)
	if a.frozen || it.marked {
		return step{from: a, at: n}, elsewhere, true, nil
	}
	left := it.Amount - it.undone
	amount := r.Amount
	if amount == 0 {
		amount = left
	}
	if amount > left || amount < 0 || r.Key == r.Debit {
		return step{}, ledger.Receipt{}, false, fmt.Errorf("%w: return of %s, but %s is left", ledger.ErrInvalid, amount, left)
	}
	if amount == 0 {
		return step{from: a}, receipt, false, nil
	}
	it.undone += amount
	s = step{from: a, item: ledger.Item{ID: r.Key, Amount: -amount, Memo: it.Memo}}
	receipt.Amount, receipt.Parts = amount, a.undo(amount)
	s.at = a.add(item{Item: s.item, at: now, kept: w.log == nil})
	w.counts.undone.Add(1)
	return s, receipt, confirm, nil
}

// find looks for a loose draw, the latest ones first.
func (p *purse) find(key string) (*allowance, uint64) {
	for _, a := range slices.Backward(p.all) {
		for i := range slices.Backward(a.items) {
			if it := &a.items[i]; it.ID == key && it.Amount > 0 {
				return a, a.first + uint64(i)
			}
		}
	}
	return nil, 0
}

// itemOf returns the undoing of a draw that has this key, and its number.
func (a *allowance) itemOf(key string) (uint64, *item) {
	for i := range a.items {
		if it := &a.items[i]; it.ID == key && it.Amount < 0 {
			return a.first + uint64(i), it
		}
	}
	return 0, nil
}

// had is what there is of each kind.
func (a *allowance) had() (had [ledger.KindCount]ledger.Credits) {
	for i := range a.slices {
		had[a.slices[i].kind] += a.slices[i].held
	}
	return had
}

// left is what all allowances that may be drawn from have.
func (p *purse) left() (sum ledger.Credits) {
	for _, a := range p.all {
		if !a.resting {
			sum += a.left
		}
	}
	return sum
}

// held is what all have that the ledger has not taken back.
func (p *purse) held() (sum ledger.Credits) {
	for _, a := range p.all {
		sum += a.left
	}
	return sum
}

// hear notes the balance that the ledger told.
func (p *purse) hear(r *ledger.Receipt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.balance, p.told = r.BalanceAfter, true
}

// scarce tells whether the ledger has too little for a draw and would have enough with what is held here.
func (p *purse) scarce(amount ledger.Credits) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := p.left()
	return p.told && left > 0 && p.balance < amount && p.balance+left >= amount
}

// pausedFor is how long an account is not asked for again when it is short, so that all homes draw its last credits at the ledger,
// and when it is drained, should it stay after all.
const pausedFor = 5 * time.Second

// hush has the ledger not asked for this account until then. It is called under the lock.
func (p *purse) hush(until time.Time) {
	for _, q := range p.pockets {
		q.request, q.quiet = nil, until
	}
}

// list returns the allowances that are not over.
func (p *purse) list() []*allowance {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.all)
}
