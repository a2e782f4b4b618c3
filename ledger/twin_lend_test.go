package ledger

import (
	"fmt"
	"strings"
)

// twinLoan is an allowance as the twin sees it: held is what its takes have left, spent what they were charged, back what was
// credited back. Its items are all keyed or all not, so that any may be undone, or none.
type twinLoan struct {
	account, home      string
	incarnation, nonce int
	amount             int
	takes              []*twinTake
	order              []Kind
	only               string
	ends, deadline     int
	items, spent       int
	state              string // open, expired, captured
	ended              int
}

type twinItem struct {
	id     string
	amount int
	keyed  bool
}

// What the machine is configured to lend in these tests.
const (
	twinChunk, twinShare, twinDirect = 6, 30, 8
	twinGrace                        = 20 * 60
)

// comesBack ends an allowance: what it has left goes back to its grants.
func (w *twin) comesBack(l *twinLoan, state string) (expired int) {
	for _, k := range l.takes {
		k.from.lent -= k.held
		expired += w.accounts[l.account].move(k.from, k.held)
		k.held = 0
	}
	l.state, l.ended = state, w.hour()
	return expired
}

func (l *twinLoan) sum() (held, spent, back int) {
	for _, k := range l.takes {
		held, spent, back = held+k.held, spent+k.spent, back+k.back
	}
	return held, spent, back
}

// aboutLoan adds how an allowance is to a receipt.
func (w *twin) aboutLoan(l *twinLoan, text string, credited int) string {
	held, spent, back := l.sum()
	ttl, revoked := 0, false
	if l.state == "open" {
		ttl = max(l.ends-w.elapsed, 0)
		for _, k := range l.takes {
			revoked = revoked || k.held > 0 && k.from.isVoided
		}
		revoked = revoked || w.accounts[l.account].blocked
	}
	return fmt.Sprintf("%s allowance %s %d %d %d items %d ttl %d revoked %v credited %d", text, l.state, held, spent, back, l.items, ttl, revoked,
		credited)
}

func (w *twin) lend(n *twinLoan, want, ttl int) (string, *twinLoan) {
	a := w.touch(n.account)
	if b := a.asked[n.home]; b != nil {
		switch {
		case n.incarnation < b.incarnation, n.incarnation == b.incarnation && n.nonce < b.nonce:
			return w.receipt(a, "superseded", 0, 0, 0, nil), nil
		case n.incarnation == b.incarnation && n.nonce == b.nonce && b.state != "open":
			return w.receipt(a, "allowance_closed", 0, 0, 0, nil), nil
		case n.incarnation == b.incarnation && n.nonce == b.nonce:
			var made []*twinTake
			for _, k := range b.takes {
				made = append(made, &twinTake{from: k.from, spent: k.held + k.spent + k.back})
			}
			return w.aboutLoan(b, w.receipt(a, "done", b.amount, 0, 0, made), 0) + " replayed", b
		}
	}
	if a.blocked {
		return w.receipt(a, "blocked", 0, 0, 0, nil), nil
	}
	all, _ := a.burn(1<<40, n.order, n.only, false)
	have := 0
	for _, t := range all {
		have += t.spent
	}
	took, short := a.burn(min(want, max(twinChunk, have*twinShare/100)), n.order, n.only, false)
	for _, t := range took {
		if t.from.expires != 0 {
			ttl = min(ttl, t.from.expires-w.now)
		}
	}
	switch {
	case have == 0:
		return w.receipt(a, "insufficient", 0, 0, 0, nil), nil
	case have < twinDirect || ttl < 1:
		return w.receipt(a, "use_direct", 0, 0, 0, nil), nil
	}
	n.state, n.ends, n.deadline = "open", w.elapsed+ttl, w.elapsed+ttl+twinGrace
	n.amount = min(want, max(twinChunk, have*twinShare/100)) - short
	for _, t := range took {
		t.from.left, t.from.lent = t.from.left-t.spent, t.from.lent+t.spent
		n.takes = append(n.takes, &twinTake{from: t.from, held: t.spent})
	}
	a.asked[n.home] = n
	w.loans = append(w.loans, n)
	return w.aboutLoan(n, w.receipt(a, "done", n.amount, 0, 0, took), 0), n
}

// debited tells whether a key was charged before, or must not be.
func (w *twin) debited(account, id string) bool {
	k := w.keys[id]
	if k == nil || w.hour()-k.hour > 25 || k.account != account {
		return false
	}
	switch k.intent {
	case "", "debit of an item":
		return true
	}
	return strings.HasPrefix(k.intent, "debit") && (len(k.took) > 0 || strings.HasPrefix(k.receipt, "returned"))
}

func (w *twin) report(l *twinLoan, incarnation, first int, items []twinItem, spent int, final bool) string {
	known := l.state != "captured" && (l.state == "open" || w.hour()-l.ended <= 25)
	event := "report"
	if final {
		event = "final"
	}
	if !known {
		w.cells[event+" gone"]++
		return w.receipt(nil, "allowance_closed", 0, 0, 0, nil)
	}
	if incarnation < l.incarnation {
		return "conflict"
	}
	a := w.touch(l.account)
	w.cells[event+" "+l.state]++
	if first > l.items {
		return w.aboutLoan(l, w.receipt(a, "items_missing", 0, 0, 0, nil), 0)
	}
	items = items[min(l.items-first, len(items)):]
	late := l.state != "open"
	charged, credited, forgiven, expired := 0, 0, 0, 0
	credits := make([]bool, len(items)) // as it was before the report
	for i, it := range items {
		credits[i] = it.amount > 0 && w.debited(l.account, it.id)
	}
	var kept, after []func()
	for i, it := range items {
		l.items, l.spent = l.items+1, l.spent+it.amount
		switch {
		case it.amount < 0:
			w.cells["item undone"]++
			undone, then := w.undo(l, -it.amount)
			charged, after = charged-undone, append(after, then...)
		case credits[i]:
			w.cells["item credited"]++
			credited += it.amount
			if !late {
				l.credit(a, it.amount)
			}
		default:
			took, short := l.pay(a, it.amount)
			charged, forgiven = charged+it.amount-short, forgiven+short
			if it.keyed {
				kept = append(kept, func() { w.keep(a, l.account, it.id, it.amount-short, short, took) })
			}
		}
	}
	if forgiven > 0 {
		w.cells["late and short"]++
	}
	for _, move := range after {
		move()
	}
	a.spent += charged
	a.forgiven += forgiven
	if final {
		expired = w.comesBack(l, "captured")
	}
	for _, keep := range kept {
		keep()
	}
	text := w.aboutLoan(l, w.receipt(a, "done", charged, expired, forgiven, nil), credited)
	if late {
		text += " late"
	}
	return text
}

// keep remembers an item as a debit, unless its key is that of something else.
func (w *twin) keep(a *twinAccount, account, id string, amount, short int, took []*twinTake) {
	hour := w.hour()
	if k := w.keys[id]; k != nil && w.hour()-k.hour <= 25 {
		if k.account != account || !strings.HasPrefix(k.intent, "debit") {
			return
		}
		hour = k.hour
	}
	w.keys[id] = &twinKey{hour: hour, intent: "debit of an item", account: account, took: took, receipt: w.receipt(a, "done", amount, 0, short, took)}
}

// pay charges an item to what is lent or, if that came back, to the account.
func (l *twinLoan) pay(a *twinAccount, amount int) (took []*twinTake, short int) {
	if l.state == "open" {
		for _, k := range l.takes {
			if x := min(k.held, amount); x > 0 {
				k.held, k.spent, k.from.lent, amount = k.held-x, k.spent+x, k.from.lent-x, amount-x
				took = append(took, &twinTake{from: k.from, spent: x})
			}
		}
		return took, 0
	}
	took, short = a.burn(amount, l.order, l.only, false)
	a.pay(took)
	for _, t := range took {
		l.of(t.from).spent += t.spent
	}
	return took, short
}

func (l *twinLoan) of(g *twinGrant) *twinTake {
	for _, k := range l.takes {
		if k.from == g {
			return k
		}
	}
	l.takes = append(l.takes, &twinTake{from: g})
	return l.takes[len(l.takes)-1]
}

func (l *twinLoan) credit(a *twinAccount, amount int) {
	for _, k := range l.takes {
		x := min(k.held, amount)
		k.held, k.back, k.from.lent, amount = k.held-x, k.back+x, k.from.lent-x, amount-x
		a.move(k.from, x)
	}
}

// undo gives back what was charged, last taken first.
func (w *twin) undo(l *twinLoan, amount int) (undone int, after []func()) {
	for i := len(l.takes) - 1; i >= 0; i-- {
		k := l.takes[i]
		x := min(k.spent, amount)
		k.spent, amount, undone = k.spent-x, amount-x, undone+x
		if l.state == "open" {
			k.held, k.from.lent = k.held+x, k.from.lent+x
		} else { // no later item of the report has it
			after = append(after, func() { w.accounts[l.account].move(k.from, x) })
		}
	}
	return undone, after
}
