package client

import (
	"encoding/json"
	"time"
)

// Event is a change of the ledger in the envelope of CloudEvents 1.0. Source and ID name it for ever.
type Event struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"` // its number in decimal
	Source      string    `json:"source"`
	Type        string    `json:"type"`    // weir.ledger. and the movement
	Subject     string    `json:"subject"` // the account
	Time        time.Time `json:"time"`    // of the ledger
	Sequence    string    `json:"sequence"`
	Data        EventData `json:"data"`

	Raw json.RawMessage `json:"-"` // as it came, on one line
}

// EventData is what happened. Seq counts the changes of the whole ledger, AccountSeq those of the account, both without gaps;
// Prev is the account's change before.
type EventData struct {
	Seq                uint64        `json:"seq"`
	Account            string        `json:"account"`
	AccountSeq         uint64        `json:"account_seq"`
	Prev               uint64        `json:"prev,omitempty"`
	Movement           string        `json:"movement"`
	IdempotencyKey     string        `json:"idempotency_key,omitempty"` // of the write; empty for what time did
	Memo               string        `json:"memo,omitempty"`
	Grant              string        `json:"grant,omitempty"`
	Hold               string        `json:"hold,omitempty"`
	Charge             string        `json:"charge,omitempty"`
	Postings           []Posting     `json:"postings"`
	BalanceAfterMicros int64         `json:"balance_after_micros"`
	ForgivenMicros     int64         `json:"forgiven_micros,omitempty"`
	WrittenOffMicros   int64         `json:"written_off_micros,omitempty"`
	Late               bool          `json:"late,omitempty"`
	Index              uint64        `json:"index"`
	Term               uint64        `json:"term"`
	Attributes         *AccountFacts `json:"attributes,omitempty"` // of the account, when they changed
}

// AccountFacts are what is said of an account.
type AccountFacts struct {
	Plan            string            `json:"plan"`
	Labels          map[string]string `json:"labels"`
	UseCredits      bool              `json:"use_credits"`
	OverdraftMicros int64             `json:"overdraft_micros"`
	Blocked         bool              `json:"blocked"`
}
