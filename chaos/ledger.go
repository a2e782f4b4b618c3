package chaos

import (
	"fmt"
	"maps"
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
	for _, odd := range b.follow().amounts {
		out.against(b.s.excerpt(odd.ops...), odd.why)
	}
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

// chain walks an account's order and compares each balance with what the last and the movements since make of it, and a read's
// books with all of the journal.
func (b *books) chain(p *page, journal []entry, out *Result) {
	at, known, source := uint64(0), true, int32(-1) // before its first movement an account has nothing
	var sums Books                                  // of which only the balance is sure, unless the whole journal is known
	whole, timed := len(journal) > 0 && journal[0].Seq == 1, b.timed(p)
	for i := 0; i < len(p.rows); {
		seq := p.rows[i].seq
		for len(journal) > 0 && journal[0].Seq <= seq {
			known = known && journal[0].Seq == at+1
			whole = whole && known
			at = journal[0].Seq
			sums.add(journal[0].EntryReply)
			journal = journal[1:]
		}
		if r := p.rows[i]; r.done && at == seq-1 && known { // not in the journal that is known
			micros, sure := moved(&b.s.h.Ops[r.op])
			at, known, whole = seq, sure, false
			sums[available] += micros
		}
		known = known && at == seq
		whole = whole && known
		for first := true; i < len(p.rows) && p.rows[i].seq == seq; i++ {
			r := p.rows[i]
			foreseen := false
			switch {
			case r.done && !first:
				out.against(b.s.excerpt(p.rows[i-1].op, r.op), fmt.Sprintf("%s: two writes were both told seq %d", p.account, seq))
			case known && !b.fits(r, sums, whole):
				if foreseen = r.write == nil && b.foresees(r, sums, whole, p, journal); !foreseen {
					out.against(b.sources(source, r.op), fmt.Sprintf("%s: the balance after seq %d was told as %d of %v, what moved makes it %d of %v",
						p.account, seq, r.balance, b.s.h.Ops[r.op].Reply.Books, sums.balance(), sums))
				}
			}
			if !foreseen && (known || r.write != nil || !timed) {
				sums[available] += r.balance - sums.balance()
				known = true
			}
			at, source, first = seq, r.op, false
		}
	}
}

// fits says whether an answer tells what moved.
func (b *books) fits(r row, sums Books, whole bool) bool {
	told := &b.s.h.Ops[r.op].Reply.Books
	return r.balance == sums.balance() && (!whole || *told == Books{} || *told == sums)
}

// foresees says whether a read tells what time alone does next: a read books nothing, but what is due counts as done. What
// nobody booked until the end of the journal may still be.
func (b *books) foresees(r row, sums Books, whole bool, p *page, journal []entry) bool {
	n := slices.IndexFunc(journal, func(e entry) bool { return e.Key != "" })
	if n < 0 && b.timed(p) {
		told := b.s.h.Ops[r.op].Reply.Books
		return !whole || told == Books{} || told.after(sums)
	}
	return b.comes(r, sums, whole, journal[:max(n, 0)], nil)
}

// after says whether time alone may make an account's books what they are.
func (b Books) after(was Books) bool {
	sum, freed := int64(0), was[held]-b[held]
	for _, micros := range b {
		sum += micros
	}
	return sum == 0 && freed >= 0 && b[spent] >= was[spent] && b[spent] <= was[spent]+freed && b[ended] >= was[ended] && b[issued] <= was[issued]
}

// comes says whether some of what time does next makes what an answer tells. A hold whose time was over only after the read is
// booked before the end of a grant that had ended by then: what it gives back, held by then, is less of what ended.
func (b *books) comes(r row, sums Books, whole bool, next []entry, waits map[string]int64) bool {
	if len(next) == 0 {
		return b.fits(r, sums, whole)
	}
	with := sums
	with.add(next[0].EntryReply)
	for _, p := range next[0].Postings {
		if p.Book == bookWords[available] && p.AmountMicros < 0 && next[0].Movement == "expire" {
			with[available] += waits[p.Grant]
			with[ended] -= waits[p.Grant]
		}
	}
	if b.comes(r, with, whole, next[1:], waits) {
		return true
	}
	if len(next) > comesMax {
		return false
	}
	waits = maps.Clone(waits)
	if waits == nil {
		waits = make(map[string]int64)
	}
	for _, p := range next[0].Postings {
		if p.Book == bookWords[available] && next[0].Movement == "lapse" {
			waits[p.Grant] += p.AmountMicros
		}
	}
	return b.comes(r, sums, whole, next[1:], waits)
}

// comesMax bounds the search of comes: of a longer run the first come for sure.
const comesMax = 8

// timed says whether time alone may move what an account has.
func (b *books) timed(p *page) bool {
	return slices.ContainsFunc(p.journal, func(e entry) bool {
		if e.write == nil {
			return e.Hold != ""
		}
		ask := b.s.h.Ops[e.write.op].Ask
		return ask.TTL > 0 || ask.Expires > 0 || ask.Every != ""
	})
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
		var sums Books
		for i, e := range p.journal {
			if i == 0 && e.Seq != 1 {
				break // what it began with was not listed
			}
			sums.add(e.EntryReply)
			least(p.account, min(sums.balance(), sums[overdrawn]), e.op)
			for _, book := range []int{available, spent, held} {
				if sums[book] < 0 {
					least(p.account, sums[book]-owing[p.account], e.op)
				}
			}
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
			case answered && !done(&b.s.h.Ops[w.answer].Reply) && e.Movement != "refuse": // which remembers that a hold was
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
		for _, i := range w.others {
			if o := &b.s.h.Ops[i]; o.Outcome == OK && o.Invoked > w.until {
				out.against(b.s.excerpt(w.answer, i), fmt.Sprintf("key %s was used for a %s, and then other contents were answered with %s", o.Key, first.Kind, o.Reply.Verdict))
			}
		}
		for _, i := range w.more {
			o := &b.s.h.Ops[i]
			a, c := &first.Reply, &o.Reply
			if o.Outcome == OK && (a.Verdict != c.Verdict || a.Seq != c.Seq || a.Index != c.Index || a.Term != c.Term ||
				a.AmountMicros != c.AmountMicros || a.BalanceAfterMicros != c.BalanceAfterMicros || a.Sum != c.Sum) {
				out.against(b.s.excerpt(w.answer, i), fmt.Sprintf("key %s was answered seq %d, %s %d, balance %d, then seq %d, %s %d, balance %d",
					o.Key, a.Seq, a.Verdict, a.AmountMicros, a.BalanceAfterMicros, c.Seq, c.Verdict, c.AmountMicros, c.BalanceAfterMicros))
			}
		}
	}
	return out
}
