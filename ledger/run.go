package ledger

import (
	"fmt"
	"slices"
)

func (o *OpenAccount) run(m *Machine, at Stamp) (Receipt, error) {
	if m.byID[o.Account] != nil {
		a, err := m.touch(o.Account, at)
		if err != nil {
			return Receipt{}, err
		}
		if a.plan != o.Plan || a.useCredits != o.UseCredits || a.overdraft != o.Overdraft || !slices.Equal(a.labels, o.Labels) {
			return Receipt{}, fmt.Errorf("%w: account %q is open with other contents", ErrConflict, o.Account)
		}
		return a.receipt(at), nil
	}
	if len(m.accounts) >= m.config.Accounts {
		return Receipt{}, fmt.Errorf("%w: %d accounts", ErrFull, len(m.accounts))
	}
	a := &account{
		id: o.Account, plan: o.Plan, labels: o.Labels, useCredits: o.UseCredits, overdraft: o.Overdraft,
		at: len(m.accounts), epoch: m.epoch,
	}
	m.accounts = append(m.accounts, a)
	m.byID[a.id] = a
	m.touched = a
	a.post(at, Entry{Movement: Opening, Key: o.Key}, m.config.Entries)
	return a.receipt(at), nil
}

func (g *Grant) run(m *Machine, at Stamp) (Receipt, error) {
	a, err := m.touch(g.Account, at)
	if err != nil {
		return Receipt{}, err
	}
	n := grant{
		id: g.Grant, kind: g.Kind, priority: g.Priority, amount: g.Amount, created: a.seq + 1,
		effective: toNanos(g.Effective, 0), expires: toNanos(g.Expires, never),
	}
	if n.id == "" {
		n.id = g.Key
	}
	if err := a.admits(n, m); err != nil {
		return Receipt{}, err
	}
	i, _ := slices.BinarySearchFunc(a.grants, n, burnOrder)
	a.grants = slices.Insert(a.grants, i, n)
	a.post(at, Entry{Movement: Granting, Key: g.Key, Postings: []Posting{
		{Book: Issued, Amount: -n.amount}, {Available, n.id, n.amount},
	}}, m.config.Entries)
	a.settle(at, m.config.Entries)
	r := a.receipt(at)
	r.Amount, r.Parts = n.amount, []Part{{n.kind, n.id, n.amount}}
	return r, nil
}

// admits tells why the account cannot take a grant, if so.
func (a *account) admits(n grant, m *Machine) error {
	live := 0
	for i := range a.grants {
		if a.grants[i].available > 0 {
			live++
		}
	}
	switch {
	case n.expires <= m.now:
		return fmt.Errorf("%w: grant %q has expired already", ErrInvalid, n.id)
	case a.grant(n.id) != nil:
		return fmt.Errorf("%w: account %q has a grant %q", ErrConflict, a.id, n.id)
	case live >= m.config.Grants || len(a.grants) >= 4*m.config.Grants:
		return fmt.Errorf("%w: account %q has %d grants", ErrFull, a.id, len(a.grants))
	case n.amount-a.books[Issued] > issuedMax:
		return fmt.Errorf("%w: account %q would have been granted more than %s", ErrFull, a.id, issuedMax)
	}
	return nil
}

func (d *Debit) run(m *Machine, at Stamp) (Receipt, error) {
	a, err := m.touch(d.Account, at)
	if err != nil {
		return Receipt{}, err
	}
	order := d.Order
	if len(order) == 0 {
		order = []Kind{Included, Promo, Credit, Overdraft}
	}
	parts := a.burn(d.Amount, order, m.now)
	if parts == nil {
		r := a.receipt(at)
		if r.Outcome = Insufficient; !a.useCredits {
			r.Outcome = Unwilling
		}
		return r, nil
	}
	postings := make([]Posting, 0, len(parts)+1)
	for _, p := range parts {
		postings = append(postings, source(p, p.Amount))
	}
	postings = append(postings, Posting{Book: Spent, Amount: d.Amount})
	a.post(at, Entry{Movement: Debiting, Key: d.Key, Memo: d.Memo, Postings: postings}, m.config.Entries)
	r := a.receipt(at)
	r.Amount, r.Parts = d.Amount, parts
	return r, nil
}

func (r *Return) run(m *Machine, at Stamp) (Receipt, error) {
	a, err := m.touch(r.Account, at)
	if err != nil {
		return Receipt{}, err
	}
	taken := m.keys.find(r.Debit, m.hour())
	switch {
	case taken == nil:
		if err := checkAge(r.Debit, m.now); err != nil {
			return Receipt{}, err
		}
		m.remember(&record{key: r.Debit, op: opDebit, account: r.Account})
		return a.receipt(at), nil
	case taken.op != opDebit || taken.account != r.Account:
		return Receipt{}, fmt.Errorf("%w: key %q is no debit of account %q", ErrConflict, r.Debit, r.Account)
	case taken.reply == nil:
		return a.receipt(at), nil
	}
	debit, err := decodeReceipt(taken.reply)
	if err != nil {
		panic(fmt.Sprintf("ledger: stored receipt of %q: %v", r.Debit, err))
	}
	left := debit.Amount - taken.returned
	amount := r.Amount
	if amount == 0 {
		amount = left
	}
	if amount > left {
		return Receipt{}, fmt.Errorf("%w: return of %s, but %s is left of debit %q", ErrInvalid, amount, left, r.Debit)
	}
	if amount == 0 {
		return a.receipt(at), nil
	}
	parts := unwind(debit.Parts, taken.returned, amount)
	expired := a.giveBack(r.Key, parts, amount, at, m.config.Entries)
	m.keys.own(taken, m.epoch).returned += amount
	receipt := a.receipt(at)
	receipt.Amount, receipt.Parts, receipt.Expired = amount, parts, expired
	return receipt, nil
}

// unwind lists the parts of the next amount to give back, last taken first, after returned was given back.
func unwind(taken []Part, returned, amount Credits) []Part {
	var parts []Part
	for i := len(taken) - 1; i >= 0 && amount > 0; i-- {
		p := taken[i]
		skip := min(p.Amount, returned)
		returned -= skip
		if p.Amount = min(p.Amount-skip, amount); p.Amount > 0 {
			parts = append(parts, p)
			amount -= p.Amount
		}
	}
	return parts
}

// giveBack books a return and says how much of it had expired. What comes back to an overdraft that has been
// repaid since makes that book positive: it never expires, and is spent where the order says overdraft.
func (a *account) giveBack(key string, parts []Part, amount Credits, at Stamp, keep int) (expired Credits) {
	postings := make([]Posting, 0, len(parts)+1)
	postings = append(postings, Posting{Book: Spent, Amount: -amount})
	for _, p := range parts {
		to := source(p, -p.Amount)
		if g := a.grant(p.Grant); g != nil && p.Kind != Overdraft && g.expired {
			expired += p.Amount
			to = Posting{Expired, p.Grant, p.Amount}
		}
		postings = append(postings, to)
	}
	a.post(at, Entry{Movement: Returning, Key: key, Postings: postings}, keep)
	return expired
}
