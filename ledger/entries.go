package ledger

import (
	"errors"
	"fmt"
	"slices"
)

const (
	walkMax      = 10_000  // events that a query reads to find its first
	pageBytesMax = 1 << 20 // of the events of a page, though it always has one
)

// page reads events of an account out of the journal, following each to the one before.
func (m *Machine) page(q *PageQuery) (Page, error) {
	if err := q.check(); err != nil {
		return Page{}, err
	}
	m.mu.RLock()
	slot, known := m.accounts.find(q.Account)
	var record string
	if known {
		record = m.accounts.at(slot)
	}
	m.mu.RUnlock()
	if !known {
		return Page{}, noAccount(q.Account)
	}
	var a account
	a.must(record)
	w := walk{journal: m.config.Journal, account: q.Account, next: a.last, seq: a.seq}
	if q.Oldest {
		return w.after(q.After, q.Limit)
	}
	if q.Before != "" {
		w.seq, w.next, _ = q.before()
	}
	return w.back(q.Limit)
}

// walk goes back along the events of an account.
type walk struct {
	journal Journal
	account string
	next    uint64 // the event to read; 0: there is none before
	seq     uint64 // its number in the account
}

// read returns an event and goes on to the one before.
func (w *walk) read() (string, error) {
	if w.journal == nil {
		return "", fmt.Errorf("%w: this ledger keeps no journal", ErrGone)
	}
	b, err := w.journal.Read(w.next)
	if err != nil {
		if !errors.Is(err, ErrGone) {
			err = fmt.Errorf("%w: %w", ErrJournal, err)
		}
		return "", fmt.Errorf("event %d of account %q: %w", w.next, w.account, err)
	}
	e, err := DecodeEvent(b)
	switch {
	case err != nil:
		return "", fmt.Errorf("%w: event %d: %w", ErrJournal, w.next, err)
	case e.Account != w.account || e.AccountSeq != w.seq:
		return "", fmt.Errorf("%w: event %d is not the one of account %q with number %d", ErrInvalid, w.next, w.account, w.seq)
	}
	w.next, w.seq = e.Prev, e.AccountSeq-1
	return string(b), nil
}

// back returns a page, newest first.
func (w *walk) back(limit int) (Page, error) {
	var p Page
	for size := 0; w.next != 0 && len(p.encoded) < limit && (size == 0 || size < pageBytesMax); {
		one, err := w.read()
		if err != nil {
			if len(p.encoded) > 0 { // what there is comes first; asking on tells what is wrong
				break
			}
			return Page{}, err
		}
		p.encoded = append(p.encoded, one)
		size += len(one)
	}
	if w.next != 0 {
		p.Next = fmt.Sprintf("%d.%d", w.seq, w.next)
	}
	return p, nil
}

// after returns the first events with a higher number, oldest first.
func (w *walk) after(seq uint64, limit int) (Page, error) {
	if w.seq > seq && w.seq-seq > walkMax {
		return Page{}, fmt.Errorf("%w: account %q has %d events after %d; go back from the newest instead", ErrInvalid, w.account, w.seq-seq, seq)
	}
	var p Page
	for w.next != 0 && w.seq > seq {
		one, err := w.read()
		if err != nil {
			return Page{}, err
		}
		p.encoded = append(p.encoded, one)
		if len(p.encoded) > limit { // a newer one than are asked for
			p.encoded[len(p.encoded)-limit-1] = ""
		}
	}
	slices.Reverse(p.encoded)
	p.encoded = p.encoded[:min(limit, len(p.encoded))]
	size := 0
	for i, one := range p.encoded {
		if size += len(one); size > pageBytesMax && i > 0 {
			p.encoded = p.encoded[:i]
			break
		}
	}
	return p, nil
}
