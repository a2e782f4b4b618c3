// Package policy answers what a request may use, and in which order.
//
// It holds the vocabulary of a decision (Request, Decision, Checker), the language in which operators
// write limits and prices, and the waterfall that decides: rate limits first, then included quota, then
// promotional grants, then paid credit, and only then a denial that says why and until when.
package policy

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/ledger"
)

// Checker decides requests. Everything a request passes on its way is one: the router, a peer, the
// waterfall, the client, and whatever wraps them. It is safe for concurrent use.
//
// A denial is a Decision. An error means that nothing could be decided; what a caller then does is the
// policy's fallback, which the router alone applies.
type Checker interface {
	Check(ctx context.Context, r Request) (Decision, error)
}

// Trier is a Checker that can decide at once what it need not wait for: a caller with many requests then needs no
// goroutine for each.
type Trier interface {
	Checker
	// Try decides as Check does and writes the decision over *d, with which the caller must be alone; it may reuse the
	// slices Limits and Sources. If it would have to wait it takes nothing and reports that the request is not decided:
	// Check must be asked. The request is only read; what is kept of it is copied.
	Try(r *Request, d *Decision) (decided bool, err error)
}

// CheckerFunc makes a function a Checker.
type CheckerFunc func(ctx context.Context, r Request) (Decision, error)

// Check calls f.
func (f CheckerFunc) Check(ctx context.Context, r Request) (Decision, error) { return f(ctx, r) }

// Bounds on a request; a request beyond one is ErrInvalid.
const (
	AttributesMax     = 32
	AttributeNameMax  = 64  // bytes
	AttributeValueMax = 256 // bytes
	KeyMax            = 255 // bytes of an idempotency key
	BatchMax          = 1000
)

// Attribute is one fact about a request, such as user=alice.
type Attribute struct {
	Name, Value string
}

// Cost is how much of one meter a request uses.
type Cost struct {
	Meter  string
	Amount int64
}

// Mode says what a check does besides answering.
type Mode uint8

// The modes of a check.
const (
	Consume Mode = iota // take what is allowed
	Peek                // take nothing
	Reserve             // take an estimate that Settle corrects
)

// Request asks for access. The zero Cost means one request. The slices are read, never kept.
type Request struct {
	Domain         string
	Attributes     []Attribute
	Cost           []Cost
	IdempotencyKey string
	Ticket         string
	MaxWait        time.Duration
	Mode           Mode
	Explain        bool
	// Charge has limits that do not say `on_deny` count what they refuse: the Envoy door's default. It has no effect on
	// a PEEK.
	Charge bool
	// Refund gives the cost back to the limits that match, each to no less than nothing owed. It takes nothing and is
	// always allowed.
	Refund bool
	// Override, if not nil, stands in for the limit that an Envoy tree has for these attributes, or where it has none.
	// Only a domain that is such a tree permits it.
	Override *LimitOverride
	// ID names a check that came from another node, which was the first to get it, wherever it is sent after that: who decides it
	// as home remembers what it took, for Cancel. Zero: it has none.
	ID uint64

	located located // by Locate
}

// LimitOverride is a limit that a request brings along: Count in each window of the given length, which is aligned to
// the Unix epoch. With the window of the limit that it replaces, it counts on in the same bucket.
type LimitOverride struct {
	Count  uint32
	Window time.Duration // a whole number of seconds, up to 3660 days
}

// Attribute returns the value of the named attribute and whether the request has it.
func (r Request) Attribute(name string) (string, bool) {
	for _, a := range r.Attributes {
		if a.Name == name {
			return a.Value, true
		}
	}
	return "", false
}

// Verdict is what became of a request.
type Verdict uint8

// The verdicts. The zero value refuses.
const (
	Deny Verdict = iota
	Allow
	Degrade
	Queue
)

// Reason is the enumerated cause of a decision; every decision has one.
type Reason uint8

// The reasons, with the HTTP status each is answered with.
const (
	ReasonUnknown      Reason = iota // never on a decision
	OK                               // 200: within the limits
	OKCredit                         // 200: past a limit, paid by a grant
	FallbackOpen                     // 200: the home is out of reach or has no room for a bucket, and the limit's fallback is open
	FallbackShare                    // 200 or 429: so too, and it is share: decided on this node's share
	FallbackClosed                   // 503: so too, and it is closed
	RateLimited                      // 429
	QuotaExhausted                   // 429: a calendar window is used up
	CreditsExhausted                 // 402
	Blocked                          // 403
	NoMatch                          // 403: no limit matches and the domain denies what is unmatched
	LedgerUnavailable                // 503: the limits refuse and credit could not be asked for in time
	ConcurrencyLimited               // 429: as many requests as may be are in flight
	FallbackDeputy                   // 200 or 429: the home is out of reach, or has no lease: decided by its deputy's copy, or by what it has
)

// Remedy says what would help a refused caller.
type Remedy uint8

// The remedies.
const (
	RemedyNone Remedy = iota
	RemedyWait
	RemedyBuy
	RemedyAskOwner
)

// Source is where an allowed unit came from.
type Source uint8

// The sources, in the order in which the waterfall asks them by default.
const (
	FromLimit Source = iota
	FromIncluded
	FromPromo
	FromCredit
	FromOverdraft
)

// Draw is a part of what a decision allowed: so many units of a meter from one source. Credits is what
// they cost there, zero for FromLimit; Grant names the grant that paid.
type Draw struct {
	Source  Source
	Meter   string
	Amount  int64
	Credits ledger.Credits
	Grant   string
}

// LimitState is a limit that took part in a decision, as it stands afterwards. Remaining rounds down,
// Reset (until the limit is full again) and Wait (until this request would be admitted) round up.
//
// Window is the period of the rate, the length of the window (of a month 30 days, of a year 365), or for how long a slot
// in flight is held at most. A Shadow limit that says Refused would have refused, but did not steer the decision.
type LimitState struct {
	Name       string
	Limit      int64
	Window     time.Duration
	Meter      string
	Remaining  int64
	Reset      time.Duration
	Wait       time.Duration
	Refused    bool
	Shadow     bool
	InFlight   bool   // it counts what is in flight, not what was used: Window is how long a slot is held at most
	Overridden bool   // this account has a limit of its own in the place of the policy's
	Burst      int64  // capacity of a token bucket, when it is not Limit; else zero
	Spill      bool   // credit can buy past it
	Fallback   string // share, open or closed: what holds when no home can be reached
}

// Step is one line of an explanation: a rule that was looked at and what came of it.
type Step struct {
	Rule, Result, Detail string
}

// Decision is the answer to a Request.
type Decision struct {
	Verdict       Verdict
	Reason        Reason
	Message       string // a sentence for the user
	Remedy        Remedy
	RetryAfter    time.Duration // until asking again can succeed; zero when time alone does not help
	Wait          time.Duration
	Ticket        string
	Degrade       []Attribute
	Sources       []Draw
	Limits        []LimitState
	Refusing      string // the limit that refused, empty when none did
	Reservation   string
	PolicyVersion uint64
	Home          string // the node that decided
	Epoch         uint64 // of the view it decided under
	ID            ulid.ULID
	Explain       []Step
	// Unreplicated says that the check has an idempotency key and the deputy did not confirm in time that it knows the decision:
	// should the home be lost, a repetition may be decided anew.
	Unreplicated bool
}

// Settlement reports what a reserved request really used.
type Settlement struct {
	Reservation string
	Actual      []Cost
	Outcome     string
	Latency     time.Duration
	Extend      time.Duration
	Final       bool
}

// Settled is the answer to a Settlement: what was charged in all, by source.
type Settled struct {
	Sources  []Draw
	Forgiven ledger.Credits // the price of use past the estimate that the account could not pay; nobody owes it
	Final    bool
	Expires  time.Duration // until the reservation ends by itself; zero when it has ended
}
