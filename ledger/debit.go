package ledger

import (
	"cmp"
	"fmt"
)

// Debit charges an amount to the kinds in Order (empty: all, in their usual order). Overshoot says what becomes of what
// does not fit: by default the account pays what it has and the rest is forgiven.
type Debit struct {
	Key, Account string
	Amount       Credits
	Order        []Kind
	Memo         string
	Overshoot    Overshoot
	Attributes   []Label // unique names, any order; grants may apply to some only
}

func (d *Debit) op() op                           { return opDebit }
func (d *Debit) key() string                      { return d.Key }
func (d *Debit) payer(_ *Machine) (string, error) { return d.Account, nil }

func (d *Debit) wire(c *coder) {
	c.text(&d.Key, KeyMax)
	c.text(&d.Account, AccountMax)
	c.credits(&d.Amount)
	list(c, &d.Order, KindCount, wireKind)
	c.text(&d.Memo, MemoMax)
	if c.format < 2 {
		if c.reading {
			d.Overshoot = Deny
		}
		return
	}
	c.word((*uint8)(&d.Overshoot), uint8(overshootCount))
	list(c, &d.Attributes, LabelsMax, (*Label).wire)
}

func (d *Debit) check() error {
	return cmp.Or(checkKey(d.Key), checkAccount(d.Account), checkOrder(d.Order), checkAmount("amount", d.Amount, 1),
		checkText("memo", d.Memo, 0, MemoMax), checkWord("overshoot", uint8(d.Overshoot), uint8(overshootCount)),
		checkLabels("attributes", d.Attributes, LabelsMax))
}

func (d *Debit) run(t *tx) (Receipt, error) {
	a := &t.a
	if a.blocked {
		r := t.receipt()
		r.Outcome = Blocked
		return r, nil
	}
	parts, had, short := t.burn(d.Amount, &charge{d.Order, d.Attributes, d.Overshoot})
	if short > 0 && d.Overshoot == Deny {
		r := t.receipt()
		r.Outcome, r.Had = a.shortOf(), had
		return r, nil
	}
	e := Event{Movement: Debiting, Key: d.Key, Memo: d.Memo, Charge: d.Key, Forgiven: short}
	if len(parts) > 0 {
		e.Postings = t.taking(parts, Spent)
	}
	t.post(e)
	r := t.receipt()
	r.Amount, r.Parts, r.Had, r.Forgiven = d.Amount-short, parts, had, short
	return r, nil
}

// Return gives back what a debit took, to the grants it came from, last taken first. What came from a grant
// that has since expired is booked as expired. If the debit is not known yet, its key is barred: when it
// arrives after all it is answered Returned and charges nothing.
type Return struct {
	Key, Account string
	Debit        string  // the key of the debit
	Amount       Credits // at most what is left of it; 0 means all of that
}

func (r *Return) op() op                           { return opReturn }
func (r *Return) key() string                      { return r.Key }
func (r *Return) payer(_ *Machine) (string, error) { return r.Account, nil }

func (r *Return) wire(c *coder) {
	c.text(&r.Key, KeyMax)
	c.text(&r.Account, AccountMax)
	c.text(&r.Debit, KeyMax)
	c.credits(&r.Amount)
}

func (r *Return) check() error {
	if r.Debit == r.Key {
		return fmt.Errorf("%w: a return needs a key of its own", ErrInvalid)
	}
	return cmp.Or(checkKey(r.Key), checkAccount(r.Account), checkText("debit", r.Debit, 1, KeyMax), checkAmount("amount", r.Amount, 0))
}

func (r *Return) run(t *tx) (Receipt, error) {
	taken, known := t.m.keys.find(r.Debit, t.m.work.hour())
	switch {
	case !known:
		if err := checkAge(r.Debit, t.now); err != nil {
			return Receipt{}, err
		}
		t.bar(r.Debit, r.Account)
		return t.receipt(), nil
	case taken.op != opDebit || taken.account != r.Account:
		return Receipt{}, fmt.Errorf("%w: key %q is no debit of account %q", ErrConflict, r.Debit, r.Account)
	case taken.barred():
		return t.receipt(), nil
	}
	debit := taken.receipt()
	left := debit.Amount - taken.returned
	amount := cmp.Or(r.Amount, left)
	if amount > left {
		return Receipt{}, fmt.Errorf("%w: return of %s, but %s is left of debit %q", ErrInvalid, amount, left, r.Debit)
	}
	if amount == 0 {
		return t.receipt(), nil
	}
	parts := unwind(debit.Parts, taken.returned, amount)
	e := Event{Movement: Returning, Key: r.Key, Charge: r.Debit, Postings: []Posting{{Book: Spent, Amount: -amount}}}
	expired := t.a.giveBack(&e, parts)
	t.post(e)
	taken.returned += amount
	t.keys = append(t.keys, taken)
	receipt := t.receipt()
	receipt.Amount, receipt.Parts, receipt.Expired = amount, parts, expired
	return receipt, nil
}

// receipt is the first answer to the key.
func (r *record) receipt() Receipt {
	receipt, err := decodeReceipt(r.reply)
	if err != nil {
		panic(fmt.Sprintf("ledger: stored receipt of %q: %v", r.key, err))
	}
	return receipt
}

// unwind lists the parts of the next amount to give back, last taken first, after returned was given back.
func unwind(taken []Part, returned, amount Credits) []Part {
	var parts []Part
	for i := len(taken) - 1; i >= 0 && amount > 0; i-- {
		p := taken[i]
		skip := min(p.Amount, returned)
		returned -= skip
		if p.Amount = min(p.Amount-skip, amount); p.Amount > 0 {
			parts = append(parts, p)
			amount -= p.Amount
		}
	}
	return parts
}

// giveBack adds the postings that give parts back, and says how much of it cannot be spent. What comes back to an overdraft
// that has been repaid since makes that book positive: it never expires, and is spent where the order says overdraft.
func (a *account) giveBack(e *Event, parts []Part) (expired Credits) {
	for _, p := range parts {
		to := source(p, -p.Amount)
		if p.Kind != Overdraft {
			if book := a.returning(p); book != Available {
				expired += p.Amount
				to = Posting{book, p.Grant, p.Amount}
			}
		}
		e.Postings = append(e.Postings, to)
	}
	return expired
}

// returning is the book to which a part that was charged goes when it comes back. Its grant may be gone, and another one of that
// name have no room.
func (a *account) returning(p Part) Book {
	g := a.grant(p.Grant)
	if g != nil && g.available+g.held+g.lent+p.Amount > g.amount {
		return Expired
	}
	return g.rest()
}

// rest is the book to which what comes back to a grant goes; it may have gone itself.
func (g *grant) rest() Book {
	switch {
	case g == nil || g.expired && !g.voided:
		return Expired
	case g.voided:
		return Voided
	}
	return Available
}
