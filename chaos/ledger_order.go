package chaos

import (
	"cmp"
	"fmt"
	"slices"
)

// Linearizable judges L5: the ledger's order fits real time. Of two operations on an account of which one was answered
// before the other was asked, the first has not the later place; a read says no less than what was acknowledged before it,
// and a write has a place of its own. That the balances fit is Conservation's.
func Linearizable(h *History) Result { return newStudy(h, nil).books().linearizable() }

func (b *books) linearizable() Result {
	out := b.finding("L5", b.told(), noWrites)
	for _, odd := range b.follow().states {
		out.against(b.s.excerpt(odd.ops...), odd.why)
	}
	for _, p := range b.accounts() {
		rows := slices.DeleteFunc(slices.Clone(p.rows), func(r row) bool { return r.loose })
		latest := row{from: -1} // of those with a lower place, the one that was asked last
		for i := 0; i < len(rows); {
			j := i
			for ; j < len(rows) && rows[j].seq == rows[i].seq; j++ {
				r, before := rows[j], latest
				if rows[i].done && j > i && rows[i].from > before.from {
					before = rows[i]
				}
				if before.from > r.until {
					out.against(b.s.excerpt(before.op, r.op), fmt.Sprintf("%s: seq %d was told by %s, and to who asked only then seq %d", p.account, r.seq, r.until, before.seq))
				}
			}
			for ; i < j; i++ {
				if rows[i].from > latest.from {
					latest = rows[i]
				}
			}
		}
	}
	return out
}

// Durable judges L6: what was acknowledged is still in the journal when it is audited at the end, at the place that was
// acknowledged, whatever crashed meanwhile.
func Durable(h *History) Result { return newStudy(h, nil).books().durable() }

func (b *books) durable() Result {
	out := b.finding("L6", b.audit(), noAudit)
	b.forgotten(&out)
	for _, p := range b.accounts() {
		journal := p.journal
		if len(journal) == 0 {
			continue
		}
		for i, r := range p.rows {
			if r.write == nil || !r.done || r.seq < journal[0].Seq {
				continue
			}
			o := &b.s.h.Ops[r.op]
			at, listed := slices.BinarySearchFunc(journal, r.seq, func(e entry, seq uint64) int { return cmp.Compare(e.Seq, seq) })
			switch {
			case !listed:
				if at < len(journal) || b.ended(p, i, journal[at-1].op) {
					out.against(b.s.excerpt(r.op, p.audit), fmt.Sprintf("%s: key %s was acknowledged at seq %d, which the journal has not", p.account, o.Key, r.seq))
				}
			case journal[at].Key == "" && b.before(p, at, o): // what time does right after it has the place that was told
			case journal[at].Key != o.Key || journal[at].Index != o.Reply.Index || journal[at].Term != o.Reply.Term:
				e := journal[at]
				out.against(b.s.excerpt(r.op, e.op), fmt.Sprintf("%s: key %s was acknowledged at seq %d of index %d, where the journal has key %q of index %d", p.account, o.Key, r.seq, o.Reply.Index, e.Key, e.Index))
			}
		}
	}
	return out
}

// ended says whether what the i-th row tells, past the end of all lists, is lost: a list that was asked later came to its
// end, or no read that was asked later knows of as much.
func (b *books) ended(p *page, i int, last int32) bool {
	r, list := p.rows[i], &b.s.h.Ops[last]
	if b.s.h.Ops[p.audit].Invoked <= r.until {
		return false
	}
	if list.Invoked > r.until && int64(len(list.Reply.Entries)) < list.Cost {
		return true
	}
	return !slices.ContainsFunc(p.rows[i:], func(k row) bool { return k.write == nil && k.from > r.until })
}

// before says whether what a write did comes right before what time did at a place of the journal, in the same entry of the log.
func (b *books) before(p *page, at int, o *Op) bool {
	for ; at >= 0 && p.journal[at].Index == o.Reply.Index && p.journal[at].Term == o.Reply.Term; at-- {
		if p.journal[at].Key != "" {
			return p.journal[at].Key == o.Key
		}
	}
	return false
}

// forgotten finds what was acknowledged before somebody was told that there is no such thing.
func (b *books) forgotten(out *Result) {
	for i := range b.s.h.Ops {
		o := &b.s.h.Ops[i]
		of := b.writes[o.Ask.Of]
		if !o.Kind.Writes() || o.Outcome == Unknown || of == nil || of.answer < 0 || of.until > o.Invoked || b.s.h.Ops[of.op].Ask.Every != "" { // what recurs no more is gone
			continue
		}
		switch o.Reply.Reason {
		case reasonNoHold, reasonNoCharge, reasonNoGrant:
			out.against(b.s.excerpt(of.answer, int32(i)), fmt.Sprintf("%s: %s was acknowledged, and then there was none", o.Account, o.Ask.Of))
		}
	}
}

func (b *books) audit() bool {
	for _, p := range b.pages {
		if p.audit >= 0 {
			return true
		}
	}
	return false
}

// EqualReplicas judges L7: all nodes tell the same journal, and their state at one index of the log has the same digest.
func EqualReplicas(h *History) Result { return newStudy(h, nil).books().equalReplicas() }

func (b *books) equalReplicas() Result {
	type state struct { // of what, and at which place
		of    string
		index uint64
	}
	digests := make(map[state]Event)
	out := b.finding("L7", false, "neither digests nor two audits of one account can be compared")
	compared := false
	for _, e := range b.s.h.Events {
		if e.What != "digest" {
			continue
		}
		first, known := digests[state{e.Detail, e.Index}]
		if !known {
			digests[state{e.Detail, e.Index}] = e
			continue
		}
		compared = true
		if first.Digest != e.Digest {
			out.against(nil, fmt.Sprintf("%s at %d: %s has digest %s, %s has %s", e.Detail, e.Index, first.Node, first.Digest, e.Node, e.Digest))
		}
	}
	type origin struct {
		term uint64
		op   int32
	}
	all := 0
	for _, p := range b.pages {
		all += len(p.journal)
	}
	terms := make(map[uint64]origin, all) // of indexes
	for _, p := range b.accounts() {
		for i, e := range p.entries {
			if i > 0 && p.entries[i-1].Seq == e.Seq {
				compared = true
				if !e.same(p.entries[i-1].EntryReply) {
					out.against(b.s.excerpt(p.entries[i-1].op, e.op), fmt.Sprintf("%s: two audits tell seq %d differently", p.account, e.Seq))
				}
			}
			if other, known := terms[e.Index]; known && other.term != e.Term {
				out.against(b.s.excerpt(other.op, e.op), fmt.Sprintf("index %d is of term %d and of term %d", e.Index, other.term, e.Term))
			}
			terms[e.Index] = origin{e.Term, e.op}
		}
	}
	if compared && out.Status == Inconclusive {
		out.Status, out.Why = Held, ""
	}
	return out
}
