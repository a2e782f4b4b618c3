package ledger

import (
	"cmp"
	"fmt"
	"slices"
)

// OpenAccount opens an account. Opening it again with equal contents changes nothing; with other contents it
// is ErrConflict.
type OpenAccount struct {
	Key        string // idempotency key, here and below: any text, best a UUIDv7 or ULID
	Account    string
	Plan       string
	Labels     []Label // unique names, any order
	UseCredits bool    // consent: without it no debit touches the kinds Credit and Overdraft
	Overdraft  Credits // how far below zero debits may go whose order has Overdraft
	Blocked    bool    // no debits, authorizations and extensions
}

func (o *OpenAccount) op() op      { return opOpen }
func (o *OpenAccount) key() string { return o.Key }

func (o *OpenAccount) payer(m *Machine) (string, error) {
	if _, ok := m.accounts.find(o.Account); ok {
		return o.Account, nil
	}
	return "", nil
}

func (o *OpenAccount) wire(c *coder) {
	c.text(&o.Key, KeyMax)
	c.text(&o.Account, AccountMax)
	c.text(&o.Plan, PlanMax)
	list(c, &o.Labels, LabelsMax, (*Label).wire)
	c.flag(&o.UseCredits)
	c.credits(&o.Overdraft)
	if c.format >= 2 {
		c.flag(&o.Blocked)
	}
}

func (o *OpenAccount) check() error {
	return cmp.Or(checkKey(o.Key), checkAccount(o.Account), checkText("plan", o.Plan, 0, PlanMax),
		checkAmount("overdraft", o.Overdraft, 0), checkLabels("labels", o.Labels, LabelsMax))
}

func (o *OpenAccount) run(t *tx) (Receipt, error) {
	if t.loaded {
		a := &t.a
		if a.plan != o.Plan || a.useCredits != o.UseCredits || a.blocked != o.Blocked || a.overdraft != o.Overdraft ||
			!slices.Equal(a.labels, o.Labels) {
			return Receipt{}, fmt.Errorf("%w: account %q is open with other contents", ErrConflict, o.Account)
		}
		return t.receipt(), nil
	}
	if n := t.m.accounts.count; n >= t.m.config.Accounts {
		return Receipt{}, fmt.Errorf("%w: %d accounts, ledger.Config.Accounts is %d", ErrFull, n, t.m.config.Accounts)
	}
	t.open(o.Account)
	a := &t.a
	a.plan, a.labels, a.useCredits, a.blocked, a.overdraft = o.Plan, o.Labels, o.UseCredits, o.Blocked, o.Overdraft
	t.post(Event{Movement: Opening, Key: o.Key, Attributes: a.attributes()})
	return t.receipt(), nil
}

func (a *account) attributes() *Attributes {
	return &Attributes{Plan: a.plan, Labels: a.labels, UseCredits: a.useCredits, Blocked: a.blocked, Overdraft: a.overdraft}
}

// UpdateAccount changes what is named of an account: nil leaves a field as it is. The overdraft cannot be less than what
// is owed; that is ErrConflict.
type UpdateAccount struct {
	Key, Account string
	Plan         *string
	Relabel      bool // Labels are the labels from now on
	Labels       []Label
	UseCredits   *bool
	Overdraft    *Credits
	Blocked      *bool
	Memo         string
}

func (u *UpdateAccount) op() op                           { return opUpdate }
func (u *UpdateAccount) key() string                      { return u.Key }
func (u *UpdateAccount) payer(_ *Machine) (string, error) { return u.Account, nil }

func (u *UpdateAccount) wire(c *coder) {
	flag := func(v *bool, c *coder) { c.flag(v) }
	c.text(&u.Key, KeyMax)
	c.text(&u.Account, AccountMax)
	optional(c, &u.Plan, func(v *string, c *coder) { c.text(v, PlanMax) })
	c.flag(&u.Relabel)
	list(c, &u.Labels, LabelsMax, (*Label).wire)
	optional(c, &u.UseCredits, flag)
	optional(c, &u.Overdraft, func(v *Credits, c *coder) { c.credits(v) })
	optional(c, &u.Blocked, flag)
	c.text(&u.Memo, MemoMax)
}

func (u *UpdateAccount) check() error {
	var plan, overdraft error
	if u.Plan != nil {
		plan = checkText("plan", *u.Plan, 0, PlanMax)
	}
	if u.Overdraft != nil {
		overdraft = checkAmount("overdraft", *u.Overdraft, 0)
	}
	if !u.Relabel && len(u.Labels) > 0 {
		return fmt.Errorf("%w: labels without relabel", ErrInvalid)
	}
	if u.Plan == nil && !u.Relabel && u.UseCredits == nil && u.Overdraft == nil && u.Blocked == nil {
		return fmt.Errorf("%w: an update that names nothing", ErrInvalid)
	}
	return cmp.Or(checkKey(u.Key), checkAccount(u.Account), plan, checkLabels("labels", u.Labels, LabelsMax), overdraft,
		checkText("memo", u.Memo, 0, MemoMax))
}

func (u *UpdateAccount) run(t *tx) (Receipt, error) {
	a := &t.a
	if u.Overdraft != nil && a.books[Overdrawn] < -*u.Overdraft {
		return Receipt{}, fmt.Errorf("%w: account %q owes %s", ErrConflict, a.id, -a.books[Overdrawn])
	}
	name(&a.plan, u.Plan)
	name(&a.useCredits, u.UseCredits)
	name(&a.overdraft, u.Overdraft)
	name(&a.blocked, u.Blocked)
	if u.Relabel {
		a.labels = u.Labels
	}
	t.post(Event{Movement: Updating, Key: u.Key, Memo: u.Memo, Attributes: a.attributes()})
	return t.receipt(), nil
}

func name[T any](field, to *T) {
	if to != nil {
		*field = *to
	}
}
