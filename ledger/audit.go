package ledger

import (
	"fmt"
	"maps"
	"slices"
)

// Audit rebuilds balances, holds and books from events alone, without the code that made them, and notes what does not
// fit: a gap, a broken sum or chain, a balance that is not what the postings lead to, a key that was done twice. It starts
// anywhere; what it cannot know of accounts from before is left out. It is for one goroutine.
type Audit struct {
	Events      uint64 // seen
	First, Last uint64 // seq of the first and last seen
	Chain       [32]byte
	Differences []string // at most 100; the rest is counted only
	Found       int      // differences in all

	accounts map[string]*audited
	holds    map[string]*auditedHold
	keys     map[string]int64 // the hour in which an event with that key happened, for as long as keys count
	hours    map[int64][]string
	oldest   int64
}

// audited is an account as its events tell.
type audited struct {
	whole      bool // seen from its opening
	books      [BookCount]Credits
	grants     map[string]*auditedGrant
	lent       Credits // what its open allowances have left
	attributes Attributes
	seq, last  uint64
	forgiven   Credits
	writtenOff Credits
}

type auditedGrant struct {
	kind            Kind
	effective       int64
	available, held Credits
	lent            Credits
}

type auditedHold struct {
	account string
	after   HoldChange
}

// NewAudit returns an audit that has seen nothing.
func NewAudit() *Audit {
	return &Audit{
		accounts: map[string]*audited{}, holds: map[string]*auditedHold{}, keys: map[string]int64{}, hours: map[int64][]string{},
	}
}

const differencesMax = 100

func (a *Audit) differ(what string) {
	if a.Found++; len(a.Differences) < differencesMax {
		a.Differences = append(a.Differences, what)
	}
}

// Whole tells whether the events were seen from the first one on, so that the chain can be compared.
func (a *Audit) Whole() bool { return a.First <= 1 }

// Add takes the next event.
func (a *Audit) Add(b []byte) {
	e, err := DecodeEvent(b)
	if err != nil {
		a.differ(fmt.Sprintf("after event %d: %v", a.Last, err))
		return
	}
	if a.Events == 0 {
		a.First = e.Seq
	} else if e.Seq != a.Last+1 {
		a.differ(fmt.Sprintf("event %d follows event %d", e.Seq, a.Last))
	}
	a.Events++
	a.Last, a.Chain = e.Seq, chainOf(a.Chain, b)
	if err := e.check(); err != nil {
		a.differ(fmt.Sprintf("event %d: %v", e.Seq, err))
	}
	a.once(&e)
	if e.Account != "" {
		a.book(&e)
	}
	if e.After != nil {
		a.hold(&e)
	}
	if e.Movement == Settling {
		a.settle(&e)
	}
}

// settle checks that what a report charged is what it charged for its items.
func (a *Audit) settle(e *Event) {
	var items, spent Credits
	for _, it := range e.Items {
		items += it.Charged
	}
	for _, p := range e.Postings {
		if p.Book == Spent {
			spent += p.Amount
		}
	}
	if items != spent {
		a.differ(fmt.Sprintf("event %d: %s is charged for items that make up %s", e.Seq, spent, items))
	}
}

// once notes a key that was done before, while that was remembered.
func (a *Audit) once(e *Event) {
	hour := hourOf(e.Wall.UnixNano())
	for ; a.oldest < hour && forgotten(a.oldest, hour); a.oldest++ {
		if len(a.hours) == 0 {
			a.oldest = hour
			break
		}
		for _, key := range a.hours[a.oldest] {
			if a.keys[key] == a.oldest {
				delete(a.keys, key)
			}
		}
		delete(a.hours, a.oldest)
	}
	if e.Key == "" {
		return
	}
	if _, twice := a.keys[e.Key]; twice {
		a.differ(fmt.Sprintf("event %d: key %q was done before", e.Seq, e.Key))
	}
	a.keys[e.Key] = hour
	a.hours[hour] = append(a.hours[hour], e.Key)
}

func (a *Audit) book(e *Event) {
	p := a.accounts[e.Account]
	switch {
	case p == nil:
		p = &audited{whole: e.Movement == Opening && e.AccountSeq == 1, grants: map[string]*auditedGrant{}}
		a.accounts[e.Account] = p
		if a.Whole() && !p.whole && e.Prev != 0 {
			a.differ(fmt.Sprintf("event %d: account %q begins with its event %d", e.Seq, e.Account, e.AccountSeq))
		}
	case e.AccountSeq != p.seq+1 || e.Prev != p.last:
		a.differ(fmt.Sprintf("event %d: number %d of account %q after %d, number %d", e.Seq, e.AccountSeq, e.Account, p.last, p.seq))
	}
	p.seq, p.last = e.AccountSeq, e.Seq
	p.forgiven += e.Forgiven
	p.writtenOff += e.WrittenOff
	if e.Attributes != nil {
		p.attributes = *e.Attributes
	}
	for _, t := range e.Made {
		if old := p.grants[t.ID]; old != nil && old.available+old.held+old.lent != 0 {
			a.differ(fmt.Sprintf("event %d: account %q: grant %q is made again", e.Seq, e.Account, t.ID))
		}
		if t.Every == Once {
			p.grants[t.ID] = &auditedGrant{kind: t.Kind, effective: toNanos(t.Effective, 0)}
		}
	}
	for _, posting := range e.Postings {
		p.books[posting.Book] += posting.Amount
		if posting.Book.ofGrant() {
			a.move(p, e, posting)
		}
	}
	if p.whole {
		a.floors(p, e)
	}
}

func (a *Audit) move(p *audited, e *Event, posting Posting) {
	g := p.grants[posting.Grant]
	if g == nil {
		if p.whole {
			a.differ(fmt.Sprintf("event %d: account %q: no event made grant %q", e.Seq, e.Account, posting.Grant))
		}
		return
	}
	switch posting.Book {
	case Available:
		g.available += posting.Amount
	case Held:
		g.held += posting.Amount
	default:
		g.lent += posting.Amount
	}
	if p.whole && min(g.available, g.held, g.lent) < 0 {
		a.differ(fmt.Sprintf("event %d: account %q: grant %q has %s available, %s held, %s lent", e.Seq, e.Account, posting.Grant, g.available,
			g.held, g.lent))
	}
}

// floors checks what may not be below zero, and the balance.
func (a *Audit) floors(p *audited, e *Event) {
	now := e.Wall.UnixNano()
	balance := p.books[Overdrawn]
	for _, g := range p.grants {
		if g.effective <= now {
			balance += g.available
		}
	}
	if balance != e.BalanceAfter {
		a.differ(fmt.Sprintf("event %d: account %q has a balance of %s, its postings lead to %s", e.Seq, e.Account, e.BalanceAfter, balance))
	}
	b := &p.books
	if b[Overdrawn] < -p.attributes.Overdraft || b[Issued] > 0 || min(b[Available], b[Spent], b[Expired], b[Held], b[Voided], b[Lent]) < 0 {
		a.differ(fmt.Sprintf("event %d: account %q: a book is on the wrong side: %v", e.Seq, e.Account, *b))
	}
}

func (a *Audit) hold(e *Event) {
	id, after := e.subject(), e.After
	h, known := a.holds[id]
	begins := e.Movement == Authorizing || e.Movement == Refusing || e.Movement == Lending || e.Account == "" // anew, when the one before is forgotten
	switch {
	case known && begins && (h.after.State == Open || e.Allowance != 0):
		a.differ(fmt.Sprintf("event %d: hold %q is open and begins again", e.Seq, id))
	case !known || begins:
		h = &auditedHold{account: e.Account}
		a.holds[id] = h
	case h.account != e.Account:
		a.differ(fmt.Sprintf("event %d: hold %q is of account %q, not %q", e.Seq, id, h.account, e.Account))
	case e.Allowance != 0: // what was charged of one may have been undone
	case after.Captured < h.after.Captured || after.Refunded < h.after.Refunded:
		a.differ(fmt.Sprintf("event %d: hold %q goes back", e.Seq, id))
	}
	room := after.Captured // for what came back: from a hold of what was captured, from an allowance of what was not
	if e.Allowance != 0 {
		room = after.Authorized
	}
	if min(after.Captured, after.Refunded) < 0 || after.Refunded > room || after.Captured > after.Authorized {
		a.differ(fmt.Sprintf("event %d: hold %q of %s has %s captured, %s refunded", e.Seq, id, after.Authorized, after.Captured, after.Refunded))
	}
	if p := a.accounts[e.Account]; e.Allowance != 0 && p != nil {
		if p.lent += after.left() - h.after.left(); p.whole && p.lent != p.books[Lent] {
			a.differ(fmt.Sprintf("event %d: account %q: allowances have %s left, %s is lent", e.Seq, e.Account, p.lent, p.books[Lent]))
		}
	}
	h.after = *after
}

// left is what an allowance has left.
func (h *HoldChange) left() Credits {
	if h.State != Open {
		return 0
	}
	return h.Authorized - h.Captured - h.Refunded
}

// Compare notes how a state differs from what the events up to its last lead to. The audit must have seen exactly those.
func (a *Audit) Compare(m *Machine) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if a.Events > 0 && a.Last != m.head.seq {
		a.differ(fmt.Sprintf("the state is of event %d, the audit of event %d", m.head.seq, a.Last))
		return
	}
	if a.Whole() && a.Chain != m.head.chain {
		a.differ(fmt.Sprintf("the chain of events is %x, in the state %x", a.Chain, m.head.chain))
	}
	m.accounts.each(func(record string) bool {
		var s account
		s.must(record)
		a.compareAccount(&s)
		return true
	})
	for _, id := range slices.Sorted(maps.Keys(a.accounts)) {
		if _, there := m.accounts.find(id); !there {
			a.differ(fmt.Sprintf("account %q is not in the state", id))
		}
	}
	a.compareHolds(m)
	for _, key := range slices.Sorted(maps.Keys(a.keys)) {
		if _, there := m.keys.find(key, m.head.hour()); !there && !forgotten(a.keys[key], m.head.hour()) {
			a.differ(fmt.Sprintf("key %q was done, the state does not remember it", key))
		}
	}
}

func (a *Audit) compareAccount(s *account) {
	p := a.accounts[s.id]
	if p == nil {
		if s.last >= max(a.First, 1) && a.Events > 0 {
			a.differ(fmt.Sprintf("account %q is in the state, its event %d is not there", s.id, s.last))
		}
		return
	}
	if p.seq != s.seq || p.last != s.last {
		a.differ(fmt.Sprintf("account %q: last event %d, number %d; in the state %d, number %d", s.id, p.last, p.seq, s.last, s.seq))
	}
	if !p.whole {
		return
	}
	if p.books != s.books || p.forgiven != s.forgiven || p.writtenOff != s.writtenOff {
		a.differ(fmt.Sprintf("account %q: books %v, forgiven %s, written off %s; in the state %v, %s, %s", s.id, p.books, p.forgiven, p.writtenOff,
			s.books, s.forgiven, s.writtenOff))
	}
	if t := s.attributes(); p.attributes.Plan != t.Plan || p.attributes.Overdraft != t.Overdraft || p.attributes.Blocked != t.Blocked ||
		p.attributes.UseCredits != t.UseCredits || !slices.Equal(p.attributes.Labels, t.Labels) {
		a.differ(fmt.Sprintf("account %q: %+v; in the state %+v", s.id, p.attributes, *t))
	}
	for id, g := range p.grants {
		var there grant
		if found := s.grant(id); found != nil {
			there = *found
		}
		if g.available != there.available || g.held != there.held || g.lent != there.lent {
			a.differ(fmt.Sprintf("account %q: grant %q has %s available, %s held, %s lent; in the state %s, %s, %s", s.id, id, g.available, g.held,
				g.lent, there.available, there.held, there.lent))
		}
	}
}

func (a *Audit) compareHolds(m *Machine) {
	seen := map[string]bool{}
	m.holds.each(func(record string) bool {
		var h hold
		c := reader(record)
		h.wire(&c)
		seen[h.id] = true
		known := a.holds[h.id]
		switch {
		case known == nil && a.Whole():
			a.differ(fmt.Sprintf("hold %q is in the state, no event made it", h.id))
		case known != nil && (known.account != h.account || known.after != *h.change()):
			a.differ(fmt.Sprintf("hold %q: %+v; in the state %+v", h.id, known.after, *h.change()))
		}
		return true
	})
	for _, id := range slices.Sorted(maps.Keys(a.holds)) {
		if h := a.holds[id]; h.after.State == Open && !seen[id] {
			a.differ(fmt.Sprintf("hold %q is open and not in the state", id))
		}
	}
}

// Balances returns the balance of each account that was seen from its opening, after its last event.
func (a *Audit) Balances() map[string]Credits {
	all := make(map[string]Credits, len(a.accounts))
	for id, p := range a.accounts {
		if p.whole {
			all[id] = p.books[Available] + p.books[Overdrawn]
		}
	}
	return all
}
