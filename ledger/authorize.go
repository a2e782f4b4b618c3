package ledger

import (
	"cmp"
	"fmt"
	"time"
)

// Authorize holds an amount for a charge to come. The hold's id is the key. It never takes from the overdraft.
type Authorize struct {
	Key, Account string
	Amount       Credits
	TTL          time.Duration // until the hold ends by itself; 1 ms to TTLMax
	Partial      bool          // rather than nothing hold what there is
	Order        []Kind        // as of a Debit
	Attributes   []Label
	OnExpire     OnExpire
	Late         Late
	Memo         string
}

func (a *Authorize) op() op                           { return opAuthorize }
func (a *Authorize) key() string                      { return a.Key }
func (a *Authorize) payer(_ *Machine) (string, error) { return a.Account, nil }

func (a *Authorize) wire(c *coder) {
	c.text(&a.Key, KeyMax)
	c.text(&a.Account, AccountMax)
	c.credits(&a.Amount)
	c.duration(&a.TTL)
	c.flag(&a.Partial)
	list(c, &a.Order, KindCount, wireKind)
	list(c, &a.Attributes, LabelsMax, (*Label).wire)
	c.word((*uint8)(&a.OnExpire), uint8(onExpireCount))
	c.word((*uint8)(&a.Late), uint8(lateCount))
	c.text(&a.Memo, MemoMax)
}

func (a *Authorize) check() error {
	return cmp.Or(checkKey(a.Key), checkAccount(a.Account), checkAmount("amount", a.Amount, 1), checkTTL(a.TTL, time.Millisecond),
		checkOrder(a.Order), checkLabels("attributes", a.Attributes, LabelsMax), checkWord("on_expire", uint8(a.OnExpire), uint8(onExpireCount)),
		checkWord("late", uint8(a.Late), uint8(lateCount)), checkText("memo", a.Memo, 0, MemoMax))
}

func (a *Authorize) run(t *tx) (Receipt, error) {
	if t.find(a.Key) {
		if t.h.account != "" && t.h.account != a.Account { // how that one is, is not for this account
			r := t.receipt()
			r.Outcome = HoldExists
			return r, nil
		}
		if t.h.state == Released {
			return t.holdReceipt(HoldReleased), nil
		}
		return t.holdReceipt(HoldExists), nil
	}
	c := &t.m.config
	switch open, all := t.m.due.count-t.m.lent.open, t.m.holds.count-t.m.lent.all; {
	case t.a.open >= uint64(c.AccountHolds):
		return Receipt{}, fmt.Errorf("%w: account %q has %d open holds, ledger.Config.AccountHolds is %d", ErrFull, t.a.id, t.a.open, c.AccountHolds)
	case open >= c.Holds || all >= 2*c.Holds:
		return Receipt{}, fmt.Errorf("%w: %d open holds and %d in all, ledger.Config.Holds is %d", ErrFull, open, all, c.Holds)
	}
	t.h = hold{
		id: a.Key, account: a.Account, order: a.Order, attributes: a.Attributes, onExpire: a.OnExpire, late: a.Late,
		deadline: t.elapsed + int64(a.TTL), created: t.now,
	}
	t.holdNew = true
	parts, had, short := t.burn(a.Amount, &charge{order: a.Order, attributes: a.Attributes})
	if t.a.blocked || (short > 0 && !a.Partial) || len(parts) == 0 {
		return a.refuse(t, had), nil
	}
	t.h.authorized = a.Amount - short
	for _, p := range parts {
		t.h.take(p).held += p.Amount
	}
	t.a.open++
	t.postHold(Event{Movement: Authorizing, Key: a.Key, Memo: a.Memo, Postings: t.taking(parts, Held)})
	r := t.holdReceipt(Done)
	r.Amount, r.Parts, r.Had = a.Amount-short, parts, had
	return r, nil
}

// refuse remembers that there is nothing to capture.
func (a *Authorize) refuse(t *tx, had [KindCount]Credits) Receipt {
	t.h.state = Refused
	t.postHold(Event{Movement: Refusing, Key: a.Key, Memo: a.Memo})
	outcome := t.a.shortOf()
	if t.a.blocked {
		outcome = Blocked
	}
	r := t.holdReceipt(outcome)
	r.Had = had
	return r
}

// hold reads a hold that is not forgotten.
func (m *Machine) hold(id string) (h hold, slot uint32, ok bool) {
	if slot, ok = m.holds.find(id); !ok {
		return hold{}, 0, false
	}
	m.in = reader(m.holds.at(slot))
	if h.wire(&m.in); m.in.end() != nil {
		panic("ledger: a hold's own record: " + m.in.err.Error())
	}
	return h, slot, h.state == Open || !forgotten(h.ended, m.work.hour())
}

// find loads a hold that is not forgotten.
func (t *tx) find(id string) (ok bool) {
	t.h, t.holdSlot, ok = t.m.hold(id)
	return ok
}

// holder finds the account of a hold. One that is not there is too old, if it carries a time that says so, or has not come yet.
func (m *Machine) holder(id string) (account string, err error) {
	if h, _, ok := m.hold(id); ok {
		return h.account, nil
	}
	if err := checkAge(id, m.work.now); err != nil {
		return "", err
	}
	return "", fmt.Errorf("%w: %q", ErrNoHold, id)
}

// Extend adds to an open hold, or to its time, or both.
type Extend struct {
	Key, Hold string
	Amount    Credits
	TTL       time.Duration // from now; one that would end earlier leaves the hold's time as it is
	Memo      string
}

func (x *Extend) op() op                           { return opExtend }
func (x *Extend) key() string                      { return x.Key }
func (x *Extend) payer(m *Machine) (string, error) { return m.holder(x.Hold) }

func (x *Extend) wire(c *coder) {
	c.text(&x.Key, KeyMax)
	c.text(&x.Hold, KeyMax)
	c.credits(&x.Amount)
	c.duration(&x.TTL)
	c.text(&x.Memo, MemoMax)
}

func (x *Extend) check() error {
	if x.Amount == 0 && x.TTL == 0 {
		return fmt.Errorf("%w: an extension by nothing", ErrInvalid)
	}
	return cmp.Or(checkKey(x.Key), checkText("hold", x.Hold, 1, KeyMax), checkAmount("amount", x.Amount, 0), checkTTL(x.TTL, 0),
		checkText("memo", x.Memo, 0, MemoMax))
}

func (x *Extend) run(t *tx) (Receipt, error) {
	t.find(x.Hold)
	h := &t.h
	if outcome := h.closed(); outcome != Done {
		return t.holdReceipt(outcome), nil
	}
	c := h.charge(Cap)
	parts, had, short := t.burn(x.Amount, &c)
	if t.a.blocked || short > 0 {
		outcome := t.a.shortOf()
		if t.a.blocked {
			outcome = Blocked
		}
		r := t.holdReceipt(outcome)
		r.Had = had
		return r, nil
	}
	for _, p := range parts {
		h.take(p).held += p.Amount
	}
	h.authorized += x.Amount
	if x.TTL > 0 {
		h.deadline = max(h.deadline, t.elapsed+int64(x.TTL))
	}
	t.postHold(Event{Movement: Extending, Key: x.Key, Memo: x.Memo, Postings: t.taking(parts, Held)})
	r := t.holdReceipt(Done)
	r.Amount, r.Parts, r.Had = x.Amount, parts, had
	return r, nil
}

// closed is what a command that needs an open hold answers for one that is not; Done for one that is.
func (h *hold) closed() Outcome {
	return [holdStateCount]Outcome{Done, AlreadyCaptured, HoldReleased, HoldExpired, HoldRefused}[h.state]
}
