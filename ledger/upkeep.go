package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// SetCursor keeps how far a consumer of the events has come. It goes only ahead, unless it says Rewind, so it needs no key: a
// repeated or late one changes nothing.
type SetCursor struct {
	Name   string
	Seq    uint64 // of the last event that it needs no more
	Rewind bool
	Remove bool
}

func (s *SetCursor) op() op { return opCursor }

func (s *SetCursor) wire(c *coder) {
	c.text(&s.Name, CursorMax)
	c.uint(&s.Seq)
	c.flag(&s.Rewind)
	c.flag(&s.Remove)
}

func (s *SetCursor) check() error { return checkText("cursor", s.Name, 1, CursorMax) }

// Cursor is how far a consumer of the events has come.
type Cursor struct {
	Name string
	Seq  uint64
}

func (u *Cursor) wire(c *coder) {
	c.text(&u.Name, CursorMax)
	c.uint(&u.Seq)
}

func (m *Machine) setCursor(_ Stamp, s *SetCursor) ([]byte, error) {
	old, known := m.cursors[s.Name]
	switch {
	case s.Seq > m.work.seq:
		return nil, fmt.Errorf("%w: cursor %q at %d, the last event is %d", ErrInvalid, s.Name, s.Seq, m.work.seq)
	case !known && !s.Remove && len(m.cursors) >= m.config.Cursors:
		return nil, fmt.Errorf("%w: %d cursors, ledger.Config.Cursors is %d", ErrFull, len(m.cursors), m.config.Cursors)
	}
	next := s.Seq
	if known && !s.Rewind {
		next = max(old, s.Seq)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if known {
		m.cursed.remove(sumCursors, (&Cursor{s.Name, old}).record())
		delete(m.cursors, s.Name)
	}
	if !s.Remove {
		m.putCursor(Cursor{s.Name, next})
	}
	return encodeReply(wireNewest, repliesDone, func(c *coder) { c.uint(&next) }), nil
}

func (m *Machine) putCursor(u Cursor) {
	m.cursors[u.Name] = u.Seq
	m.cursed.add(sumCursors, u.record())
}

func (u *Cursor) record() string {
	c := coder{}
	u.wire(&c)
	return string(c.b)
}

// cursorList returns the cursors by name.
func (m *Machine) cursorList() []Cursor {
	all := make([]Cursor, 0, len(m.cursors))
	for _, name := range slices.Sorted(maps.Keys(m.cursors)) {
		all = append(all, Cursor{name, m.cursors[name]})
	}
	return all
}

// tick ends the holds whose time is over, at most lapsesMax of them, soonest first.
type tick struct{}

const lapsesMax = 1000

func (t *tick) op() op        { return opTick }
func (t *tick) wire(_ *coder) {}
func (t *tick) check() error  { return nil }

func (m *Machine) lapseAll(at Stamp) ([]byte, error) {
	var n uint64
	for ; n < lapsesMax; n++ {
		first, ok := m.due.first()
		if !ok || first.at > int64(m.work.elapsed) {
			break
		}
		if err := m.lapse(at, first.id); err != nil {
			return nil, err
		}
	}
	return encodeReply(wireNewest, repliesDone, func(c *coder) { c.uint(&n) }), nil
}

// compare tells replicas what digest the leader had after count commands. One that had another stops. Records of version 2
// were written otherwise and had other digests: what it compared tells nothing.
type compare struct {
	count  uint64
	digest [32]byte
}

func (p *compare) op() op { return opCompare }

func (p *compare) wire(c *coder) {
	c.uint(&p.count)
	c.fixed(p.digest[:])
}

func (p *compare) check() error { return nil }

func (m *Machine) compare(p *compare, format uint8) ([]byte, error) {
	own, known := m.notes.find(p.count)
	if known && format >= wireNewest && own != p.digest {
		m.broken = fmt.Errorf("%w: after %d commands the leader's digest is %x, this replica's is %x", errBroken, p.count, p.digest, own)
		return nil, m.broken
	}
	return encodeReply(wireNewest, repliesDone, func(c *coder) { c.uint(&p.count) }), nil
}

// ask is a query in log order.
type ask struct{ query string }

func (a *ask) op() op        { return opAsk }
func (a *ask) wire(c *coder) { c.bytes(&a.query) }
func (a *ask) check() error  { return nil }

// readAccount and readEntries are reads in log order, as version 1 made them. They bring the account up to their time, so
// they count as commands.
type readAccount struct{ account string }

func (r *readAccount) op() op        { return opAccount }
func (r *readAccount) wire(c *coder) { c.text(&r.account, AccountMax) }
func (r *readAccount) check() error  { return checkAccount(r.account) }

func (m *Machine) readAccount(at Stamp, r *readAccount) ([]byte, error) {
	t, err := m.bringUp(at, r.account)
	if err != nil {
		return nil, err
	}
	v := t.a.view(at)
	return encodeReply(wireFirst, repliesAccount, v.wire), nil
}

type readEntries struct {
	account string
	after   uint64
	limit   uint64
}

func (r *readEntries) op() op { return opEntries }

func (r *readEntries) wire(c *coder) {
	c.text(&r.account, AccountMax)
	c.uint(&r.after)
	c.uint(&r.limit)
}

func (r *readEntries) check() error {
	if r.limit < 1 || r.limit > EntriesMax {
		return fmt.Errorf("%w: limit %d, expected 1 to %d", ErrInvalid, r.limit, EntriesMax)
	}
	return cmp.Or(checkAccount(r.account))
}

// readEntries answers none: the journal has them now.
func (m *Machine) readEntries(at Stamp, r *readEntries) ([]byte, error) {
	_, err := m.bringUp(at, r.account)
	if err != nil {
		return nil, err
	}
	return encodeReply(wireFirst, repliesEntries, func(c *coder) { c.count(0, 0) }), nil
}

// Floor returns the lowest seq of the events that a consumer with a cursor still needs; with none, that of the next event. It
// may be called from any goroutine.
func (m *Machine) Floor() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	floor := m.head.seq
	for _, seq := range m.cursors {
		floor = min(floor, seq)
	}
	return floor + 1
}
