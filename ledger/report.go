package ledger

import (
	"cmp"
	"fmt"
	"math"
)

// Report tells what a home has spent of an allowance. It says all of it, from the first item the ledger does not have yet: so it
// does not matter which reports are lost, come twice or in another order. Repeating one changes nothing.
//
// One that comes when the allowance has lapsed is charged as far as there is credit, and the rest is forgiven (Receipt.Late). What
// is left comes back with Final, which is the home's word that it spends no more, or when its time is over.
type Report struct {
	Allowance   uint64
	Home        string  // to whom it was lent
	Incarnation uint64  // not before that to which it was lent: a home that was restarted may report what it finds in its log
	First       uint64  // items of the allowance before those below; what the ledger has of them already it passes over
	Items       []Item  // in the order spent
	Spent       Credits // the sum of all items so far
	Final       bool    // nothing comes after these
}

// Item is one draw from an allowance. An id that was debited already is not charged again: it is credited back.
type Item struct {
	ID     string
	Amount Credits // below 0: that much of an earlier draw, which was not Keyed, was undone
	Memo   string
	Keyed  bool // the id is an idempotency key: it is remembered as one is, and can be returned and refunded as a debit
}

func (i *Item) wire(c *coder) {
	c.text(&i.ID, KeyMax)
	c.credits(&i.Amount)
	c.text(&i.Memo, MemoMax)
	c.flag(&i.Keyed)
}

// Settled is an item as it was booked.
type Settled struct {
	ID              string
	Amount, Charged Credits // less is charged of what was debited already, or came when there was no credit any more
	Memo            string
}

func (s *Settled) wire(c *coder) {
	c.text(&s.ID, KeyMax)
	c.credits(&s.Amount)
	c.credits(&s.Charged)
	c.text(&s.Memo, MemoMax)
}

const itemBytes = 24 // of an item in an event, without its texts

func (r *Report) op() op { return opReport }

func (r *Report) wire(c *coder) {
	c.uint(&r.Allowance)
	c.text(&r.Home, HomeMax)
	c.uint(&r.Incarnation)
	c.uint(&r.First)
	list(c, &r.Items, ItemsMax, (*Item).wire)
	c.credits(&r.Spent)
	c.flag(&r.Final)
}

func (r *Report) check() error {
	keyed, bytes := map[string]bool{}, 0
	for i := range r.Items {
		it := &r.Items[i]
		bytes += itemBytes + len(it.ID) + len(it.Memo)
		switch {
		case it.Amount == 0 || it.Amount > CreditsMax || it.Amount < -CreditsMax:
			return fmt.Errorf("%w: item %q of %s", ErrInvalid, it.ID, it.Amount)
		case it.Keyed && (keyed[it.ID] || it.Amount < 0):
			return fmt.Errorf("%w: item %q is keyed, and twice or below zero", ErrInvalid, it.ID)
		}
		if err := cmp.Or(checkText("item", it.ID, 1, KeyMax), checkText("memo", it.Memo, 0, MemoMax)); err != nil {
			return err
		}
		if it.Keyed {
			keyed[it.ID] = true
		}
	}
	if len(r.Items) > ItemsMax || bytes > ItemBytesMax {
		return fmt.Errorf("%w: %d items of %d bytes, at most %d and %d", ErrInvalid, len(r.Items), bytes, ItemsMax, ItemBytesMax)
	}
	if r.First > math.MaxInt64 {
		return fmt.Errorf("%w: first item %d", ErrInvalid, r.First)
	}
	return cmp.Or(checkText("home", r.Home, 1, HomeMax), checkAmount("spent", r.Spent, 0))
}

func (r *Report) payer(m *Machine) (string, error) {
	h, _, ok := m.hold(lentID(r.Allowance))
	switch {
	case !ok && (r.Allowance > m.work.seq || r.Allowance == 0):
		return "", fmt.Errorf("%w: %d", ErrNoAllowance, r.Allowance)
	case !ok:
		return "", nil
	case h.loan.home != r.Home || r.Incarnation < h.loan.incarnation:
		return "", fmt.Errorf("%w: allowance %d is of home %q, incarnation %d", ErrConflict, r.Allowance, h.loan.home, h.loan.incarnation)
	}
	return h.account, nil
}

func (r *Report) run(t *tx) (Receipt, error) {
	if !t.loaded || !t.find(lentID(r.Allowance)) {
		receipt := t.refusal(AllowanceClosed)
		receipt.Allowance = r.Allowance
		return receipt, nil
	}
	n := t.h.loan
	if r.First > n.items {
		return t.lentReceipt(ItemsMissing), nil
	}
	items := r.Items[min(n.items-r.First, uint64(len(r.Items))):]
	if err := r.adds(n, t.h.authorized, items); err != nil {
		return Receipt{}, err
	}
	late := t.h.state != Open
	s := settlement{tx: t, items: items, e: Event{Movement: Settling, Late: late}}
	keys := t.m.keys.count
	for _, it := range items {
		s.e.Items = append(s.e.Items, Settled{ID: it.ID, Amount: it.Amount, Memo: it.Memo})
		if it.Keyed {
			keys++
		}
	}
	if most := t.m.config.Keys; keys > max(most, t.m.keys.count) {
		return Receipt{}, fmt.Errorf("%w: %d keys with those of the report, ledger.Config.Keys is %d", ErrFull, keys, most)
	}
	if late {
		s.late()
	} else if err := s.spend(); err != nil {
		return Receipt{}, err
	}
	if s.charged != 0 {
		s.e.Postings = append(s.e.Postings, Posting{Book: Spent, Amount: s.charged})
	}
	var expired Credits
	if r.Final {
		expired = t.end(&s.e, Captured)
	}
	if len(items) > 0 || r.Final {
		t.postHold(s.e)
		s.remember()
	}
	receipt := t.lentReceipt(Done)
	receipt.Amount, receipt.Credited, receipt.Forgiven, receipt.Expired, receipt.Late = s.charged, s.credited, s.e.Forgiven, expired, late
	return receipt, nil
}

// adds notes the items, if they make up what the report says and fit into what was lent at every moment.
func (r *Report) adds(n *loan, lent Credits, items []Item) error {
	spent, loose := n.spent, n.loose
	for i := range items {
		it := &items[i]
		if !it.Keyed {
			loose += it.Amount
		}
		if spent += it.Amount; loose < 0 || spent > lent {
			return fmt.Errorf("%w: with item %q, %s of %s is spent, %s of it without a key", ErrInvalid, it.ID, spent, lent, loose)
		}
	}
	if r.First+uint64(len(r.Items)) >= n.items && spent != r.Spent {
		return fmt.Errorf("%w: the items make up %s, the report says %s", ErrInvalid, spent, r.Spent)
	}
	n.spent, n.loose, n.items = spent, loose, n.items+uint64(len(items))
	return nil
}
