package ledger

import (
	"fmt"
	"strings"
	"time"
)

// tx is one change of the state in the making: of at most one account, one hold and two keys, with its events. What it
// holds is nobody else's until commit, so it can be given up at any moment.
type tx struct {
	m       *Machine
	at      Stamp
	now     int64 // log time in nanoseconds, and elapsed
	elapsed int64
	err     error // a broken invariant of our own: the transaction cannot be committed

	a       account
	slot    uint32
	loaded  bool
	opened  bool // a is new
	changed bool // a is not as its record

	h        hold
	holdSlot uint32
	holdNew  bool
	holding  bool // h is to be written

	seq    uint64 // of the last event
	chain  [32]byte
	events []byte // one after the other
	ends   []int  // where each of them ends
	keys   []record

	e        Event // the one that is being posted
	parts    []Part
	postings []Posting
}

// begin returns the machine's transaction, empty.
func (m *Machine) begin(at Stamp) *tx {
	t := &m.tx
	t.m, t.at, t.now, t.elapsed, t.err = m, at, m.work.now, int64(m.work.elapsed), nil
	t.loaded, t.opened, t.changed, t.holdNew, t.holding = false, false, false, false, false
	t.seq, t.chain, t.events, t.ends, t.keys = m.work.seq, m.work.chain, t.events[:0], t.ends[:0], t.keys[:0]
	return t
}

func (t *tx) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// load reads the account at a place.
func (t *tx) load(slot uint32) {
	t.m.in = reader(t.m.accounts.at(slot))
	t.a.wire(&t.m.in)
	if err := t.m.in.end(); err != nil {
		t.fail(fmt.Errorf("record of account %q: %w", t.a.id, err))
	}
	t.slot, t.loaded = slot, true
}

// read reads a record, using the memory that a has.
func (a *account) read(record string) error {
	c := reader(record)
	a.wire(&c)
	if err := c.end(); err != nil {
		return fmt.Errorf("record of account %q: %w", a.id, err)
	}
	return nil
}

// must reads a record of our own.
func (a *account) must(record string) {
	if err := a.read(record); err != nil {
		panic("ledger: " + err.Error())
	}
}

// open makes a new account.
func (t *tx) open(id string) {
	t.a = account{id: id}
	t.loaded, t.opened, t.changed = true, true, true
}

// post books an event: the one place where money moves. The event is complete but for its numbers and times.
func (t *tx) post(posted Event) {
	a, e := &t.a, &t.e
	*e = posted
	if err := e.check(); err != nil {
		t.fail(fmt.Errorf("account %q: %w", a.id, err))
	}
	e.Index, e.Term, e.Wall = t.at.Index, t.at.Term, t.at.Wall
	if t.loaded {
		for _, p := range e.Postings {
			if err := a.move(p, t.now); err != nil {
				t.fail(fmt.Errorf("account %q: %s %q: %w", a.id, e.Movement, e.Key, err))
			}
		}
		a.seq++
		a.forgiven += e.Forgiven
		a.writtenOff += e.WrittenOff
		e.Account, e.AccountSeq, e.Prev = a.id, a.seq, a.last
		_, e.BalanceAfter = a.byKind(t.now)
		t.changed = true
	}
	if t.m.work.format < wireSecond {
		return // version 1 kept no journal, and replicas may have been there for other parts of it
	}
	t.seq++
	e.Seq = t.seq
	if t.loaded {
		a.last = e.Seq
	}
	c := &t.m.out
	c.b = c.b[:0]
	e.write(c)
	t.events, t.chain = append(t.events, c.b...), chainOf(t.chain, c.b)
	t.ends = append(t.ends, len(t.events))
}

// postHold books an event of the hold.
func (t *tx) postHold(e Event) {
	if e.After = t.h.change(); t.h.loan == nil {
		e.Hold = t.h.id
	} else {
		e.Allowance, e.Home = t.h.loan.id, t.h.loan.home
	}
	t.post(e)
	t.holding = true
	if t.h.state != Open && (t.h.endedSeq == 0 || e.Movement == Capturing) {
		t.h.ended, t.h.endedSeq = hourOf(t.now), t.seq
	}
}

// receipt is that of a command as far as it came.
func (t *tx) receipt() Receipt {
	r := Receipt{Index: t.at.Index, Term: t.at.Term, Wall: t.at.Wall}
	if t.loaded {
		r.Account, r.Seq, r.Event = t.a.id, t.a.seq, t.a.last
		_, r.BalanceAfter = t.a.byKind(t.now)
	}
	return r
}

// holdReceipt is a receipt that tells how the hold is now.
func (t *tx) holdReceipt(o Outcome) Receipt {
	r, h := t.receipt(), &t.h
	r.Outcome, r.Hold, r.State, r.Held, r.Captured, r.Refunded = o, h.id, h.state, h.held(), h.captured(), h.refunded()
	if h.state == Open {
		r.ExpiresIn = time.Duration(h.deadline - t.elapsed)
	}
	return r
}

// commit makes the change: its events go to the journal, then all of it is seen at once. An error means that this
// replica cannot go on; the state is as it was.
func (t *tx) commit() error {
	m := t.m
	if t.err == nil && t.changed {
		if err := t.a.audit(); err != nil {
			t.err = fmt.Errorf("account %q: %w", t.a.id, err)
		}
	}
	if t.err == nil && t.holding && !t.h.sound() {
		t.err = fmt.Errorf("hold %q breaks its invariants", t.h.id)
	}
	if t.err != nil {
		m.broken = fmt.Errorf("%w: %w", errBroken, t.err)
		return m.broken
	}
	from := 0
	for i, end := range t.ends {
		if m.config.Journal == nil {
			break
		}
		seq := m.work.seq + 1 + uint64(i)
		if err := m.config.Journal.Append(seq, t.events[from:end]); err != nil {
			m.broken = fmt.Errorf("append event %d to the journal: %w", seq, err)
			return m.broken
		}
		from = end
	}
	m.work.seq, m.work.chain = t.seq, t.chain
	m.mu.Lock()
	t.install()
	m.mu.Unlock()
	return nil
}

// install writes the records that changed.
func (t *tx) install() {
	m := t.m
	if t.opened {
		t.slot = m.accounts.add(t.a.id, m.encode(t.a.wire))
	} else if t.changed {
		m.accounts.replace(t.slot, m.encode(t.a.wire))
	}
	if t.holding {
		t.installHold()
	}
	for i := range t.keys {
		if r := &t.keys[i]; r.found {
			m.keys.replace(r.at, m.encode(r.wire))
		} else {
			m.keys.add(m.work.hour(), m.encode(r.wire))
		}
	}
	m.head = m.work
}

func (t *tx) installHold() {
	m, h := t.m, &t.h
	was := hold{state: Refused}
	if t.holdNew {
		t.holdSlot = m.holds.add(h.id, m.encode(h.wire))
	} else {
		c := reader(m.holds.at(t.holdSlot))
		was.wire(&c)
		if h.over() {
			m.holds.remove(t.holdSlot, h.id)
		} else {
			m.holds.replace(t.holdSlot, m.encode(h.wire))
		}
	}
	m.lent.change(h, &was, t.holdNew)
	if was.state == Open && (h.state != Open || h.deadline != was.deadline) {
		m.due.remove(t.slot, deadline{was.deadline, h.id})
	}
	if h.state == Open && (was.state != Open || h.deadline != was.deadline) {
		m.due.add(t.slot, deadline{h.deadline, strings.Clone(h.id)})
	}
	if h.state != Open && !h.over() && h.endedSeq != was.endedSeq {
		m.ended.add(ending{h.endedSeq, h.ended, t.holdSlot})
	}
}

// encode returns what a shape writes.
func (m *Machine) encode(wire func(*coder)) string {
	m.out = coder{b: m.out.b[:0]}
	wire(&m.out)
	return string(m.out.b)
}
