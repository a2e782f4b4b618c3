package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Outcome says what became of an operation, as its caller saw it.
type Outcome uint8

// The zero value promises least.
const (
	Unknown Outcome = iota // nobody knows: it may have happened, or may happen later
	OK                     // answered and decided; a refusal is decided too
	Failed                 // surely nothing happened
)

// String returns the outcome in lower case.
func (o Outcome) String() string {
	return [...]string{"unknown", "ok", "failed"}[min(o, Failed)]
}

// Kind says what an operation asks for.
type Kind uint8

// The kinds of operations.
const (
	Check     Kind = iota + 1 // a decision that takes
	Peek                      // a decision that takes nothing
	Grant                     // credit given to an account
	Debit                     // credit taken from it
	Balance                   // a read of an account
	Entries                   // an audit: the movements of an account
	Policy                    // a change of the policy
	Override                  // a change of an account's override or block
	View                      // an observation of a node's view
	Update                    // a change of the facts of an account
	Void                      // a grant taken back
	Authorize                 // credit held for a charge to come
	Extend                    // more of it, or longer
	Capture                   // a charge to a hold
	Release                   // the end of a hold
	Refund                    // a charge given back
	Adjust                    // a correction by hand
	Feed                      // a piece of the stream of events
	Mark                      // how far a consumer of it has come
	kindCount
)

// words are also the ledger's, of the movements that the writes make.
var words = [kindCount]string{
	"none", "check", "peek", "grant", "debit", "balance", "entries", "policy", "override", "view",
	"update", "void", "authorize", "extend", "capture", "release", "refund", "adjust", "feed", "mark",
}

// String returns the kind in lower case.
func (k Kind) String() string {
	if k >= kindCount {
		return words[0]
	}
	return words[k]
}

// Writes says whether it asks the ledger for a change, once for each key.
func (k Kind) Writes() bool { return k == Grant || k == Debit || k >= Update && k <= Adjust }

// Op is one operation of a client and what came of it. Times are of the harness's one clock, since the run began.
type Op struct {
	Invoked  time.Duration `json:"t_inv"`
	Returned time.Duration `json:"t_ret"`           // below zero while it is open: only an Unknown one may be
	Intended time.Duration `json:"t_int,omitempty"` // of an open workload: when it should have been invoked; zero is Invoked
	Client   int           `json:"client"`
	Node     string        `json:"node,omitempty"` // that was asked
	Kind     Kind          `json:"op"`
	Account  string        `json:"account,omitempty"`
	Limits   []string      `json:"limits,omitempty"` // that the check meets, when the workload knows
	Key      string        `json:"key,omitempty"`    // of idempotency
	Cost     int64         `json:"cost,omitempty"`   // requests of a check, micro-credits of a write, the most that an audit lists, the event that a feed goes on after
	Ask      Ask           `json:"ask,omitzero"`     // what a write asks for beside that
	Stale    time.Duration `json:"stale,omitempty"`  // of a read: how old what it tells may be; zero: not at all
	MinIndex uint64        `json:"min_index,omitempty"`
	Outcome  Outcome       `json:"outcome"`
	Err      string        `json:"err,omitempty"`
	Reply    Reply         `json:"reply,omitzero"`
}

// Answered says whether the ledger itself decided a write, be it that there is no such hold.
func (o *Op) Answered() bool {
	switch o.Reply.Reason {
	case reasonConflict, reasonNoHold, reasonNoCharge, reasonNoGrant:
		return o.Outcome != Unknown
	}
	return o.Outcome == OK
}

// Reasons with which the ledger says that it did nothing.
const (
	reasonConflict = "IDEMPOTENCY_CONFLICT"
	reasonNoHold   = "HOLD_NOT_FOUND"
	reasonNoCharge = "CHARGE_NOT_FOUND"
	reasonNoGrant  = "GRANT_NOT_FOUND"
)

// Ask is what a write to the ledger asks for beside account and amount. With the same key another Ask is another write.
type Ask struct {
	Of        string        `json:"of,omitempty"`     // the hold, the charge that a refund gives back, the grant that is taken back
	Credit    string        `json:"credit,omitempty"` // the kind of it
	Every     string        `json:"every,omitempty"`
	Expires   time.Duration `json:"expires,omitempty"` // since the run began; of a recurring grant: when a period ends
	Overshoot string        `json:"overshoot,omitempty"`
	TTL       time.Duration `json:"ttl,omitempty"`
	Partial   bool          `json:"partial,omitempty"`
	Final     bool          `json:"final,omitempty"`
	OnExpire  string        `json:"on_expire,omitempty"`
	Late      string        `json:"late,omitempty"`
	Memo      string        `json:"memo,omitempty"`
}

// Reply is what an answer said. Each kind of operation fills what it is answered.
type Reply struct {
	Verdict       string        `json:"verdict,omitempty"`
	Reason        string        `json:"reason,omitempty"`
	Home          string        `json:"home,omitempty"` // that decided
	Epoch         uint64        `json:"epoch,omitempty"`
	PolicyVersion uint64        `json:"policy_version,omitempty"`
	RetryAfter    time.Duration `json:"retry_after,omitempty"`
	Limits        []LimitReply  `json:"limits,omitempty"`
	Sources       []SourceReply `json:"sources,omitempty"`

	Seq                uint64       `json:"seq,omitempty"`
	Event              uint64       `json:"event,omitempty"` // the account's last in the stream of all
	Index              uint64       `json:"index,omitempty"`
	Term               uint64       `json:"term,omitempty"`
	AmountMicros       int64        `json:"amount_micros,omitempty"`
	BalanceAfterMicros int64        `json:"balance_after_micros,omitempty"`
	Replayed           bool         `json:"replayed,omitempty"`
	Entries            []EntryReply `json:"entries,omitempty"`
	ForgivenMicros     int64        `json:"forgiven_micros,omitempty"`
	ExpiredMicros      int64        `json:"expired_micros,omitempty"`
	Late               bool         `json:"late,omitempty"`
	Hold               HoldReply    `json:"hold,omitzero"`
	Books              Books        `json:"books,omitzero"` // of a read
	Sum                string       `json:"sum,omitempty"`  // over all of a receipt but what tells that it repeats one
	Detail             string       `json:"detail,omitempty"`
	Decision           string       `json:"decision_id,omitempty"` // the same when a repetition was answered from memory
}

// LimitReply is a limit as it stood after the decision.
type LimitReply struct {
	Name      string        `json:"name"`
	Limit     int64         `json:"limit"`
	Remaining int64         `json:"remaining"`
	Reset     time.Duration `json:"reset"`
	Refused   bool          `json:"refused,omitempty"`
	Capacity  int64         `json:"capacity,omitempty"` // the most it can hold, when that is not Limit
}

// SourceReply is a part of what was allowed.
type SourceReply struct {
	Source        string `json:"source"`
	Amount        int64  `json:"amount"`
	CreditsMicros int64  `json:"credits_micros,omitempty"`
	Grant         string `json:"grant,omitempty"`
}

// HoldReply is a hold as a receipt tells it.
type HoldReply struct {
	State                    string `json:"state,omitempty"` // open, captured, released, expired or refused
	Held, Captured, Refunded int64  `json:",omitempty"`
}

// bookWords are the books of an account.
var bookWords = [...]string{"issued", "available", "overdrawn", "spent", "expired", "held", "voided"}

// Books are the sums of an account's books, in the order of the ledger's own.
type Books [len(bookWords)]int64

// BooksOf lays sums out that are told by name; a name that is none adds nothing.
func BooksOf(named map[string]int64) (b Books) {
	for i, word := range bookWords {
		b[i] = named[word]
	}
	return b
}

// EntryReply is a movement of an account, as an audit or a feed lists it. Its postings sum to zero.
type EntryReply struct {
	Event    uint64         `json:"event,omitempty"`   // its place in the stream of all
	Prev     uint64         `json:"prev,omitempty"`    // the account's event before; feeds tell it
	Account  string         `json:"account,omitempty"` // feeds tell it
	Seq      uint64         `json:"seq"`
	Index    uint64         `json:"index"`
	Term     uint64         `json:"term"`
	Movement string         `json:"movement"`
	Key      string         `json:"key,omitempty"` // of the write; empty for what time did
	Memo     string         `json:"memo,omitempty"`
	Hold     string         `json:"hold,omitempty"`
	Charge   string         `json:"charge,omitempty"`
	Grant    string         `json:"grant,omitempty"`
	Forgiven int64          `json:"forgiven_micros,omitempty"`
	Written  int64          `json:"written_off_micros,omitempty"`
	Late     bool           `json:"late,omitempty"`
	Postings []PostingReply `json:"postings"`
}

// PostingReply moves an amount in or out of a book of the account.
type PostingReply struct {
	Book         string `json:"book"`
	Grant        string `json:"grant,omitempty"`
	AmountMicros int64  `json:"amount_micros"`
}

// Event is something that happened to a node, or that it was seen to say.
type Event struct {
	At     time.Duration `json:"at"`
	Node   string        `json:"node,omitempty"`
	What   string        `json:"what"` // fault, heal, crash, start, stop, epoch, leader, ready, digest, phase
	Detail string        `json:"detail,omitempty"`
	Epoch  uint64        `json:"epoch,omitempty"`
	Index  uint64        `json:"index,omitempty"`
	Digest string        `json:"digest,omitempty"`
}

// Fault is an injected fault, and the proof that it bit.
type Fault struct {
	ID     string        `json:"id"`
	Kind   string        `json:"kind"`
	Nodes  []string      `json:"nodes,omitempty"`
	Peers  []string      `json:"peers,omitempty"` // the other ends of links that it is of; none: all others
	From   time.Duration `json:"from"`
	Until  time.Duration `json:"until"` // below zero when it was never healed
	Proof  string        `json:"proof"` // what was counted
	Before uint64        `json:"before"`
	After  uint64        `json:"after"`
	Jump   time.Duration `json:"jump,omitempty"` // of a clock, ahead
}

// Bit says whether the fault was seen to do something.
func (f Fault) Bit() bool { return f.After > f.Before }

// Overdraft is how far below zero the balance of an account may go. An account without one stops at zero.
type Overdraft struct {
	Account string `json:"account"`
	Micros  int64  `json:"micros"`
}

// History is a run: what was asked, what happened meanwhile, and what was done to it. Ops are in the order in which
// they were invoked; a start event stands for every process of a node.
type History struct {
	Ops        []Op
	Events     []Event
	Faults     []Fault
	Overdrafts []Overdraft
}

// line is a line of a written history: one of the four.
type line struct {
	Overdraft *Overdraft `json:"a,omitempty"`

	Op    *Op    `json:"o,omitempty"`
	Event *Event `json:"e,omitempty"`
	Fault *Fault `json:"f,omitempty"`
}

// Write writes the history as JSON lines.
func (h *History) Write(w io.Writer) error {
	buffered := bufio.NewWriter(w)
	out := json.NewEncoder(buffered)
	for i := range h.Overdrafts {
		if err := out.Encode(line{Overdraft: &h.Overdrafts[i]}); err != nil {
			return fmt.Errorf("write history: %w", err)
		}
	}
	for i := range h.Faults {
		if err := out.Encode(line{Fault: &h.Faults[i]}); err != nil {
			return fmt.Errorf("write history: %w", err)
		}
	}
	for i := range h.Events {
		if err := out.Encode(line{Event: &h.Events[i]}); err != nil {
			return fmt.Errorf("write history: %w", err)
		}
	}
	for i := range h.Ops {
		if err := out.Encode(line{Op: &h.Ops[i]}); err != nil {
			return fmt.Errorf("write history: %w", err)
		}
	}
	return buffered.Flush()
}

// ReadHistory reads what Write wrote.
func ReadHistory(r io.Reader) (*History, error) {
	h := &History{}
	for in := json.NewDecoder(bufio.NewReader(r)); ; {
		var l line
		switch err := in.Decode(&l); {
		case err == io.EOF:
			return h, nil
		case err != nil:
			return nil, fmt.Errorf("read history: %w", err)
		case l.Op != nil:
			h.Ops = append(h.Ops, *l.Op)
		case l.Event != nil:
			h.Events = append(h.Events, *l.Event)
		case l.Overdraft != nil:
			h.Overdrafts = append(h.Overdrafts, *l.Overdraft)
		case l.Fault != nil:
			h.Faults = append(h.Faults, *l.Fault)
		}
	}
}
