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
	Check    Kind = iota + 1 // a decision that takes
	Peek                     // a decision that takes nothing
	Grant                    // credit given to an account
	Debit                    // credit taken from it
	Balance                  // a read of an account
	Entries                  // an audit: the movements of an account
	Policy                   // a change of the policy
	Override                 // a change of an account's override or block
	View                     // an observation of a node's view
)

// String returns the kind in lower case.
func (k Kind) String() string {
	return [...]string{"none", "check", "peek", "grant", "debit", "balance", "entries", "policy", "override", "view"}[min(k, View)]
}

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
	Cost     int64         `json:"cost,omitempty"`   // requests of a check, micro-credits of a grant or debit, the most that an audit lists
	Outcome  Outcome       `json:"outcome"`
	Err      string        `json:"err,omitempty"`
	Reply    Reply         `json:"reply,omitzero"`
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
	Index              uint64       `json:"index,omitempty"`
	Term               uint64       `json:"term,omitempty"`
	AmountMicros       int64        `json:"amount_micros,omitempty"`
	BalanceAfterMicros int64        `json:"balance_after_micros,omitempty"`
	Replayed           bool         `json:"replayed,omitempty"`
	Entries            []EntryReply `json:"entries,omitempty"`
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

// EntryReply is a movement of an account, as an audit lists it. Its postings sum to zero.
type EntryReply struct {
	Seq      uint64         `json:"seq"`
	Index    uint64         `json:"index"`
	Term     uint64         `json:"term"`
	Movement string         `json:"movement"`
	Key      string         `json:"key,omitempty"` // of the write; empty for what time did
	Memo     string         `json:"memo,omitempty"`
	Postings []PostingReply `json:"postings"`
}

// PostingReply moves an amount in or out of a book of the account: issued, available, overdrawn, spent, expired.
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
