package ledger

import (
	"fmt"
	"math"
	"time"
)

// The forms of events: those of allowances are of version 2, all others of version 1.
const (
	eventFirst  = 1
	eventNewest = 2
)

// Book is a side of an account's double entry. All of an account always sum to zero.
type Book uint8

// The books of an account. Append only.
const (
	Issued    Book = iota // where grants come from: minus all that was ever granted
	Available             // in grants, to be spent
	Overdrawn             // minus what is owed on the overdraft
	Spent                 // charged and not given back
	Expired
	Held   // by open holds, of grants
	Voided // taken back
	Lent   // to homes, of grants
	bookCount
)

// BookCount is how many books there are.
const BookCount = int(bookCount)

var bookWords = [BookCount]string{"issued", "available", "overdrawn", "spent", "expired", "held", "voided", "lent"}

// String returns the book's word.
func (b Book) String() string { return word(bookWords[:], uint8(b), "book") }

// ofGrant tells whether the book is also kept by grant.
func (b Book) ofGrant() bool { return b == Available || b == Held || b == Lent }

// Movement is why an event happened.
type Movement uint8

// The movements. Expiring, Repaying, Lapsing and the Granting of a period happen by time alone: the first two and the
// last are booked when the account is next touched. Append only.
const (
	Opening Movement = iota
	Granting
	Debiting
	Returning
	Expiring
	Repaying
	Updating
	Voiding
	Authorizing
	Refusing // an Authorize that did not fit
	Extending
	Capturing
	Releasing
	Lapsing // a hold or allowance whose time was over
	Refunding
	Adjusting
	Lending
	Settling // what a home reports of an allowance
	movementCount
)

var movementWords = [movementCount]string{
	"open", "grant", "debit", "return", "expire", "repay", "update", "void", "authorize", "refuse", "extend", "capture", "release",
	"lapse", "refund", "adjust", "lend", "settle",
}

// String returns the movement's word.
func (m Movement) String() string { return word(movementWords[:], uint8(m), "movement") }

// ParseMovement reads a movement's word; another is ErrInvalid.
func ParseMovement(text string) (Movement, error) {
	m, err := parseWord(movementWords[:], text, "movement")
	return Movement(m), err
}

// Posting is one line of an event. Grant is set where the amount is of one grant.
type Posting struct {
	Book   Book
	Grant  string
	Amount Credits
}

func (p *Posting) wire(c *coder) {
	c.word((*uint8)(&p.Book), uint8(bookCount))
	c.text(&p.Grant, GrantMax)
	c.credits(&p.Amount)
}

// Terms are those of a grant that an event made. With Every, Amount is that of a period.
type Terms struct {
	ID                 string
	Kind               Kind
	Priority           uint8
	Amount             Credits
	Effective, Expires time.Time // zero: at once, never
	AppliesTo          []Label
	Every              Every
	Zone               string
	Rollover           Credits
}

func (t *Terms) wire(c *coder) {
	c.text(&t.ID, GrantMax)
	c.word((*uint8)(&t.Kind), uint8(kindCount))
	c.byte(&t.Priority)
	c.credits(&t.Amount)
	c.time(&t.Effective)
	c.time(&t.Expires)
	list(c, &t.AppliesTo, AppliesToMax, (*Label).wire)
	c.word((*uint8)(&t.Every), uint8(everyCount))
	c.text(&t.Zone, LabelNameMax)
	c.credits(&t.Rollover)
}

// HoldChange is a hold after an event.
type HoldChange struct {
	State                          HoldState
	Authorized, Captured, Refunded Credits
	Deadline                       time.Duration // in the log's Elapsed
}

func (h *HoldChange) wire(c *coder) {
	c.word((*uint8)(&h.State), uint8(holdStateCount))
	c.credits(&h.Authorized)
	c.credits(&h.Captured)
	c.credits(&h.Refunded)
	c.duration(&h.Deadline)
}

// Attributes are the facts of an account.
type Attributes struct {
	Plan                string
	Labels              []Label
	UseCredits, Blocked bool
	Overdraft           Credits
}

func (a *Attributes) wire(c *coder) {
	c.text(&a.Plan, PlanMax)
	list(c, &a.Labels, LabelsMax, (*Label).wire)
	c.flag(&a.UseCredits)
	c.flag(&a.Blocked)
	c.credits(&a.Overdraft)
}

// Event is one change of the ledger. Its postings sum to zero. All events in their order make the ledger's state; their
// ids never change. One without an account is the release of a hold that never came.
type Event struct {
	Seq          uint64 // its id and its place in the journal; one more with each event, no gaps
	Account      string
	AccountSeq   uint64 // one more with each event of the account; 1 is its opening
	Prev         uint64 // the Seq of the account's event before; 0: none that is in the journal
	Movement     Movement
	Key          string // of the command; empty for what time did
	Memo         string
	Grant        string // the grant, hold or charge that it is about
	Hold         string
	Charge       string
	Postings     []Posting
	BalanceAfter Credits
	Forgiven     Credits // asked for beyond what was available; nobody owes it
	WrittenOff   Credits // debt that was adjusted away
	Late         bool    // of a capture or report: the time of the hold or allowance was over
	Index, Term  uint64
	Wall         time.Time   // log time
	Made         []Terms     // grants that it made
	After        *HoldChange // the hold after it
	Attributes   *Attributes // of the account, when it changed them
	Allowance    uint64      // the allowance that it is about, which After tells of too; 0: none
	Home         string      // whose that is
	Items        []Settled   // what the home reported
}

// subject is the id, in the table of holds, of what After tells of.
func (e *Event) subject() string {
	if e.Allowance != 0 {
		return lentID(e.Allowance)
	}
	return e.Hold
}

// Encode returns the one encoding of the event, the one that is chained and kept.
func (e *Event) Encode() []byte {
	c := coder{}
	e.write(&c)
	return c.b
}

func (e *Event) write(c *coder) {
	if e.Allowance == 0 {
		c.version(eventFirst)
	} else {
		c.version(eventNewest)
	}
	e.wire(c)
}

// DecodeEvent reads what Encode wrote. Another form, or a newer one, is ErrCorrupt or ErrNewer.
func DecodeEvent(b []byte) (Event, error) {
	var e Event
	c := reader(string(b))
	c.version(eventNewest)
	e.wire(&c)
	if err := c.end(); err != nil {
		return Event{}, damaged("event", err)
	}
	return e, nil
}

func (e *Event) wire(c *coder) {
	c.uint(&e.Seq)
	c.text(&e.Account, AccountMax)
	c.uint(&e.AccountSeq)
	c.uint(&e.Prev)
	c.word((*uint8)(&e.Movement), uint8(movementCount))
	c.text(&e.Key, KeyMax)
	c.text(&e.Memo, MemoMax)
	c.text(&e.Grant, GrantMax)
	c.text(&e.Hold, KeyMax)
	c.text(&e.Charge, KeyMax)
	list(c, &e.Postings, math.MaxInt32, (*Posting).wire)
	c.credits(&e.BalanceAfter)
	c.credits(&e.Forgiven)
	c.credits(&e.WrittenOff)
	c.flag(&e.Late)
	c.uint(&e.Index)
	c.uint(&e.Term)
	c.time(&e.Wall)
	list(c, &e.Made, math.MaxInt32, (*Terms).wire)
	optional(c, &e.After, (*HoldChange).wire)
	optional(c, &e.Attributes, (*Attributes).wire)
	if c.format < eventNewest {
		return
	}
	c.uint(&e.Allowance)
	c.text(&e.Home, HomeMax)
	list(c, &e.Items, ItemsMax, (*Settled).wire)
	if c.reading && e.Allowance == 0 {
		c.fail(errCanonical)
	}
}

// optional reads and writes a shape that may not be there.
func optional[T any](c *coder, v **T, each func(*T, *coder)) {
	there := *v != nil
	c.flag(&there)
	if !there {
		return
	}
	if c.reading {
		*v = new(T)
	}
	each(*v, c)
}

// check tells why an event cannot be one of ours, if so.
func (e *Event) check() error {
	var sum Credits
	for _, p := range e.Postings {
		sum += p.Amount
	}
	if sum != 0 {
		return fmt.Errorf("postings of %s %q sum to %s", e.Movement, e.Key, sum)
	}
	return nil
}
