package policy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
)

const (
	extendMax  = day
	outcomeMax = 64 // bytes
)

// Settle corrects what a RESERVE took to what was really used. Actual is what was used in all so far; a meter that it
// does not name stays as it is charged. Use above the estimate is charged at once: to the limits, even past them, or,
// where they spill, to credit as far as there is any; the rest is forgiven and said so. Use below it is given back by
// the final settlement only, credit first. A limit's window that has passed meanwhile gets nothing back.
//
// Repeating a settlement changes nothing: not final, it names totals; final, it gets the first answer. A final one
// with other contents is ErrConflict. On ErrUnavailable the same settlement must be repeated, here or at the account's next
// home: what it had reached stays done. Also ErrNoReservation and ErrInvalid. Settlements of one reservation wait for each
// other.
func (w *Waterfall) Settle(ctx context.Context, s Settlement) (Settled, error) {
	part, err := ReservationPartition(s.Reservation)
	if err != nil {
		return Settled{}, err
	}
	if !w.c.Lease.Wait(ctx, part) { // before it is looked for: a new home may not have it yet
		return Settled{}, fmt.Errorf("settle %s: %w: %w", s.Reservation, ErrUnavailable, errNoLease)
	}
	now := w.c.Now()
	r, err := w.c.Records.find(part, s.Reservation, now)
	if err != nil {
		return Settled{}, err
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return Settled{}, fmt.Errorf("wait for another settlement of %s: %w", r.id, ctx.Err())
	}
	x := &settling{w: w, r: r, at: now, now: now.UnixNano(), state: w.c.Records.standing(r)}
	answer, err := x.settle(ctx, &s)
	if err == nil && !w.c.Lease.Holds(part) { // whoever is home now may not know of it
		return Settled{}, fmt.Errorf("settle %s: %w: %w", r.id, ErrUnavailable, errNoLease)
	}
	return answer, err
}

// settling is one settlement: a reservation, and its state as the settlement changes it.
type settling struct {
	w   *Waterfall
	r   *reservation
	at  time.Time
	now int64 // the same
	state
}

func (x *settling) settle(ctx context.Context, s *Settlement) (answer Settled, err error) {
	if x.ended {
		if x.last != s.contents() {
			return Settled{}, fmt.Errorf("%w: reservation %s has ended", ErrConflict, x.r.id)
		}
		return x.answer, nil
	}
	more, less, err := x.compare(s)
	if err == nil && x.step != nil { // an earlier settlement left it
		if err = x.charge(ctx); err == nil {
			more, less, err = x.compare(s)
		}
	}
	if err == nil && more != (amounts{}) {
		if err = x.begin(more); err == nil {
			err = x.charge(ctx)
		}
	}
	if err == nil {
		err = x.bar(ctx)
	}
	if err == nil && s.Final && less != (amounts{}) {
		err = x.giveBack(ctx, less)
	}
	if err != nil {
		return Settled{}, err
	}
	x.hold(s)
	answer = Settled{Sources: x.sources(), Forgiven: max(x.owed(x.spilled)-x.paid(), 0), Final: s.Final}
	if !s.Final {
		until, err := x.keep(x.at.Add(s.Extend))
		answer.Expires = until.Sub(x.at)
		return answer, err
	}
	x.ended, x.last, x.answer = true, s.contents(), answer
	_, err = x.keep(x.at.Add(x.w.c.ReservationLife)) // it stays for a while to answer repetitions
	return answer, err
}

// keep makes the state that of the reservation, which then stays until at, at least.
func (x *settling) keep(at time.Time) (until time.Time, err error) {
	until, kept := x.w.c.Records.keep(x.r, &x.state, at)
	if !kept {
		return until, fmt.Errorf("settle %s: %w: it moved to another home meanwhile", x.r.id, ErrUnavailable)
	}
	return until, nil
}

// hold keeps the reservation's slots for as long again, if it is extended, or frees them at its end.
func (x *settling) hold(s *Settlement) {
	part, limits := x.r.account.Partition, x.w.c.Limits
	for i := range x.r.takes {
		slot := [1]limiter.Take{x.r.takes[i]}
		switch {
		case slot[0].Limit.Algorithm != limiter.Concurrency:
		case s.Final:
			limits.Release(part, x.now, slot[:])
		case s.Extend > 0:
			limits.Renew(part, x.now, slot[:])
		}
	}
}

// compare returns by how much the settlement is above and below what is charged.
func (x *settling) compare(s *Settlement) (more, less amounts, err error) {
	switch {
	case s.Extend < 0 || s.Extend > extendMax:
		return more, less, fmt.Errorf("%w settlement: extending by %v is outside 0 to %v", ErrInvalid, s.Extend, extendMax)
	case s.Latency < 0:
		return more, less, fmt.Errorf("%w settlement: a latency of %v is negative", ErrInvalid, s.Latency)
	case len(s.Outcome) > outcomeMax || !utf8.ValidString(s.Outcome):
		return more, less, fmt.Errorf("%w settlement: the outcome is not UTF-8 of at most %d bytes", ErrInvalid, outcomeMax)
	}
	d := x.r.domain
	actual, err := d.amounts(s.Actual)
	if err != nil {
		return more, less, err
	}
	for m := range d.meters {
		if names(s.Actual, d.meters[m]) {
			more[m] = max(actual[m]-x.charged[m], 0)
			less[m] = max(x.charged[m]-actual[m], 0)
		}
	}
	return more, less, nil
}

// begin finds what of use above the charge credit has to pay for, and keeps that if there is some.
func (x *settling) begin(more amounts) error {
	x.step = &step{more: more}
	if x.r.row == nil {
		return nil
	}
	look := x.asking(&more, func(t *limiter.Take) int64 { return more[t.Meter] }, func(t *limiter.Take) bool { return t.Spill })
	_, shortfall := x.w.c.Limits.Peek(x.r.account.Partition, x.now, look)
	short := amounts(shortfall)
	cost, ok := x.r.row.of(&short)
	if !ok || short == (amounts{}) {
		return nil
	}
	if x.step.short, x.step.cost = short, cost; cost == 0 {
		return nil
	}
	_, err := x.keep(time.Time{})
	return err
}

// charge takes the use of the step. The ledger comes first: if it does not answer nothing has changed, and the repetition
// finds its first debit by the same key.
func (x *settling) charge(ctx context.Context) error {
	more, short := x.step.more, x.step.short
	if x.step.cost > 0 {
		consent, err := x.debit(ctx, x.step.cost)
		if err != nil {
			return err
		}
		if !consent {
			short = amounts{}
		}
	}
	takes := x.asking(&more, func(t *limiter.Take) int64 {
		if t.Spill {
			return more[t.Meter] - short[t.Meter]
		}
		return more[t.Meter]
	}, func(*limiter.Take) bool { return true })
	x.w.c.Limits.Charge(x.r.account.Partition, x.now, takes)
	for m := range more {
		x.charged[m] += more[m]
		x.spilled[m] += short[m]
	}
	x.step = nil
	_, err := x.keep(time.Time{})
	return err
}

// asking returns takes for the reservation's limits that count what more has, as far as they are wanted. A slot in flight
// counts no amounts.
func (x *settling) asking(more *amounts, cost func(*limiter.Take) int64, wanted func(*limiter.Take) bool) []limiter.Take {
	var takes []limiter.Take
	for _, t := range x.r.takes { // copies, which know in which window they were
		if more[t.Meter] == 0 || t.Limit.Algorithm == limiter.Concurrency || !wanted(&t) {
			continue
		}
		t.Cost, t.Taken = cost(&t), 0
		takes = append(takes, t)
	}
	return takes
}

// owed is the price of units; 0 for none.
func (x *settling) owed(units amounts) ledger.Credits {
	if x.r.row == nil {
		return 0
	}
	cost, _ := x.r.row.of(&units)
	return cost
}

func (x *settling) paid() (sum ledger.Credits) {
	for i := range x.debits {
		sum += x.debits[i].amount()
	}
	return sum
}

// sources lists what is charged now, by source. What was forgiven stands under none.
func (x *settling) sources() []Draw {
	p := plan{domain: x.r.domain, cost: x.charged}
	limits := p.fromLimits(nil, &x.spilled, len(x.debits))
	var parts []ledger.Part
	for i := range x.debits {
		for _, part := range x.debits[i].parts {
			same := func(p ledger.Part) bool { return p.Kind == part.Kind && p.Grant == part.Grant }
			if j := slices.IndexFunc(parts, same); j >= 0 {
				parts[j].Amount += part.Amount
			} else if part.Amount > 0 {
				parts = append(parts, part)
			}
		}
	}
	units, paid, owed := x.spilled, x.paid(), x.owed(x.spilled)
	if paid < owed {
		for m := range units {
			units[m] = share(units[m], paid, owed)
		}
	}
	return draws(limits, x.r.domain, x.r.row, &units, parts)
}

// contents tells settlements of one reservation apart.
func (s *Settlement) contents() [sha256.Size]byte {
	actual := fingerprint(&Request{Cost: s.Actual})
	b := binary.BigEndian.AppendUint64(actual[:], uint64(s.Latency))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Extend))
	b = strconv.AppendBool(framed(b, s.Outcome), s.Final)
	return sha256.Sum256(b)
}
