package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
)

// ledgerAway is when to come back while the ledger is out of reach: about what an election takes.
const ledgerAway = 2 * time.Second

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
	Lease  Lease                 // nil: this node is always home
	Logger *slog.Logger          // by default nowhere

	Shares *limiter.Store // the Fallback's, for limits that share when Limits has no room; nil: they refuse then
	Nodes  func() int     // on the roster; needed with Shares

	Records         *Records      // where reservations are kept; by default its own
	ReservationLife time.Duration // default 10 min, until a reservation ends by itself
	UndoMax         int           // default 1,024 debits waiting to be undone; beyond it one is logged and left
}

// Lease is a node's right to decide as home; a *cluster.Lease is one.
type Lease interface {
	// Holds says whether this node may decide for a partition now. It is asked after each take.
	Holds(partition uint16) bool
	// Wait waits, briefly, until it may, and says whether it does.
	Wait(ctx context.Context, partition uint16) bool
}

// always is the lease of a node that shares with nobody.
type always struct{}

func (always) Holds(uint16) bool                 { return true }
func (always) Wait(context.Context, uint16) bool { return true }

func (c *WaterfallConfig) fill() {
	if c.Lease == nil {
		c.Lease = always{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Records == nil {
		c.Records = NewRecords(RecordsConfig{Policy: c.Policy, Now: c.Now})
	}
	if c.ReservationLife <= 0 {
		c.ReservationLife = 10 * time.Minute
	}
	if c.UndoMax <= 0 {
		c.UndoMax = 1024
	}
}

// Waterfall decides requests of the accounts whose home this node is: from the limits, then from credit, and only
// then not at all. It must be asked for no others: it does not know who owns what.
//
// A denial takes nothing anywhere. PEEK takes nothing either and asks no ledger, so past a spilling limit it answers
// RATE_LIMITED, which is what holds without credit. Check never blocks on anything but the Purse.
type Waterfall struct {
	c     WaterfallConfig
	plans sync.Pool // of *plan
	undos chan ledger.Return

	recent recent
}

var _ Trier = (*Waterfall)(nil)

// NewWaterfall returns a Waterfall; it starts nothing. Its Run should be running while it is asked.
func NewWaterfall(c WaterfallConfig) *Waterfall {
	c.fill()
	return &Waterfall{
		c:     c,
		plans: sync.Pool{New: func() any { return newPlan() }},
		undos: make(chan ledger.Return, c.UndoMax),
	}
}

// Check decides one request. An error is ErrInvalid, ErrConflict or ledger.ErrTooOld for what the caller must not
// repeat, and ErrUnavailable while there is no policy.
func (w *Waterfall) Check(ctx context.Context, r Request) (d Decision, err error) {
	p := w.plan()
	defer w.forget(p)
	return d, w.check(ctx, p, &r, &d)
}

func (w *Waterfall) plan() *plan { return w.plans.Get().(*plan) }

func (w *Waterfall) forget(p *plan) {
	p.reset()
	w.plans.Put(p)
}

func (w *Waterfall) check(ctx context.Context, p *plan, r *Request, d *Decision) error {
	at := w.c.Now()
	p.answer, p.states, p.sources = d, d.Limits, d.Sources
	err := p.make(w.c.Policy(), w.c.Hasher(), r, at)
	if err == nil && r.ID != 0 {
		var known bool
		if known, err = w.again(r.ID, at.UnixNano(), d); known {
			return nil
		}
	}
	if err == nil {
		err = w.enter(ctx, p)
	}
	if err == nil {
		_, err = w.decide(ctx, p, r, at) // over d
	}
	if err != nil {
		*d = Decision{}
		return err
	}
	d.Explain = p.explained()
	if r.ID != 0 {
		w.remember(p, r, d)
	}
	return nil
}

// errNoLease is why a node that its view calls home decides nothing.
var errNoLease = errors.New("no lease to decide as home")

// enter has a request wait for a lease that is on its way.
func (w *Waterfall) enter(ctx context.Context, p *plan) error {
	if p.prompt || w.c.Lease.Wait(ctx, p.account.Partition) { // a prompt plan finds out afterwards
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, errNoLease)
}

// lapsed undoes what was taken if there is no lease, or it has ended meanwhile, so that no two homes admit at one time.
func (w *Waterfall) lapsed(p *plan, now int64) error {
	if w.c.Lease.Holds(p.account.Partition) {
		return nil
	}
	w.c.Limits.Return(p.account.Partition, now, p.takes)
	if p.prompt {
		return errWaits
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, errNoLease)
}

func (w *Waterfall) decide(ctx context.Context, p *plan, r *Request, at time.Time) (*Decision, error) {
	id := p.ids.next(at)
	if takes := r.Mode != Peek && !r.Refund && !p.blocked && p.matched; !takes { // who takes is asked after it
		if err := w.lapsed(p, at.UnixNano()); err != nil {
			return nil, err
		}
	}
	if r.Refund && r.Mode != Peek {
		return p.refund(w.c.Limits, id, at.UnixNano()), nil
	}
	if p.blocked {
		if r.Mode == Peek {
			w.c.Limits.Peek(p.account.Partition, at.UnixNano(), p.takes) // for what the limits say all the same
		} else {
			p.drop()
		}
		return p.banned(id), nil
	}
	if !p.matched && p.domain.denyUnmatched {
		return p.nothingMatches(id), nil
	}
	if r.Mode == Reserve && !w.c.Records.claim(at) {
		p.drop()
		return p.deny(id, FallbackClosed, RemedyWait, "This node holds as many reservations as it may; try again later."), nil
	}
	if r.Mode == Peek {
		return w.look(p, id, at.UnixNano()), nil
	}
	p.slot(id)
	d, err := w.take(ctx, p, r, id, at.UnixNano())
	if r.Mode == Reserve {
		return w.reserve(p, r, id, d, err)
	}
	return d, err
}

// reserve keeps what a RESERVE took, if it was allowed, to be settled. Of what this node's share gave nothing is kept.
func (w *Waterfall) reserve(p *plan, r *Request, id ulid.ULID, d *Decision, err error) (*Decision, error) {
	if err != nil || d.Verdict != Allow || d.Reason == FallbackShare {
		w.c.Records.release()
		return d, err
	}
	res := w.c.Records.newReservation(id, p, r)
	w.c.Records.open(res, p.at.Add(w.c.ReservationLife))
	if err := w.lapsed(p, p.at.UnixNano()); err != nil { // who is home now may not know of it
		w.c.Records.cancel(res)
		if paid := p.spent.debit.key; paid != "" && r.IdempotencyKey == "" { // with a key, who asks again finds it paid
			w.undo(ledger.Return{Key: "undo-" + paid, Account: p.account.Payer, Debit: paid})
		}
		return nil, err
	}
	d.Reservation = res.id
	return d, nil
}

// look asks what the limits would say, and takes nothing.
func (w *Waterfall) look(p *plan, id ulid.ULID, now int64) *Decision {
	p.look()
	var c crowd
	outcome, _ := w.c.Limits.Peek(p.account.Partition, now, p.takes)
	if outcome == limiter.Full {
		if c = w.crowd(p, now); !c.whole(p) {
			return w.byShare(p, &c, id, now, (*limiter.Store).Peek)
		}
		outcome, _ = w.c.Limits.Peek(p.account.Partition, now, p.takes)
	}
	return c.onlyOpen(p.looked(id, outcome))
}

// take takes what the limits give and pays for the rest, or takes nothing.
func (w *Waterfall) take(ctx context.Context, p *plan, r *Request, id ulid.ULID, now int64) (*Decision, error) {
	if p.prompt && !p.hold() {
		return nil, errWaits
	}
	var c crowd
	outcome, short := w.c.Limits.Take(p.account.Partition, now, p.takes)
	if outcome == limiter.Full {
		if c = w.crowd(p, now); !c.whole(p) {
			return w.byShare(p, &c, id, now, (*limiter.Store).Take), nil
		}
		outcome, short = w.c.Limits.Take(p.account.Partition, now, p.takes)
	}
	if err := w.lapsed(p, now); err != nil {
		return nil, err
	}
	switch outcome {
	case limiter.Taken:
		return c.onlyOpen(p.allow(id)), nil
	case limiter.Spilled:
		return w.spill(ctx, p, r, id, short, now)
	case limiter.Refused:
		if p.prompt && p.held() {
			return nil, errWaits
		}
		w.recount(p, now)
	}
	return p.refused(id, outcome), nil
}

// recount has the limits that charge a denial, though they did not refuse themselves, say whether they will when asked
// again: else who waits as told could be refused by what the denial took.
func (w *Waterfall) recount(p *plan, now int64) {
	for i := range p.takes {
		if t := &p.takes[i]; t.Charge && !t.Refused {
			again := [1]limiter.Take{*t}
			again[0].Charge = false // what it would count then is no part of the wait
			w.c.Limits.Peek(p.account.Partition, now, again[:])
			t.Refused, t.Wait = again[0].Refused, again[0].Wait
		}
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

// withdraw returns what the limits gave to a request that is denied after all, but to those that charge denials too, and
// asks what all will say when asked again.
func (w *Waterfall) withdraw(p *plan, now int64) {
	for i := range p.takes {
		if t := &p.takes[i]; t.Charge {
			t.Taken, t.Cost = 0, 0
		}
	}
	w.c.Limits.Return(p.account.Partition, now, p.takes)
	p.guard()
	w.c.Limits.Peek(p.account.Partition, now, p.takes)
	for i := range p.takes {
		if t := &p.takes[i]; t.Charge {
			t.Cost, t.Refused = p.cost[t.Meter], false
		}
	}
	w.recount(p, now)
}

// spill pays for what the limits do not cover. When it cannot, it gives back what the limits did.
func (w *Waterfall) spill(ctx context.Context, p *plan, r *Request, id ulid.ULID, shortfall limiter.Shortfall, now int64) (*Decision, error) {
	units := amounts(shortfall)
	row, number := p.domain.price(r.Attributes)
	var cost ledger.Credits
	payable := false
	if row != nil {
		cost, payable = row.of(&units)
	}
	if !payable {
		w.withdraw(p, now)
		if p.explain {
			p.step("price", "none", "no price covers what the limits do not")
		}
		return p.refused(id, limiter.Refused), nil
	}
	if p.explain {
		p.step(fmt.Sprintf("price %d", number), "applies", fmt.Sprintf("%s credits for what the limits do not cover", cost))
	}
	key := id.String()
	if r.IdempotencyKey != "" {
		key = debitKey(p.account.Domain, p.account.ID, r.IdempotencyKey)
	}
	receipt, err := w.c.Purse.Debit(ctx, ledger.Debit{
		Key: key, Account: p.account.Payer, Amount: cost, Order: p.domain.order, Memo: "check " + p.domain.name, Overshoot: ledger.Deny,
	})
	if err == nil && receipt.Outcome == ledger.Done {
		p.spent = draft{units, debit{key, receipt.Parts}}
		return p.paid(id, row, &units, cost, receipt), nil
	}
	w.withdraw(p, now)
	switch {
	case err == nil && receipt.Outcome == ledger.Insufficient:
		return p.broke(id, cost, receipt.BalanceAfter), nil
	case err == nil && receipt.Outcome == ledger.Unwilling:
		return p.unwilling(id, receipt.BalanceAfter), nil
	case err == nil && receipt.Outcome == ledger.Blocked:
		return p.deny(id, Blocked, RemedyAskOwner, "The account that would pay is blocked."), nil
	case errors.Is(err, ledger.ErrNoAccount):
		if p.explain {
			p.step("credit", "none", "the ledger has no account "+p.account.Payer)
		}
		return p.refused(id, limiter.Refused), nil
	case errors.Is(err, ledger.ErrConflict):
		return nil, fmt.Errorf("%w: the ledger knows it (%v)", ErrConflict, err)
	case errors.Is(err, ledger.ErrTooOld):
		return nil, fmt.Errorf("debit for idempotency key %s: %w", short(r.IdempotencyKey), err)
	}
	if r.IdempotencyKey == "" && !errors.Is(err, ErrUnavailable) { // a purse that says so has not asked
		w.undo(ledger.Return{Key: "undo-" + key, Account: p.account.Payer, Debit: key})
	}
	w.c.Logger.Debug("credit could not be asked for", "domain", p.domain.name, "error", err)
	d := p.deny(id, LedgerUnavailable, RemedyWait, "The limits refuse this request and credit cannot be asked for right now; try again later.")
	d.RetryAfter = ledgerAway
	return d, nil
}
