package ledger

import (
	"fmt"
	"slices"
)

// settlement books the items of a report.
type settlement struct {
	*tx
	items             []Item
	e                 Event
	kept              []kept
	charged, credited Credits
}

// kept is an item that is to be remembered by its id, and what paid for it.
type kept struct {
	item  int
	parts []Part
}

// spend charges the items to what is lent, one after the other.
func (s *settlement) spend() error {
	h := &s.h
	before := slices.Clone(h.takes)
	for i := range s.items {
		it := &s.items[i]
		switch {
		case it.Amount < 0:
			for _, p := range h.undo(-it.Amount) {
				h.take(p).held += p.Amount
				s.book(i, -p.Amount)
			}
			if s.e.Items[i].Charged != it.Amount {
				return fmt.Errorf("%w: item %q undoes more than was charged", ErrInvalid, it.ID)
			}
		case s.debited(it.ID):
			h.credit(it.Amount)
			s.credited += it.Amount
		default:
			s.pay(i, h.draw(it.Amount))
		}
	}
	for i := range before {
		was, is := &before[i], &h.takes[i]
		if x := is.held - was.held; x != 0 {
			s.e.Postings = append(s.e.Postings, Posting{Lent, is.grant, x})
		}
		if x := is.back - was.back; x != 0 {
			s.e.Postings = append(s.e.Postings, Posting{s.a.grant(is.grant).rest(), is.grant, x})
		}
	}
	return nil
}

// late charges the items to the account, as far as it has credit, and gives back what they undo.
func (s *settlement) late() {
	h := &s.h
	var asked Credits
	known := make([]bool, len(s.items))
	for i := range s.items {
		if it := &s.items[i]; it.Amount > 0 {
			if known[i] = s.debited(it.ID); !known[i] {
				asked += it.Amount
			}
		}
	}
	c := h.charge(Cap)
	pool, _, short := s.burn(asked, &c)
	s.e.Forgiven = short
	before := slices.Clone(h.takes)
	for i := range s.items {
		it := &s.items[i]
		switch {
		case it.Amount < 0:
			for _, p := range h.undo(-it.Amount) {
				s.book(i, -p.Amount)
			}
		case known[i]:
			s.credited += it.Amount
		default:
			var dealt []Part
			dealt, pool = deal(pool, it.Amount)
			for _, p := range dealt {
				h.take(p).spent += p.Amount
			}
			s.pay(i, dealt)
		}
	}
	for i := range h.takes {
		k := h.takes[i]
		x := k.spent
		if i < len(before) {
			x -= before[i].spent
		}
		if p := (Part{k.kind, k.grant, x}); x > 0 {
			s.e.Postings = append(s.e.Postings, source(p, x))
		} else if p.Amount = -x; x < 0 {
			s.a.giveBack(&s.e, []Part{p})
		}
	}
}

// pay notes what paid for an item.
func (s *settlement) pay(i int, parts []Part) {
	for _, p := range parts {
		s.book(i, p.Amount)
		if s.items[i].Keyed {
			s.h.take(p).keyed += p.Amount
		}
	}
	if s.items[i].Keyed {
		s.kept = append(s.kept, kept{i, parts})
	}
}

// book notes an amount that was charged for an item.
func (s *settlement) book(i int, amount Credits) {
	s.e.Items[i].Charged += amount
	s.charged += amount
}

// debited tells whether an id was charged before, came before as an item, or was barred from being charged.
func (s *settlement) debited(id string) bool {
	r, known := s.m.keys.find(id, s.m.work.hour())
	if !known || r.op != opDebit || r.account != s.a.id {
		return false
	}
	if r.intent == (digest{}) {
		return true
	}
	first := r.receipt()
	return first.Amount > 0 || first.Outcome == Returned
}

// remember stages the records of the items that are idempotency keys: each is as a debit that was done.
func (s *settlement) remember() {
	for _, k := range s.kept {
		at := &s.e.Items[k.item]
		old, known := s.m.keys.find(at.ID, s.m.work.hour())
		if known && (old.op != opDebit || old.account != s.a.id) {
			continue // it is the key of something else, which stays
		}
		r := s.receipt()
		r.Amount, r.Forgiven, r.Parts = at.Charged, at.Amount-at.Charged, k.parts
		s.keys = append(s.keys, record{
			key: at.ID, op: opDebit, account: s.a.id, attempts: 1, reply: s.m.answer(wireNewest, &r), at: old.at, found: known,
		})
	}
}

// ofItem tells whether the record is of an item that a home reported, which answers a debit of the account with that key: what
// the home would have asked of the ledger, instead of spending, is not known.
func (r *record) ofItem(in intent) bool {
	d, ok := in.(*Debit)
	return ok && r.intent == (digest{}) && d.Account == r.account
}

// undo takes an amount off what was charged for items that were not keyed, last taken first, as far as there is that much.
func (h *hold) undo(amount Credits) (parts []Part) {
	for i := len(h.takes) - 1; i >= 0 && amount > 0; i-- {
		k := &h.takes[i]
		if x := min(k.spent-k.keyed, amount); x > 0 {
			k.spent, amount = k.spent-x, amount-x
			parts = append(parts, Part{k.kind, k.grant, x})
		}
	}
	return parts
}

// credit gives back an amount of what is lent, without a charge.
func (h *hold) credit(amount Credits) {
	for i := range h.takes {
		k := &h.takes[i]
		x := min(k.held, amount)
		k.held, k.back, amount = k.held-x, k.back+x, amount-x
	}
}

// deal takes the parts of an amount off the front of a pool.
func deal(pool []Part, amount Credits) (parts, rest []Part) {
	for len(pool) > 0 && amount > 0 {
		p := pool[0]
		p.Amount = min(p.Amount, amount)
		amount -= p.Amount
		parts = append(parts, p)
		if pool[0].Amount -= p.Amount; pool[0].Amount == 0 {
			pool = pool[1:]
		}
	}
	return parts, pool
}
