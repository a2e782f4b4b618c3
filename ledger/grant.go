package ledger

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Grant gives an account a dated amount. A paid grant first repays what the account owes on its overdraft, at
// the moment it becomes effective. A recurring one is made anew each period; those repay nothing.
type Grant struct {
	Key, Account string
	Grant        string // id, unique in the account; empty means Key
	Kind         Kind   // not Overdraft
	Amount       Credits
	Priority     uint8     // lower burns first, inside the kind
	Effective    time.Time // zero: at once
	Expires      time.Time // zero: never; of a recurring grant: when the last period ends
	AppliesTo    []Label   // conditions on a debit's attributes, all of which must hold; none: it pays for everything
	Every        Every
	Zone         string  // IANA name for the periods' days; empty: UTC
	Rollover     Credits // of what a period leaves, the most that the next one gets on top
}

const never = math.MaxInt64

// grant is the state of a grant. Times are nanoseconds of log time.
type grant struct {
	id                       string
	kind                     Kind
	priority                 uint8
	effective, expires       int64  // 0 and never if not limited
	created                  uint64 // account seq of its event
	amount, available, held  Credits
	lent                     Credits
	arrived, expired, voided bool  // arrived: it was effective when last looked at, and repaid what was owed then
	emptied                  int64 // the hour in which it last became empty; it is forgotten with that hour's keys
	appliesTo                []Label
}

func (g *grant) wire(c *coder) {
	c.text(&g.id, GrantMax)
	c.word((*uint8)(&g.kind), uint8(Overdraft))
	c.byte(&g.priority)
	c.int(&g.effective)
	c.instant(&g.expires)
	c.uint(&g.created)
	c.credits(&g.amount)
	c.credits(&g.available)
	c.credits(&g.held)
	c.flag(&g.arrived)
	c.flag(&g.expired)
	c.flag(&g.voided)
	c.int(&g.emptied)
	list(c, &g.appliesTo, AppliesToMax, (*Label).wire)
	if c.since(snapshotThird) {
		c.credits(&g.lent)
	}
}

func (g *grant) burnable(now int64) bool { return g.available > 0 && g.effective <= now }

func (g *grant) empty() bool { return g.available == 0 && g.held == 0 && g.lent == 0 }

// ended tells that nothing can become available in it any more.
func (g *grant) ended() bool { return g.expired || g.voided }

// applies tells whether the grant pays for what has these attributes.
func (g *grant) applies(attributes []Label) bool {
	for _, l := range g.appliesTo {
		if !slices.Contains(attributes, l) {
			return false
		}
	}
	return true
}

// burnOrder is total, because created is unique or, for grants of one event, the kind is.
func burnOrder(a, b grant) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.priority, b.priority), cmp.Compare(a.expires, b.expires),
		cmp.Compare(a.effective, b.effective), cmp.Compare(a.created, b.created))
}

func (g *grant) view() GrantState {
	return GrantState{
		ID: g.id, Kind: g.kind, Priority: g.priority, Amount: g.amount, Available: g.available, Held: g.held, Lent: g.lent,
		Effective: fromNanos(g.effective, 0), Expires: fromNanos(g.expires, never), Expired: g.expired, Voided: g.voided,
		AppliesTo: g.appliesTo,
	}
}

func (g *grant) terms() Terms {
	return Terms{
		ID: g.id, Kind: g.kind, Priority: g.priority, Amount: g.amount, AppliesTo: g.appliesTo,
		Effective: fromNanos(g.effective, 0), Expires: fromNanos(g.expires, never),
	}
}

// add puts a grant into its place in the burn order.
func (a *account) add(n grant) {
	i, _ := slices.BinarySearchFunc(a.grants, n, burnOrder)
	a.grants = slices.Insert(a.grants, i, n)
}

func (g *Grant) op() op                           { return opGrant }
func (g *Grant) key() string                      { return g.Key }
func (g *Grant) payer(_ *Machine) (string, error) { return g.Account, nil }

func (g *Grant) wire(c *coder) {
	c.text(&g.Key, KeyMax)
	c.text(&g.Account, AccountMax)
	c.text(&g.Grant, KeyMax)
	c.word((*uint8)(&g.Kind), uint8(kindCount))
	c.credits(&g.Amount)
	c.byte(&g.Priority)
	c.time(&g.Effective)
	c.time(&g.Expires)
	if c.format < 2 {
		return
	}
	list(c, &g.AppliesTo, AppliesToMax, (*Label).wire)
	c.word((*uint8)(&g.Every), uint8(everyCount))
	c.text(&g.Zone, LabelNameMax)
	c.credits(&g.Rollover)
}

func (g *Grant) check() error {
	if g.Kind >= Overdraft {
		return fmt.Errorf("%w: a grant cannot be of kind %s", ErrInvalid, g.Kind)
	}
	if !g.Effective.IsZero() && !g.Expires.IsZero() && !g.Effective.Before(g.Expires) {
		return fmt.Errorf("%w: grant expires before it is effective", ErrInvalid)
	}
	if g.Every == Once && (g.Zone != "" || g.Rollover != 0) {
		return fmt.Errorf("%w: zone and rollover are for recurring grants", ErrInvalid)
	}
	_, err := zoneOf(g.Zone)
	return cmp.Or(checkKey(g.Key), checkAccount(g.Account), checkText("grant", g.Grant, 0, KeyMax), checkAmount("amount", g.Amount, 1),
		checkTime("effective", g.Effective), checkTime("expires", g.Expires), checkLabels("applies_to", g.AppliesTo, AppliesToMax),
		checkWord("recurrence", uint8(g.Every), uint8(everyCount)), checkAmount("rollover", g.Rollover, 0), err)
}

func (g *Grant) run(t *tx) (Receipt, error) {
	id := cmp.Or(g.Grant, g.Key)
	if err := t.admits(id, g.Amount, toNanos(g.Expires, never)); err != nil {
		return Receipt{}, err
	}
	if g.Every != Once {
		return t.recur(g, id)
	}
	n := grant{
		id: id, kind: g.Kind, priority: g.Priority, amount: g.Amount, appliesTo: g.AppliesTo,
		effective: toNanos(g.Effective, 0), expires: toNanos(g.Expires, never),
	}
	t.issue(n, Event{Key: g.Key})
	t.settle()
	r := t.receipt()
	r.Amount, r.Parts = n.amount, []Part{{n.kind, n.id, n.amount}}
	return r, nil
}

// issue makes a grant out of nothing.
func (t *tx) issue(n grant, e Event) {
	n.created = t.a.seq + 1
	t.a.add(n)
	e.Movement, e.Grant, e.Made = cmp.Or(e.Movement, Granting), n.id, []Terms{n.terms()}
	e.Postings = []Posting{{Book: Issued, Amount: -n.amount}, {Available, n.id, n.amount}}
	t.post(e)
}

// admits tells why the account cannot take another grant, if so.
func (t *tx) admits(id string, amount Credits, expires int64) error {
	a, c := &t.a, &t.m.config
	live := len(a.series)
	for i := range a.grants {
		if !a.grants[i].empty() {
			live++
		}
	}
	switch {
	case expires <= t.now:
		return fmt.Errorf("%w: grant %q has expired already", ErrInvalid, id)
	case a.grant(id) != nil || a.recurs(id):
		return fmt.Errorf("%w: account %q has a grant %q", ErrConflict, a.id, id)
	case live >= c.Grants || len(a.grants) >= 4*c.Grants:
		return fmt.Errorf("%w: account %q has %d grants, ledger.Config.Grants is %d", ErrFull, a.id, len(a.grants), c.Grants)
	case amount-a.books[Issued] > issuedMax:
		return fmt.Errorf("%w: account %q would have been granted more than %s in its life", ErrFull, a.id, issuedMax)
	}
	return nil
}

// VoidGrant takes back what is left of a grant; what was spent of it stays so, and what is held or lent of it goes
// on being so and is voided when it comes back. Of a recurring grant it voids the present period and ends the recurrence.
type VoidGrant struct{ Key, Account, Grant, Memo string }

func (v *VoidGrant) op() op                           { return opVoid }
func (v *VoidGrant) key() string                      { return v.Key }
func (v *VoidGrant) payer(_ *Machine) (string, error) { return v.Account, nil }

func (v *VoidGrant) wire(c *coder) {
	c.text(&v.Key, KeyMax)
	c.text(&v.Account, AccountMax)
	c.text(&v.Grant, GrantMax)
	c.text(&v.Memo, MemoMax)
}

func (v *VoidGrant) check() error {
	return cmp.Or(checkKey(v.Key), checkAccount(v.Account), checkText("grant", v.Grant, 1, GrantMax), checkText("memo", v.Memo, 0, MemoMax))
}

func (v *VoidGrant) run(t *tx) (Receipt, error) {
	a, id := &t.a, v.Grant
	e := Event{Movement: Voiding, Key: v.Key, Memo: v.Memo, Grant: v.Grant}
	ends := slices.IndexFunc(a.series, func(s series) bool { return s.id == id })
	if ends >= 0 {
		id = a.series[ends].current
		a.series = slices.Delete(a.series, ends, ends+1)
	}
	g := a.grant(id)
	if g == nil && ends < 0 {
		return Receipt{}, fmt.Errorf("%w: account %q, grant %q", ErrNoGrant, a.id, v.Grant)
	}
	var parts []Part
	if g != nil && !g.ended() {
		g.voided = true
		if x := g.available; x > 0 {
			parts = []Part{{g.kind, g.id, x}}
			e.Postings = []Posting{{Available, g.id, -x}, {Voided, g.id, x}}
		}
		if g.empty() {
			g.emptied = hourOf(t.now) // what it paid can come back as long as its charge is remembered
		}
	}
	t.post(e)
	r := t.receipt()
	for _, p := range parts {
		r.Amount += p.Amount
	}
	r.Parts = parts
	return r, nil
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
