package ledger

import (
	"errors"
	"fmt"
	"math"
)

// The formats: commands and replies share a number, snapshots have their own.
const (
	wireNewest     = 1
	snapshotNewest = 1
)

// What a reply holds, in its second byte.
const (
	repliesReceipt = iota
	repliesReplay  // a receipt given before: differs from the first in this byte only
	repliesAccount
	repliesEntries
	repliesRefusal
	repliesCount
)

const textMax = math.MaxInt16 // of a text that the machine itself wrote

func encodeCommand(in command) []byte {
	c := coder{}
	c.version(wireNewest)
	o := uint8(in.op())
	c.byte(&o)
	in.wire(&c)
	return c.b
}

func decodeCommand(b []byte) (command, error) {
	c := coder{b: b, reading: true}
	c.version(wireNewest)
	var o uint8
	c.word(&o, uint8(opCount))
	var in command
	switch op(o) {
	case opOpen:
		in = &OpenAccount{}
	case opGrant:
		in = &Grant{}
	case opDebit:
		in = &Debit{}
	case opReturn:
		in = &Return{}
	case opAccount:
		in = &readAccount{}
	case opEntries:
		in = &readEntries{}
	default:
		c.fail(errRange)
		return nil, malformed(c.err)
	}
	in.wire(&c)
	if err := c.end(); err != nil {
		return nil, malformed(err)
	}
	return in, in.check()
}

func malformed(err error) error {
	if errors.Is(err, ErrNewer) {
		return fmt.Errorf("command: %w", err)
	}
	return fmt.Errorf("%w: command %w", ErrInvalid, err)
}

func (o *OpenAccount) wire(c *coder) {
	c.text(&o.Key, KeyMax)
	c.text(&o.Account, AccountMax)
	c.text(&o.Plan, PlanMax)
	wireLabels(c, &o.Labels)
	c.flag(&o.UseCredits)
	c.credits(&o.Overdraft)
}

func wireLabels(c *coder, labels *[]Label) {
	n := c.count(len(*labels), LabelsMax)
	if c.reading && n > 0 {
		*labels = make([]Label, n)
	}
	for i := range *labels {
		c.text(&(*labels)[i].Name, LabelNameMax)
		c.text(&(*labels)[i].Value, LabelValueMax)
	}
}

func (g *Grant) wire(c *coder) {
	c.text(&g.Key, KeyMax)
	c.text(&g.Account, AccountMax)
	c.text(&g.Grant, KeyMax)
	c.word((*uint8)(&g.Kind), uint8(kindCount))
	c.credits(&g.Amount)
	c.byte(&g.Priority)
	c.time(&g.Effective)
	c.time(&g.Expires)
}

func (d *Debit) wire(c *coder) {
	c.text(&d.Key, KeyMax)
	c.text(&d.Account, AccountMax)
	c.credits(&d.Amount)
	n := c.count(len(d.Order), KindCount)
	if c.reading && n > 0 {
		d.Order = make([]Kind, n)
	}
	for i := range d.Order {
		c.word((*uint8)(&d.Order[i]), uint8(kindCount))
	}
	c.text(&d.Memo, MemoMax)
}

func (r *Return) wire(c *coder) {
	c.text(&r.Key, KeyMax)
	c.text(&r.Account, AccountMax)
	c.text(&r.Debit, KeyMax)
	c.credits(&r.Amount)
}

func (r *readAccount) wire(c *coder) { c.text(&r.account, AccountMax) }

func (r *readEntries) wire(c *coder) {
	c.text(&r.account, AccountMax)
	c.uint(&r.after)
	c.uint(&r.limit)
}

func (s *Stamp) wire(c *coder) {
	c.uint(&s.Term)
	c.uint(&s.Index)
	c.time(&s.Wall)
}

func (r *Receipt) wire(c *coder) {
	c.word((*uint8)(&r.Outcome), uint8(outcomeCount))
	c.text(&r.Account, AccountMax)
	c.uint(&r.Seq)
	c.credits(&r.Amount)
	c.credits(&r.BalanceAfter)
	c.credits(&r.Expired)
	n := c.count(len(r.Parts), math.MaxInt32)
	for i := 0; i < n && c.err == nil; i++ {
		if c.reading {
			r.Parts = append(r.Parts, Part{})
		}
		p := &r.Parts[i]
		c.word((*uint8)(&p.Kind), uint8(kindCount))
		c.text(&p.Grant, KeyMax)
		c.credits(&p.Amount)
	}
	c.uint(&r.Index)
	c.uint(&r.Term)
	c.time(&r.Wall)
}

func (a *Account) wire(c *coder) {
	c.text(&a.ID, AccountMax)
	c.text(&a.Plan, PlanMax)
	wireLabels(c, &a.Labels)
	c.flag(&a.UseCredits)
	c.credits(&a.Overdraft)
	c.credits(&a.Balance)
	for i := range a.ByKind {
		c.credits(&a.ByKind[i])
	}
	n := c.count(len(a.Grants), math.MaxInt32)
	for i := 0; i < n && c.err == nil; i++ {
		if c.reading {
			a.Grants = append(a.Grants, GrantState{})
		}
		a.Grants[i].wire(c)
	}
	c.uint(&a.Seq)
	a.AsOf.wire(c)
}

func (g *GrantState) wire(c *coder) {
	c.text(&g.ID, KeyMax)
	c.word((*uint8)(&g.Kind), uint8(kindCount))
	c.byte(&g.Priority)
	c.credits(&g.Amount)
	c.credits(&g.Available)
	c.time(&g.Effective)
	c.time(&g.Expires)
	c.flag(&g.Expired)
}

func (e *Entry) wire(c *coder) {
	c.uint(&e.Seq)
	c.word((*uint8)(&e.Movement), uint8(movementCount))
	c.text(&e.Key, KeyMax)
	c.text(&e.Memo, MemoMax)
	n := c.count(len(e.Postings), math.MaxInt32)
	for i := 0; i < n && c.err == nil; i++ {
		if c.reading {
			e.Postings = append(e.Postings, Posting{})
		}
		p := &e.Postings[i]
		c.word((*uint8)(&p.Book), uint8(bookCount))
		c.text(&p.Grant, KeyMax)
		c.credits(&p.Amount)
	}
	c.uint(&e.Index)
	c.uint(&e.Term)
	c.time(&e.Wall)
}

func wireEntries(c *coder, entries *[]Entry) {
	n := c.count(len(*entries), math.MaxInt32)
	for i := 0; i < n && c.err == nil; i++ {
		if c.reading {
			*entries = append(*entries, Entry{})
		}
		(*entries)[i].wire(c)
	}
}

func (r *refusal) wire(c *coder) {
	c.word(&r.code, uint8(len(refusals)))
	c.text(&r.text, textMax)
}
