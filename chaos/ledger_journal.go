package chaos

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// books are what a history says of the ledger, laid out for the checkers.
type books struct {
	s      *study
	writes map[string]*write // by key
	byOp   []*write          // in the order in which they were first sent
	room   []write           // for all of them
	pages  map[string]*page
	odd    *oddities // nil: not looked for yet
}

// write is a change that was asked for under a key, however often it was sent: it happened, if so, between from and until.
type write struct {
	op          int32 // that sent it first
	answer      int32 // the first answer; below zero: none
	from, until time.Duration
	doubt       bool    // an attempt's outcome is unknown
	more        []int32 // that sent it again
	others      []int32 // that asked for something else with its key
	listed      uint64  // its place in the journal; zero: none
}

// page is one account: what is known of it by the order that the ledger itself gives.
type page struct {
	account string
	rows    []row   // by seq; writes before reads
	entries []entry // by seq, of all audits
	journal []entry // each movement once; of those that audits tell differently the first
	audit   int32   // the one that was asked last; below zero: none
}

// row says that the account stood so after the entry seq: the answer of a write, or a read.
type row struct {
	seq         uint64
	balance     int64
	write       *write // nil of a read
	done        bool   // the write moved something
	op          int32
	from, until time.Duration
	loose       bool // a read that may be of an older state
}

// entry is a movement of the journal as the last audits list it.
type entry struct {
	*EntryReply
	op    int32
	write *write // that asked for it; nil: none did
}

func (b *books) page(account string) *page {
	p := b.pages[account]
	if p == nil {
		p = &page{account: account, audit: -1}
		b.pages[account] = p
	}
	return p
}

func (s *study) books() *books {
	n := 0
	for i := range s.h.Ops {
		if s.h.Ops[i].Kind.Writes() {
			n++
		}
	}
	b := &books{s: s, writes: make(map[string]*write, n), pages: make(map[string]*page), byOp: make([]*write, 0, n), room: make([]write, 0, n)}
	for i := range s.h.Ops {
		o := &s.h.Ops[i]
		switch {
		case o.Kind.Writes():
			b.send(int32(i), o)
		case o.Outcome != OK:
		case o.Kind == Balance && o.Reply.Seq > 0:
			p := b.page(o.Account)
			p.rows = append(p.rows, row{o.Reply.Seq, o.Reply.BalanceAfterMicros, nil, false, int32(i), o.Invoked, o.Returned, o.loose()})
		case o.Kind == Entries:
			p := b.page(o.Account)
			if p.audit < 0 || o.Invoked >= s.h.Ops[p.audit].Invoked {
				p.audit = int32(i)
			}
			for k := range o.Reply.Entries {
				p.entries = append(p.entries, entry{EntryReply: &o.Reply.Entries[k], op: int32(i)})
			}
		}
	}
	for _, w := range b.byOp {
		if w.answer < 0 || s.h.Ops[w.answer].Reply.Seq == 0 { // a release of a hold that never came has no place in an account
			continue
		}
		o := &s.h.Ops[w.answer]
		p := b.page(o.Account)
		p.rows = append(p.rows, row{o.Reply.Seq, o.Reply.BalanceAfterMicros, w, booked(o), w.answer, w.from, w.until, false})
	}
	for _, p := range b.pages {
		slices.SortFunc(p.rows, func(a, b row) int {
			if a.seq != b.seq {
				return cmp.Compare(a.seq, b.seq)
			}
			return cmp.Or(rank(a)-rank(b), cmp.Compare(a.op, b.op))
		})
		slices.SortFunc(p.entries, func(a, b entry) int {
			if a.Seq != b.Seq {
				return cmp.Compare(a.Seq, b.Seq)
			}
			return cmp.Compare(a.op, b.op)
		})
		p.journal = slices.CompactFunc(slices.Clone(p.entries), func(a, b entry) bool { return a.Seq == b.Seq })
		for i := range p.journal {
			if e := &p.journal[i]; e.Key != "" {
				e.write = b.writes[e.Key]
			}
		}
	}
	return b
}

// loose says whether a read asks for no more than a state that is new enough.
func (o *Op) loose() bool { return o.Stale > 0 || o.MinIndex > 0 }

func rank(r row) int {
	if r.done {
		return 0
	}
	return 1
}

// send notes an attempt of a write.
func (b *books) send(i int32, o *Op) {
	w := b.writes[o.Key]
	if w == nil || o.Key == "" {
		b.room = append(b.room, write{op: i, answer: -1, from: o.Invoked, until: forever})
		w = &b.room[len(b.room)-1]
		b.byOp = append(b.byOp, w)
		if o.Key != "" {
			b.writes[o.Key] = w
		}
	} else if first := &b.s.h.Ops[w.op]; first.Kind != o.Kind || first.Account != o.Account || first.Cost != o.Cost || first.Ask != o.Ask {
		w.others = append(w.others, i)
		return
	} else {
		w.more = append(w.more, i)
	}
	switch o.Outcome {
	case Unknown:
		w.doubt = true
	case OK:
		if w.answer < 0 {
			w.answer = i
		}
		w.until = min(w.until, o.Returned)
	}
}

// sent returns the k-th operation that sent a write again, of -1 the first that sent it.
func (w *write) sent(k int) int32 {
	if k < 0 {
		return w.op
	}
	return w.more[k]
}

// done says whether an answered write moved credit; a refusal is answered too.
func done(r *Reply) bool { return r.Verdict == "done" || r.Verdict == "" }

// booked says whether an answered write must be in the journal. The release of a hold that had ended is done, and nothing.
func booked(o *Op) bool { return done(&o.Reply) && (o.Kind != Release || o.Reply.AmountMicros != 0) }

// moved returns by how much a write that was done changed the balance; sure is false where its answer does not tell.
func moved(o *Op) (micros int64, sure bool) {
	r := &o.Reply
	switch o.Kind {
	case Debit, Authorize, Extend, Void:
		return -r.AmountMicros, true
	case Grant, Adjust:
		return r.AmountMicros, o.Ask.Every == ""
	case Release, Refund:
		return r.AmountMicros - r.ExpiredMicros, true
	case Update:
		return 0, true
	default:
		return 0, false
	}
}

// change returns by how much an entry changes the balance, and whether its postings sum to zero.
func (e *EntryReply) change() (micros int64, balanced bool) {
	var sum int64
	for _, p := range e.Postings {
		sum += p.AmountMicros
		if p.Book == "available" || p.Book == "overdrawn" {
			micros += p.AmountMicros
		}
	}
	return micros, sum == 0
}

// same says whether two audits list the same movement.
func (e *EntryReply) same(other *EntryReply) bool {
	return e.Seq == other.Seq && e.Index == other.Index && e.Term == other.Term && e.Movement == other.Movement &&
		e.Key == other.Key && e.Event == other.Event && e.Hold == other.Hold && e.Charge == other.Charge && e.Grant == other.Grant &&
		e.Forgiven == other.Forgiven && e.Written == other.Written && e.Late == other.Late && slices.Equal(e.Postings, other.Postings)
}

// add books an entry.
func (b *Books) add(e *EntryReply) {
	for _, p := range e.Postings {
		if i := slices.Index(bookWords[:], p.Book); i >= 0 {
			b[i] += p.AmountMicros
		}
	}
}

// balance is what can be spent, or below zero is owed.
func (b *Books) balance() int64 { return b[available] + b[overdrawn] }

// The books that are looked at by themselves, in the order of bookWords.
const (
	issued    = 0
	available = 1
	overdrawn = 2
	spent     = 3
	ended     = 4
	held      = 5
)

// whole says whether audits list all that an account was ever known to have, from its opening on. An audit lists the newest
// movements only, in pages.
func (p *page) whole() bool {
	journal, n := p.journal, len(p.journal)
	if n == 0 || journal[0].Seq != 1 || journal[n-1].Seq != uint64(n) {
		return false
	}
	return len(p.rows) == 0 || p.rows[len(p.rows)-1].seq <= journal[n-1].Seq
}

// ofCheck says whether an entry is the debit of a check, and of which domain.
func (e *EntryReply) ofCheck() (domain string, is bool) {
	if e.Movement != "debit" {
		return "", false
	}
	return strings.CutPrefix(e.Memo, "check ")
}

// accounts returns the pages in the order of their accounts.
func (b *books) accounts() []*page {
	all := make([]*page, 0, len(b.pages))
	for _, p := range b.pages {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *page) int { return strings.Compare(a.account, b.account) })
	return all
}

// finding begins the result of an invariant of the ledger: violations are counted, none are allowed.
func (b *books) finding(id string, enough bool, without string) Result {
	r := Result{Invariant: id, Status: Held, Unit: "violations"}
	if !enough {
		r.Status, r.Why = Inconclusive, without
	}
	return r
}

// against counts a violation. The first is told and shown.
func (r *Result) against(excerpt []Op, why string) {
	if r.Observed == 0 {
		r.Status, r.Excerpt, r.Why = Refuted, excerpt, why
	}
	r.Observed++
	r.Margin = r.Bound - r.Observed
}
