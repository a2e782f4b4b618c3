package ledger

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"
)

// Bounds of a command, in bytes where nothing else is said. A command beyond one is ErrInvalid.
const (
	KeyMax        = 255 // of a key or a grant's id
	AccountMax    = 256 // of an account's id
	PlanMax       = 64
	MemoMax       = 256
	LabelsMax     = 32 // labels of an account
	LabelNameMax  = 64
	LabelValueMax = 256
	EntriesMax    = 256 // entries in one answer
)

// Label is one fact about an account, such as region=eu.
type Label struct{ Name, Value string }

// OpenAccount opens an account. Opening it again with equal contents changes nothing; with other contents it
// is ErrConflict.
type OpenAccount struct {
	Key        string // idempotency key, here and below: any text, best a UUIDv7 or ULID
	Account    string
	Plan       string
	Labels     []Label // unique names, any order
	UseCredits bool    // consent: without it no debit touches the kinds Credit and Overdraft
	Overdraft  Credits // how far below zero debits may go whose order has Overdraft
}

// Grant gives an account a dated amount. A paid grant first repays what the account owes on its overdraft, at
// the moment it becomes effective.
type Grant struct {
	Key, Account string
	Grant        string // id, unique in the account; empty means Key
	Kind         Kind   // not Overdraft
	Amount       Credits
	Priority     uint8     // lower burns first, inside the kind
	Effective    time.Time // zero: at once
	Expires      time.Time // zero: never
}

// Debit charges an amount, all of it or nothing. It burns the kinds in Order (empty: all, in their usual
// order); inside a kind by priority, then soonest to expire, then effective first, then granted first.
type Debit struct {
	Key, Account string
	Amount       Credits
	Order        []Kind
	Memo         string
}

// Return gives back what a debit took, to the grants it came from, last taken first. What came from a grant
// that has since expired is booked as expired. If the debit is not known yet, its key is barred: when it
// arrives after all it is answered Returned and charges nothing.
type Return struct {
	Key, Account string
	Debit        string  // the key of the debit
	Amount       Credits // at most what is left of it; 0 means all of that
}

// readAccount and readEntries are reads in log order.
type readAccount struct{ account string }

type readEntries struct {
	account string
	after   uint64
	limit   uint64
}

// op names a command on the wire. Append only.
type op uint8

const (
	opOpen op = iota + 1
	opGrant
	opDebit
	opReturn
	opAccount
	opEntries
	opCount
)

var opWords = [opCount]string{"unknown", "open", "grant", "debit", "return", "account", "entries"}

func (o op) String() string { return opWords[o] }

// command is what a log entry can hold.
type command interface {
	op() op
	wire(c *coder)
	check() error // rules that need no state
}

// intent is a command that changes the ledger, once per key.
type intent interface {
	command
	head() (key, account string)
	// run changes m only if it returns no error.
	run(m *Machine, at Stamp) (Receipt, error)
}

func (o *OpenAccount) op() op { return opOpen }
func (g *Grant) op() op       { return opGrant }
func (d *Debit) op() op       { return opDebit }
func (r *Return) op() op      { return opReturn }
func (r *readAccount) op() op { return opAccount }
func (r *readEntries) op() op { return opEntries }

func (o *OpenAccount) head() (key, account string) { return o.Key, o.Account }
func (g *Grant) head() (key, account string)       { return g.Key, g.Account }
func (d *Debit) head() (key, account string)       { return d.Key, d.Account }
func (r *Return) head() (key, account string)      { return r.Key, r.Account }

func (o *OpenAccount) check() error {
	if len(o.Labels) > LabelsMax {
		return fmt.Errorf("%w: %d labels, at most %d", ErrInvalid, len(o.Labels), LabelsMax)
	}
	for i, l := range o.Labels {
		if i > 0 && o.Labels[i-1].Name >= l.Name {
			return fmt.Errorf("%w: label %q twice or out of order", ErrInvalid, l.Name)
		}
		if err := cmp.Or(checkText("label", l.Name, 1, LabelNameMax), checkText("label value", l.Value, 0, LabelValueMax)); err != nil {
			return err
		}
	}
	return cmp.Or(checkHead(o), checkText("plan", o.Plan, 0, PlanMax), checkAmount("overdraft", o.Overdraft, 0))
}

func (g *Grant) check() error {
	if g.Kind >= Overdraft {
		return fmt.Errorf("%w: a grant cannot be of kind %s", ErrInvalid, g.Kind)
	}
	if !g.Effective.IsZero() && !g.Expires.IsZero() && !g.Effective.Before(g.Expires) {
		return fmt.Errorf("%w: grant expires before it is effective", ErrInvalid)
	}
	return cmp.Or(checkHead(g), checkText("grant", g.Grant, 0, KeyMax), checkAmount("amount", g.Amount, 1),
		checkTime("effective", g.Effective), checkTime("expires", g.Expires))
}

func (d *Debit) check() error {
	for i, k := range d.Order {
		if k >= kindCount || slices.Contains(d.Order[:i], k) {
			return fmt.Errorf("%w: %s is unknown or twice in the order", ErrInvalid, k)
		}
	}
	return cmp.Or(checkHead(d), checkAmount("amount", d.Amount, 1), checkText("memo", d.Memo, 0, MemoMax))
}

func (r *Return) check() error {
	if r.Debit == r.Key {
		return fmt.Errorf("%w: a return needs a key of its own", ErrInvalid)
	}
	return cmp.Or(checkHead(r), checkText("debit", r.Debit, 1, KeyMax), checkAmount("amount", r.Amount, 0))
}

func (r *readAccount) check() error { return checkText("account", r.account, 1, AccountMax) }

func (r *readEntries) check() error {
	if r.limit < 1 || r.limit > EntriesMax {
		return fmt.Errorf("%w: limit %d, expected 1 to %d", ErrInvalid, r.limit, EntriesMax)
	}
	return checkText("account", r.account, 1, AccountMax)
}

func checkHead(in intent) error {
	key, account := in.head()
	return cmp.Or(checkText("key", key, 1, KeyMax), checkText("account", account, 1, AccountMax))
}

func checkText(what, text string, low, high int) error {
	if len(text) < low || len(text) > high || !utf8.ValidString(text) {
		return fmt.Errorf("%w: %s must be %d to %d bytes of UTF-8", ErrInvalid, what, low, high)
	}
	return nil
}

func checkAmount(what string, amount, low Credits) error {
	if amount < low || amount > CreditsMax {
		return fmt.Errorf("%w: %s of %s is not between %s and %s", ErrInvalid, what, amount, low, CreditsMax)
	}
	return nil
}

// checkTime keeps times where nanoseconds in an int64 are exact and 0 can mean none.
func checkTime(what string, t time.Time) error {
	if !t.IsZero() && (!t.After(time.Unix(0, 0)) || !t.Before(time.Unix(0, math.MaxInt64))) {
		return fmt.Errorf("%w: %s is out of range", ErrInvalid, what)
	}
	return nil
}
