package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Lend asks for an allowance: credit that a home may spend in memory. It takes from the grants as a debit would, but never from
// the overdraft. How much it gets is the ledger's to say (Config.Share, Chunk); an account that has little is UseDirect.
//
// An allowance is at most one for each home, incarnation and nonce: a repeat gets the same one, for the time that it still has. A
// request that was overtaken by a later nonce or incarnation of its home is Superseded. Escrow after O'Neil, "The Escrow
// Transactional Method", TODS 1986; leases of it after Balegas et al., "Bounded Counters", SRDS 2015.
type Lend struct {
	Account     string
	Home        string // its name
	Incarnation uint64 // of the home, greater with each start
	Nonce       uint64 // greater with each request of the incarnation for the account
	Want        Credits
	TTL         time.Duration // that the home may spend for, counted from when it asked; a grant that expires sooner cuts it. 1 s to LendTTLMax
	Order       []Kind        // as of a Debit; Overdraft is passed over
	Attributes  []Label       // as of a Debit: what the allowance pays for must have them
}

const (
	slicesMax    = 64          // grants that an allowance is made of
	borrowersMax = 16          // homes that an account remembers; beyond, it forgets the one that it lent to longest ago
	lendTTLMin   = time.Second // an allowance that would be shorter is not worth its way
)

func (l *Lend) op() op                           { return opLend }
func (l *Lend) payer(_ *Machine) (string, error) { return l.Account, nil }

func (l *Lend) wire(c *coder) {
	c.text(&l.Account, AccountMax)
	c.text(&l.Home, HomeMax)
	c.uint(&l.Incarnation)
	c.uint(&l.Nonce)
	c.credits(&l.Want)
	c.duration(&l.TTL)
	list(c, &l.Order, KindCount, wireKind)
	list(c, &l.Attributes, LabelsMax, (*Label).wire)
}

func (l *Lend) check() error {
	if l.TTL < lendTTLMin || l.TTL > LendTTLMax {
		return fmt.Errorf("%w: ttl of %s is not between %s and %s", ErrInvalid, l.TTL, lendTTLMin, LendTTLMax)
	}
	return cmp.Or(checkAccount(l.Account), checkText("home", l.Home, 1, HomeMax), checkAmount("want", l.Want, 1), checkOrder(l.Order),
		checkLabels("attributes", l.Attributes, LabelsMax))
}

func (l *Lend) run(t *tx) (Receipt, error) {
	if b := t.a.borrower(l.Home); b != nil {
		switch order := cmp.Or(cmp.Compare(l.Incarnation, b.incarnation), cmp.Compare(l.Nonce, b.nonce)); {
		case order < 0:
			return t.refusal(Superseded), nil
		case order == 0:
			return l.again(t, b.allowance), nil
		}
	}
	c := &t.m.config
	switch m := t.m; {
	case t.a.blocked:
		return t.refusal(Blocked), nil
	case t.a.lending >= uint64(c.AccountAllowances):
		return Receipt{}, fmt.Errorf("%w: account %q has %d open allowances, ledger.Config.AccountAllowances is %d", ErrFull, t.a.id,
			t.a.lending, c.AccountAllowances)
	case m.lent.open >= c.Allowances || m.lent.all >= 2*c.Allowances:
		return Receipt{}, fmt.Errorf("%w: %d open allowances and %d in all, ledger.Config.Allowances is %d", ErrFull, m.lent.open, m.lent.all,
			c.Allowances)
	}
	pays := charge{order: l.Order, attributes: l.Attributes}
	_, had, _ := t.burn(0, &pays)
	var available Credits
	for _, x := range had {
		available += x
	}
	if available == 0 {
		return t.refusal(t.a.shortOf()), nil
	}
	parts, _, _ := t.burn(min(l.Want, max(c.Chunk, portion(available, c.Share))), &pays)
	parts = parts[:min(len(parts), slicesMax)]
	ttl := t.ttl(parts, l.TTL)
	if available < c.Direct || ttl < lendTTLMin {
		return t.refusal(UseDirect), nil
	}
	r := l.lend(t, parts, ttl)
	r.Had = had
	return r, nil
}

// portion is a percentage of an amount, however large.
func portion(of Credits, percent int) Credits {
	return of/100*Credits(percent) + of%100*Credits(percent)/100
}

// refusal is the receipt of what changed nothing.
func (t *tx) refusal(o Outcome) Receipt {
	r := t.receipt()
	r.Outcome = o
	return r
}

// ttl is how long what is made of these parts may last: no longer than each of their grants.
func (t *tx) ttl(parts []Part, ttl time.Duration) time.Duration {
	for _, p := range parts {
		if g := t.a.grant(p.Grant); g.expires != never {
			ttl = min(ttl, time.Duration(g.expires-t.now))
		}
	}
	return ttl
}

func (l *Lend) lend(t *tx, parts []Part, ttl time.Duration) Receipt {
	id := t.seq + 1 // of the event below
	t.h = hold{
		id: lentID(id), account: t.a.id, order: l.Order, attributes: l.Attributes, created: t.now,
		deadline: t.elapsed + int64(ttl+t.m.config.Grace), loan: &loan{id: id, home: l.Home, incarnation: l.Incarnation, grace: t.m.config.Grace},
	}
	t.holdNew = true
	for _, p := range parts {
		t.h.take(p).held += p.Amount
		t.h.authorized += p.Amount
	}
	t.a.lending++
	t.a.lentTo(borrower{l.Home, l.Incarnation, l.Nonce, id})
	t.postHold(Event{Movement: Lending, Postings: t.taking(parts, Lent)})
	r := t.lentReceipt(Done)
	r.Amount, r.Parts = t.h.authorized, parts
	return r
}

// again answers a repeated request. What its home may spend is for the time that is left, so that it does not matter from which of
// its requests the home counts.
func (l *Lend) again(t *tx, id uint64) Receipt {
	if !t.find(lentID(id)) || t.h.state != Open {
		r := t.refusal(AllowanceClosed)
		r.Allowance = id
		return r
	}
	r := t.lentReceipt(Done)
	r.Amount, r.Replayed = t.h.authorized, true
	for _, k := range t.h.takes {
		r.Parts = append(r.Parts, Part{k.kind, k.grant, k.held + k.spent + k.back})
	}
	return r
}

// lentReceipt is a receipt that tells how the allowance is now.
func (t *tx) lentReceipt(o Outcome) Receipt {
	r, h := t.receipt(), &t.h
	r.Outcome, r.Allowance, r.Items, r.State, r.Held, r.Captured, r.Refunded =
		o, h.loan.id, h.loan.items, h.state, h.held(), h.captured(), h.refunded()
	if h.state == Open {
		r.ExpiresIn = h.spendable(t.elapsed)
		r.Revoked = h.revoked(&t.a)
	}
	return r
}

// borrower is a home to which an account has lent, and the last request that it made.
type borrower struct {
	home                          string
	incarnation, nonce, allowance uint64
}

func (b *borrower) wire(c *coder) {
	c.text(&b.home, HomeMax)
	c.uint(&b.incarnation)
	c.uint(&b.nonce)
	c.uint(&b.allowance)
}

func (a *account) borrower(home string) *borrower {
	for i := range a.borrowers {
		if a.borrowers[i].home == home {
			return &a.borrowers[i]
		}
	}
	return nil
}

// lentTo remembers a request, last in the list. Should one that is forgotten come again, it gets another allowance, which its home
// does not take and which comes back when its time is over.
func (a *account) lentTo(b borrower) {
	a.borrowers = slices.DeleteFunc(a.borrowers, func(o borrower) bool { return o.home == b.home })
	if len(a.borrowers) == borrowersMax {
		a.borrowers = slices.Delete(a.borrowers, 0, 1)
	}
	a.borrowers = append(a.borrowers, b)
}
