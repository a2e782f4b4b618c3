package chaos

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// ErrTooLong says that an excerpt is too long for a search; judge it by the ledger's own order.
var ErrTooLong = errors.New("too long for a search")

// OpinionOps is the most of an account's operations that a search is tried on.
const OpinionOps = 500

// Opinion is what a search for a linear order of an excerpt found, by balances alone: it does not believe the order that
// the ledger tells.
type Opinion struct {
	Status Status // inconclusive when the search gave up, or what checks may have paid is not known
	Why    string
	model  porcupine.Model
	info   porcupine.LinearizationInfo
}

// SecondOpinion searches for an order of an account's operations that fits real time and every balance that was told. It
// gives up after patience, and returns ErrTooLong for more than OpinionOps of them. Movements that nobody asked for, such
// as expiry, it takes for errors. ops may hold those of other accounts.
func SecondOpinion(ops []Op, rules []Limit, account string, patience time.Duration) (Opinion, error) {
	h := &History{Ops: slices.DeleteFunc(slices.Clone(ops), func(o Op) bool { return o.Account != account })}
	moves, sure := movesOf(h, rules)
	if len(moves) > OpinionOps {
		return Opinion{}, fmt.Errorf("look for an order of %d operations of %s: %w", len(moves), account, ErrTooLong)
	}
	o := Opinion{model: model()}
	result, info := porcupine.CheckOperationsVerbose(o.model, moves, patience)
	o.info = info
	switch {
	case result == porcupine.Ok:
		o.Status = Held
	case !sure:
		o.Why = "what a check paid is not known"
	case result == porcupine.Illegal:
		o.Status, o.Why = Refuted, "no order of them fits"
	default:
		o.Why = fmt.Sprintf("no order found in %s", patience)
	}
	return o, nil
}

// Picture writes a page that shows the orders tried, to be opened in a browser.
func (o Opinion) Picture(w io.Writer) error {
	if err := porcupine.Visualize(o.model, o.info, w); err != nil {
		return fmt.Errorf("draw operations: %w", err)
	}
	return nil
}

// movesOf returns the writes, reads and paid checks of an account, each write once; sure says whether that is all that can
// have moved anything, and by how much.
func movesOf(h *History, rules []Limit) (moves []porcupine.Operation, sure bool) {
	s := newStudy(h, nil)
	sure = true
	add := func(m move, from, until time.Duration) {
		moves = append(moves, porcupine.Operation{ClientId: len(moves), Input: m, Call: int64(from), Return: int64(until)})
	}
	for _, w := range s.books().byOp {
		switch {
		case w.answer >= 0 && h.Ops[w.answer].Reply.Hold.State != "" && h.Ops[w.answer].Reply.Seq == 0:
			continue // of a hold that was released before it came, which is of no account
		case w.answer >= 0:
			add(move{op: &h.Ops[w.answer], told: true}, w.from, w.until)
		case w.doubt:
			o := &h.Ops[w.op]
			sure = sure && o.Cost != 0 && o.Kind != Void
			add(move{op: o, maybe: true}, w.from, math.MaxInt64)
		default:
			continue
		}
		if o := &h.Ops[w.op]; o.Kind == Authorize && o.Ask.TTL > 0 { // the log's time never runs ahead
			add(move{op: o, maybe: true, lapse: true}, w.from+o.Ask.TTL, math.MaxInt64)
		}
	}
	for i := range h.Ops {
		o := &h.Ops[i]
		switch {
		case o.Kind == Balance && o.Outcome == OK && !o.loose():
			add(move{op: o, told: true}, o.Invoked, o.Returned)
		case o.Kind == Check && spills(o, rules) && (o.Outcome == Unknown || byFallback(&o.Reply) || o.Reply.Reason == "LEDGER_UNAVAILABLE"):
			sure = false
		}
	}
	for _, d := range s.decisions {
		if o := &h.Ops[d.op]; paid(o) > 0 {
			add(move{op: o}, d.from, d.until)
		}
	}
	return moves, sure
}

// spills says whether a check meets a limit beyond which credit pays.
func spills(o *Op, rules []Limit) bool {
	return slices.ContainsFunc(rules, func(l Limit) bool {
		return l.Spill && (len(o.Limits) == 0 || slices.Contains(o.Limits, l.Name))
	})
}

// model is an account that says its balance after each operation. What may not have happened leaves both states open.
func model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{account{}} },
		Step: func(state, input, _ any) []any {
			a, m := state.(account), input.(move)
			next, can := m.after(a)
			if m.told && can {
				balance := m.op.Reply.BalanceAfterMicros
				can = !a.known || next.micros == balance
				next.known, next.micros = true, balance
			}
			switch {
			case can && m.maybe:
				return []any{a, next}
			case can:
				return []any{next}
			case m.maybe:
				return []any{a}
			}
			return nil
		},
		DescribeOperation: func(input, _ any) string {
			m := input.(move)
			what := m.op.Kind.String()
			if m.lapse {
				what = "end of"
			}
			return fmt.Sprintf("%s %s %d: seq %d, balance %d", what, m.op.Key, m.op.Cost, m.op.Reply.Seq, m.op.Reply.BalanceAfterMicros)
		},
		DescribeState: func(state any) string { a := state.(account); return fmt.Sprint(a.micros, " ", a.held()) },
	}
	return m.ToModel()
}
