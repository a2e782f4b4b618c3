package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
)

// drawsMost bounds the debits of earlier homes that one settlement undoes. At the bound it has to be repeated, and goes on.
const drawsMost = 8

// debit pays cost, or what there is of it. It reports false when the account has no credit that may pay, so that the
// limits have to stand for it. Repeated after an error it sends the same commands, so nothing is paid twice.
//
// An earlier home of the reservation may have done debits that never became known here. One for the same amount is taken for
// this one, which it nearly always is: the client repeats a settlement that was not answered. One for another amount,
// because the limits said otherwise then, is undone, and the next is asked for.
func (x *settling) debit(ctx context.Context, cost ledger.Credits) (paying bool, err error) {
	for range drawsMost {
		key, receipt, err := x.pay(ctx, cost)
		switch {
		case errors.Is(err, ledger.ErrNoAccount):
			return false, nil
		case errors.Is(err, ledger.ErrConflict):
			if _, err := x.undo(ctx); err != nil {
				return false, err
			}
		case err != nil:
			return false, x.unavailable(err)
		case receipt.Outcome != ledger.Returned: // what an earlier home undid is not asked for again
			x.draws++
			x.r.foreign = false
			if receipt.Outcome == ledger.Done {
				x.debits = append(slices.Clip(x.debits), debit{key, receipt.Parts})
				return true, nil
			}
			return receipt.Outcome == ledger.Insufficient && receipt.BalanceAfter < cost, nil
		}
		x.draws++
	}
	return false, x.rest()
}

// errDraws is why a settlement has to go on by being repeated.
var errDraws = errors.New("an earlier home of the reservation did many debits")

// rest ends a settlement that has undone as much as one may. Its repetition goes on from there.
func (x *settling) rest() error {
	if _, err := x.keep(time.Time{}); err != nil {
		return err
	}
	return x.unavailable(errDraws)
}

// pay asks for cost, and then for what there is. It returns the key of the debit that the receipt is of.
func (x *settling) pay(ctx context.Context, cost ledger.Credits) (string, ledger.Receipt, error) {
	d := ledger.Debit{Key: x.key(), Account: x.r.account.Payer, Amount: cost, Order: x.r.order, Memo: "settle " + x.r.domain.name, Overshoot: ledger.Deny}
	receipt, err := x.w.c.Purse.Debit(ctx, d)
	if err == nil && receipt.Outcome == ledger.Insufficient && receipt.BalanceAfter > 0 && receipt.BalanceAfter < cost {
		d.Key, d.Amount = restOf(d.Key), receipt.BalanceAfter
		receipt, err = x.w.c.Purse.Debit(ctx, d)
	}
	return d.Key, receipt, err
}

// key is that of the reservation's next debit: the same again until one is done.
func (x *settling) key() string { return "settle-" + x.r.id + "-" + strconv.Itoa(x.draws) }

// restOf is the key of the debit of what there is, after that of the whole did not fit.
func restOf(key string) string { return key + "-rest" }

func (x *settling) unavailable(err error) error {
	return fmt.Errorf("settle %s: %w: %w", x.r.id, ErrUnavailable, err)
}

// undo gives back what was paid under the reservation's next key, and bars it, and returns how much that was. Only the
// home may: one that was it, and whose command comes late, would undo what the home paid.
func (x *settling) undo(ctx context.Context) (back ledger.Credits, err error) {
	if !x.w.c.Lease.Holds(x.r.account.Partition) {
		return 0, x.unavailable(errNoLease)
	}
	for _, key := range [...]string{x.key(), restOf(x.key())} {
		receipt, err := x.w.c.Purse.Return(ctx, ledger.Return{Key: "undo-" + key, Account: x.r.account.Payer, Debit: key})
		if err != nil && !errors.Is(err, ledger.ErrNoAccount) {
			return 0, x.unavailable(err)
		}
		back += receipt.Amount
	}
	return back, nil
}

// bar undoes, once, what an earlier home of the reservation may have paid for a settlement that never became known here and
// that this one, which had nothing to pay, does not repeat.
func (x *settling) bar(ctx context.Context) error {
	if !x.r.foreign || x.r.row == nil || !slices.ContainsFunc(x.r.takes, func(t limiter.Take) bool { return t.Spill }) {
		return nil
	}
	for range drawsMost {
		back, err := x.undo(ctx)
		if err != nil {
			return err
		}
		if x.draws++; back == 0 {
			x.r.foreign = false
			return nil
		}
	}
	return x.rest()
}

// giveBack returns what was charged above the use: what credit paid first, then what the limits gave. Each debit is
// returned once at most, under a key of its own, so that a repetition sends the same commands wherever it begins.
func (x *settling) giveBack(ctx context.Context, less amounts) error {
	spilled := x.spilled
	for m := range less {
		spilled[m] -= min(less[m], spilled[m])
	}
	due := x.paid() - x.owed(spilled)
	x.debits = slices.Clone(x.debits)
	for i := len(x.debits) - 1; i >= 0 && due > 0; i-- {
		d := &x.debits[i]
		amount := min(due, d.amount())
		if amount == 0 {
			continue
		}
		back := ledger.Return{Key: "back-" + d.key, Account: x.r.account.Payer, Debit: d.key, Amount: amount}
		switch _, err := x.w.c.Purse.Return(ctx, back); {
		case errors.Is(err, ledger.ErrConflict):
			return fmt.Errorf("%w: an earlier settlement of %s with other contents has reached the ledger", ErrConflict, x.r.id)
		case err != nil:
			return x.unavailable(err)
		}
		d.unwind(amount)
		due -= amount
	}
	takes := x.asking(&less, func(*limiter.Take) int64 { return 0 }, func(*limiter.Take) bool { return true })
	for i := range takes {
		m := takes[i].Meter
		takes[i].Taken = less[m]
		if takes[i].Spill {
			takes[i].Taken -= x.spilled[m] - spilled[m]
		}
	}
	x.w.c.Limits.Return(x.r.account.Partition, x.now, takes)
	for m := range less {
		x.charged[m] -= less[m]
	}
	x.spilled = spilled
	return nil
}

// unwind takes an amount off what was drawn, last taken first, as the ledger does.
func (d *debit) unwind(amount ledger.Credits) {
	d.parts = slices.Clone(d.parts)
	for i := len(d.parts) - 1; i >= 0 && amount > 0; i-- {
		x := min(amount, d.parts[i].Amount)
		d.parts[i].Amount -= x
		amount -= x
	}
}
