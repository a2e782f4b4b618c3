package chaos

import (
	"fmt"
	"slices"
	"time"
)

// feedLag is how much later than it was answered what the ledger did must be in a feed that goes to the end.
const feedLag = 3 * time.Second

// reasonGone is why a feed ends whose events are not kept any more.
const reasonGone = "GONE"

// Outbox judges L10: whoever reads the stream of events misses nothing, however often it and the nodes end and begin again. A piece
// has every event from where it goes on, in their order; the next piece goes on there; a reader that begins anew begins no
// later than it had come to, and where its durable cursor is; an event is always the same; those of an account are its
// journal, each naming the one before it; and a feed to the end has all that was answered before.
//
// Each piece is an Op of kind Feed: Account names the reader, Key its stream, Cost after which event it goes on, Reply.Seq up to
// which it says to have told all; Ask.Final is one to the end. A Mark sets the cursor of its Account to its Cost.
func Outbox(h *History) Result { return newStudy(h, nil).books().outbox() }

// told is an event as it was first told.
type told struct {
	*EntryReply
	op int32
}

// reader is who reads the stream.
type reader struct {
	come     uint64            // up to where it was told all
	streams  map[string]uint64 // how far each came
	marked   uint64            // its cursor: what was acknowledged
	markable uint64            // and what it asked for
}

func (b *books) outbox() Result {
	out := b.finding("L10", false, "nobody read the events")
	events, readers := make(map[uint64]told), make(map[string]*reader)
	type loss struct {
		op       int32
		from, to uint64
	}
	var losses []loss
	for i := range b.s.h.Ops {
		o := &b.s.h.Ops[i]
		if o.Kind != Feed && o.Kind != Mark {
			continue
		}
		r := readers[o.Account]
		if r == nil {
			r = &reader{streams: make(map[string]uint64)}
			readers[o.Account] = r
		}
		switch {
		case o.Kind == Mark && o.Outcome == OK:
			r.marked = max(r.marked, uint64(o.Cost))
			fallthrough
		case o.Kind == Mark:
			r.markable = max(r.markable, uint64(o.Cost))
		case o.Outcome == OK:
			out.judging()
			b.piece(&out, int32(i), r, events)
		case o.Reply.Reason == reasonGone:
			losses = append(losses, loss{int32(i), uint64(o.Cost) + 1, o.Reply.Seq - 1})
			r.come = max(r.come, o.Reply.Seq-1)
		}
	}
	for _, l := range losses {
		for seq := l.from; seq <= l.to; seq++ {
			if e, there := events[seq]; there {
				out.against(b.s.excerpt(l.op, e.op), fmt.Sprintf("%s said that events %d to %d are gone, and %s had %d", b.s.h.Ops[l.op].Node, l.from, l.to, b.s.h.Ops[e.op].Node, seq))
				break
			}
		}
	}
	b.accountsOf(&out, events)
	b.complete(&out)
	if out.Status == Held && len(losses) > 0 {
		out.Status, out.Why = Inconclusive, "no node has all events any more"
	}
	return out
}

// piece looks at what one reader was told at once.
func (b *books) piece(out *Result, i int32, r *reader, events map[uint64]told) {
	o := &b.s.h.Ops[i]
	after, upTo := uint64(o.Cost), o.Reply.Seq
	last, goesOn := r.streams[o.Key]
	switch {
	case goesOn && after != last:
		out.against(b.s.excerpt(i), fmt.Sprintf("%s goes on after event %d, it had come to %d", o.Account, after, last))
	case after > r.come:
		out.against(b.s.excerpt(i), fmt.Sprintf("%s begins after event %d, it was told no more than %d", o.Account, after, r.come))
	case !goesOn && (after < r.marked || after > r.markable):
		out.against(b.s.excerpt(i), fmt.Sprintf("%s begins after event %d, its cursor was set to %d, at most %d", o.Account, after, r.marked, r.markable))
	}
	for k := range o.Reply.Entries {
		e := &o.Reply.Entries[k]
		if after++; e.Event != after {
			out.against(b.s.excerpt(i), fmt.Sprintf("%s was told event %d where %d comes", o.Account, e.Event, after))
			after = e.Event
		}
		if first, known := events[e.Event]; !known {
			events[e.Event] = told{e, i}
		} else if !e.same(first.EntryReply) || e.Account != first.Account || e.Prev != first.Prev {
			out.against(b.s.excerpt(first.op, i), fmt.Sprintf("event %d was told as %+v and as %+v", e.Event, *first.EntryReply, *e))
		}
	}
	if after != upTo {
		out.against(b.s.excerpt(i), fmt.Sprintf("%s was told events up to %d, and that it was told all up to %d", o.Account, after, upTo))
	}
	r.come, r.streams[o.Key] = max(r.come, upTo), upTo
}

// accountsOf holds the events of each account against each other and against its journal.
func (b *books) accountsOf(out *Result, events map[uint64]told) {
	seqs := make([]uint64, 0, len(events))
	for seq := range events {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	last := make(map[string]told)
	for _, seq := range seqs {
		e := events[seq]
		if e.Account == "" {
			continue // the release of a hold that never came
		}
		if before, known := last[e.Account]; known && (e.Prev != before.Event || e.Seq != before.Seq+1) && whole(events, before.Event, seq) {
			out.against(b.s.excerpt(before.op, e.op), fmt.Sprintf("event %d is the %d. of %s after event %d, told before it was event %d, the %d.", seq, e.Seq, e.Account, e.Prev, before.Event, before.Seq))
		}
		last[e.Account] = e
	}
	for _, p := range b.accounts() {
		for _, entry := range p.journal {
			if e, known := events[entry.Event]; known && (e.Account != p.account || !e.same(entry.EntryReply)) {
				out.against(b.s.excerpt(entry.op, e.op), fmt.Sprintf("%s: seq %d is event %d, which was told as %+v", p.account, entry.Seq, entry.Event, *e.EntryReply))
			}
		}
	}
}

// whole says whether all events between two were told.
func whole(events map[uint64]told, from, to uint64) bool {
	for seq := from + 1; seq < to; seq++ {
		if _, known := events[seq]; !known {
			return false
		}
	}
	return true
}

// complete looks at feeds that went to the end: what was answered well before must be in them.
func (b *books) complete(out *Result) {
	type answered struct {
		op    int32
		event uint64
		at    time.Duration
	}
	var newest []answered // each of a higher event than the ones that were answered before it
	for i := range b.s.h.Ops {
		o := &b.s.h.Ops[i]
		if o.Outcome != OK || o.Kind == Feed || o.Kind == Mark {
			continue
		}
		event := o.Reply.Event
		for _, e := range o.Reply.Entries {
			event = max(event, e.Event)
		}
		if event > 0 {
			newest = append(newest, answered{int32(i), event, o.Returned})
		}
	}
	slices.SortStableFunc(newest, func(a, b answered) int { return int(a.at - b.at) })
	for i := 1; i < len(newest); i++ {
		if newest[i].event < newest[i-1].event {
			newest[i].op, newest[i].event = newest[i-1].op, newest[i-1].event
		}
	}
	for i := range b.s.h.Ops {
		o := &b.s.h.Ops[i]
		if o.Kind != Feed || !o.Ask.Final || o.Outcome != OK {
			continue
		}
		n, _ := slices.BinarySearchFunc(newest, o.Invoked-feedLag, func(a answered, at time.Duration) int { return int(a.at - at) })
		if n > 0 && newest[n-1].event > o.Reply.Seq {
			out.against(b.s.excerpt(newest[n-1].op, int32(i)), fmt.Sprintf("%s was told up to event %d at the end, %d had been answered long before", o.Account, o.Reply.Seq, newest[n-1].event))
		}
	}
}
