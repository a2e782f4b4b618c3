package ledger

import "cmp"

// settle books what time did to the account since the last touch: grants that became effective repay what is owed,
// in the order in which they became so; then recurring grants begin their period; then grants expire. The money is the same
// however rarely it is called.
func (t *tx) settle() {
	a := &t.a
	for g := a.arrival(t.now); g != nil; g = a.arrival(t.now) {
		g.arrived, t.changed = true, true
		if owed := -a.books[Overdrawn]; g.kind == Credit && owed > 0 {
			x := min(owed, g.available)
			t.post(Event{Movement: Repaying, Grant: g.id, Postings: []Posting{{Available, g.id, -x}, {Book: Overdrawn, Amount: x}}})
		}
	}
	for i := 0; i < len(a.series); i++ {
		t.renew(&a.series[i])
	}
	for i := range a.grants {
		g := &a.grants[i]
		if g.expired || g.expires > t.now {
			continue
		}
		g.expired, t.changed = true, true
		if x := g.available; x > 0 {
			t.post(Event{Movement: Expiring, Grant: g.id, Postings: []Posting{{Available, g.id, -x}, {Expired, g.id, x}}})
		}
	}
	t.tidy()
}

// tidy forgets the grants that nothing can come back to any more, and the recurrences that are over.
func (t *tx) tidy() {
	a, hour := &t.a, hourOf(t.now)
	grants := a.grants[:0]
	for i := range a.grants {
		if g := &a.grants[i]; !g.empty() || !forgotten(g.emptied, hour) {
			grants = append(grants, *g)
		}
	}
	all := a.series[:0]
	for i := range a.series {
		if s := &a.series[i]; s.ends > t.now {
			all = append(all, *s)
		}
	}
	t.changed = t.changed || len(grants) < len(a.grants) || len(all) < len(a.series)
	a.grants, a.series = grants, all
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

// bringUp lets everything happen to an account that is due, each hold that ends by itself first, and leaves the
// account loaded. What time did stays, whatever becomes of the command that came along.
func (m *Machine) bringUp(at Stamp, id string) (*tx, error) {
	slot, ok := m.accounts.find(id)
	if !ok {
		return nil, noAccount(id)
	}
	for {
		hold, ok := m.due.of(slot, int64(m.work.elapsed))
		if !ok {
			break
		}
		if err := m.lapse(at, hold); err != nil {
			return nil, err
		}
	}
	t := m.begin(at)
	t.load(slot)
	t.settle()
	if !t.changed {
		return t, nil
	}
	if err := t.commit(); err != nil {
		return nil, err
	}
	t = m.begin(at)
	t.load(slot)
	return t, nil
}

// lapse ends one open hold whose time is over, in a transaction of its own.
func (m *Machine) lapse(at Stamp, id string) error {
	t := m.begin(at)
	t.find(id)
	payer, _ := m.accounts.find(t.h.account)
	t.load(payer)
	t.expire()
	return t.commit()
}
