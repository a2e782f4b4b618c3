package ledger

import (
	"errors"
	"fmt"
	"math"
)

// account is the state of an account. It is kept encoded: whoever needs it reads it into one of these, and whoever
// changed it writes a new record. Only tx.post changes its money.
type account struct {
	id, plan            string
	labels              []Label
	useCredits, blocked bool
	overdraft           Credits
	books               [bookCount]Credits
	forgiven            Credits // charged to nobody: see Event.Forgiven
	writtenOff          Credits
	seq                 uint64 // of its last event, counted in the account
	last                uint64 // of its last event, in the journal; 0 if that is from before the journal
	open                uint64 // holds
	lending             uint64 // open allowances
	borrowers           []borrower
	grants              []grant
	series              []series
}

func (a *account) wire(c *coder) {
	c.text(&a.id, AccountMax)
	c.text(&a.plan, PlanMax)
	list(c, &a.labels, LabelsMax, (*Label).wire)
	c.flag(&a.useCredits)
	c.flag(&a.blocked)
	c.credits(&a.overdraft)
	for i := range a.books {
		if Book(i) < Lent || c.since(snapshotThird) {
			c.credits(&a.books[i])
		}
	}
	c.credits(&a.forgiven)
	c.credits(&a.writtenOff)
	c.uint(&a.seq)
	c.uint(&a.last)
	c.uint(&a.open)
	list(c, &a.grants, math.MaxInt32, (*grant).wire)
	list(c, &a.series, math.MaxInt32, (*series).wire)
	if c.since(snapshotThird) {
		c.uint(&a.lending)
		list(c, &a.borrowers, borrowersMax, (*borrower).wire)
	}
}

// grant returns a grant until the next change of a.grants, or nil.
func (a *account) grant(id string) *grant {
	for i := range a.grants {
		if a.grants[i].id == id {
			return &a.grants[i]
		}
	}
	return nil
}

// move books a posting on its book and its grant.
func (a *account) move(p Posting, now int64) error {
	a.books[p.Book] += p.Amount
	if !p.Book.ofGrant() {
		return nil
	}
	g := a.grant(p.Grant)
	if g == nil {
		return fmt.Errorf("grant %q is gone", p.Grant)
	}
	switch p.Book {
	case Available:
		g.available += p.Amount
	case Held:
		g.held += p.Amount
	default:
		g.lent += p.Amount
	}
	if g.empty() {
		g.emptied = hourOf(now)
	}
	return nil
}

// byKind sums what can be spent now.
func (a *account) byKind(now int64) (sums [KindCount]Credits, balance Credits) {
	for i := range a.grants {
		if g := &a.grants[i]; g.burnable(now) {
			sums[g.kind] += g.available
			balance += g.available
		}
	}
	sums[Overdraft] = a.books[Overdrawn]
	return sums, balance + sums[Overdraft]
}

// audit checks conservation, in the books and over the grants: what was granted, and what is owed, is available, held,
// lent, spent, expired or voided.
func (a *account) audit() error {
	var sum, available, held, lent Credits
	for _, b := range a.books {
		if b < -bookMax || b > bookMax {
			return errors.New("a book is out of range")
		}
		sum += b
	}
	for i := range a.grants {
		g := &a.grants[i]
		if min(g.available, g.held, g.lent) < 0 || g.available+g.held+g.lent > g.amount || (g.ended() && g.available != 0) {
			return fmt.Errorf("grant %q of %s has %s available, %s held, %s lent", g.id, g.amount, g.available, g.held, g.lent)
		}
		available += g.available
		held += g.held
		lent += g.lent
	}
	b := &a.books
	switch {
	case sum != 0:
		return fmt.Errorf("the books sum to %s", sum)
	case available != b[Available]:
		return fmt.Errorf("grants have %s available, the book %s", available, b[Available])
	case held != b[Held]:
		return fmt.Errorf("grants have %s held, the book %s", held, b[Held])
	case lent != b[Lent]:
		return fmt.Errorf("grants have %s lent, the book %s", lent, b[Lent])
	case b[Issued] > 0 || b[Spent] < 0 || b[Expired] < 0 || b[Voided] < 0 || b[Lent] < 0 || b[Overdrawn] < -a.overdraft:
		return fmt.Errorf("a book is on the wrong side: %v", b)
	}
	return nil
}

// view copies the account out, as it is at a time to which it was brought up.
func (a *account) view(at Stamp) Account {
	v := Account{
		ID: a.id, Plan: a.plan, Labels: a.labels, UseCredits: a.useCredits, Blocked: a.blocked, Overdraft: a.overdraft,
		Books: a.books, Forgiven: a.forgiven, WrittenOff: a.writtenOff, OpenHolds: a.open, OpenAllowances: a.lending, Seq: a.seq, Event: a.last, AsOf: at,
	}
	v.ByKind, v.Balance = a.byKind(at.Wall.UnixNano())
	for i := range a.grants {
		v.Grants = append(v.Grants, a.grants[i].view())
	}
	for i := range a.series {
		v.Recurring = append(v.Recurring, a.series[i].terms())
	}
	return v
}
