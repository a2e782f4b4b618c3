package client

import (
	"net/http"
	"time"
)

// Account is how an account is opened.
type Account struct {
	ID              string            `json:"id"`
	Plan            string            `json:"plan,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	UseCredits      bool              `json:"use_credits"` // whether credit may be spent past a limit
	OverdraftMicros int64             `json:"overdraft_micros"`
	Blocked         bool              `json:"blocked,omitempty"` // debits and new holds are refused
}

// AccountChange changes what is not nil and leaves the rest. Labels replaces all labels; an empty map takes them off.
type AccountChange struct {
	Plan            *string           `json:"plan,omitempty"`
	Labels          map[string]string `json:"labels,omitzero"`
	UseCredits      *bool             `json:"use_credits,omitempty"`
	OverdraftMicros *int64            `json:"overdraft_micros,omitempty"`
	Blocked         *bool             `json:"blocked,omitempty"`
	Memo            string            `json:"memo,omitempty"`
}

// Statement is an account with its balance. Seq, Index, Term and Time place it in the ledger's order.
type Statement struct {
	Account
	BalanceMicros    int64            `json:"balance_micros"` // what can be spent now; below zero it is owed
	HeldMicros       int64            `json:"held_micros"`    // set aside by holds, not in the balance
	ByKind           map[string]int64 `json:"by_kind"`        // micro-credits by kind of grant
	Books            map[string]int64 `json:"books"`          // double entry: they sum to zero
	ForgivenMicros   int64            `json:"forgiven_micros"`
	WrittenOffMicros int64            `json:"written_off_micros"`
	OpenHolds        int              `json:"open_holds"`
	Grants           []GrantLeft      `json:"grants"`
	Recurring        []Grant          `json:"recurring,omitempty"` // by which grants named <id>@<start> are made
	Seq              uint64           `json:"seq"`
	Event            uint64           `json:"event,omitempty"` // its last one
	Index            uint64           `json:"index"`
	Term             uint64           `json:"term"`
	Time             time.Time        `json:"time,omitzero"`
}

// Read says how old what is read may be. The zero value is linearizable: it knows of everything answered before it began.
type Read struct {
	MaxStaleness time.Duration // above 0: any node that is at most so far behind may answer
	MinIndex     uint64        // it must know of this log entry, as the Index of a receipt tells it
}

// Grant is a dated amount of credit. Lower priorities are spent first, then what expires soonest. A zero
// Effective is now, a zero Expires is never.
type Grant struct {
	ID             string            `json:"id,omitempty"`
	Kind           string            `json:"kind"` // included, promo, credit
	AmountMicros   int64             `json:"amount_micros"`
	Priority       uint8             `json:"priority,omitempty"`
	Effective      time.Time         `json:"effective,omitzero"`
	Expires        time.Time         `json:"expires,omitzero"`
	Every          string            `json:"every,omitempty"` // day, week, month or year: given anew each; empty: once
	Zone           string            `json:"zone,omitempty"`  // in which those begin; empty: UTC
	RolloverMicros int64             `json:"rollover_micros,omitempty"`
	AppliesTo      map[string]string `json:"applies_to,omitempty"` // only debits with all of these attributes spend it
}

// GrantLeft is a grant and what is left of it.
type GrantLeft struct {
	Grant
	RemainingMicros int64 `json:"remaining_micros"`
	HeldMicros      int64 `json:"held_micros,omitempty"` // by open holds
	Expired         bool  `json:"expired,omitempty"`
	Voided          bool  `json:"voided,omitempty"`
}

// Debit takes credit. An empty Order is the ledger's own, an empty Overshoot is OvershootCap.
type Debit struct {
	AmountMicros int64             `json:"amount_micros"`
	Order        []string          `json:"order,omitempty"` // included, promo, credit, overdraft
	Memo         string            `json:"memo,omitempty"`
	Overshoot    string            `json:"overshoot,omitempty"`
	Attributes   map[string]string `json:"attributes,omitempty"` // what the grants' AppliesTo looks at
}

// What becomes of an amount beyond the credit that there is.
const (
	OvershootCap      = "cap"      // charge what there is and forgive the rest
	OvershootDeny     = "deny"     // take all of it or nothing
	OvershootOverdraw = "overdraw" // go below zero, down to the account's overdraft, and forgive what is beyond
)

// Hold sets credit aside for TTLMS milliseconds. Its id is the key of the write.
type Hold struct {
	AmountMicros int64             `json:"amount_micros"`
	TTLMS        int64             `json:"ttl_ms"`
	Partial      bool              `json:"partial,omitempty"` // hold less when there is less
	Order        []string          `json:"order,omitempty"`
	Attributes   map[string]string `json:"attributes,omitempty"`
	OnExpire     string            `json:"on_expire,omitempty"` // what becomes of the rest at its end: release (default) or capture
	Late         string            `json:"late,omitempty"`      // a capture after its end: charge (default) or reject
	Memo         string            `json:"memo,omitempty"`
}

// Extension holds more, or longer, or both. A hold is never shortened.
type Extension struct {
	AmountMicros int64  `json:"amount_micros,omitempty"`
	TTLMS        int64  `json:"ttl_ms,omitempty"` // from now on
	Memo         string `json:"memo,omitempty"`
}

// Capture charges a hold. Final gives back what is left of it.
type Capture struct {
	AmountMicros int64  `json:"amount_micros"`
	Final        bool   `json:"final,omitempty"`
	Overshoot    string `json:"overshoot,omitempty"` // beyond what is held; empty: OvershootCap
	Memo         string `json:"memo,omitempty"`
}

// Refund gives back what was charged: AmountMicros of it, or with 0 all that is left.
type Refund struct {
	AmountMicros int64  `json:"amount_micros,omitempty"`
	Memo         string `json:"memo,omitempty"`
}

// Adjustment corrects a balance by hand: a negative amount takes. Memo is the reason and must be there.
type Adjustment struct {
	AmountMicros int64  `json:"amount_micros"`
	Kind         string `json:"kind"` // included, promo, credit; of overdraft: a debt that is written off
	Memo         string `json:"memo"`
}

// Receipt is the ledger's answer to a write. A repeated write gets the first receipt with Replayed set.
// A refusal, such as a debit beyond the balance, also has Type, Title, Status, Reason and Detail.
type Receipt struct {
	Type               string           `json:"type,omitempty"`
	Title              string           `json:"title,omitempty"`
	Status             int              `json:"status,omitempty"` // HTTP status of a refusal, else 0
	Detail             string           `json:"detail,omitempty"`
	Reason             string           `json:"reason,omitempty"`
	Outcome            string           `json:"outcome"`
	Account            string           `json:"account"`
	Seq                uint64           `json:"seq"`
	Event              uint64           `json:"event,omitempty"` // its number among the events of all accounts
	AmountMicros       int64            `json:"amount_micros"`
	BalanceAfterMicros int64            `json:"balance_after_micros"`
	ForgivenMicros     int64            `json:"forgiven_micros,omitempty"` // asked for beyond the credit there was, and not charged
	ExpiredMicros      int64            `json:"expired_micros,omitempty"`  // given back to grants that have expired meanwhile
	Parts              []Part           `json:"parts,omitempty"`
	Had                map[string]int64 `json:"had,omitempty"` // micro-credits by kind that there were to take before
	Hold               *HoldState       `json:"hold,omitempty"`
	Late               bool             `json:"late,omitempty"` // a capture after the end of its hold
	Index              uint64           `json:"index"`          // of the log entry, the first time
	Term               uint64           `json:"term"`
	Time               time.Time        `json:"time,omitzero"` // of the ledger, when it was applied
	Replayed           bool             `json:"replayed"`
	Attempts           uint64           `json:"attempts,omitempty"` // how often the key came, this time included
}

// HoldState is a hold after a write to it.
type HoldState struct {
	ID             string `json:"id"`
	State          string `json:"state"`       // open, captured, released, expired, refused
	HeldMicros     int64  `json:"held_micros"` // that can still be captured
	CapturedMicros int64  `json:"captured_micros"`
	RefundedMicros int64  `json:"refunded_micros"`
	ExpiresInMS    int64  `json:"expires_in_ms,omitempty"` // of an open one, when the receipt was written; it never comes sooner
}

// Part is what one grant contributed to a receipt.
type Part struct {
	Kind         string `json:"kind"`
	Grant        string `json:"grant,omitempty"`
	AmountMicros int64  `json:"amount_micros"`
}

// Entry is one movement of an account. Its postings sum to zero.
type Entry struct {
	Seq                uint64    `json:"seq"`   // of the account's journal; 1 is the opening
	Event              uint64    `json:"event"` // its number among the movements of all accounts
	Movement           string    `json:"movement"`
	IdempotencyKey     string    `json:"idempotency_key,omitempty"` // of the write; empty for what time did
	Memo               string    `json:"memo,omitempty"`
	Hold               string    `json:"hold,omitempty"`
	Grant              string    `json:"grant,omitempty"`
	Charge             string    `json:"charge,omitempty"` // of what a refund gives back
	Postings           []Posting `json:"postings"`
	BalanceAfterMicros int64     `json:"balance_after_micros"`
	ForgivenMicros     int64     `json:"forgiven_micros,omitempty"`
	WrittenOffMicros   int64     `json:"written_off_micros,omitempty"`
	Late               bool      `json:"late,omitempty"` // a capture after the end of its hold
	Index              uint64    `json:"index"`          // of the log entry that carried it
	Term               uint64    `json:"term"`
	Time               time.Time `json:"time"` // of the ledger
}

// Posting is one line of an entry: an amount that one book gains or, when negative, loses.
type Posting struct {
	Book         string `json:"book"`
	Grant        string `json:"grant,omitempty"`
	AmountMicros int64  `json:"amount_micros"`
}

// Page asks for a piece of the movements of an account.
type Page struct {
	NewestFirst bool
	After       uint64 // oldest first: beyond this seq
	Cursor      string // Next of the page before; it has the direction and the place
	Limit       int    // at most 256, which is also what zero means
}

// History is a page of movements. Next is the cursor of the next one, empty when there is none.
type History struct {
	Entries []Entry `json:"entries"`
	Next    string  `json:"next,omitempty"`
}

// LedgerStatus is what the ledger as a whole has, as of a place in its log.
type LedgerStatus struct {
	Accounts  uint64        `json:"accounts"`
	OpenHolds uint64        `json:"open_holds"`
	Holds     uint64        `json:"holds"`  // with those that ended in the last day
	Keys      uint64        `json:"keys"`   // idempotency keys that are remembered
	Events    uint64        `json:"events"` // number of the last one
	Chain     string        `json:"chain"`  // SHA-256 over all events, in hex
	Commands  uint64        `json:"commands"`
	Digest    string        `json:"digest"` // equal on replicas that have done equally many commands
	Cursors   []EventCursor `json:"cursors"`
	Index     uint64        `json:"index"`
	Term      uint64        `json:"term"`
	Time      time.Time     `json:"time,omitzero"`
	Journal   *JournalRange `json:"journal,omitempty"` // of the node that answers
}

// JournalRange is what the journal of a node has of the events.
type JournalRange struct {
	Oldest  uint64 `json:"oldest"` // 0: none
	Newest  uint64 `json:"newest"`
	Bytes   int64  `json:"bytes"`
	Missing uint64 `json:"missing"` // in gaps, to be fetched from other voters
}

// EventCursor is how far a consumer of the events has come.
type EventCursor struct {
	Name string `json:"name"`
	Seq  uint64 `json:"seq"`
}

// Refused reports whether the ledger said no: nothing was taken.
func (r Receipt) Refused() bool { return r.Status >= http.StatusBadRequest }
