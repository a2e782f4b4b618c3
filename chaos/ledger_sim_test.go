package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// bank is a made-up run of a ledger that is right, but for what a test plants in it.
type bank struct {
	r       *rand.Rand
	plant   string // what goes wrong, once
	planted bool
	lossy   float64 // of the writes, whose outcome nobody knows
	clients int

	sent     []sending
	accounts map[string]*shelf
	replies  map[string]Reply // by key
	told     map[string]bool  // keys that were answered
	index    uint64
	history  *History
}

// sending is an attempt on its way: it takes effect at a moment between its call and its return, or later, or never.
type sending struct {
	op     Op
	effect time.Duration
}

// shelf is the state of one account.
type shelf struct {
	balance int64
	entries []EntryReply
	reads   []Reply // what a read said after each change
}

// newBank makes n operations on few accounts, most of them on the first.
func newBank(seed uint64, n int, plant string) *bank {
	b := &bank{
		r: rand.New(rand.NewPCG(seed, 7)), plant: plant, lossy: 0.03, clients: 6,
		accounts: make(map[string]*shelf), replies: make(map[string]Reply), told: make(map[string]bool), history: &History{},
	}
	b.send(n)
	slices.SortStableFunc(b.sent, func(a, c sending) int { return cmp.Compare(a.effect, c.effect) })
	for i := range b.sent {
		b.apply(&b.sent[i])
	}
	b.audit()
	for i := range b.sent {
		b.history.Ops = append(b.history.Ops, b.sent[i].op)
	}
	slices.SortStableFunc(b.history.Ops, func(a, c Op) int { return cmp.Compare(a.Invoked, c.Invoked) })
	return b
}

func (b *bank) between(d time.Duration) time.Duration { return time.Duration(b.r.Int64N(int64(d))) }

// send has every client ask one thing at a time.
func (b *bank) send(n int) {
	at := make([]time.Duration, b.clients)
	for i := 0; len(b.sent) < n; i++ {
		c := i % b.clients
		op := Op{Client: c, Node: fmt.Sprint("n", b.r.IntN(5)+1), Account: "hot"}
		if b.r.IntN(4) == 0 {
			op.Account = fmt.Sprint("a", b.r.IntN(3))
		}
		switch draw := b.r.IntN(10); {
		case draw < 2:
			op.Kind = Balance
		case draw < 4 || i < 2*b.clients:
			op.Kind, op.Cost = Grant, 300
		default:
			op.Kind, op.Cost = Debit, 1+b.r.Int64N(300)
		}
		if op.Kind != Balance {
			op.Key = fmt.Sprintf("k%d", i)
		}
		for try := 0; try < 4; try++ {
			s := b.attempt(op, at[c])
			b.sent = append(b.sent, s)
			at[c] = max(s.op.Returned, s.op.Invoked+500*time.Millisecond) // what is open was given up
			if s.op.Outcome == OK {
				at[c] = s.op.Returned
			}
			if op.Key == "" || s.op.Outcome == OK && b.r.IntN(5) > 0 {
				break
			}
		}
	}
}

// attempt draws the times and the outcome of an operation that a client sends after a moment.
func (b *bank) attempt(op Op, after time.Duration) sending {
	op.Invoked = after + time.Microsecond + b.between(5*time.Millisecond)
	s := sending{op: op, effect: op.Invoked + b.between(10*time.Millisecond)}
	s.op.Returned, s.op.Outcome = s.effect+1+b.between(10*time.Millisecond), OK
	switch x := b.r.Float64(); {
	case op.Key != "" && x < b.lossy:
		s.op.Outcome, s.op.Returned = Unknown, -1
		s.effect += b.between(3 * time.Second)
		if b.r.IntN(2) == 0 {
			s.effect = forever
		}
	case op.Key != "" && x < b.lossy+0.01:
		s.op.Outcome = Failed
	}
	return s
}

func (b *bank) shelf(account string) *shelf {
	a := b.accounts[account]
	if a == nil {
		a = &shelf{}
		b.accounts[account] = a
		b.post(a, "open", "open-"+account, 0)
	}
	return a
}

// post books a movement.
func (b *bank) post(a *shelf, movement, key string, micros int64) {
	b.index++
	a.balance += micros
	other := map[string]string{"grant": "issued", "debit": "spent"}[movement]
	e := EntryReply{Seq: uint64(len(a.entries)) + 1, Index: b.index, Term: 1 + b.index/500, Movement: movement, Key: key}
	if other != "" {
		e.Postings = []PostingReply{{"available", "g", micros}, {other, "", -micros}}
	}
	a.entries = append(a.entries, e)
	a.reads = append(a.reads, Reply{Seq: e.Seq, Index: e.Index, Term: e.Term, BalanceAfterMicros: a.balance})
}

// apply carries an attempt out, in the order of effects.
func (b *bank) apply(s *sending) {
	o := &s.op
	a := b.shelf(o.Account)
	if o.Kind == Balance {
		o.Reply = a.reads[len(a.reads)-1]
		b.misread(s, a)
		return
	}
	if s.effect == forever {
		return
	}
	if o.Outcome == Failed {
		if b.ripe("failed but done", true) {
			b.post(a, o.Kind.String(), o.Key, signed(o))
		}
		return
	}
	reply, known := b.replies[o.Key]
	switch {
	case known && b.ripe("double debit", o.Kind == Debit && o.Outcome == OK && reply.Verdict == "done" && a.balance >= o.Cost):
		reply = b.write(o, a)
	case known:
		if b.ripe("another reply", o.Outcome == OK && b.told[o.Key]) {
			reply.BalanceAfterMicros++
		}
		reply.Replayed = true
	default:
		reply = b.write(o, a)
		b.replies[o.Key] = reply
	}
	if o.Outcome == OK {
		o.Reply, b.told[o.Key] = reply, true
	}
}

func signed(o *Op) int64 {
	if o.Kind == Debit {
		return -o.Cost
	}
	return o.Cost
}

// write does a grant or debit for the first time.
func (b *bank) write(o *Op, a *shelf) Reply {
	if o.Kind == Debit && a.balance < o.Cost && !b.ripe("below zero", true) {
		r := a.reads[len(a.reads)-1]
		r.Verdict = "insufficient"
		return r
	}
	if b.ripe("lost debit", o.Kind == Debit && o.Outcome == OK) { // acknowledged, and never done
		return Reply{Verdict: "done", Seq: uint64(len(a.entries)) + 1, Index: b.index + 1, Term: 1 + (b.index+1)/500, AmountMicros: o.Cost, BalanceAfterMicros: a.balance - o.Cost}
	}
	b.post(a, o.Kind.String(), o.Key, signed(o))
	r := a.reads[len(a.reads)-1]
	r.Verdict, r.AmountMicros = "done", o.Cost
	switch {
	case b.ripe("silent debit", o.Kind == Debit): // what no movement tells is taken
		a.balance -= o.Cost
		a.reads[len(a.reads)-1].BalanceAfterMicros = a.balance
	case b.ripe("phantom", true):
		b.post(a, "debit", "nobody", -1)
	case b.ripe("other amount", o.Outcome == OK):
		a.balance += signed(o)
		a.reads[len(a.reads)-1].BalanceAfterMicros = a.balance
		last := &a.entries[len(a.entries)-1]
		last.Postings[0].AmountMicros *= 2
		last.Postings[1].AmountMicros *= 2
	case b.ripe("lopsided", true):
		a.entries[len(a.entries)-1].Postings[1].AmountMicros++
	}
	return r
}

// misread lets a read go wrong.
func (b *bank) misread(s *sending, a *shelf) {
	if b.plant != "stale read" || b.planted {
		return
	}
	for i := range b.sent { // there must be an older state that was surely over
		w := &b.sent[i].op
		if w.Account == s.op.Account && w.Outcome == OK && w.Reply.Verdict == "done" && !w.Reply.Replayed && w.Returned < s.op.Invoked && int(w.Reply.Seq) == len(a.reads) && len(a.reads) > 1 {
			b.planted, s.op.Reply = true, a.reads[len(a.reads)-2]
			return
		}
	}
}

// ripe says whether the plant is of the name, was not planted, and may be here; then it counts as planted.
func (b *bank) ripe(plant string, here bool) bool {
	if b.plant != plant || b.planted || !here || b.index < 40 {
		return false
	}
	b.planted = true
	return true
}

// audit lists the accounts at the end, and spoils the list if that is planted.
func (b *bank) audit() {
	var end time.Duration
	for i := range b.sent {
		end = max(end, b.sent[i].op.Returned)
	}
	for account, a := range b.accounts {
		o := Op{Invoked: end + 10*time.Second, Returned: end + 11*time.Second, Client: 100, Kind: Entries, Account: account, Outcome: OK, Cost: 1 << 20}
		o.Reply.Entries = slices.Clone(a.entries)
		b.sent = append(b.sent, sending{op: o})
		if account != "hot" {
			continue
		}
		n := len(a.entries)
		again := o
		again.Node, again.Reply.Entries = "n2", slices.Clone(a.entries)
		switch b.plant {
		case "lost tail": // also of what was acknowledged
			b.sent[len(b.sent)-1].op.Reply.Entries = slices.Clone(a.entries[:n-20])
			again.Reply.Entries, b.planted = a.entries[:n-20], true
		case "swapped":
			es := b.sent[len(b.sent)-1].op.Reply.Entries
			es[n-5].Key, es[n-25].Key = es[n-25].Key, es[n-5].Key
			again.Reply.Entries, b.planted = es, true
		case "other replica":
			again.Reply.Entries[n-10].Index++
			b.planted = true
		}
		b.sent = append(b.sent, sending{op: again})
	}
	for _, node := range []string{"n1", "n2", "n3"} {
		e := Event{Node: node, What: "digest", Detail: "log", Index: b.index, Digest: "same"}
		if b.plant == "other digest" && node == "n3" {
			e.Digest, b.planted = "other", true
		}
		b.history.Events = append(b.history.Events, e)
	}
}
