package ledger

import (
	"context"
	"fmt"
)

// Packer is a Proposer that takes several commands at once, which is cheaper. done is told the reply or error of each, in any order
// and perhaps by several goroutines at once, before ProposeAll returns.
type Packer interface {
	Proposer
	ProposeAll(ctx context.Context, commands [][]byte, done func(i int, reply []byte, err error))
}

// Write is a change of the ledger: a pointer to an OpenAccount, UpdateAccount, Grant, VoidGrant, Debit, Authorize, Extend, Capture,
// Release, Refund or Adjust.
type Write interface{ intent }

// Do carries out several writes, in any order, as the method of each would: done is told the receipt or error of each, in any order
// and perhaps by several goroutines at once, before Do returns. The labels of a write may be sorted in place. With a Proposer that is no
// Packer it takes as long as one after the other.
func (l *Ledger) Do(ctx context.Context, writes []Write, done func(i int, r Receipt, err error)) {
	commands, of := make([][]byte, 0, len(writes)), make([]int, 0, len(writes))
	for i, w := range writes {
		sortLabels(w)
		if err := w.check(); err != nil {
			done(i, Receipt{}, doing(w, err))
		} else {
			commands, of = append(commands, encodeCommand(w)), append(of, i)
		}
	}
	l.proposeAll(ctx, commands, func(j int, reply []byte, err error) {
		var r Receipt
		if err == nil {
			r, err = decodeReceipt(string(reply))
		}
		if i := of[j]; err != nil {
			done(i, Receipt{}, doing(writes[i], err))
		} else {
			done(i, r, nil)
		}
	})
}

func doing(w Write, err error) error { return fmt.Errorf("%s with key %q: %w", w.op(), w.key(), err) }

func sortLabels(w Write) {
	switch w := w.(type) {
	case *OpenAccount:
		w.Labels = inOrder(w.Labels)
	case *UpdateAccount:
		w.Labels = inOrder(w.Labels)
	case *Grant:
		w.AppliesTo = inOrder(w.AppliesTo)
	case *Debit:
		w.Attributes = inOrder(w.Attributes)
	case *Authorize:
		w.Attributes = inOrder(w.Attributes)
	}
}

func (l *Ledger) proposeAll(ctx context.Context, commands [][]byte, done func(i int, reply []byte, err error)) {
	if p, ok := l.proposer.(Packer); ok {
		p.ProposeAll(ctx, commands, done)
		return
	}
	for i, c := range commands {
		reply, err := l.proposer.Propose(ctx, c)
		done(i, reply, err)
	}
}
