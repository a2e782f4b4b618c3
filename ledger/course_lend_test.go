package ledger

import (
	"fmt"
	"time"

	"pgregory.net/rapid"
)

// loaned is an allowance as its home sees it, and what the home really spent of it.
type loaned struct {
	*twinLoan
	id    uint64
	mode  int // of its items: undone at times; known by keys that debits have too; keyed
	draws []Item
	final bool // it said that nothing comes any more
}

func (l *loaned) drawn() (sum Credits) {
	for _, it := range l.draws {
		sum += it.Amount
	}
	return sum
}

// doLend asks for an allowance, with a nonce that may have been used or overtaken.
func (c *course) doLend() {
	only, labels := c.only()
	n := Lend{
		Account: c.account(), Home: fmt.Sprint("n", c.number(0, 1, "home")), Incarnation: uint64(c.number(1, 2, "incarnation")),
		Nonce: uint64(c.number(1, 8, "nonce")), Want: Credits(c.number(1, 20, "want")),
		TTL: time.Duration(rapid.SampledFrom([]int{1, 10, 30, 60}).Draw(c.r, "ttl")) * time.Minute, Order: c.order(), Attributes: labels,
	}
	made := &twinLoan{account: n.Account, home: n.Home, incarnation: int(n.Incarnation), nonce: int(n.Nonce), order: n.Order, only: only}
	want, of := c.w.lend(made, int(n.Want), int(n.TTL/time.Second))
	r, err := c.Lend(c.t.Context(), n)
	c.same("lend", c.text(r, err), want)
	if of == nil {
		return
	}
	if of == made {
		if last := len(c.loans) - 1; last >= 0 && r.Allowance <= c.loans[last].id {
			c.r.Fatalf("allowance %d after %d", r.Allowance, c.loans[last].id) // I7
		}
		c.loans = append(c.loans, &loaned{twinLoan: made, id: r.Allowance, mode: c.number(0, 2, "mode")})
	}
	for _, l := range c.loans {
		if l.twinLoan == of && l.id != r.Allowance {
			c.r.Fatalf("a repeat of allowance %d is %d", l.id, r.Allowance) // I7
		}
	}
}

// spend lets the home of an allowance draw from it, as long as it may: before its time is over and before its last word.
func (c *course) spend(l *loaned) {
	for range c.number(0, 3, "draws") {
		if l.final || l.ends <= c.w.elapsed {
			return
		}
		drawn := l.drawn()
		it := Item{ID: fmt.Sprint("i", len(l.draws)), Amount: Credits(c.number(1, 6, "amount")), Keyed: l.mode == 2}
		if l.mode > 0 {
			it.ID = fmt.Sprint("k", c.number(0, 20, "key"))
		} else if c.number(0, 3, "undo") == 0 {
			it.Amount = -it.Amount
		}
		if sum := drawn + it.Amount; sum >= 0 && sum <= Credits(l.amount) {
			l.draws = append(l.draws, it)
		}
	}
}

// doReport reports some of what was drawn: what the ledger has already, or with a gap, or what it had before; the last word is of
// everything.
func (c *course) doReport() {
	if len(c.loans) == 0 {
		return
	}
	l := c.loans[len(c.loans)-1-min(c.number(0, 3, "allowance"), len(c.loans)-1)]
	c.spend(l)
	upto := c.number(0, len(l.draws), "up to")
	first := c.number(0, upto, "first")
	if c.number(0, 1, "well") == 0 {
		first, upto = min(l.items, len(l.draws)), len(l.draws)
	}
	n := Report{Allowance: l.id, Home: l.home, Incarnation: uint64(l.incarnation + c.number(-1, 1, "later")), First: uint64(first)}
	if n.Final = upto == len(l.draws) && c.number(0, 2, "final") == 0; n.Final {
		l.final = true
	}
	var items []twinItem
	keys := map[string]bool{}
	for _, it := range l.draws[first:upto] {
		if it.Keyed && keys[it.ID] {
			return // a home knows the keys that it has seen
		}
		keys[it.ID] = true
		n.Items = append(n.Items, it)
		items = append(items, twinItem{it.ID, int(it.Amount), it.Keyed})
	}
	for _, it := range l.draws[:upto] {
		n.Spent += it.Amount
	}
	want := c.w.report(l.twinLoan, int(n.Incarnation), first, items, int(n.Spent), n.Final)
	r, err := c.Report(c.t.Context(), n)
	c.same("report", c.text(r, err), want)
	var spent Credits // of what the ledger knows
	for _, it := range l.draws[:l.items] {
		spent += it.Amount
	}
	if r.Captured < 0 || r.Captured > spent || r.Captured > Credits(l.amount) {
		c.r.Fatalf("%s is charged, %s was spent of %d", r.Captured, spent, l.amount) // I4, I5
	}
}

// doAllowances compares what is listed.
func (c *course) doAllowances() {
	for id := range c.w.accounts {
		got, err := c.Allowances(c.t.Context(), id, Read{})
		if err != nil {
			c.r.Fatal(err)
		}
		for _, l := range c.loans {
			if l.account != id || l.state != "open" || l.deadline <= c.w.elapsed {
				continue
			}
			held, spent, _ := l.sum()
			found := false
			for _, a := range got {
				found = found || a.ID == l.id && a.Left == Credits(held) && a.Settled == Credits(spent) && a.Amount == Credits(l.amount)
			}
			if !found {
				c.r.Fatalf("allowance %d: %d left, %d spent; listed are %+v", l.id, held, spent, got)
			}
		}
	}
}
