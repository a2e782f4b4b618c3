package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

const never = math.MaxInt64

// grant is the state of a Grant. Times are nanoseconds of log time.
type grant struct {
	id                 string
	kind               Kind
	priority           uint8
	effective, expires int64  // 0 and never if not limited
	created            uint64 // seq of its entry
	amount, available  Credits
	arrived            bool  // was effective when last looked at, and repaid what was owed then
	expired            bool  // and so available is 0
	emptied            int64 // the hour in which available became 0; it is forgotten with that hour's keys
}

func (g *grant) burnable(now int64) bool { return g.available > 0 && g.effective <= now }

// burnOrder is total, because created is unique.
func burnOrder(a, b grant) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.priority, b.priority), cmp.Compare(a.expires, b.expires),
		cmp.Compare(a.effective, b.effective), cmp.Compare(a.created, b.created))
}

// account is the state of an account. Only post changes its money.
type account struct {
	id, plan   string
	labels     []Label
	useCredits bool
	overdraft  Credits
	books      [bookCount]Credits
	grants     []grant // in burn order
	entries    []Entry // the newest, ending with seq; never written in place, so that copies may share them
	seq        uint64

	at    int    // its place in Machine.accounts
	epoch uint64 // a snapshot may hold it if this is older than the machine's
}

func (a *account) clone() *account {
	c := *a
	c.grants = slices.Clone(a.grants)
	return &c
}

func (a *account) grant(id string) *grant {
	for i := range a.grants {
		if a.grants[i].id == id {
			return &a.grants[i]
		}
	}
	return nil
}

// post books an entry: the one place where money moves. keep is how many entries must stay readable.
func (a *account) post(at Stamp, e Entry, keep int) {
	var sum Credits
	for _, p := range e.Postings {
		sum += p.Amount
		a.books[p.Book] += p.Amount
		if p.Book != Available {
			continue
		}
		g := a.grant(p.Grant)
		if g == nil {
			panic(fmt.Sprintf("ledger: account %q: %s names grant %q, which is gone", a.id, e.Movement, p.Grant))
		}
		if g.available += p.Amount; g.available == 0 {
			g.emptied = hourOf(at.Wall.UnixNano())
		}
	}
	if sum != 0 {
		panic(fmt.Sprintf("ledger: account %q: postings of %s %q sum to %s", a.id, e.Movement, e.Key, sum))
	}
	a.seq++
	e.Seq, e.Index, e.Term, e.Wall = a.seq, at.Index, at.Term, at.Wall
	if len(a.entries) >= 2*keep {
		a.entries = slices.Clone(a.entries[len(a.entries)-keep:])
	}
	a.entries = append(a.entries, e)
}

// settle books what time did since the last touch: grants that became effective repay what is owed, in the order
// in which they became so, then grants expire. The result is the same however rarely it is called.
func (a *account) settle(at Stamp, keep int) {
	now := at.Wall.UnixNano()
	for g := a.arrival(now); g != nil; g = a.arrival(now) {
		g.arrived = true
		if owed := -a.books[Overdrawn]; g.kind == Credit && owed > 0 {
			x := min(owed, g.available)
			a.post(at, Entry{Movement: Repaying, Postings: []Posting{{Available, g.id, -x}, {Book: Overdrawn, Amount: x}}}, keep)
		}
	}
	for i := range a.grants {
		g := &a.grants[i]
		if g.expired || g.expires > now {
			continue
		}
		g.expired = true
		if x := g.available; x > 0 {
			a.post(at, Entry{Movement: Expiring, Postings: []Posting{{Available, g.id, -x}, {Expired, g.id, x}}}, keep)
		}
	}
	a.grants = slices.DeleteFunc(a.grants, func(g grant) bool { return g.available == 0 && forgotten(g.emptied, hourOf(now)) })
}

// arrival returns the next grant to become effective that settle has not seen.
func (a *account) arrival(now int64) *grant {
	var next *grant
	for i := range a.grants {
		g := &a.grants[i]
		if g.arrived || g.effective > now {
			continue
		}
		if next == nil || cmp.Or(cmp.Compare(g.effective, next.effective), cmp.Compare(g.created, next.created)) < 0 {
			next = g
		}
	}
	return next
}

// burn says which parts a debit would take, or nil if they do not make up its amount. It changes nothing.
func (a *account) burn(amount Credits, order []Kind, now int64) []Part {
	var parts []Part
	take := func(kind Kind, grant string, available Credits) {
		if x := min(amount, available); x > 0 {
			parts = append(parts, Part{kind, grant, x})
			amount -= x
		}
	}
	for _, kind := range order {
		if kind >= Credit && !a.useCredits {
			continue
		}
		if kind == Overdraft {
			take(kind, "", a.overdraft+a.books[Overdrawn])
		}
		for i := range a.grants {
			if g := &a.grants[i]; g.kind == kind && g.burnable(now) {
				take(kind, g.id, g.available)
			}
		}
	}
	if amount > 0 {
		return nil
	}
	return parts
}

// source is the posting that takes x from where p came from.
func source(p Part, x Credits) Posting {
	if p.Kind == Overdraft {
		return Posting{Book: Overdrawn, Amount: -x}
	}
	return Posting{Available, p.Grant, -x}
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

// audit checks conservation: granted + owed = available + spent + expired, in the books and over the grants.
func (a *account) audit() error {
	var sum, available Credits
	for _, b := range a.books {
		if b < -bookMax || b > bookMax {
			return errors.New("a book is out of range")
		}
		sum += b
	}
	for i := range a.grants {
		g := &a.grants[i]
		if g.available < 0 || g.available > g.amount || (g.expired && g.available != 0) {
			return fmt.Errorf("grant %q of %s has %s available", g.id, g.amount, g.available)
		}
		available += g.available
	}
	b := &a.books
	switch {
	case sum != 0:
		return fmt.Errorf("the books sum to %s", sum)
	case available != b[Available]:
		return fmt.Errorf("grants have %s available, the book %s", available, b[Available])
	case b[Issued] > 0 || b[Spent] < 0 || b[Expired] < 0 || b[Overdrawn] < -a.overdraft:
		return fmt.Errorf("a book is on the wrong side: %v", b)
	}
	return nil
}

// view copies the account out.
func (a *account) view(at Stamp) Account {
	v := Account{
		ID: a.id, Plan: a.plan, Labels: a.labels, UseCredits: a.useCredits, Overdraft: a.overdraft,
		Seq: a.seq, AsOf: at,
	}
	v.ByKind, v.Balance = a.byKind(at.Wall.UnixNano())
	for _, g := range a.grants {
		s := GrantState{
			ID: g.id, Kind: g.kind, Priority: g.priority, Amount: g.amount, Available: g.available,
			Effective: fromNanos(g.effective, 0), Expires: fromNanos(g.expires, never), Expired: g.expired,
		}
		v.Grants = append(v.Grants, s)
	}
	return v
}

func toNanos(t time.Time, none int64) int64 {
	if t.IsZero() {
		return none
	}
	return t.UnixNano()
}

func fromNanos(n, none int64) time.Time {
	if n == none {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
