package chaos

import (
	"fmt"
	"slices"
	"strings"
)

// NoPhantom judges L9: every movement of the journal is what somebody asked for, no sooner than that, or what time alone does to
// that, and its places in the log go up with its own.
func NoPhantom(h *History) Result { return newStudy(h, nil).books().noPhantom() }

func (b *books) noPhantom() Result {
	out := b.finding("L9", b.audit(), noAudit)
	for _, p := range b.accounts() {
		journal := p.journal
		for i, e := range journal {
			if i > 0 && (e.Index < journal[i-1].Index || e.Term < journal[i-1].Term) {
				out.against(b.s.excerpt(e.op), fmt.Sprintf("%s: seq %d is of index %d and term %d, the one before of %d and %d", p.account, e.Seq, e.Index, e.Term, journal[i-1].Index, journal[i-1].Term))
			}
			if why := b.phantom(p, e); why != "" {
				ops := []int32{e.op}
				if e.write != nil {
					ops = []int32{e.write.op, e.op}
				}
				out.against(b.s.excerpt(ops...), fmt.Sprintf("%s: seq %d: %s", p.account, e.Seq, why))
			}
		}
		for _, r := range p.rows {
			if r.write == nil || !r.done {
				continue
			}
			if o := &b.s.h.Ops[r.op]; !o.gets(o.Reply.AmountMicros, o.Reply.ForgivenMicros) {
				out.against(b.s.excerpt(r.op), fmt.Sprintf("%s: key %s asked for %d and was acknowledged %d", p.account, o.Key, o.Cost, o.Reply.AmountMicros))
			}
		}
	}
	return out
}

// touches are the books that a movement may move.
var touches = map[string]string{
	"grant": "issued available", "debit": "available overdrawn spent", "expire": "available expired", "repay": "available overdrawn",
	"void": "available voided", "authorize": "available held", "extend": "available held", "adjust": "issued available overdrawn voided",
	"capture": "held available overdrawn spent expired voided", "release": "held available expired voided",
	"lapse": "held available spent expired voided", "refund": "spent available overdrawn expired voided",
}

// phantom says why a movement is none that should be there; empty: it should.
func (b *books) phantom(p *page, e entry) string {
	if _, check := e.ofCheck(); check || e.Movement == "open" || e.Movement == "return" {
		return "" // what checks spend is judged with them
	}
	for _, posting := range e.Postings {
		if !slices.Contains(strings.Fields(touches[e.Movement]), posting.Book) {
			return fmt.Sprintf("a %s moves %d of book %s", e.Movement, posting.AmountMicros, posting.Book)
		}
	}
	w := e.write
	switch {
	case e.Key == "":
		return b.ofTime(p, e)
	case w == nil:
		return fmt.Sprintf("nobody asked for key %q", e.Key)
	case b.s.h.Ops[e.op].Returned < w.from:
		return fmt.Sprintf("key %s was in the journal by %s, before anybody asked", e.Key, b.s.h.Ops[e.op].Returned)
	}
	asked := &b.s.h.Ops[w.op]
	amount := asked.amountOf(e.EntryReply)
	refused := e.Movement == "refuse" && asked.Kind == Authorize && len(e.Postings) == 0
	if asked.Account != p.account || !refused && (e.Movement != asked.Kind.String() || !asked.gets(amount, e.Forgiven)) || e.Memo != asked.Ask.Memo || !b.about(e, asked) {
		return fmt.Sprintf("a %s of %d, %d forgiven, for key %s, asked was a %s of %d, %+v, on %s", e.Movement, amount, e.Forgiven, e.Key, asked.Kind, asked.Cost, asked.Ask, asked.Account)
	}
	return ""
}

// amountOf returns how much of what was asked for an entry does.
func (o *Op) amountOf(e *EntryReply) int64 {
	change, _ := e.change()
	switch {
	case o.Kind == Debit || o.Kind == Capture:
		return e.in(spent)
	case o.Kind == Refund:
		return -e.in(spent)
	case o.Kind == Authorize || o.Kind == Extend:
		return e.in(held)
	case o.Kind == Release || o.Kind == Void:
		return max(change, -change)
	}
	return change
}

// gets says whether an amount, and how much was forgiven, may be what comes of the operation.
func (o *Op) gets(amount, forgiven int64) bool {
	if forgiven < 0 || forgiven > 0 && (!o.cuts() || o.Kind != Debit && o.Kind != Capture) {
		return false
	}
	switch o.Kind {
	case Release, Void, Update:
		return amount >= 0
	case Refund:
		return amount == o.Cost || o.Cost == 0 && amount > 0
	case Authorize:
		return amount == o.Cost || o.Ask.Partial && amount > 0 && amount < o.Cost
	case Grant:
		return amount == o.Cost || o.Ask.Every != "" && amount == 0
	}
	return amount+forgiven == o.Cost
}

// about says whether an entry is about the hold, charge or grant that was asked for, and late only where it may be.
func (b *books) about(e entry, asked *Op) bool {
	of := asked.Ask.Of
	switch asked.Kind {
	case Authorize:
		return e.Hold == e.Key
	case Extend, Release:
		return e.Hold == of
	case Capture:
		hold := b.writes[of]
		return e.Hold == of && e.Charge == of && (!e.Late || hold != nil && b.s.h.Ops[hold.op].Ask.Late != "reject")
	case Refund:
		return e.Charge == of
	case Void:
		return e.Grant == of
	}
	return e.Hold == "" && !e.Late
}

// ofTime says why a movement that no command made is none of time's.
func (b *books) ofTime(p *page, e entry) string {
	asked := func(key string, kind Kind) *Op {
		w := b.writes[key]
		if w == nil || b.s.h.Ops[w.op].Kind != kind || b.s.h.Ops[w.op].Account != p.account {
			return nil
		}
		return &b.s.h.Ops[w.op]
	}
	switch e.Movement {
	case "expire", "repay":
		return ""
	case "lapse":
		hold := asked(e.Hold, Authorize)
		if hold == nil {
			return fmt.Sprintf("nobody asked for hold %q", e.Hold)
		}
		if seen, until := b.s.h.Ops[e.op].Returned, b.writes[e.Hold].from+hold.Ask.TTL; seen < until {
			return fmt.Sprintf("hold %s had ended by %s, its time was not over before %s", e.Hold, seen, until)
		}
		return ""
	case "grant":
		stem, _, period := strings.Cut(e.Grant, "@")
		if of := asked(stem, Grant); period && of != nil && of.Ask.Every != "" && e.in(issued) == -of.Cost {
			return ""
		}
	}
	return fmt.Sprintf("nobody asked for a %s of %q", e.Movement, e.Grant)
}

// cuts says whether a charge takes less when there is less.
func (o *Op) cuts() bool { return o.Ask.Overshoot == "cap" || o.Ask.Overshoot == "overdraw" }
