package chaos

import (
	"fmt"
	"math"
	"slices"
)

// The invariants of the ledger are judged by the order that the ledger itself gives, not by search: each reply says its
// place (seq, index, term) and the balance after it, the audit lists the journal, and what is checked is that this order
// adds up and fits real time. It is Jepsen's way with TigerBeetle; on one hot account a search finds almost nothing.

const noWrites = "nothing of the ledger was answered"

const noAudit = "the journal was not audited"

// Conservation judges L1: what moves is neither made nor lost. Every movement's postings sum to zero, the journal has no
// gap, and each balance that was told is the one before it and the movement between.
func Conservation(h *History) Result { return newStudy(h, nil).books().conservation() }

func (b *books) conservation() Result {
	out := b.finding("L1", b.told(), noWrites)
	for _, p := range b.accounts() {
		journal := p.journal
		for i, e := range journal {
			if _, balanced := e.change(); !balanced {
				out.against(b.s.excerpt(e.op), fmt.Sprintf("%s: the postings of seq %d do not sum to zero", p.account, e.Seq))
			}
			if i > 0 && e.Seq != journal[i-1].Seq+1 && e.op == journal[i-1].op {
				out.against(b.s.excerpt(e.op), fmt.Sprintf("%s: the journal goes from seq %d to %d", p.account, journal[i-1].Seq, e.Seq))
			}
		}
		b.chain(p, journal, &out)
	}
	return out
}

// told says whether any balance or movement was.
func (b *books) told() bool {
	for _, p := range b.pages {
		if len(p.rows)+len(p.entries) > 0 {
			return true
		}
	}
	return false
}

// chain walks an account's order and compares each balance with what the last and the movements since make of it.
func (b *books) chain(p *page, journal []entry, out *Result) {
	at, balance, known, source := uint64(0), int64(0), true, int32(-1) // before its first movement an account has nothing
	for i := 0; i < len(p.rows); {
		seq := p.rows[i].seq
		for len(journal) > 0 && journal[0].Seq <= seq {
			e := journal[0]
			journal = journal[1:]
			change, _ := e.change()
			known = known && e.Seq == at+1
			at, balance = e.Seq, balance+change
		}
		if r := p.rows[i]; r.done && at == seq-1 && known { // not in the journal that is known
			at, balance = seq, balance+moved(&b.s.h.Ops[r.op])
		}
		known = known && at == seq
		for first := true; i < len(p.rows) && p.rows[i].seq == seq; i++ {
			r := p.rows[i]
			switch {
			case r.done && !first:
				out.against(b.s.excerpt(p.rows[i-1].op, r.op), fmt.Sprintf("%s: two writes were both told seq %d", p.account, seq))
			case known && r.balance != balance:
				out.against(b.sources(source, r.op), fmt.Sprintf("%s: the balance after seq %d was told as %d, what moved makes it %d", p.account, seq, r.balance, balance))
			}
			at, balance, known, source, first = seq, r.balance, true, r.op, false
		}
	}
}

func (b *books) sources(ops ...int32) []Op {
	return b.s.excerpt(slices.DeleteFunc(ops, func(i int32) bool { return i < 0 })...)
}

// Floor judges L2: no balance is ever below what the account may owe. Bound and Observed are the least margin's, in
// micro-credits.
func Floor(h *History) Result { return newStudy(h, nil).books().floor() }

func (b *books) floor() Result {
	out := Result{Invariant: "L2", Status: Held, Margin: math.Inf(1), Unit: "micro-credits owed"}
	owing := make(map[string]int64)
	for _, o := range b.s.h.Overdrafts {
		owing[o.Account] = o.Micros
	}
	least := func(account string, balance int64, op int32) {
		m := float64(owing[account]) + float64(balance)
		if m >= out.Margin {
			return
		}
		out.Bound, out.Observed, out.Margin = float64(owing[account]), 0-float64(balance), m
		if m < 0 {
			out.Status, out.Excerpt = Refuted, b.s.excerpt(op)
			out.Why = fmt.Sprintf("%s: the balance was %d, it may owe %d", account, balance, owing[account])
		}
	}
	for _, p := range b.accounts() {
		for _, r := range p.rows {
			least(p.account, r.balance, r.op)
		}
		balance := int64(0)
		for i, e := range p.journal {
			if i == 0 && e.Seq != 1 {
				break // what it began with was not listed
			}
			change, _ := e.change()
			balance += change
			least(p.account, balance, e.op)
		}
	}
	if math.IsInf(out.Margin, 1) {
		return b.finding(out.Invariant, false, noWrites)
	}
	return out
}

// ExactlyOnce judges L3: what was acknowledged was done once, what nobody knows of at most once, and what was refused for
// sure not at all, as the replies and the journal have it.
func ExactlyOnce(h *History) Result { return newStudy(h, nil).books().exactlyOnce() }

func (b *books) exactlyOnce() Result {
	out := b.finding("L3", b.told(), noWrites)
	for _, w := range b.byOp {
		first := int32(-1)
		w.listed = 0
		for k := -1; k < len(w.more); k++ {
			i := w.sent(k)
			o := &b.s.h.Ops[i]
			if o.Outcome != OK || !done(&o.Reply) || o.Reply.Replayed {
				continue
			}
			if first >= 0 {
				out.against(b.s.excerpt(first, i), fmt.Sprintf("key %s was done twice, at seq %d and %d: neither answer is a repetition", o.Key, b.s.h.Ops[first].Reply.Seq, o.Reply.Seq))
			}
			first = i
		}
	}
	for _, p := range b.accounts() {
		others := make(map[string]uint64) // keys of checks
		for _, e := range p.journal {
			w := e.write
			if e.Key == "" || e.Movement == "repay" || e.Movement == "expire" {
				continue
			}
			before := others[e.Key]
			if w != nil {
				before, w.listed = w.listed, e.Seq
			} else {
				others[e.Key] = e.Seq
			}
			if before > 0 {
				out.against(b.s.excerpt(e.op), fmt.Sprintf("%s: key %s is in the journal twice, at seq %d and %d", p.account, e.Key, before, e.Seq))
			}
			if w == nil {
				continue
			}
			switch answered := w.answer >= 0; {
			case answered && !done(&b.s.h.Ops[w.answer].Reply):
				out.against(b.s.excerpt(w.answer, e.op), fmt.Sprintf("%s: key %s was refused as %s and is in the journal at seq %d", p.account, e.Key, b.s.h.Ops[w.answer].Reply.Verdict, e.Seq))
			case !answered && !w.doubt:
				out.against(b.s.excerpt(w.op, e.op), fmt.Sprintf("%s: key %s surely failed and is in the journal at seq %d", p.account, e.Key, e.Seq))
			}
		}
	}
	return out
}

// SameReply judges L4: all answers to one key are the same, refusals too, but for saying that they repeat.
func SameReply(h *History) Result { return newStudy(h, nil).books().sameReply() }

func (b *books) sameReply() Result {
	out := b.finding("L4", b.told(), noWrites)
	for _, w := range b.byOp {
		if w.answer < 0 {
			continue
		}
		first := &b.s.h.Ops[w.answer]
		for _, i := range w.more {
			o := &b.s.h.Ops[i]
			a, c := &first.Reply, &o.Reply
			if o.Outcome == OK && (a.Verdict != c.Verdict || a.Seq != c.Seq || a.Index != c.Index || a.Term != c.Term ||
				a.AmountMicros != c.AmountMicros || a.BalanceAfterMicros != c.BalanceAfterMicros) {
				out.against(b.s.excerpt(w.answer, i), fmt.Sprintf("key %s was answered seq %d, %s %d, balance %d, then seq %d, %s %d, balance %d",
					o.Key, a.Seq, a.Verdict, a.AmountMicros, a.BalanceAfterMicros, c.Seq, c.Verdict, c.AmountMicros, c.BalanceAfterMicros))
			}
		}
	}
	return out
}
