package transport

import (
	"fmt"
	"slices"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/policy"
)

// check is a CheckRequest or StreamedCheck, read by hand into what is decided.
//
// The request's strings are cut from one copy of the message, so they stay good, and keep all of it alive: who keeps a
// string for long clones it. Its slices are the check's own and are reused for the next message: who decides it later
// works on a later().
type check struct {
	id        uint64
	epoch     uint64 // of the sender, between nodes
	origin    uint64 // its name between nodes
	timeoutMs int64
	mode      weirv1.Mode
	request   policy.Request // whole once settled
	borrowed  bool           // the cost is the message's
	encoded   string         // the request's own bytes
	err       error          // why it is invalid, found while it was put together
}

// roomMax bounds the attributes and costs for which a check keeps room.
const roomMax = 2 * policy.AttributesMax

func (c *check) reset() {
	attributes, cost := c.request.Attributes[:0], c.request.Cost[:0]
	if cap(attributes) > roomMax {
		attributes = nil
	}
	if cap(cost) > roomMax {
		cost = nil
	}
	*c = check{request: policy.Request{Attributes: attributes, Cost: cost}}
}

// later returns the request for who decides it when the check is in use for another.
func (c *check) later() policy.Request {
	q := c.request
	q.Attributes, q.Cost = slices.Clone(q.Attributes), slices.Clone(q.Cost)
	return q
}

// readStreamed reads a StreamedCheck.
func (c *check) readStreamed(r *reader) {
	outer := r.enter()
	for r.more() {
		switch tag := r.tag(); tag {
		case number(1):
			c.id = r.varint()
		case sized(2):
			c.readPart(r)
		case number(3):
			c.timeoutMs = int64(r.varint())
		case number(4):
			c.epoch = r.varint()
		case number(5):
			c.origin = r.varint()
		default:
			r.unknown(tag)
		}
	}
	r.leave(outer)
}

// readPart reads a CheckRequest that is a part of a message.
func (c *check) readPart(r *reader) {
	outer := r.enter()
	from := r.at
	c.read(r)
	switch {
	case r.failed:
	case c.encoded == "":
		c.encoded = r.text[from:r.at]
	default:
		c.encoded += r.text[from:r.at] // parts of a message are one
	}
	r.leave(outer)
}

// read reads a CheckRequest to the end.
func (c *check) read(r *reader) {
	q := &c.request
	r.scan()
	for r.more() {
		switch tag := r.tag(); tag {
		case sized(1):
			q.Domain = r.string()
		case sized(2):
			q.Attributes = append(q.Attributes, policy.Attribute{})
			readAttribute(r, &q.Attributes[len(q.Attributes)-1])
		case sized(3):
			q.Cost = append(q.Cost, policy.Cost{})
			readCost(r, &q.Cost[len(q.Cost)-1])
		case sized(4):
			q.IdempotencyKey = r.string()
		case sized(5):
			q.Ticket = r.string()
		case number(6):
			q.MaxWait = millis(int64(r.varint()))
		case number(7):
			c.mode = weirv1.Mode(int32(r.varint()))
		case number(8):
			q.Explain = r.bool()
		case sized(9):
			if q.Override == nil {
				q.Override = new(policy.LimitOverride)
			}
			readOverride(r, q.Override)
		case number(10):
			q.Refund = r.bool()
		case number(11):
			q.Charge = r.bool()
		default:
			r.unknown(tag)
		}
	}
	r.ascii = false
}

func readAttribute(r *reader, a *policy.Attribute) {
	outer := r.enter()
	for r.more() {
		switch tag := r.tag(); tag {
		case sized(1):
			a.Name = r.string()
		case sized(2):
			a.Value = r.string()
		default:
			r.unknown(tag)
		}
	}
	r.leave(outer)
}

func readCost(r *reader, c *policy.Cost) {
	outer := r.enter()
	for r.more() {
		switch tag := r.tag(); tag {
		case sized(1):
			c.Meter = r.string()
		case number(2):
			c.Amount = int64(r.varint())
		default:
			r.unknown(tag)
		}
	}
	r.leave(outer)
}

func readOverride(r *reader, o *policy.LimitOverride) {
	outer := r.enter()
	for r.more() {
		switch tag := r.tag(); tag {
		case number(1):
			o.Count = uint32(r.varint())
		case number(2):
			o.Window = millis(int64(r.varint()))
		default:
			r.unknown(tag)
		}
	}
	r.leave(outer)
}

// settle makes the request whole, with what it leaves empty taken from what the checks of its message have in common.
func (c *check) settle(common *check) {
	q, from := &c.request, &common.request
	if q.Domain == "" {
		q.Domain = from.Domain
	}
	if c.mode == weirv1.Mode_MODE_UNSPECIFIED {
		c.mode = common.mode
	}
	q.Mode = fromMode(c.mode)
	switch n := len(from.Attributes) + len(q.Attributes); {
	case len(q.Cost) == 0 && len(from.Cost) > roomMax:
		c.err = fmt.Errorf("%w: it names %d costs", policy.ErrInvalid, len(from.Cost))
		return
	case len(from.Attributes) == 0:
	case n > policy.AttributesMax:
		c.err = fmt.Errorf("%w: it has %d attributes, at most %d are allowed", policy.ErrInvalid, n, policy.AttributesMax)
		return
	default:
		for i := range q.Attributes {
			if named(from.Attributes, q.Attributes[i].Name) {
				c.err = fmt.Errorf("%w: it names the attribute `%.64s`, which its message names for all", policy.ErrInvalid, q.Attributes[i].Name)
				return
			}
		}
		q.Attributes = slices.Insert(q.Attributes, 0, from.Attributes...)
	}
	if c.borrowed = len(q.Cost) == 0; c.borrowed {
		q.Cost = append(q.Cost, from.Cost...)
	}
}

// portable returns the request encoded for another node: its own bytes, with whatever else was in them, and around them what
// it takes from its message.
func (c *check) portable(common *check) string {
	if common == nil || common.encoded == "" {
		return c.encoded
	}
	var at int
	b := make([]byte, 0, len(common.encoded)+len(c.encoded)+8)
	for _, a := range common.request.Attributes {
		b, at = open(b, 2)
		b = shut(appendText(appendText(b, 1, a.Name), 2, a.Value), at)
	}
	b = appendText(append(b, c.encoded...), 1, c.request.Domain)
	if c.borrowed {
		for _, m := range c.request.Cost {
			b, at = open(b, 3)
			b = shut(appendNumber(appendText(b, 1, m.Meter), 2, uint64(m.Amount)), at)
		}
	}
	return string(appendNumber(b, 7, uint64(c.mode)))
}

// reread reads a portable request.
func reread(encoded string) (policy.Request, error) {
	var l lone
	r := newReader([]byte(encoded))
	err := l.receive(&r)
	return l.request, err
}

func named(attributes []policy.Attribute, name string) bool {
	for i := range attributes {
		if attributes[i].Name == name {
			return true
		}
	}
	return false
}

// checks is a message of many checks, read by hand.
type checks struct {
	list   []check // with room for more behind it
	count  int     // how many the message has; past policy.BatchMax they are not kept
	common check
}

func (m *checks) reset() {
	for i := range m.list {
		m.list[i].reset()
	}
	m.common.reset()
	m.list, m.count = m.list[:0], 0
}

// next returns the place for one more check, nil when there are too many.
func (m *checks) next() *check {
	m.count++
	if m.count > policy.BatchMax {
		return nil
	}
	if len(m.list) < cap(m.list) {
		m.list = m.list[:len(m.list)+1]
	} else {
		m.list = append(m.list, check{})
	}
	return &m.list[len(m.list)-1]
}

// read reads a CheckBatchRequest or, if its checks are streamed, a CheckStreamRequest.
func (m *checks) read(r *reader, streamed bool) error {
	m.readAll(r, streamed)
	if err := r.err(); err != nil {
		return err
	}
	for i := range m.list {
		m.list[i].settle(&m.common)
	}
	return nil
}

func (m *checks) readAll(r *reader, streamed bool) {
	m.reset()
	for r.more() {
		switch tag := r.tag(); tag {
		case sized(1):
			c := m.next()
			switch {
			case c == nil:
				r.value()
			case streamed:
				c.readStreamed(r)
			default:
				c.readPart(r)
			}
		case sized(2):
			m.common.readPart(r)
		default:
			r.unknown(tag)
		}
	}
}
