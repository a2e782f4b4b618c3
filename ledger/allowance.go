package ledger

import (
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// loan is what a hold has that is an allowance. Its takes are the slices: held is what is lent, spent what is charged.
type loan struct {
	id          uint64 // the seq of the event that lent it
	home        string
	incarnation uint64
	grace       time.Duration // how long before the deadline the home has to stop
	items       uint64        // of it that came
	spent       Credits       // their sum, credited ones too
	loose       Credits       // of spent: of items that are not keyed, and can be undone
}

func (l *loan) wire(c *coder) {
	c.uint(&l.id)
	c.text(&l.home, HomeMax)
	c.uint(&l.incarnation)
	c.duration(&l.grace)
	c.uint(&l.items)
	c.credits(&l.spent)
	c.credits(&l.loose)
}

// lentID is the id of an allowance in the table of holds. No text is like it, so no key and no command about holds can name it.
func lentID(id uint64) string { return "\xff" + strconv.FormatUint(id, 10) }

// named tells whether the id is one for what it names.
func (h *hold) named() bool {
	if h.loan != nil {
		return h.id == lentID(h.loan.id)
	}
	return len(h.id) <= KeyMax && utf8.ValidString(h.id)
}

// book is where what is held of it is booked.
func (h *hold) book() Book {
	if h.loan != nil {
		return Lent
	}
	return Held
}

// over tells that nothing about it can come any more: its home has reported the end.
func (h *hold) over() bool { return h.loan != nil && h.state == Captured }

// spendable is how long the home of an open allowance may still spend.
func (h *hold) spendable(elapsed int64) time.Duration {
	return max(time.Duration(h.deadline-elapsed)-h.loan.grace, 0)
}

// revoked tells whether the account would not lend now what it lent then. What is left stays lent until its home gives it back or
// its time is over: until it knows, the home may be spending it.
func (h *hold) revoked(a *account) bool {
	return a.blocked || slices.ContainsFunc(h.takes, func(k take) bool {
		return k.held > 0 && (k.kind >= Credit && !a.useCredits || a.grant(k.grant).rest() == Voided)
	})
}

// sound tells whether an allowance keeps its invariants: what is left, and what came of it, is what was lent.
func (l *loan) sound(h *hold) bool {
	held := h.held()
	for i := range h.takes {
		if k := &h.takes[i]; min(k.held, k.spent, k.back, k.keyed) < 0 || k.keyed > k.spent {
			return false
		}
	}
	if h.account == "" || l.loose < 0 || l.spent < l.loose || l.spent > h.authorized || h.captured() > l.spent {
		return false
	}
	return held == 0 && h.state != Open || held == h.authorized-l.spent && h.state == Open
}

// lent counts the allowances in the table of holds.
type lent struct{ open, all int }

// change counts how a hold is, after how it was.
func (n *lent) change(h, was *hold, added bool) {
	if h.loan == nil {
		return
	}
	if added {
		n.all++
	}
	if h.over() {
		n.all--
	}
	if h.state == Open {
		n.open++
	}
	if was.state == Open {
		n.open--
	}
}

// forget counts a hold that is gone.
func (n *lent) forget(h *hold) {
	if h.loan != nil {
		n.all--
	}
}

// Allowance is an open allowance as of a place in the log.
type Allowance struct {
	ID                    uint64
	Home                  string
	Incarnation           uint64
	Amount, Settled, Left Credits       // Left may be less than Amount without Settled: some was debited already and not charged again
	Items                 uint64        // that were reported
	ExpiresIn             time.Duration // until the home has to stop; it comes back Config.Grace later
	Revoked               bool
	Slices                []Part // of what grants it was made
	Created               time.Time
}

func (a *Allowance) wire(c *coder) {
	c.uint(&a.ID)
	c.text(&a.Home, HomeMax)
	c.uint(&a.Incarnation)
	c.credits(&a.Amount)
	c.credits(&a.Settled)
	c.credits(&a.Left)
	c.uint(&a.Items)
	c.duration(&a.ExpiresIn)
	c.flag(&a.Revoked)
	list(c, &a.Slices, math.MaxInt32, (*Part).wire)
	c.time(&a.Created)
}

func wireAllowances(all *[]Allowance, c *coder) {
	list(c, all, math.MaxInt32, (*Allowance).wire)
}

// allowances lists those of an account whose time is not over.
func (m *Machine) allowances(id string) ([]Allowance, error) {
	if err := checkAccount(id); err != nil {
		return nil, err
	}
	var records []string
	var record string
	m.mu.RLock()
	head := m.head
	slot, known := m.accounts.find(id)
	if known {
		record = m.accounts.at(slot)
		for _, hold := range m.due.all(slot, math.MaxInt64, nil) {
			at, _ := m.holds.find(hold)
			records = append(records, m.holds.at(at))
		}
	}
	m.mu.RUnlock()
	if !known {
		return nil, noAccount(id)
	}
	var a account
	a.must(record)
	var all []Allowance
	for _, record := range records {
		var h hold
		c := reader(record)
		h.wire(&c)
		if h.loan == nil || h.deadline <= int64(head.elapsed) {
			continue
		}
		v := Allowance{
			ID: h.loan.id, Home: h.loan.home, Incarnation: h.loan.incarnation, Amount: h.authorized, Settled: h.captured(), Left: h.held(),
			Items: h.loan.items, ExpiresIn: h.spendable(int64(head.elapsed)), Revoked: h.revoked(&a), Created: fromNanos(h.created, 0),
		}
		for _, k := range h.takes {
			v.Slices = append(v.Slices, Part{k.kind, k.grant, k.held + k.spent + k.back})
		}
		all = append(all, v)
	}
	return all, nil
}
