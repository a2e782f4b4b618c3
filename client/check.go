// Package client is how a program uses a Weir cluster, in Go.
//
// A Client knows the view, sends each check straight to the home of its account, and decides by the policy's fallback
// when no node answers. A refusal is a Decision, not an error. The words of the API, which client/rest shares, are here
// too.
package client

import (
	"strings"
	"time"
)

// The modes of a check.
const (
	Consume = "CONSUME" // take what is allowed
	Peek    = "PEEK"    // take nothing
	Reserve = "RESERVE" // take an estimate, to be settled
)

// CheckRequest asks whether a request may go on. An empty Cost is one request, an empty Mode is Consume.
type CheckRequest struct {
	Domain         string            `json:"domain"`
	Attributes     map[string]string `json:"attributes"`
	Cost           map[string]int64  `json:"cost,omitempty"` // meter to units
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	Ticket         string            `json:"ticket,omitempty"`
	MaxWaitMS      int64             `json:"max_wait_ms,omitempty"`
	Mode           string            `json:"mode,omitempty"`
	Explain        bool              `json:"explain,omitempty"`
}

// Decision is the answer to a check. A refusal also has Type, Title and Status, the members of a problem.
type Decision struct {
	Type          string            `json:"type,omitempty"`
	Title         string            `json:"title,omitempty"`
	Status        int               `json:"status,omitempty"`            // HTTP status of a refusal, else 0
	Violated      []string          `json:"violated-policies,omitempty"` // the limits that refused
	Verdict       string            `json:"verdict"`                     // ALLOW, DEGRADE, QUEUE, DENY
	Reason        string            `json:"reason"`
	Message       string            `json:"message"`
	Remedy        string            `json:"remedy"` // none, wait, buy, ask_owner
	RetryAfterMS  int64             `json:"retry_after_ms"`
	WaitMS        int64             `json:"wait_ms"`
	Ticket        string            `json:"ticket,omitempty"`
	Degrade       map[string]string `json:"degrade,omitempty"`
	Sources       []Draw            `json:"sources"`
	Limits        []Limit           `json:"limits"`
	Reservation   string            `json:"reservation,omitempty"`
	PolicyVersion uint64            `json:"policy_version"`
	Home          string            `json:"home"`  // the node that decided
	Epoch         uint64            `json:"epoch"` // of the view it decided under
	// Unreplicated is of a check with a key: its home may have forgotten it after a crash.
	Unreplicated bool   `json:"unreplicated,omitempty"`
	DecisionID   string `json:"decision_id"`
	Explain      []Step `json:"explain,omitempty"`
	Cached       bool   `json:"cached,omitempty"` // a refusal that the client remembers: nobody was asked
}

// Draw is a part of what was allowed: units of a meter from one source, and what they cost there.
type Draw struct {
	Source        string `json:"source"` // LIMIT, INCLUDED, PROMO, CREDIT, OVERDRAFT
	Meter         string `json:"meter"`
	Amount        int64  `json:"amount"`
	CreditsMicros int64  `json:"credits_micros"`
	Grant         string `json:"grant,omitempty"`
}

// Limit is a limit that took part, as it stands after the decision.
type Limit struct {
	Name       string `json:"name"`
	Limit      int64  `json:"limit"`
	Remaining  int64  `json:"remaining"`
	ResetMS    int64  `json:"reset_ms"`             // until it is full again
	Meter      string `json:"meter,omitempty"`      // what it counts
	WindowMS   int64  `json:"window_ms,omitempty"`  // of Limit
	Shadow     bool   `json:"shadow,omitempty"`     // it only watches
	Overridden bool   `json:"overridden,omitempty"` // the account has its own numbers
	InFlight   bool   `json:"in_flight,omitempty"`  // it counts what is in flight
	Refused    bool   `json:"refused,omitempty"`
	WaitMS     int64  `json:"wait_ms,omitempty"`  // if it refused, until it would not; negative for never
	Burst      int64  `json:"burst,omitempty"`    // of a token bucket, when it is not Limit
	Spill      bool   `json:"spill,omitempty"`    // credit can buy past it
	Fallback   string `json:"fallback,omitempty"` // share, open, closed: what decides when no node answers
}

// Step is one line of an explanation.
type Step struct {
	Rule   string `json:"rule"`
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
}

// Allowed reports whether the request may go on, as asked or degraded.
func (d Decision) Allowed() bool { return d.Verdict == "ALLOW" || d.Verdict == "DEGRADE" }

// Fallback reports whether the account's home was not asked, because it did not answer. Home is then the node that
// decided, or empty when the client did.
func (d Decision) Fallback() bool { return strings.HasPrefix(d.Reason, reasonFallback) }

// RetryAfter is the time until asking again can succeed; zero when time alone does not help.
func (d Decision) RetryAfter() time.Duration { return time.Duration(d.RetryAfterMS) * time.Millisecond }
