// Package ledger keeps who has how many credits, exactly.
//
// Machine is the state: accounts, dated grants, holds, double entry, and the memory of idempotency keys, driven by
// a log of stamped commands and by nothing else. Ledger is the front that callers use: it makes commands,
// has a Proposer put them into the log, and reads the replies. DESIGN.md says why it is made this way.
package ledger

import (
	"context"
	"fmt"
	"time"
)

// Proposer puts a command into the log and returns what Machine.Apply answered. An error means that the
// command was not applied, or that this is unknown; the error should tell which. It is safe for concurrent use.
type Proposer interface {
	Propose(ctx context.Context, command []byte) (reply []byte, err error)
}

// Read says how fresh an answer must be. The zero value is linearizable: it has everything that was answered before it
// began.
type Read struct {
	MaxStaleness time.Duration // more than 0: any replica that is at most this far behind may answer
	MinIndex     uint64        // of the log: what answers has at least applied this
}

// Querier has a Machine's Query answer, as fresh as asked for. It is safe for concurrent use.
type Querier interface {
	Query(ctx context.Context, query []byte, r Read) (reply []byte, err error)
}

// Ledger is the credit ledger as callers see it. It is safe for concurrent use and holds no state.
//
// Its methods return the errors of this package when the command was refused, and those of the Proposer,
// wrapped, when the outcome may be unknown. Repeating a command with its key is always safe within a day: it
// is done once, and each answer is the first one. What the state of an account or hold does not allow is no error but an
// Outcome.
type Ledger struct {
	proposer Proposer
	querier  Querier
}

// New returns a ledger that proposes its commands to p, and reads through the log.
func New(p Proposer) *Ledger { return &Ledger{proposer: p, querier: throughLog{p}} }

// NewReading returns a ledger that proposes its commands to p and reads from q.
func NewReading(p Proposer, q Querier) *Ledger { return &Ledger{proposer: p, querier: q} }

// throughLog makes commands of queries: linearizable, for the price of a place in the log.
type throughLog struct{ Proposer }

func (t throughLog) Query(ctx context.Context, query []byte, _ Read) ([]byte, error) {
	return t.Propose(ctx, encodeCommand(&ask{string(query)}))
}

// Open opens an account.
func (l *Ledger) Open(ctx context.Context, o OpenAccount) (Receipt, error) {
	o.Labels = inOrder(o.Labels)
	return l.submit(ctx, &o, "account", o.Account)
}

// Update changes what is named of an account.
func (l *Ledger) Update(ctx context.Context, u UpdateAccount) (Receipt, error) {
	u.Labels = inOrder(u.Labels)
	return l.submit(ctx, &u, "account", u.Account)
}

// Grant gives an account credits, once or every period.
func (l *Ledger) Grant(ctx context.Context, g Grant) (Receipt, error) {
	g.AppliesTo = inOrder(g.AppliesTo)
	return l.submit(ctx, &g, "account", g.Account)
}

// Void takes back what is left of a grant.
func (l *Ledger) Void(ctx context.Context, v VoidGrant) (Receipt, error) {
	return l.submit(ctx, &v, "account", v.Account)
}

// Debit charges an account, or tells by the Outcome that nothing was charged.
func (l *Ledger) Debit(ctx context.Context, d Debit) (Receipt, error) {
	d.Attributes = inOrder(d.Attributes)
	return l.submit(ctx, &d, "account", d.Account)
}

// Return gives back what a debit took, or bars a debit that has not come yet.
func (l *Ledger) Return(ctx context.Context, r Return) (Receipt, error) {
	return l.submit(ctx, &r, "account", r.Account)
}

// Authorize holds an amount for a charge to come.
func (l *Ledger) Authorize(ctx context.Context, a Authorize) (Receipt, error) {
	a.Attributes = inOrder(a.Attributes)
	return l.submit(ctx, &a, "account", a.Account)
}

// Extend adds to a hold or its time.
func (l *Ledger) Extend(ctx context.Context, x Extend) (Receipt, error) {
	return l.submit(ctx, &x, "hold", x.Hold)
}

// Capture charges to a hold.
func (l *Ledger) Capture(ctx context.Context, k Capture) (Receipt, error) {
	return l.submit(ctx, &k, "hold", k.Hold)
}

// Release ends a hold, or bars one that has not come yet.
func (l *Ledger) Release(ctx context.Context, r Release) (Receipt, error) {
	return l.submit(ctx, &r, "hold", r.Hold)
}

// Refund gives back what was charged.
func (l *Ledger) Refund(ctx context.Context, f Refund) (Receipt, error) {
	return l.submit(ctx, &f, "charge", f.Charge)
}

// Adjust corrects an account by hand.
func (l *Ledger) Adjust(ctx context.Context, j Adjust) (Receipt, error) {
	return l.submit(ctx, &j, "account", j.Account)
}

// Lend asks for an allowance on behalf of a home, or tells by the Outcome that there is none.
func (l *Ledger) Lend(ctx context.Context, n Lend) (Receipt, error) {
	n.Attributes = inOrder(n.Attributes)
	r, err := l.exchange(ctx, &n)
	if err != nil {
		return Receipt{}, fmt.Errorf("lend to home %q from account %q: %w", n.Home, n.Account, err)
	}
	return r, nil
}

// Report tells the ledger what a home has spent of an allowance.
func (l *Ledger) Report(ctx context.Context, n Report) (Receipt, error) {
	r, err := l.exchange(ctx, &n)
	if err != nil {
		return Receipt{}, fmt.Errorf("report of home %q on allowance %d: %w", n.Home, n.Allowance, err)
	}
	return r, nil
}

// SetCursor keeps how far a consumer of the events has come, and returns that.
func (l *Ledger) SetCursor(ctx context.Context, s SetCursor) (seq uint64, err error) {
	return l.upkeep(ctx, &s)
}

// Account reads an account, linearizably.
func (l *Ledger) Account(ctx context.Context, id string) (Account, error) {
	return l.AccountAs(ctx, id, Read{})
}

// AccountAs reads an account.
func (l *Ledger) AccountAs(ctx context.Context, id string, r Read) (Account, error) {
	var a Account
	err := l.ask(ctx, &query{what: asksAccount, id: id}, r, only(repliesAccount, a.wire))
	return a, wrapRead("account", id, err)
}

// Hold reads a hold. One that ended is there for about a day; then it is ErrTooOld if its id carries a time, else ErrNoHold.
func (l *Ledger) Hold(ctx context.Context, id string, r Read) (Hold, error) {
	var h Hold
	err := l.ask(ctx, &query{what: asksHold, id: id}, r, only(repliesHold, h.wire))
	return h, wrapRead("hold", id, err)
}

// Allowances lists the open allowances of an account, soonest to end first.
func (l *Ledger) Allowances(ctx context.Context, account string, r Read) ([]Allowance, error) {
	var all []Allowance
	read := only(repliesAllowances, func(c *coder) { wireAllowances(&all, c) })
	err := l.ask(ctx, &query{what: asksAllowances, id: account}, r, read)
	return all, wrapRead("allowances of", account, err)
}

// Entries lists up to limit (1 to EntriesMax) events of an account after a number in it, oldest first, linearizably.
func (l *Ledger) Entries(ctx context.Context, account string, after uint64, limit int) ([]Event, error) {
	p, err := l.Page(ctx, PageQuery{Account: account, Oldest: true, After: after, Limit: limit}, Read{})
	return p.Events, err
}

// Page lists events of an account. ErrGone: the journal keeps them no more, or they are from before there was one.
func (l *Ledger) Page(ctx context.Context, q PageQuery, r Read) (Page, error) {
	var p Page
	err := q.check()
	if err == nil {
		err = l.ask(ctx, &query{what: asksPage, page: q}, r, only(repliesPage, p.wire))
	}
	if err == nil {
		err = p.decode()
	}
	return p, wrapRead("entries", q.Account, err)
}

// Status reads what the ledger as a whole has.
func (l *Ledger) Status(ctx context.Context, r Read) (Status, error) {
	var s Status
	err := l.ask(ctx, &query{what: asksStatus}, r, only(repliesStatus, s.wire))
	return s, wrapRead("status", "", err)
}

// submit proposes an intent; what it refuses here the machine would refuse too.
func (l *Ledger) submit(ctx context.Context, in intent, what, id string) (Receipt, error) {
	var r Receipt
	reply, err := l.propose(ctx, in)
	if err == nil {
		r, err = decodeReceipt(string(reply))
	}
	if err != nil {
		return Receipt{}, fmt.Errorf("%s with key %q on %s %q: %w", in.op(), in.key(), what, id, err)
	}
	return r, nil
}

func (l *Ledger) exchange(ctx context.Context, in exchange) (Receipt, error) {
	reply, err := l.propose(ctx, in)
	if err != nil {
		return Receipt{}, err
	}
	return decodeReceipt(string(reply))
}

func (l *Ledger) upkeep(ctx context.Context, in command) (n uint64, err error) {
	reply, err := l.propose(ctx, in)
	if err == nil {
		err = decodeReply(string(reply), only(repliesDone, func(c *coder) { c.uint(&n) }))
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", in.op(), err)
	}
	return n, nil
}

func (l *Ledger) propose(ctx context.Context, c command) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return l.proposer.Propose(ctx, encodeCommand(c))
}

func (l *Ledger) ask(ctx context.Context, q *query, r Read, body func(uint8, *coder)) error {
	reply, err := l.querier.Query(ctx, encodeQuery(q), r)
	if err != nil {
		return err
	}
	return decodeReply(string(reply), body)
}

func wrapRead(what, id string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read %s %q: %w", what, id, err)
}
