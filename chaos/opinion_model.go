package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// move is an operation as the search sees it.
type move struct {
	op    *Op
	told  bool // the balance after it, and what became of its hold
	maybe bool // it may not have happened at all
	lapse bool // it is the end of the hold that op asked for, by itself
}

// account is the state of the model: the balance, once it is known, and what each open hold has, as text, so that states can
// be compared.
type account struct {
	known  bool
	micros int64
	holds  string
}

// held reads what the holds have.
func (a account) held() map[string]int64 {
	all := make(map[string]int64)
	for line := range strings.Lines(a.holds) {
		var id string
		var micros int64
		if _, err := fmt.Sscan(line, &id, &micros); err == nil {
			all[id] = micros
		}
	}
	return all
}

// holding returns the account with other holds.
func (a account) holding(all map[string]int64) account {
	var text strings.Builder
	for _, id := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintln(&text, id, all[id])
	}
	a.holds = text.String()
	return a
}

// after returns the account after a move, if it can be what it was told to be. An account is taken to have no overdraft, and grants
// that pay for everything.
func (m move) after(a account) (account, bool) {
	o := m.op
	r := &o.Reply
	amount := r.AmountMicros
	switch {
	case o.Kind == Check:
		a.micros -= paid(o)
		return a, true
	case o.Kind == Balance || m.told && !done(r):
		return a, true
	case !m.told && !m.lapse:
		var fits bool
		if amount, fits = o.would(a); !fits {
			return a, true // refused
		}
	}
	micros, sure := moved(&Op{Kind: o.Kind, Reply: Reply{AmountMicros: amount, ExpiredMicros: r.ExpiredMicros}})
	switch {
	case o.Kind >= Authorize && o.Kind <= Release:
		return m.hold(a, amount)
	case !sure:
		return a, false
	}
	a.micros += micros
	return a, true
}

// would returns how much of what it asks for a write gets that nobody was told of, and whether it gets any.
func (o *Op) would(a account) (micros int64, fits bool) {
	had := max(a.micros, 0)
	if o.Kind == Capture {
		had += a.held()[o.Ask.Of]
	}
	cut := o.Ask.Partial || (o.Kind == Debit || o.Kind == Capture) && o.cuts()
	switch {
	case !a.known || o.Kind != Debit && o.Kind != Capture && o.Kind != Authorize && o.Kind != Extend:
		return o.Cost, true
	case cut:
		return min(o.Cost, had), true
	}
	return o.Cost, o.Cost <= had
}

// hold does what a move does to its hold.
func (m move) hold(a account, amount int64) (account, bool) {
	o, all, id := m.op, a.held(), m.op.Ask.Of
	had := all[id]
	switch {
	case m.lapse:
		if o.Ask.OnExpire != "capture" {
			a.micros += all[o.Key]
		}
		delete(all, o.Key)
		return a.holding(all), true
	case o.Kind == Authorize:
		id = o.Key
		a.micros -= amount
		all[id] = amount
	case o.Kind == Extend:
		a.micros -= amount
		all[id] += amount
	case o.Kind == Capture:
		of := min(had, o.Cost)
		if amount < of {
			return a, false
		}
		a.micros -= amount - of
		all[id] = had - of
		if o.Ask.Final {
			a.micros += had - of - o.Reply.ExpiredMicros
			delete(all, id)
		}
	case o.Kind == Release:
		if m.told && amount != had {
			return a, false
		}
		a.micros += had - o.Reply.ExpiredMicros
		delete(all, id)
	}
	if m.told && a.known && all[id] != o.Reply.Hold.Held {
		return a, false
	}
	if all[id] == 0 {
		delete(all, id)
	}
	return a.holding(all), true
}
