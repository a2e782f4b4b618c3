package ledger

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// errBroken is a snapshot that reads well but breaks an invariant of the state.
var errBroken = errors.New("holds a broken state")

func (a *account) wire(c *coder) {
	c.text(&a.id, AccountMax)
	c.text(&a.plan, PlanMax)
	wireLabels(c, &a.labels)
	c.flag(&a.useCredits)
	c.credits(&a.overdraft)
	for i := range a.books {
		c.credits(&a.books[i])
	}
	c.uint(&a.seq)
	n := c.count(len(a.grants), math.MaxInt32)
	for i := 0; i < n && c.err == nil; i++ {
		if c.reading {
			a.grants = append(a.grants, grant{})
		}
		a.grants[i].wire(c)
	}
	wireEntries(c, &a.entries)
}

func (g *grant) wire(c *coder) {
	c.text(&g.id, KeyMax)
	c.word((*uint8)(&g.kind), uint8(kindCount))
	c.byte(&g.priority)
	c.int(&g.effective)
	c.int(&g.expires)
	c.uint(&g.created)
	c.credits(&g.amount)
	c.credits(&g.available)
	c.flag(&g.arrived)
	c.flag(&g.expired)
	c.int(&g.emptied)
}

func (r *record) wire(c *coder) {
	c.text(&r.key, KeyMax)
	c.word((*uint8)(&r.op), uint8(opCount))
	c.text(&r.account, AccountMax)
	c.fixed(r.intent[:])
	c.bytes(&r.reply)
	c.credits(&r.returned)
}

// adopt takes in an account that was read, if it is one that Apply could have made.
func (m *Machine) adopt(a *account) error {
	if a.id == "" || m.byID[a.id] != nil || a.overdraft < 0 || a.overdraft > CreditsMax {
		return fmt.Errorf("%w: account %q", errBroken, a.id)
	}
	if err := a.audit(); err != nil {
		return fmt.Errorf("%w: account %q: %w", errBroken, a.id, err)
	}
	for i := range a.grants {
		g := &a.grants[i]
		if g.amount < 1 || g.amount > CreditsMax || g.created > a.seq || a.grant(g.id) != g ||
			(i > 0 && burnOrder(a.grants[i-1], *g) >= 0) {
			return fmt.Errorf("%w: account %q: grant %q", errBroken, a.id, g.id)
		}
	}
	for i := range a.entries {
		if a.entries[i].Seq != a.seq-uint64(len(a.entries)-1-i) {
			return fmt.Errorf("%w: account %q: entries of seq %d have a gap", errBroken, a.id, a.seq)
		}
	}
	m.accounts = append(m.accounts, a)
	m.byID[a.id] = a
	return nil
}

// checkRecord checks a record that was read, with the accounts at hand: above all that what can still be returned
// has where to go.
func (m *Machine) checkRecord(r *record) error {
	bad := fmt.Errorf("%w: key %q", errBroken, r.key)
	a := m.byID[r.account]
	if r.key == "" || a == nil || r.op < opOpen || r.op > opReturn {
		return bad
	}
	if r.reply == nil {
		if r.op != opDebit || r.returned != 0 {
			return bad
		}
		return nil
	}
	receipt, err := decodeReceipt(r.reply)
	if err != nil || receipt.Replayed || r.returned < 0 || r.returned > receipt.Amount || (r.returned > 0 && r.op != opDebit) {
		return bad
	}
	if r.op != opDebit || forgotten(r.hour, m.hour()) {
		return nil
	}
	if slices.ContainsFunc(unwind(receipt.Parts, r.returned, receipt.Amount-r.returned), func(p Part) bool {
		return p.Kind != Overdraft && a.grant(p.Grant) == nil
	}) {
		return bad
	}
	return nil
}
