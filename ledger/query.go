package ledger

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// What a query asks for, in its second byte. Append only.
const (
	asksAccount uint8 = iota
	asksHold
	asksPage
	asksStatus
	asksAllowances
	asksCount
)

// query is a read. Only the fields of what it asks for are on the wire.
type query struct {
	what uint8
	id   string // of the account or hold
	page PageQuery
}

func (q *query) wire(c *coder) {
	c.word(&q.what, asksCount)
	switch q.what {
	case asksAccount, asksHold, asksAllowances:
		c.text(&q.id, max(AccountMax, KeyMax))
	case asksPage:
		q.page.wire(c)
	}
}

func encodeQuery(q *query) []byte {
	c := coder{}
	c.version(wireNewest)
	q.wire(&c)
	return c.b
}

// Query answers a read in the ledger's own encoding, as of the last command applied. It changes nothing, may be called from
// any goroutine beside Apply, and waits for it only while a change is being installed. It reads the journal outside
// of all locks.
func (m *Machine) Query(b []byte) []byte {
	reply, err := m.query(string(b))
	if err != nil {
		return encodeReply(wireNewest, repliesRefusal, refusalOf(err).wire)
	}
	return reply
}

func (m *Machine) query(text string) ([]byte, error) {
	var q query
	c := reader(text)
	c.version(wireNewest)
	q.wire(&c)
	if err := c.end(); err != nil {
		return nil, malformed("query", err)
	}
	switch q.what {
	case asksAccount:
		v, err := m.account(q.id)
		return encodeReply(wireNewest, repliesAccount, v.wire), err
	case asksHold:
		v, err := m.viewHold(q.id)
		return encodeReply(wireNewest, repliesHold, v.wire), err
	case asksAllowances:
		all, err := m.allowances(q.id)
		return encodeReply(wireNewest, repliesAllowances, func(c *coder) { wireAllowances(&all, c) }), err
	case asksPage:
		p, err := m.page(&q.page)
		return encodeReply(wireNewest, repliesPage, p.wire), err
	}
	s := m.status()
	return encodeReply(wireNewest, repliesStatus, s.wire), nil
}

// account views an account as it would be if it were brought up to log time now.
func (m *Machine) account(id string) (Account, error) {
	if err := checkAccount(id); err != nil {
		return Account{}, err
	}
	aside := tx{m: &Machine{config: m.config, zones: map[string]*time.Location{}}}
	var at Stamp
	var lapsed []string
	var record string
	m.mu.RLock()
	slot, known := m.accounts.find(id)
	if known {
		at, record = m.head.stamp(), m.accounts.at(slot)
		aside.m.work = m.head
		lapsed = m.due.all(slot, int64(at.Elapsed), lapsed)
		for i, hold := range lapsed {
			at, _ := m.holds.find(hold)
			lapsed[i] = m.holds.at(at)
		}
	}
	m.mu.RUnlock()
	if !known {
		return Account{}, noAccount(id)
	}
	aside.a.must(record)
	return aside.foresee(at, lapsed), nil
}

// foresee lets happen to a copy of an account what is due, and views it.
func (t *tx) foresee(at Stamp, lapsed []string) Account {
	t.at, t.now, t.elapsed, t.loaded = at, t.m.work.now, int64(at.Elapsed), true
	t.m.work.format = wireFirst // no events
	t.m.config.Journal = nil
	seq, last := t.a.seq, t.a.last
	for _, record := range lapsed {
		c := reader(record)
		t.h = hold{}
		t.h.wire(&c)
		t.expire()
	}
	t.settle()
	t.a.seq, t.a.last = seq, last
	return t.a.view(at)
}

func (m *Machine) viewHold(id string) (Hold, error) {
	if err := checkText("hold", id, 1, KeyMax); err != nil {
		return Hold{}, err
	}
	m.mu.RLock()
	slot, ok := m.holds.find(id)
	var record string
	if ok {
		record = m.holds.at(slot)
	}
	head := m.head
	m.mu.RUnlock()
	var h hold
	c := reader(record)
	if h.wire(&c); !ok || c.end() != nil || (h.state != Open && forgotten(h.ended, head.hour())) {
		if err := checkAge(id, head.now); err != nil {
			return Hold{}, err
		}
		return Hold{}, fmt.Errorf("%w: %q", ErrNoHold, id)
	}
	if h.state == Open && h.deadline <= int64(head.elapsed) {
		h.foresee()
	}
	return h.view(head.stamp()), nil
}

// foresee is what expire will make of the hold.
func (h *hold) foresee() {
	h.state = Lapsed
	if h.onExpire == CaptureRest {
		h.state = Captured
	}
	for i := range h.takes {
		k := &h.takes[i]
		if h.state == Captured {
			k.spent += k.held
		}
		k.held = 0
	}
}

// Status is what the ledger as a whole has, as of a place in the log.
type Status struct {
	Accounts, OpenHolds, Holds, Keys uint64
	OpenAllowances                   uint64
	Events                           uint64   // seq of the last event
	Chain                            [32]byte // SHA-256 over all events
	Commands                         uint64   // since the journal began
	Digest                           [32]byte // of the whole state
	Cursors                          []Cursor // of event consumers, by name
	AsOf                             Stamp
}

func (s *Status) wire(c *coder) {
	c.uint(&s.Accounts)
	c.uint(&s.OpenHolds)
	c.uint(&s.Holds)
	c.uint(&s.Keys)
	c.uint(&s.Events)
	c.fixed(s.Chain[:])
	c.uint(&s.Commands)
	c.fixed(s.Digest[:])
	list(c, &s.Cursors, math.MaxInt32, (*Cursor).wire)
	s.AsOf.wire(c)
	if c.format > wireSecond {
		c.uint(&s.OpenAllowances)
	}
}

func (m *Machine) status() Status {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return Status{
		Accounts: uint64(m.accounts.count), OpenHolds: uint64(m.due.count - m.lent.open), Holds: uint64(m.holds.count - m.lent.all), OpenAllowances: uint64(m.lent.open), Keys: uint64(m.keys.count),
		Events: m.head.seq, Chain: m.head.chain, Commands: m.head.count, Digest: m.digest(), Cursors: m.cursorList(), AsOf: m.head.stamp(),
	}
}

// PageQuery asks for events of an account: newest first by default, from Before backwards; oldest first with Oldest, those
// after the account's event number After, which must not be more than 10,000 events back.
type PageQuery struct {
	Account string
	Limit   int    // 1 to EntriesMax
	Before  string // Page.Next of the page before; empty: the newest
	Oldest  bool
	After   uint64
}

func (p *PageQuery) wire(c *coder) {
	c.text(&p.Account, AccountMax)
	limit := uint64(max(p.Limit, 0))
	c.uint(&limit)
	if c.reading {
		p.Limit = int(min(limit, EntriesMax+1))
	}
	c.text(&p.Before, cursorTextMax)
	c.flag(&p.Oldest)
	c.uint(&p.After)
}

func (p *PageQuery) check() error {
	if p.Limit < 1 || p.Limit > EntriesMax {
		return fmt.Errorf("%w: limit %d, expected 1 to %d", ErrInvalid, p.Limit, EntriesMax)
	}
	_, _, err := p.before()
	return cmp.Or(checkAccount(p.Account), err)
}

const cursorTextMax = 41 // two numbers and a point

// before reads the cursor: the number of an event in its account, and in the journal.
func (p *PageQuery) before() (seq, event uint64, err error) {
	if p.Before == "" {
		return 0, 0, nil
	}
	left, right, _ := strings.Cut(p.Before, ".")
	seq, err = strconv.ParseUint(left, 10, 64)
	if err == nil {
		event, err = strconv.ParseUint(right, 10, 64)
	}
	if err != nil || event == 0 {
		return 0, 0, fmt.Errorf("%w: %.41q is no cursor", ErrInvalid, p.Before)
	}
	return seq, event, nil
}

// Page is a page of an account's events.
type Page struct {
	Events []Event
	Next   string // for PageQuery.Before; empty: there are no older ones, or the query was for the oldest first

	encoded []string
}

func (p *Page) wire(c *coder) {
	list(c, &p.encoded, EntriesMax, func(one *string, c *coder) { c.bytes(one) })
	c.text(&p.Next, cursorTextMax)
}

// decode makes the events of what came over the wire.
func (p *Page) decode() error {
	p.Events = make([]Event, 0, len(p.encoded))
	for _, text := range p.encoded {
		e, err := DecodeEvent([]byte(text))
		if err != nil {
			return err
		}
		p.Events = append(p.Events, e)
	}
	p.encoded = nil
	return nil
}
