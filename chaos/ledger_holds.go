package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// oddities are what holds and charges show: amounts that do not add up, which is L1's, and states that do not follow from what
// came before, which is L5's.
type oddities struct{ amounts, states []oddity }

type oddity struct {
	ops []int32
	why string
}

func note(to *[]oddity, why string, ops ...int32) { *to = append(*to, oddity{ops, why}) }

// life is a hold as the journal of its account makes it.
type life struct {
	HoldReply
	asked  *write // its authorize; nil: nobody asked for it
	stages []stage
	longer bool // it was extended
}

// stage is a hold after an entry.
type stage struct {
	seq uint64
	HoldReply
}

// at returns the hold after a place of its account's order.
func (l *life) at(seq uint64) (was HoldReply, known bool) {
	i, found := slices.BinarySearchFunc(l.stages, seq, func(s stage, seq uint64) int { return cmp.Compare(s.seq, seq) })
	if !found {
		i--
	}
	if i < 0 {
		return HoldReply{}, false
	}
	return l.stages[i].HoldReply, true
}

// in returns what an entry moves into a book.
func (e *EntryReply) in(book int) (micros int64) {
	for _, p := range e.Postings {
		if p.Book == bookWords[book] {
			micros += p.AmountMicros
		}
	}
	return micros
}

// follow lives every hold and charge of the whole journals again, and compares what answers told of them.
func (b *books) follow() *oddities {
	if b.odd != nil {
		return b.odd
	}
	b.odd = &oddities{}
	for _, p := range b.accounts() {
		lives := b.lives(p)
		if lives == nil {
			continue
		}
		last := p.journal[len(p.journal)-1].Seq
		for _, w := range b.byOp {
			if w.answer >= 0 && b.s.h.Ops[w.answer].Account == p.account && b.s.h.Ops[w.answer].Reply.Seq <= last {
				b.tells(p, w, lives)
			}
		}
		b.overdue(p, lives)
	}
	return b.odd
}

// lives goes through a journal that is whole, else it returns nil.
func (b *books) lives(p *page) map[string]*life {
	if len(p.journal) == 0 || p.journal[0].Seq != 1 || p.journal[len(p.journal)-1].Seq != uint64(len(p.journal)) {
		return nil
	}
	charged, lives := make(map[string]int64), make(map[string]*life)
	for _, e := range p.journal {
		inHeld, inSpent := e.in(held), e.in(spent)
		if e.Charge != "" {
			if charged[e.Charge] += inSpent; charged[e.Charge] < 0 {
				note(&b.odd.amounts, fmt.Sprintf("%s: seq %d gives back %d more than %s charged", p.account, e.Seq, -charged[e.Charge], e.Charge), e.op)
			}
		}
		if e.Hold == "" {
			if inHeld != 0 {
				note(&b.odd.amounts, fmt.Sprintf("%s: seq %d, a %s, holds %d for no hold", p.account, e.Seq, e.Movement, inHeld), e.op)
			}
			continue
		}
		l := lives[e.Hold]
		if l == nil {
			l = &life{asked: b.writes[e.Hold]}
			lives[e.Hold] = l
		}
		was := l.HoldReply
		l.Held += inHeld
		l.Captured += max(0, inSpent)
		l.Refunded -= min(0, inSpent)
		l.longer = l.longer || e.Movement == "extend"
		if l.State = b.stateAfter(l, &e); l.Held < 0 || l.State != "open" && l.Held != 0 || l.Refunded > l.Captured {
			note(&b.odd.amounts, fmt.Sprintf("%s: after seq %d, a %s, hold %s is %s with %d held, %d captured and %d given back",
				p.account, e.Seq, e.Movement, e.Hold, l.State, l.Held, l.Captured, l.Refunded), e.op)
		}
		if !follows(was.State, &e) {
			note(&b.odd.states, fmt.Sprintf("%s: seq %d is a %s of hold %s, which was %q", p.account, e.Seq, e.Movement, e.Hold, was.State), e.op)
		}
		l.stages = append(l.stages, stage{e.Seq, l.HoldReply})
	}
	return lives
}

// stateAfter returns the state of a hold after an entry.
func (b *books) stateAfter(l *life, e *entry) string {
	switch {
	case e.Movement == "authorize":
		return "open"
	case e.Movement == "refuse":
		return "refused"
	case e.Movement == "release":
		return "released"
	case e.Movement == "lapse" && l.asked != nil && b.s.h.Ops[l.asked.op].Ask.OnExpire == "capture":
		return "captured"
	case e.Movement == "lapse":
		return "expired"
	case e.Movement == "capture" && e.write != nil && b.s.h.Ops[e.write.op].Ask.Final:
		return "captured"
	}
	return l.State
}

// follows says whether a movement may come in the state that a hold was in: LEDGER §3.2.
func follows(was string, e *entry) bool {
	switch e.Movement {
	case "authorize", "refuse":
		return was == ""
	case "extend", "release", "lapse":
		return was == "open"
	case "capture":
		return was == "open" || was == "expired" && e.Late
	case "refund":
		return was != "open" && was != ""
	}
	return false
}

// verdicts are the states in which a hold's command may be answered so, where it is no matter of amounts.
var verdicts = map[string]string{
	"hold_released": "released", "already_captured": "captured", "hold_refused": "refused", "hold_expired": "expired", "hold_open": "open",
}

// tells compares what an answer says of a hold with its life.
func (b *books) tells(p *page, w *write, lives map[string]*life) {
	o := &b.s.h.Ops[w.answer]
	r := &o.Reply
	if r.Hold.State == "" {
		return
	}
	id := o.Ask.Of
	if o.Kind == Authorize {
		id = o.Key
	}
	if want := verdicts[r.Verdict]; want != "" && want != r.Hold.State {
		note(&b.odd.states, fmt.Sprintf("%s: key %s was answered %s of hold %s, which is %s", p.account, o.Key, r.Verdict, id, r.Hold.State), w.answer)
	}
	l := lives[id]
	if l == nil { // barred by a release, which is in no account's journal
		return
	}
	if now, known := l.at(r.Seq); !known || now != r.Hold {
		note(&b.odd.amounts, fmt.Sprintf("%s: key %s was told that hold %s is %+v after seq %d, the journal makes it %+v", p.account, o.Key, id, r.Hold, r.Seq, now), w.answer)
	}
}

// Of a hold that is open at the end, how much of its time may be the log's standing still, which it does while nobody leads.
const (
	overdueTimes = 2
	overdueSlack = 30 * time.Second
)

// overdue finds holds that should have ended by themselves long ago: the machine forgot them, and what they hold is lost.
func (b *books) overdue(p *page, lives map[string]*life) {
	for id, l := range lives {
		if l.State != "open" || l.asked == nil || l.longer || l.asked.until == forever {
			continue
		}
		ttl := b.s.h.Ops[l.asked.op].Ask.TTL
		if age := b.s.h.Ops[p.audit].Invoked - l.asked.until; ttl > 0 && age > overdueTimes*ttl+overdueSlack {
			note(&b.odd.amounts, fmt.Sprintf("%s: hold %s of %s still holds %d after %s", p.account, id, ttl, l.Held, age), l.asked.answer, p.audit)
		}
	}
}
