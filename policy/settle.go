package policy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
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
// with other contents is ErrConflict. On ErrUnavailable the same settlement must be repeated: what it had reached stays
// done. Also ErrNoReservation and ErrInvalid. Settlements of one reservation wait for each other.
func (w *Waterfall) Settle(ctx context.Context, s Settlement) (Settled, error) {
	now := w.c.Now()
	r, err := w.held.find(s.Reservation, now)
	if err != nil {
		return Settled{}, err
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return Settled{}, fmt.Errorf("wait for another settlement of %s: %w", r.id, ctx.Err())
	}
	if r.ended {
		if r.last != s.contents() {
			return Settled{}, fmt.Errorf("%w: reservation %s has ended", ErrConflict, r.id)
		}
		return r.answer, nil
	}
	more, less, err := r.compare(&s)
	if err != nil {
		return Settled{}, err
	}
	if more != (amounts{}) {
		if err := w.charge(ctx, r, more, now.UnixNano()); err != nil {
			return Settled{}, err
		}
	}
	if s.Final && less != (amounts{}) {
		if err := w.giveBack(ctx, r, less, now.UnixNano()); err != nil {
			return Settled{}, err
		}
	}
	w.hold(r, &s, now.UnixNano())
	answer := Settled{Sources: r.sources(), Forgiven: max(r.owed(r.spilled)-r.paid(), 0), Final: s.Final}
	if !s.Final {
		answer.Expires = w.held.extend(r, now, now.Add(s.Extend))
		return answer, nil
	}
	// It stays for a while to answer repetitions.
	w.held.extend(r, now, now.Add(w.c.ReservationLife))
	r.ended, r.last, r.answer = true, s.contents(), answer
	return answer, nil
}

// hold keeps the reservation's slots for as long again, if it is extended, or frees them at its end.
func (w *Waterfall) hold(r *reservation, s *Settlement, now int64) {
	for i, l := range r.limits {
		switch {
		case l.bound.Algorithm != limiter.Concurrency:
		case s.Final:
			w.c.Limits.Release(r.account.Partition, now, r.takes[i:i+1])
		case s.Extend > 0:
			w.c.Limits.Renew(r.account.Partition, now, r.takes[i:i+1])
		}
	}
}

// compare returns by how much the settlement is above and below what is charged.
func (r *reservation) compare(s *Settlement) (more, less amounts, err error) {
	switch {
	case s.Extend < 0 || s.Extend > extendMax:
		return more, less, fmt.Errorf("%w settlement: extending by %v is outside 0 to %v", ErrInvalid, s.Extend, extendMax)
	case s.Latency < 0:
		return more, less, fmt.Errorf("%w settlement: a latency of %v is negative", ErrInvalid, s.Latency)
	case len(s.Outcome) > outcomeMax || !utf8.ValidString(s.Outcome):
		return more, less, fmt.Errorf("%w settlement: the outcome is not UTF-8 of at most %d bytes", ErrInvalid, outcomeMax)
	}
	actual, err := r.domain.amounts(s.Actual)
	if err != nil {
		return more, less, err
	}
	for m := range r.domain.meters {
		if names(s.Actual, r.domain.meters[m]) {
			more[m] = max(actual[m]-r.charged[m], 0)
			less[m] = max(r.charged[m]-actual[m], 0)
		}
	}
	return more, less, nil
}

// charge takes what was used above the charge. The ledger comes first: if it does not answer nothing has changed, and
// the repetition finds its first debit by the same key.
func (w *Waterfall) charge(ctx context.Context, r *reservation, more amounts, now int64) error {
	part := r.account.Partition
	var short amounts
	if r.row != nil {
		look := r.asking(&more, func(l *limit) int64 { return more[l.meter] }, func(l *limit) bool { return l.spill })
		_, shortfall := w.c.Limits.Peek(part, now, look)
		short = amounts(shortfall)
		if cost, ok := r.row.of(&short); !ok {
			short = amounts{}
		} else if cost > 0 {
			consent, err := w.debit(ctx, r, cost)
			if err != nil {
				return err
			}
			if !consent {
				short = amounts{}
			}
		}
	}
	takes := r.asking(&more, func(l *limit) int64 {
		if l.spill {
			return more[l.meter] - short[l.meter]
		}
		return more[l.meter]
	}, func(*limit) bool { return true })
	w.c.Limits.Charge(part, now, takes)
	for m := range more {
		r.charged[m] += more[m]
		r.spilled[m] += short[m]
	}
	return nil
}

// asking returns takes for the reservation's limits that count what more has, as far as they are wanted. A slot in flight
// counts no amounts.
func (r *reservation) asking(more *amounts, cost func(*limit) int64, wanted func(*limit) bool) []limiter.Take {
	var takes []limiter.Take
	for i, l := range r.limits {
		if more[l.meter] == 0 || l.bound.Algorithm == limiter.Concurrency || !wanted(l) {
			continue
		}
		t := r.takes[i] // a copy of the take, because it knows in which window it was
		t.Cost, t.Taken = cost(l), 0
		takes = append(takes, t)
	}
	return takes
}

// debit pays cost, or what there is of it. It reports false when the account has no credit that may pay, so that the
// limits have to stand for it. Repeated after an error it sends the same commands, so nothing is paid twice.
func (w *Waterfall) debit(ctx context.Context, r *reservation, cost ledger.Credits) (paying bool, err error) {
	d := ledger.Debit{Key: r.key(), Account: r.account.Payer, Amount: cost, Order: r.domain.order, Memo: "settle " + r.domain.name}
	receipt, err := w.c.Purse.Debit(ctx, d)
	if err == nil && receipt.Outcome == ledger.Insufficient && receipt.BalanceAfter > 0 && receipt.BalanceAfter < cost {
		d.Key, d.Amount = d.Key+"-rest", receipt.BalanceAfter
		receipt, err = w.c.Purse.Debit(ctx, d)
	}
	switch {
	case errors.Is(err, ledger.ErrNoAccount):
		return false, nil
	case errors.Is(err, ledger.ErrConflict):
		return false, fmt.Errorf("%w: an earlier settlement of %s with other contents has reached the ledger", ErrConflict, r.id)
	case err != nil:
		return false, fmt.Errorf("settle %s: %w: %w", r.id, ErrUnavailable, err)
	}
	r.draws++
	if receipt.Outcome == ledger.Done {
		r.debits = append(r.debits, debit{d.Key, receipt.Parts})
		return true, nil
	}
	return receipt.Outcome == ledger.Insufficient && receipt.BalanceAfter < cost, nil
}

// key is that of the reservation's next ledger command: the same again until one is done.
func (r *reservation) key() string { return "settle-" + r.id + "-" + strconv.Itoa(r.draws) }

// giveBack returns what was charged above the use: what credit paid first, then what the limits gave.
func (w *Waterfall) giveBack(ctx context.Context, r *reservation, less amounts, now int64) error {
	spilled := r.spilled
	for m := range less {
		spilled[m] -= min(less[m], spilled[m])
	}
	due := r.paid() - r.owed(spilled)
	for i := len(r.debits) - 1; i >= 0 && due > 0; i-- {
		amount := min(due, r.debits[i].amount())
		if amount == 0 {
			continue
		}
		back := ledger.Return{Key: r.key(), Account: r.account.Payer, Debit: r.debits[i].key, Amount: amount}
		if _, err := w.c.Purse.Return(ctx, back); err != nil {
			return fmt.Errorf("settle %s: %w: %w", r.id, ErrUnavailable, err)
		}
		r.draws++
		r.debits[i].unwind(amount)
		due -= amount
	}
	takes := r.asking(&less, func(*limit) int64 { return 0 }, func(*limit) bool { return true })
	for i := range takes {
		m := takes[i].Meter
		takes[i].Taken = less[m]
		if takes[i].Spill {
			takes[i].Taken -= r.spilled[m] - spilled[m]
		}
	}
	w.c.Limits.Return(r.account.Partition, now, takes)
	for m := range less {
		r.charged[m] -= less[m]
	}
	r.spilled = spilled
	return nil
}

// unwind takes an amount off what was drawn, last taken first, as the ledger does.
func (d *debit) unwind(amount ledger.Credits) {
	for i := len(d.parts) - 1; i >= 0 && amount > 0; i-- {
		x := min(amount, d.parts[i].Amount)
		d.parts[i].Amount -= x
		amount -= x
	}
}

// owed is the price of units; 0 for none.
func (r *reservation) owed(units amounts) ledger.Credits {
	if r.row == nil {
		return 0
	}
	cost, _ := r.row.of(&units)
	return cost
}

func (r *reservation) paid() (sum ledger.Credits) {
	for i := range r.debits {
		sum += r.debits[i].amount()
	}
	return sum
}

// sources lists what is charged now, by source. What was forgiven stands under none.
func (r *reservation) sources() []Draw {
	p := plan{domain: r.domain, cost: r.charged}
	limits := p.fromLimits(nil, &r.spilled, len(r.debits))
	var parts []ledger.Part
	for i := range r.debits {
		for _, part := range r.debits[i].parts {
			same := func(p ledger.Part) bool { return p.Kind == part.Kind && p.Grant == part.Grant }
			if j := slices.IndexFunc(parts, same); j >= 0 {
				parts[j].Amount += part.Amount
			} else if part.Amount > 0 {
				parts = append(parts, part)
			}
		}
	}
	units, paid, owed := r.spilled, r.paid(), r.owed(r.spilled)
	if paid < owed {
		for m := range units {
			units[m] = share(units[m], paid, owed)
		}
	}
	return draws(limits, r.domain, r.row, &units, parts)
}

// contents tells settlements of one reservation apart.
func (s *Settlement) contents() [sha256.Size]byte {
	actual := fingerprint(&Request{Cost: s.Actual})
	b := binary.BigEndian.AppendUint64(actual[:], uint64(s.Latency))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Extend))
	b = strconv.AppendBool(framed(b, s.Outcome), s.Final)
	return sha256.Sum256(b)
}
