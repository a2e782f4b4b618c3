package ledger

import (
	"cmp"
	"fmt"
)

// Capture charges an amount to a hold, once or in several steps. Overshoot says what becomes of an amount beyond what is
// held: by default the account pays that as far as it can and the rest is forgiven. Final ends the hold and gives
// back what it still holds.
type Capture struct {
	Key, Hold string
	Amount    Credits // 0 only with Final
	Final     bool
	Overshoot Overshoot
	Memo      string
}

func (k *Capture) op() op                           { return opCapture }
func (k *Capture) key() string                      { return k.Key }
func (k *Capture) payer(m *Machine) (string, error) { return m.holder(k.Hold) }

func (k *Capture) wire(c *coder) {
	c.text(&k.Key, KeyMax)
	c.text(&k.Hold, KeyMax)
	c.credits(&k.Amount)
	c.flag(&k.Final)
	c.word((*uint8)(&k.Overshoot), uint8(overshootCount))
	c.text(&k.Memo, MemoMax)
}

func (k *Capture) check() error {
	if k.Amount == 0 && !k.Final {
		return fmt.Errorf("%w: a capture of nothing that is not final", ErrInvalid)
	}
	return cmp.Or(checkKey(k.Key), checkText("hold", k.Hold, 1, KeyMax), checkAmount("amount", k.Amount, 0),
		checkWord("overshoot", uint8(k.Overshoot), uint8(overshootCount)), checkText("memo", k.Memo, 0, MemoMax))
}

func (k *Capture) run(t *tx) (Receipt, error) {
	t.find(k.Hold)
	h := &t.h
	late := h.state == Lapsed && h.late == LateCharge
	if outcome := h.closed(); outcome != Done && !late {
		return t.holdReceipt(outcome), nil
	}
	e := Event{Movement: Capturing, Key: k.Key, Charge: k.Hold, Memo: k.Memo, Late: late}
	rest := k.Amount - min(k.Amount, h.held())
	c := h.charge(k.Overshoot)
	more, had, short := t.burn(rest, &c)
	if k.Overshoot == Deny && rest > 0 && (!late || short > 0) {
		r := t.holdReceipt(ExceedsHold)
		r.Had = had
		return r, nil
	}
	parts := h.spend(&e, k.Amount-rest)
	for _, p := range more {
		e.Postings = append(e.Postings, source(p, p.Amount))
		h.take(p).spent += p.Amount
	}
	parts = append(parts, more...)
	if charged := k.Amount - short; charged > 0 {
		e.Postings = append(e.Postings, Posting{Book: Spent, Amount: charged})
	}
	h.authorized = max(h.authorized, h.captured()+h.held())
	var expired Credits
	if k.Final {
		expired = t.end(&e, Captured)
	}
	e.Forgiven = short
	t.postHold(e)
	r := t.holdReceipt(Done)
	r.Amount, r.Parts, r.Had, r.Forgiven, r.Expired, r.Late = k.Amount-short, parts, had, short, expired, late
	return r, nil
}

// spend moves an amount that is held to what is captured, and adds the postings of that.
func (h *hold) spend(e *Event, amount Credits) []Part {
	parts := h.draw(amount)
	for _, p := range parts {
		e.Postings = append(e.Postings, Posting{Held, p.Grant, -p.Amount})
	}
	return parts
}

// draw moves an amount that is held or lent to what is spent, first taken first.
func (h *hold) draw(amount Credits) (parts []Part) {
	for i := range h.takes {
		k := &h.takes[i]
		x := min(k.held, amount)
		if x == 0 {
			continue
		}
		k.held, k.spent, amount = k.held-x, k.spent+x, amount-x
		parts = append(parts, Part{k.kind, k.grant, x})
	}
	return parts
}

// end gives back what a hold still holds and says how much of that cannot be spent any more, because its grant has
// expired or was voided meanwhile.
func (t *tx) end(e *Event, as HoldState) (expired Credits) {
	h := &t.h
	switch {
	case h.state != Open:
	case h.loan != nil:
		t.a.lending--
	default:
		t.a.open--
	}
	h.state = as
	for i := range h.takes {
		k := &h.takes[i]
		if k.held == 0 {
			continue
		}
		to := t.a.grant(k.grant).rest()
		if to != Available {
			expired += k.held
		}
		e.Postings = append(e.Postings, Posting{h.book(), k.grant, -k.held}, Posting{to, k.grant, k.held})
		k.held = 0
	}
	return expired
}

// expire ends a hold whose time is over, as its Authorize asked for.
func (t *tx) expire() {
	h := &t.h
	e := Event{Movement: Lapsing}
	if h.onExpire == CaptureRest {
		e.Charge = h.id
		if amount := h.held(); amount > 0 {
			h.spend(&e, amount)
			e.Postings = append(e.Postings, Posting{Book: Spent, Amount: amount})
		}
		t.end(&e, Captured)
	} else {
		t.end(&e, Lapsed)
	}
	t.postHold(e)
}

// Release ends a hold and gives back what it still holds. One that has not come yet it bars: the Authorize is answered
// HoldReleased.
type Release struct{ Key, Hold, Memo string }

func (r *Release) op() op      { return opRelease }
func (r *Release) key() string { return r.Key }

func (r *Release) payer(m *Machine) (string, error) {
	if h, _, ok := m.hold(r.Hold); ok {
		return h.account, nil
	}
	return "", checkAge(r.Hold, m.work.now)
}

func (r *Release) wire(c *coder) {
	c.text(&r.Key, KeyMax)
	c.text(&r.Hold, KeyMax)
	c.text(&r.Memo, MemoMax)
}

func (r *Release) check() error {
	if r.Key == r.Hold {
		return fmt.Errorf("%w: a release needs a key of its own", ErrInvalid)
	}
	return cmp.Or(checkKey(r.Key), checkText("hold", r.Hold, 1, KeyMax), checkText("memo", r.Memo, 0, MemoMax))
}

func (r *Release) run(t *tx) (Receipt, error) {
	e := Event{Movement: Releasing, Key: r.Key, Memo: r.Memo}
	if !t.find(r.Hold) {
		if all, c := t.m.holds.count-t.m.lent.all, &t.m.config; all >= 2*c.Holds {
			return Receipt{}, fmt.Errorf("%w: %d holds in all, ledger.Config.Holds is %d", ErrFull, all, c.Holds)
		}
		t.h, t.holdNew = hold{id: r.Hold, state: Released, created: t.now}, true
		t.postHold(e)
		return t.holdReceipt(Done), nil
	}
	switch t.h.state {
	case Captured:
		return t.holdReceipt(AlreadyCaptured), nil
	case Released, Lapsed, Refused:
		return t.holdReceipt(Done), nil
	}
	amount := t.h.held()
	expired := t.end(&e, Released)
	t.postHold(e)
	receipt := t.holdReceipt(Done)
	receipt.Amount, receipt.Expired = amount, expired
	return receipt, nil
}
