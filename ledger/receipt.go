package ledger

import (
	"math"
	"time"
)

// Stamp is a command's place in the log and its times, all given by the leader. Commands packed into one log
// entry share a stamp.
type Stamp struct {
	Term, Index uint64
	Wall        time.Time     // for grants, periods and keys
	Elapsed     time.Duration // never ahead of real time and stands still over a change of leader; for holds
}

func (s *Stamp) wire(c *coder) {
	c.uint(&s.Term)
	c.uint(&s.Index)
	c.time(&s.Wall)
	if c.format >= 2 {
		c.duration(&s.Elapsed)
	}
}

// Part is how much came from, or went back to, one grant; Grant is empty for Overdraft.
type Part struct {
	Kind   Kind
	Grant  string
	Amount Credits
}

func (p *Part) wire(c *coder) {
	c.word((*uint8)(&p.Kind), uint8(kindCount))
	c.text(&p.Grant, GrantMax)
	c.credits(&p.Amount)
}

// Receipt answers a command. Repeating the key gives the same receipt, but for Replayed and Attempts.
type Receipt struct {
	Outcome      Outcome
	Account      string
	Seq          uint64  // of the account's last event after the command; one more with each event, no gaps
	Event        uint64  // the place of that event in the journal; 0 if it is from before the journal
	Amount       Credits // charged, granted, held or given back; 0 if nothing was
	BalanceAfter Credits
	Expired      Credits            // of what was given back: the part that went to expired or voided grants and cannot be spent
	Forgiven     Credits            // asked for beyond what was available; nobody owes it
	Parts        []Part             // in the order taken or given back
	Had          [KindCount]Credits // what there was to burn of each kind before; a part of a later kind was taken when the earlier had no more
	Late         bool               // captured or reported after the time of the hold or allowance was over
	Hold         string             // the id of the hold, if the command was about one; then what follows is as it is now
	State        HoldState
	Held         Credits       // still held
	Captured     Credits       // in all
	Refunded     Credits       // of Captured
	ExpiresIn    time.Duration // of an open hold; of an allowance: how long its home may spend, counted from when it asked
	Allowance    uint64        // its id, if the command was about one; then State, Held (what is left), Captured (charged) and this are its
	Items        uint64        // how many of its items the ledger has
	Revoked      bool          // its home should stop spending and report the end
	Credited     Credits       // of what was reported: not charged, since it had been debited already
	Index, Term  uint64        // where the command was done; when replayed, the first time
	Wall         time.Time     // log time, which never goes back
	Replayed     bool          // the command was done before, this is its first receipt
	Attempts     uint64        // how often it came, with this time; 0 if that was not counted yet
}

func (r *Receipt) wire(c *coder) {
	outcome, known := r.Outcome, outcomeCount
	switch {
	case c.format == wireSecond:
		known = outcomesSecond
	case c.format < wireSecond:
		known = outcomesFirst
		if outcome >= known {
			outcome = Unwilling // what such an answer was called then
		}
	}
	c.word((*uint8)(&outcome), uint8(known))
	if c.reading {
		r.Outcome = outcome
	}
	c.text(&r.Account, AccountMax)
	c.uint(&r.Seq)
	c.credits(&r.Amount)
	c.credits(&r.BalanceAfter)
	c.credits(&r.Expired)
	list(c, &r.Parts, math.MaxInt32, (*Part).wire)
	c.uint(&r.Index)
	c.uint(&r.Term)
	c.time(&r.Wall)
	if c.format < 2 {
		return
	}
	c.uint(&r.Event)
	c.credits(&r.Forgiven)
	for i := range r.Had {
		c.credits(&r.Had[i])
	}
	held := r.Hold != ""
	c.flag(&held)
	lent := r.Allowance != 0
	if c.format > wireSecond {
		c.flag(&lent)
	}
	if lent {
		c.uint(&r.Allowance)
		c.uint(&r.Items)
		c.flag(&r.Revoked)
		c.credits(&r.Credited)
		if c.reading && (r.Allowance == 0 || held) {
			c.fail(errCanonical)
		}
	}
	if !held && !lent {
		return
	}
	if held {
		c.text(&r.Hold, KeyMax)
	}
	c.flag(&r.Late)
	c.word((*uint8)(&r.State), uint8(holdStateCount))
	c.credits(&r.Held)
	c.credits(&r.Captured)
	c.credits(&r.Refunded)
	c.duration(&r.ExpiresIn)
}

// Account is an account as of a place in the log. It belongs to the caller.
type Account struct {
	ID, Plan       string
	Labels         []Label // by name
	UseCredits     bool
	Blocked        bool
	Overdraft      Credits            // how far below zero it may go
	Balance        Credits            // the sum of ByKind; below zero it is owed
	ByKind         [KindCount]Credits // what is effective and unexpired; of Overdraft what is owed, negative
	Books          [BookCount]Credits // sum to zero
	Forgiven       Credits            // charged to nobody in all; apart from the books
	WrittenOff     Credits            // debts that were adjusted away in all; in Books they were issued
	OpenHolds      uint64
	OpenAllowances uint64       // what they have left is in the book Lent
	Grants         []GrantState // in burn order, those lately used up or ended too
	Recurring      []Terms
	Seq            uint64
	Event          uint64 // the place of the last event in the journal
	AsOf           Stamp  // Wall and Elapsed are those of the log
}

func (a *Account) wire(c *coder) {
	c.text(&a.ID, AccountMax)
	c.text(&a.Plan, PlanMax)
	list(c, &a.Labels, LabelsMax, (*Label).wire)
	c.flag(&a.UseCredits)
	c.credits(&a.Overdraft)
	c.credits(&a.Balance)
	for i := range a.ByKind {
		c.credits(&a.ByKind[i])
	}
	list(c, &a.Grants, math.MaxInt32, (*GrantState).wire)
	c.uint(&a.Seq)
	a.AsOf.wire(c)
	if c.format < 2 {
		return
	}
	c.flag(&a.Blocked)
	for i := range a.Books {
		if Book(i) < Lent || c.format > wireSecond {
			c.credits(&a.Books[i])
		}
	}
	c.credits(&a.Forgiven)
	c.credits(&a.WrittenOff)
	c.uint(&a.OpenHolds)
	list(c, &a.Recurring, math.MaxInt32, (*Terms).wire)
	c.uint(&a.Event)
	if c.format > wireSecond {
		c.uint(&a.OpenAllowances)
	}
}

// GrantState is what is left of a grant.
type GrantState struct {
	ID                      string
	Kind                    Kind
	Priority                uint8
	Amount, Available, Held Credits
	Lent                    Credits
	Effective, Expires      time.Time // zero: at once, never
	Expired, Voided         bool
	AppliesTo               []Label
}

func (g *GrantState) wire(c *coder) {
	c.text(&g.ID, GrantMax)
	c.word((*uint8)(&g.Kind), uint8(kindCount))
	c.byte(&g.Priority)
	c.credits(&g.Amount)
	c.credits(&g.Available)
	c.time(&g.Effective)
	c.time(&g.Expires)
	c.flag(&g.Expired)
	if c.format < 2 {
		return
	}
	c.credits(&g.Held)
	c.flag(&g.Voided)
	list(c, &g.AppliesTo, AppliesToMax, (*Label).wire)
	if c.format > wireSecond {
		c.credits(&g.Lent)
	}
}
