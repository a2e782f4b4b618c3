package ledger

import (
	"cmp"
	"fmt"
)

// Refund gives back what was charged, to the grants it came from, last taken first. What came from a grant that has
// expired goes to a new grant of its kind, which lives for Config.RefundLife. A charge can be refunded for as long as its
// key, or its ended hold, is remembered.
type Refund struct {
	Key    string
	Charge string  // the key of a debit or the id of a hold that has ended
	Amount Credits // at most what is left of it; 0 means all of that
	Memo   string
}

func (f *Refund) op() op      { return opRefund }
func (f *Refund) key() string { return f.Key }

func (f *Refund) payer(m *Machine) (string, error) {
	if h, _, ok := m.hold(f.Charge); ok {
		return h.account, nil
	}
	debit, known := m.keys.find(f.Charge, m.work.hour())
	switch {
	case !known:
		if err := checkAge(f.Charge, m.work.now); err != nil {
			return "", err
		}
		return "", fmt.Errorf("%w: %q", ErrNoCharge, f.Charge)
	case debit.op != opDebit:
		return "", fmt.Errorf("%w: key %q is no charge but of a %s", ErrConflict, f.Charge, debit.op)
	}
	return debit.account, nil
}

func (f *Refund) wire(c *coder) {
	c.text(&f.Key, KeyMax)
	c.text(&f.Charge, KeyMax)
	c.credits(&f.Amount)
	c.text(&f.Memo, MemoMax)
}

func (f *Refund) check() error {
	if f.Key == f.Charge {
		return fmt.Errorf("%w: a refund needs a key of its own", ErrInvalid)
	}
	return cmp.Or(checkKey(f.Key), checkText("charge", f.Charge, 1, KeyMax), checkAmount("amount", f.Amount, 0), checkText("memo", f.Memo, 0, MemoMax))
}

func (f *Refund) run(t *tx) (Receipt, error) {
	if t.find(f.Charge) {
		return f.ofHold(t), nil
	}
	debit, _ := t.m.keys.find(f.Charge, t.m.work.hour())
	var first Receipt
	if !debit.barred() {
		first = debit.receipt()
	}
	amount, ok := f.fits(first.Amount - debit.returned)
	if !ok {
		r := t.receipt()
		r.Outcome = RefundExceedsCaptured
		return r, nil
	}
	parts := unwind(first.Parts, debit.returned, amount)
	e := f.event(amount)
	expired := t.refund(&e, parts)
	t.post(e)
	debit.returned += amount
	t.keys = append(t.keys, debit)
	r := t.receipt()
	r.Amount, r.Parts, r.Expired = amount, parts, expired
	return r, nil
}

func (f *Refund) event(amount Credits) Event {
	return Event{Movement: Refunding, Key: f.Key, Charge: f.Charge, Memo: f.Memo, Postings: []Posting{{Book: Spent, Amount: -amount}}}
}

// fits returns what to give back, if there is that much left.
func (f *Refund) fits(left Credits) (amount Credits, ok bool) {
	amount = cmp.Or(f.Amount, left)
	return amount, amount > 0 && amount <= left
}

func (f *Refund) ofHold(t *tx) Receipt {
	h := &t.h
	if h.state == Open {
		return t.holdReceipt(HoldOpen)
	}
	amount, ok := f.fits(h.captured() - h.refunded())
	if !ok {
		return t.holdReceipt(RefundExceedsCaptured)
	}
	var parts []Part
	rest := amount
	for i := len(h.takes) - 1; i >= 0 && rest > 0; i-- {
		k := &h.takes[i]
		if x := min(k.spent-k.back, rest); x > 0 {
			parts = append(parts, Part{k.kind, k.grant, x})
			k.back, rest = k.back+x, rest-x
		}
	}
	e := f.event(amount)
	expired := t.refund(&e, parts)
	t.postHold(e)
	r := t.holdReceipt(Done)
	r.Amount, r.Parts, r.Expired = amount, parts, expired
	return r
}

// refund adds the postings that give parts back, and makes the grants that take what has no other place to go. It says
// how much of it went to voided grants.
func (t *tx) refund(e *Event, parts []Part) (voided Credits) {
	var homeless [Overdraft]Credits
	for _, p := range parts {
		if p.Kind == Overdraft {
			e.Postings = append(e.Postings, source(p, -p.Amount))
			continue
		}
		switch book := t.a.returning(p); book {
		case Expired:
			homeless[p.Kind] += p.Amount
		case Voided:
			voided += p.Amount
			fallthrough
		default:
			e.Postings = append(e.Postings, Posting{book, p.Grant, p.Amount})
		}
	}
	for kind, amount := range homeless {
		if amount == 0 {
			continue
		}
		id := e.Key + "#" + Kind(kind).String()
		for t.a.grant(id) != nil {
			id += "#" // the key was used for another refund, more than a day and less than RefundLife ago
		}
		n := grant{
			id: id, kind: Kind(kind), amount: amount, effective: t.now, expires: t.now + int64(t.m.config.RefundLife),
			created: t.a.seq + 1, arrived: true,
		}
		t.a.add(n)
		e.Made = append(e.Made, n.terms())
		e.Postings = append(e.Postings, Posting{Available, n.id, amount})
	}
	return voided
}
