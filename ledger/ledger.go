// Package ledger keeps who has how many credits, exactly.
//
// Machine is the state: accounts, dated grants, double entry, and the memory of idempotency keys, driven by
// a log of stamped commands and by nothing else. Ledger is the front that callers use: it makes commands,
// has a Proposer put them into the log, and reads the replies. DESIGN.md says why it is made this way.
package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Proposer puts a command into the log and returns what Machine.Apply answered. An error means that the
// command was not applied, or that this is unknown; the error should tell which. It is safe for concurrent use.
type Proposer interface {
	Propose(ctx context.Context, command []byte) (reply []byte, err error)
}

// Ledger is the credit ledger as callers see it. It is safe for concurrent use and holds no state.
//
// Its methods return the errors of this package when the command was refused, and those of the Proposer,
// wrapped, when the outcome may be unknown. Repeating a command with its key is always safe within a day: it
// is done once, and each answer is the first one. A debit that does not fit is no error but an Outcome.
type Ledger struct {
	proposer Proposer
}

// New returns a ledger that proposes its commands to p.
func New(p Proposer) *Ledger { return &Ledger{proposer: p} }

// Open opens an account.
func (l *Ledger) Open(ctx context.Context, o OpenAccount) (Receipt, error) {
	o.Labels = slices.Clone(o.Labels)
	slices.SortFunc(o.Labels, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
	return l.submit(ctx, &o)
}

// Grant gives an account credits.
func (l *Ledger) Grant(ctx context.Context, g Grant) (Receipt, error) { return l.submit(ctx, &g) }

// Debit charges an account, or tells by the Outcome that nothing was charged.
func (l *Ledger) Debit(ctx context.Context, d Debit) (Receipt, error) { return l.submit(ctx, &d) }

// Return gives back what a debit took, or bars a debit that has not come yet.
func (l *Ledger) Return(ctx context.Context, r Return) (Receipt, error) { return l.submit(ctx, &r) }

// Account reads an account. The read goes through the log, so it sees everything answered before it began.
func (l *Ledger) Account(ctx context.Context, id string) (Account, error) {
	var a Account
	err := l.ask(ctx, &readAccount{id}, id, repliesAccount, a.wire)
	return a, err
}

// Entries lists up to limit (1 to EntriesMax) entries of an account after a seq, oldest first, in log order as
// Account. Only the newest are kept (Config.Entries): if the first one's Seq is not after+1, those between are gone.
func (l *Ledger) Entries(ctx context.Context, account string, after uint64, limit int) ([]Entry, error) {
	var found []Entry
	q := &readEntries{account, after, uint64(max(limit, 0))}
	err := l.ask(ctx, q, account, repliesEntries, func(c *coder) { wireEntries(c, &found) })
	return found, err
}

func (l *Ledger) submit(ctx context.Context, in intent) (Receipt, error) {
	key, account := in.head()
	var r Receipt
	reply, err := l.propose(ctx, in)
	if err == nil {
		r, err = decodeReceipt(reply)
	}
	if err != nil {
		return Receipt{}, fmt.Errorf("%s with key %q on account %q: %w", in.op(), key, account, err)
	}
	return r, nil
}

func (l *Ledger) ask(ctx context.Context, q command, account string, expected uint8, body func(*coder)) error {
	reply, err := l.propose(ctx, q)
	if err == nil {
		err = decodeReply(reply, expected, body)
	}
	if err != nil {
		return fmt.Errorf("read %s %q: %w", q.op(), account, err)
	}
	return nil
}

// propose refuses here what the machine would refuse, so that it does not take a place in the log.
func (l *Ledger) propose(ctx context.Context, c command) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return l.proposer.Propose(ctx, encodeCommand(c))
}
