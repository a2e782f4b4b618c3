package policy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
)

// Purse is where credits are drawn from; a *ledger.Ledger is one. An error means that the outcome is unknown or that
// nothing was done; repeating a key within the ledger's window is always safe.
type Purse interface {
	Debit(ctx context.Context, d ledger.Debit) (ledger.Receipt, error)
	Return(ctx context.Context, r ledger.Return) (ledger.Receipt, error)
}

// WaterfallConfig is what a Waterfall works with. Policy, Limits, Hasher, Purse and Now are needed.
type WaterfallConfig struct {
	Policy func() *Policy        // the policy in force, nil while there is none; loaded once for each decision
	Limits *limiter.Store        // of the accounts whose home this node is
	Hasher func() limiter.Hasher // keyed with the cluster's secret, which a node learns with its first view
	Purse  Purse                 // the ledger
	Now    func() time.Time      // the clock that buckets run on
	// NewID returns an id that nobody else returns, as decision ids and the keys of debits are made of it: a ULID.
	// By default one is drawn from Now and crypto/rand.
	NewID  func() string
	Logger *slog.Logger // by default nowhere

	ReservationsMax int           // default 100,000; beyond it RESERVE is refused
	ReservationLife time.Duration // default 10 min, until a reservation ends by itself
	UndoMax         int           // default 1,024 debits waiting to be undone; beyond it one is logged and left
}

func (c *WaterfallConfig) fill() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.NewID == nil {
		c.NewID = newID(c.Now)
	}
	if c.ReservationsMax <= 0 {
		c.ReservationsMax = 100_000
	}
	if c.ReservationLife <= 0 {
		c.ReservationLife = 10 * time.Minute
	}
	if c.UndoMax <= 0 {
		c.UndoMax = 1024
	}
}

func newID(now func() time.Time) func() string {
	return func() string { return ulid.MustNew(ulid.Timestamp(now()), rand.Reader).String() }
}

// Waterfall decides requests of the accounts whose home this node is: from the limits, then from credit, and only
// then not at all. It must be asked for no others: it does not know who owns what.
//
// A denial takes nothing anywhere. PEEK takes nothing either and asks no ledger, so past a spilling limit it answers
// RATE_LIMITED, which is what holds without credit. Check never blocks on anything but the Purse.
type Waterfall struct {
	c     WaterfallConfig
	plans sync.Pool // of *plan
	held  reservations
	undos chan ledger.Return
}

var _ Checker = (*Waterfall)(nil)

// NewWaterfall returns a Waterfall; it starts nothing. Its Run should be running while it is asked.
func NewWaterfall(c WaterfallConfig) *Waterfall {
	c.fill()
	return &Waterfall{
		c:     c,
		plans: sync.Pool{New: func() any { return new(plan) }},
		held:  reservations{most: c.ReservationsMax, byID: map[string]*reservation{}},
		undos: make(chan ledger.Return, c.UndoMax),
	}
}

// Check decides one request. An error is ErrInvalid, ErrConflict or ledger.ErrTooOld for what the caller must not
// repeat, and ErrUnavailable while there is no policy.
func (w *Waterfall) Check(ctx context.Context, r Request) (Decision, error) {
	p := w.plans.Get().(*plan)
	defer func() {
		p.reset()
		w.plans.Put(p)
	}()
	if err := p.make(w.c.Policy(), w.c.Hasher(), &r); err != nil {
		return Decision{}, err
	}
	at := w.c.Now()
	d, err := w.decide(ctx, p, &r, at)
	if err != nil {
		return Decision{}, err
	}
	if p.explain {
		d.Explain = append([]Step(nil), p.steps...)
	}
	return d, nil
}

func (w *Waterfall) decide(ctx context.Context, p *plan, r *Request, at time.Time) (Decision, error) {
	id := w.c.NewID()
	if !p.matched && p.domain.denyUnmatched {
		return p.nothingMatches(id), nil
	}
	if r.Mode == Reserve && !w.held.claim(at) {
		p.drop()
		return p.deny(id, FallbackClosed, RemedyWait, "This node holds as many reservations as it may; try again later."), nil
	}
	if r.Mode == Peek {
		p.guard()
		outcome, _ := w.c.Limits.Peek(p.account.Partition, at.UnixNano(), p.takes)
		return p.looked(id, outcome), nil
	}
	d, spent, err := w.take(ctx, p, r, id, at.UnixNano())
	if r.Mode == Reserve {
		if err == nil && d.Verdict == Allow {
			d.Reservation = w.held.open(newReservation(id, p, r, spent), at.Add(w.c.ReservationLife))
		} else {
			w.held.release()
		}
	}
	return d, err
}

// take takes what the limits give and pays for the rest, or takes nothing.
func (w *Waterfall) take(ctx context.Context, p *plan, r *Request, id string, now int64) (Decision, draft, error) {
	outcome, short := w.c.Limits.Take(p.account.Partition, now, p.takes)
	switch outcome {
	case limiter.Taken:
		return p.allow(id), draft{}, nil
	case limiter.Spilled:
		return w.spill(ctx, p, r, id, short, now)
	default:
		return p.refused(id, outcome), draft{}, nil
	}
}

// draft is what was drawn from the ledger for a decision: for how many units, and by which debit.
type draft struct {
	units amounts
	debit debit
}

// debit is a debit that was done, less what was returned of it.
type debit struct {
	key   string
	parts []ledger.Part // in the order taken
}

func (d *debit) amount() (sum ledger.Credits) {
	for i := range d.parts {
		sum += d.parts[i].Amount
	}
	return sum
}

// spill pays for what the limits do not cover. When it cannot, it gives back what the limits did.
func (w *Waterfall) spill(ctx context.Context, p *plan, r *Request, id string, shortfall limiter.Shortfall, now int64) (Decision, draft, error) {
	units := amounts(shortfall)
	giveBack := func() {
		w.c.Limits.Return(p.account.Partition, now, p.takes)
		p.guard()
		w.c.Limits.Peek(p.account.Partition, now, p.takes) // for what the limits now say
	}
	row, number := p.domain.price(r.Attributes)
	var cost ledger.Credits
	payable := false
	if row != nil {
		cost, payable = row.of(&units)
	}
	if !payable {
		giveBack()
		if p.explain {
			p.step("price", "none", "no price covers what the limits do not")
		}
		return p.refused(id, limiter.Refused), draft{}, nil
	}
	if p.explain {
		p.step(fmt.Sprintf("price %d", number), "applies", fmt.Sprintf("%s credits for what the limits do not cover", cost))
	}
	key := id
	if r.IdempotencyKey != "" {
		key = debitKey(p.account.Domain, p.account.ID, r.IdempotencyKey)
	}
	receipt, err := w.c.Purse.Debit(ctx, ledger.Debit{
		Key: key, Account: p.account.Payer, Amount: cost, Order: p.domain.order, Memo: "check " + p.domain.name,
	})
	if err == nil && receipt.Outcome == ledger.Done {
		d := p.paid(id, row, &units, cost, receipt)
		return d, draft{units, debit{key, receipt.Parts}}, nil
	}
	giveBack()
	switch {
	case err == nil && receipt.Outcome == ledger.Insufficient:
		return p.broke(id, cost, receipt.BalanceAfter), draft{}, nil
	case errors.Is(err, ledger.ErrNoAccount):
		if p.explain {
			p.step("credit", "none", "the ledger has no account "+p.account.Payer)
		}
		return p.refused(id, limiter.Refused), draft{}, nil
	case errors.Is(err, ledger.ErrConflict):
		return Decision{}, draft{}, fmt.Errorf("%w: the ledger knows it (%v)", ErrConflict, err)
	case errors.Is(err, ledger.ErrTooOld):
		return Decision{}, draft{}, fmt.Errorf("debit for idempotency key %s: %w", short(r.IdempotencyKey), err)
	}
	if r.IdempotencyKey == "" {
		w.undo(ledger.Return{Key: "undo-" + key, Account: p.account.Payer, Debit: key})
	}
	w.c.Logger.Warn("credit could not be asked for", "domain", p.domain.name, "error", err)
	return p.deny(id, LedgerUnavailable, RemedyWait, "The limits refuse this request and credit cannot be asked for right now; try again later."), draft{}, nil
}
