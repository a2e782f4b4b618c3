package ledger

import (
	"math"
	"time"
)

// This file reads snapshots of version 1. It kept an account's newest entries in the account; they are dropped, for the
// journal could not be complete with them.

func (m *Machine) readFirst(f *frameReader) error {
	m.head.format = wireFirst
	var accounts, generations uint64
	_, err := f.frame(func(c *coder) {
		c.int(&m.head.now)
		c.uint(&accounts)
		c.uint(&generations)
	})
	for i := uint64(0); i < accounts && err == nil; i++ {
		var a account
		if _, err = f.frame(a.wireFirst); err == nil {
			err = m.adopt(&a)
		}
	}
	for i := uint64(0); i < generations && err == nil; i++ {
		err = m.readGeneration(f, (*record).wireFirst)
	}
	m.work = m.head
	return err
}

func (a *account) wireFirst(c *coder) {
	c.text(&a.id, AccountMax)
	c.text(&a.plan, PlanMax)
	list(c, &a.labels, LabelsMax, (*Label).wire)
	c.flag(&a.useCredits)
	c.credits(&a.overdraft)
	for b := Issued; b <= Expired; b++ {
		c.credits(&a.books[b])
	}
	c.uint(&a.seq)
	list(c, &a.grants, math.MaxInt32, (*grant).wireFirst)
	var entries []struct{}
	list(c, &entries, math.MaxInt32, skipEntry)
}

func (g *grant) wireFirst(c *coder) {
	c.text(&g.id, KeyMax)
	c.word((*uint8)(&g.kind), uint8(Overdraft))
	c.byte(&g.priority)
	c.int(&g.effective)
	c.int(&g.expires)
	c.uint(&g.created)
	c.credits(&g.amount)
	c.credits(&g.available)
	c.flag(&g.arrived)
	c.flag(&g.expired)
	c.int(&g.emptied)
}

func skipEntry(_ *struct{}, c *coder) {
	var n uint64
	var movement uint8
	var text string
	var postings []Posting
	var wall time.Time
	c.uint(&n)
	c.byte(&movement)
	c.text(&text, KeyMax)
	c.text(&text, MemoMax)
	list(c, &postings, math.MaxInt32, (*Posting).wire)
	c.uint(&n)
	c.uint(&n)
	c.time(&wall)
}

func (r *record) wireFirst(c *coder) {
	c.text(&r.key, KeyMax)
	c.word((*uint8)(&r.op), uint8(opCount))
	c.text(&r.account, AccountMax)
	c.fixed(r.intent[:])
	c.bytes(&r.reply)
	c.credits(&r.returned)
	if len(r.reply) > 0 && r.reply[0] != wireFirst {
		c.fail(errRange)
	}
}
