package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
)

// Bounds that a Config must keep.
const (
	seedsMax       = 64
	deadlineMin    = time.Millisecond
	deadlineMax    = time.Minute
	denyCapMax     = time.Minute
	accountsMax    = 1 << 20
	settlesMax     = 1 << 20
	drainMax       = 10 * time.Minute
	breakerSpanMin = time.Second
	breakerSpanMax = 10 * time.Second
)

// Fallback is what decides for a request of which the client knows no limit, when no node answers.
type Fallback uint8

const (
	// FallbackClosed refuses, with FALLBACK_CLOSED.
	FallbackClosed Fallback = iota
	// FallbackOpen admits, with FALLBACK_OPEN.
	FallbackOpen
)

// String returns the word of the policy language.
func (f Fallback) String() string {
	if f == FallbackOpen {
		return "open"
	}
	return "closed"
}

// Route is where a check goes first.
type Route uint8

const (
	// RouteHome sends a check to the home of its account.
	RouteHome Route = iota
	// RouteAny sends each check to the next node in turn, which forwards it: what a client does that knows no view. It
	// is there to be measured against.
	RouteAny
)

// String returns the word of the route.
func (r Route) String() string {
	if r == RouteAny {
		return "any"
	}
	return "home"
}

// Breaker says when a node is left alone. All of it is needed.
type Breaker struct {
	Span  time.Duration // over which checks are judged, 1 s to 10 s
	Least int           // checks within Span before any judgement
	Share float64       // of checks that failed or were slow, from which on the node is left alone; above 0, at most 1
	Slow  time.Duration // from which on an answer counts as a failure; a check with MaxWaitMS never does
	Pause time.Duration // between the probes of a node that is left alone
}

// Config is how a client behaves. DefaultConfig has everything but Seeds; in a Config made otherwise a zero
// Deadline, DenyCap, DenyMax, Accounts, Settles, Drain, Breaker, Logger or Now means the default.
type Config struct {
	// Seeds are gRPC addresses, host:port, of nodes of the cluster: 1 to 64. One that answers is enough.
	Seeds []string
	// Deadline bounds a Check whose ctx has none; MaxWaitMS is added to it. From 1 ms to 1 min.
	Deadline time.Duration
	// LedgerDeadline bounds a call to the ledger whose ctx has no deadline.
	LedgerDeadline time.Duration
	// Fallback decides what the client knows no limits of, when no node answers.
	Fallback Fallback
	// Route is RouteHome but for measurements.
	Route Route

	// DenyCap bounds how long a refusal is repeated without asking, at most 1 min: an operator's reset is hidden as long.
	DenyCap time.Duration
	// DenyMax is how many refusals are remembered; the one least lately used is forgotten. Negative: none.
	DenyMax int
	// Accounts is how many requests, told apart by domain and attributes, the limits are remembered of, for the fallback.
	Accounts int

	// Breaker says when a node is left alone.
	Breaker Breaker

	// Settles is how many settlements may wait for a node to take them; one more is ErrFull.
	Settles int
	// Spool is a directory, of this client alone, that keeps the waiting settlements over a restart; empty is none.
	Spool string
	// SpoolSync makes each settlement durable before Settle returns: it survives the machine, not only the process.
	SpoolSync bool

	// Drain bounds how long the end of Run waits for checks in progress and for settlements that wait.
	Drain time.Duration

	// TLS is for nodes that ask for it; nil is plain text.
	TLS credentials.TransportCredentials
	// Dial connects to an address; nil is TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Logger hears of what the client does on its own; nil is silent.
	Logger *slog.Logger
	// Now is the clock of the deny cache, the breakers and the shares; it may jump. Nil is time.Now.
	Now func() time.Time
}

// DefaultConfig is everything but Seeds.
func DefaultConfig() Config {
	return Config{
		Deadline: 50 * time.Millisecond, LedgerDeadline: 5 * time.Second,
		DenyCap: time.Second, DenyMax: 10_000, Accounts: 10_000, Settles: 10_000, Drain: 5 * time.Second,
		Breaker: Breaker{Span: 5 * time.Second, Least: 5, Share: 0.5, Slow: 250 * time.Millisecond, Pause: time.Second},
		Logger:  slog.New(slog.DiscardHandler), Now: time.Now,
	}
}

// filled puts the defaults where c says nothing.
func (c Config) filled() Config {
	d := DefaultConfig()
	c.Deadline, c.LedgerDeadline = or(c.Deadline, d.Deadline), or(c.LedgerDeadline, d.LedgerDeadline)
	c.DenyCap, c.DenyMax, c.Accounts = or(c.DenyCap, d.DenyCap), or(c.DenyMax, d.DenyMax), or(c.Accounts, d.Accounts)
	c.Settles, c.Drain, c.Breaker = or(c.Settles, d.Settles), or(c.Drain, d.Drain), or(c.Breaker, d.Breaker)
	if c.Logger == nil {
		c.Logger = d.Logger
	}
	if c.Now == nil {
		c.Now = d.Now
	}
	return c
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Validate returns everything that is wrong, as New sees it: with the defaults in place.
func (c Config) Validate() error {
	c = c.filled()
	var wrong []error
	say := func(bad bool, err error) {
		if bad {
			wrong = append(wrong, err)
		}
	}
	say(len(c.Seeds) == 0 || len(c.Seeds) > seedsMax, fmt.Errorf("seeds: %d, expected 1 to %d of host:port", len(c.Seeds), seedsMax))
	for _, s := range c.Seeds {
		host, port, err := net.SplitHostPort(s)
		say(err != nil || host == "" || port == "", fmt.Errorf("seed %q: expected host:port", s))
	}
	say(c.Deadline < deadlineMin || c.Deadline > deadlineMax, fmt.Errorf("deadline %v: expected %v to %v", c.Deadline, deadlineMin, deadlineMax))
	say(c.LedgerDeadline < deadlineMin, fmt.Errorf("ledger deadline %v: expected at least %v", c.LedgerDeadline, deadlineMin))
	say(c.Fallback > FallbackOpen, fmt.Errorf("fallback %d: expected closed or open", c.Fallback))
	say(c.Route > RouteAny, fmt.Errorf("route %d: expected home or any", c.Route))
	say(c.DenyCap < 0 || c.DenyCap > denyCapMax, fmt.Errorf("deny cap %v: expected up to %v", c.DenyCap, denyCapMax))
	say(c.DenyMax > accountsMax, fmt.Errorf("deny cache of %d: at most %d", c.DenyMax, accountsMax))
	say(c.Accounts < 1 || c.Accounts > accountsMax, fmt.Errorf("accounts %d: expected 1 to %d", c.Accounts, accountsMax))
	say(c.Settles < 1 || c.Settles > settlesMax, fmt.Errorf("settles %d: expected 1 to %d", c.Settles, settlesMax))
	say(c.Drain < 0 || c.Drain > drainMax, fmt.Errorf("drain %v: expected up to %v", c.Drain, drainMax))
	say(c.SpoolSync && c.Spool == "", errors.New("spool sync without a spool directory"))
	return errors.Join(append(wrong, c.Breaker.validate())...)
}

func (b Breaker) validate() error {
	switch {
	case b.Span < breakerSpanMin || b.Span > breakerSpanMax:
		return fmt.Errorf("breaker span %v: expected %v to %v", b.Span, breakerSpanMin, breakerSpanMax)
	case b.Least < 1:
		return fmt.Errorf("breaker least %d: expected at least 1", b.Least)
	case !(b.Share > 0 && b.Share <= 1):
		return fmt.Errorf("breaker share %v: expected above 0 and at most 1", b.Share)
	case b.Slow <= 0 || b.Pause <= 0:
		return fmt.Errorf("breaker slow %v, pause %v: expected more than 0", b.Slow, b.Pause)
	case b.Pause > b.Span:
		return fmt.Errorf("breaker pause %v: expected at most its span %v, or what a probe tells is forgotten before the next", b.Pause, b.Span)
	}
	return nil
}
