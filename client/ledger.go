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
}

// Statement is an account with its balance. Seq, Index and Term place it in the ledger's order.
type Statement struct {
	Account
	BalanceMicros int64            `json:"balance_micros"`
	ByKind        map[string]int64 `json:"by_kind"` // micro-credits by kind of grant
	Grants        []GrantLeft      `json:"grants"`
	Seq           uint64           `json:"seq"`
	Index         uint64           `json:"index"`
	Term          uint64           `json:"term"`
}

// Grant is a dated amount of credit. Lower priorities are spent first, then what expires soonest. A zero
// Effective is now, a zero Expires is never.
type Grant struct {
	ID           string    `json:"id,omitempty"`
	Kind         string    `json:"kind"` // included, promo, credit
	AmountMicros int64     `json:"amount_micros"`
	Priority     uint8     `json:"priority,omitempty"`
	Effective    time.Time `json:"effective,omitzero"`
	Expires      time.Time `json:"expires,omitzero"`
}

// GrantLeft is a grant and what is left of it.
type GrantLeft struct {
	Grant
	RemainingMicros int64 `json:"remaining_micros"`
}

// Debit takes credit, all of it or nothing. An empty Order is the ledger's own.
type Debit struct {
	AmountMicros int64    `json:"amount_micros"`
	Order        []string `json:"order,omitempty"` // included, promo, credit, overdraft
	Memo         string   `json:"memo,omitempty"`
}

// Receipt is the ledger's answer to a write. A repeated write gets the first receipt with Replayed set.
// A refusal, a debit beyond the balance, also has Type, Title, Status and Detail.
type Receipt struct {
	Type               string    `json:"type,omitempty"`
	Title              string    `json:"title,omitempty"`
	Status             int       `json:"status,omitempty"` // HTTP status of a refusal, else 0
	Detail             string    `json:"detail,omitempty"`
	Outcome            string    `json:"outcome"`
	Account            string    `json:"account"`
	Seq                uint64    `json:"seq"`
	AmountMicros       int64     `json:"amount_micros"`
	BalanceAfterMicros int64     `json:"balance_after_micros"`
	Parts              []Part    `json:"parts,omitempty"`
	Index              uint64    `json:"index"`
	Term               uint64    `json:"term"`
	Time               time.Time `json:"time,omitzero"` // of the ledger, when it was applied
	Replayed           bool      `json:"replayed"`
}

// Part is what one grant contributed to a receipt.
type Part struct {
	Kind         string `json:"kind"`
	Grant        string `json:"grant,omitempty"`
	AmountMicros int64  `json:"amount_micros"`
}

// Entry is one movement of an account. Its postings sum to zero.
type Entry struct {
	Seq            uint64    `json:"seq"` // of the account's journal; 1 is the opening
	Movement       string    `json:"movement"`
	IdempotencyKey string    `json:"idempotency_key,omitempty"` // of the write; empty for what time did
	Memo           string    `json:"memo,omitempty"`
	Postings       []Posting `json:"postings"`
	Index          uint64    `json:"index"` // of the log entry that carried it
	Term           uint64    `json:"term"`
	Time           time.Time `json:"time"` // of the ledger
}

// Posting is one line of an entry: an amount that one book gains or, when negative, loses.
type Posting struct {
	Book         string `json:"book"`
	Grant        string `json:"grant,omitempty"`
	AmountMicros int64  `json:"amount_micros"`
}

// Refused reports whether the ledger said no: nothing was taken.
func (r Receipt) Refused() bool { return r.Status >= http.StatusBadRequest }
