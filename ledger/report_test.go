package ledger

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// lent5 is a desk with 100 of grant i, of which 20 are lent.
func lent5(t testing.TB) (d *desk, id uint64) {
	d = newDesk(t, lending())
	d.open(10)
	d.grant(Grant{Grant: "i", Amount: 100})
	return d, d.lend(1).Allowance
}

func (d *desk) sound() {
	d.t.Helper()
	audit, err := Verify(d.log.all(), d.m)
	if err != nil || audit.Found > 0 || d.m.Verify() != nil {
		d.t.Errorf("%v, %q, %v", err, audit.Differences, d.m.Verify())
	}
}

// Reports say all that was spent since what the ledger is known to have, so whichever arrive, however often and in whatever order,
// what is charged is what was spent (I4, I5; mutant M6 of LEDGER §5.6).
func TestReportsMayComeTwiceLateAndInAnyOrder(t *testing.T) {
	reports := func(id uint64) []Report {
		return []Report{
			reporting(id, 0, 3, "a", 1, "b", 2),
			reporting(id, 0, 6, "a", 1, "b", 2, "c", 3),
			reporting(id, 2, 10, "c", 3, "d", 4),
		}
	}
	for order := range 3 * 3 * 3 * 3 {
		d, id := lent5(t)
		all := reports(id)
		know := 0 // what the newest of the reports that counted knew of
		spent := []Credits{3, 6, 10}
		for o, n := order, 0; n < 4; o, n = o/3, n+1 {
			i := o % 3
			r, err := d.Report(t.Context(), all[i])
			if missing := i == 2 && know == 0; err != nil || (r.Outcome == ItemsMissing) != missing {
				t.Fatalf("order %d: %+v, %v", order, r, err)
			} else if !missing {
				know = max(know, i+1)
			}
			if want := append([]Credits{0}, spent...)[know]; r.Captured != want || r.Held != 20-want {
				t.Fatalf("order %d: %+v, want %d", order, r, want)
			}
		}
		r := all[2]
		if know == 0 {
			continue
		}
		r.Final = true
		d.report(r)
		if b := d.account().Books; b[Spent] != 10 || b[Available] != 90 || b[Lent] != 0 {
			t.Fatalf("order %d: %v", order, b)
		}
	}
}

// Each item is told of in one event, with what it came to.
func TestReportIsOneEventThatTellsOfEachItem(t *testing.T) {
	d, id := lent5(t)
	r := reporting(id, 0, 3, "a", 1, "b", 2)
	r.Items[1].Memo = "a picture"
	d.report(r)
	d.report(r)
	all, err := d.Entries(t.Context(), "a", 3, 9)
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	e := all[0]
	if e.Movement != Settling || e.Allowance != id || e.Home != "n1" || e.Key != "" || fmt.Sprint(e.Items) != "[{a 0.000001 0.000001 } {b 0.000002 0.000002 a picture}]" ||
		fmt.Sprint(e.Postings) != fmt.Sprint([]Posting{{Lent, "i", -3}, {Book: Spent, Amount: 3}}) || e.After.State != Open || e.After.Captured != 3 {
		t.Errorf("%+v", e)
	}
	d.sound()
}

// What comes when an allowance has lapsed is charged as far as there is credit; the rest is forgiven, and seen (I2; mutant M7).
func TestLateReportIsChargedAsFarAsThereIsCredit(t *testing.T) {
	d, id := lent5(t)
	d.report(reporting(id, 0, 5, "x", 5))
	d.pass(time.Minute)
	d.debit("d", 85)
	r := reporting(id, 0, 20, "x", 5, "y", 4, "z", 11)
	if r := d.report(r); !r.Late || r.Amount != 10 || r.Forgiven != 5 || r.Captured != 15 || r.BalanceAfter != 0 || r.State != Lapsed {
		t.Errorf("%+v", r)
	}
	d.report(r)
	a := d.account()
	if a.Books[Spent] != 100 || a.Books[Available] != 0 || a.Books[Overdrawn] != 0 || a.Forgiven != 5 {
		t.Errorf("%+v", a)
	}
	all, err := d.Entries(t.Context(), "a", a.Seq-1, 1)
	if err != nil || !all[0].Late || all[0].Forgiven != 5 || fmt.Sprint(all[0].Items) != "[{y 0.000004 0.000004 } {z 0.000011 0.000006 }]" {
		t.Errorf("%+v, %v", all, err)
	}
	d.sound()
	if b := d.report(reporting(id, 3, 18, "z", -2)); b.Amount != -2 || b.BalanceAfter != 2 || b.Captured != 13 {
		t.Errorf("%+v", b)
	}
	d.sound()
}

// An item whose id was debited already is charged once: by the debit (LEDGER §5.3, L.Settle).
func TestItemDebitedAlreadyIsCreditedBack(t *testing.T) {
	for _, late := range []bool{false, true} {
		d, id := lent5(t)
		d.debit("k1", 6)
		d.giveBack("bar", "k2", 0)
		d.giveBack("bar4", "k4", 0)
		if r := d.debit("k4", 1); r.Outcome != Returned {
			t.Fatal(r)
		}
		if r := d.debit("k3", 1000); r.Outcome != Insufficient {
			t.Fatal(r)
		}
		if late {
			d.pass(time.Minute)
		}
		d.done(d.Open(t.Context(), OpenAccount{Key: "ob", Account: "b"}))
		d.done(d.Grant(t.Context(), Grant{Key: "gb", Account: "b", Amount: 9}))
		d.done(d.Debit(t.Context(), Debit{Key: "of b", Account: "b", Amount: 9}))
		r := d.report(reporting(id, 0, 12, "k1", 4, "k2", 3, "k3", 2, "open", 1, "of b", 1, "k4", 1))
		if r.Amount != 4 || r.Credited != 8 || r.Captured != 4 || r.Late != late || !late && r.Held != 8 {
			t.Errorf("%+v", r)
		}
		r2 := reporting(id, 6, 12)
		r2.Final = true
		d.report(r2)
		if b := d.account().Books; b[Spent] != 10 || b[Available] != 90 {
			t.Errorf("%v", b)
		}
		d.sound()
	}
}

// An item that is an idempotency key is as a debit that was done: whoever comes with the key again, at the ledger or at another
// home, is not charged, and what it was charged can be returned and refunded.
func TestKeyedItemIsRememberedAsADebit(t *testing.T) {
	for _, late := range []bool{false, true} {
		d, id := lent5(t)
		other := d.lend(2).Allowance
		if late {
			d.pass(time.Minute)
		}
		r := reporting(id, 0, 9, "k", 4, "l", 5)
		r.Items[0].Keyed, r.Items[1].Keyed = true, true
		d.report(r)
		d.report(r)
		if r := d.debit("k", 7); !r.Replayed || r.Outcome != Done || r.Amount != 4 {
			t.Errorf("%+v", r)
		}
		if r := d.report(reporting(other, 0, 6, "k", 6)); r.Credited != 6 || r.Amount != 0 {
			t.Errorf("%+v", r)
		}
		_, err := d.Authorize(t.Context(), Authorize{Key: "k", Account: "a", Amount: 1, TTL: time.Hour})
		wantError(t, err, ErrConflict)
		wantParts(t, d.giveBack("r", "k", 1), "i:1")
		wantParts(t, d.done(d.Refund(t.Context(), Refund{Key: "f", Charge: "k"})), "i:3")
		d.done(d.Open(t.Context(), OpenAccount{Key: "ob", Account: "b"}))
		_, err = d.Debit(t.Context(), Debit{Key: "k", Account: "b", Amount: 1})
		wantError(t, err, ErrConflict)
		// What is returned by its key cannot be undone besides.
		_, err = d.Report(t.Context(), reporting(id, 2, 5, "k", -4))
		wantError(t, err, ErrInvalid)
		if b := d.account().Books; b[Spent] != 5 {
			t.Errorf("%v", b)
		}
		d.sound()
	}
}

// A draw that was reported can be undone by another item, as a check is that its caller did not wait for.
func TestItemsCanBeUndone(t *testing.T) {
	d, id := lent5(t)
	if r := d.report(reporting(id, 0, 7, "x", 5, "y", 4, "x", -2)); r.Amount != 7 || r.Held != 13 {
		t.Errorf("%+v", r)
	}
	if r := d.report(reporting(id, 3, 0, "x", -3, "y", -4)); r.Amount != -7 || r.Held != 20 || r.Captured != 0 {
		t.Errorf("%+v", r)
	}
	_, err := d.Report(t.Context(), reporting(id, 5, 0, "y", -1, "z", 1))
	wantError(t, err, ErrInvalid)
	d.debit("k", 1)
	d.report(reporting(id, 5, 1, "k", 1))
	_, err = d.Report(t.Context(), reporting(id, 6, 0, "k", -1)) // it was not charged
	wantError(t, err, ErrInvalid)
	d.sound()
}

// What is undone comes off what paid for items that were not keyed: a keyed one gives back by its key what it took.
func TestUndoneItemsLeaveWhatKeyedOnesTook(t *testing.T) {
	for _, late := range []bool{false, true} {
		c := lending()
		c.Share = 100
		d := newDesk(t, c)
		d.open(0)
		d.grant(Grant{Grant: "i", Amount: 10})
		d.grant(Grant{Grant: "p", Kind: Promo, Amount: 10})
		n := someLend(1)
		id := d.done(d.Lend(t.Context(), n)).Allowance
		if late {
			d.pass(time.Minute)
		}
		r := reporting(id, 0, 14, "x", 10, "k", 4)
		r.Items[1].Keyed = true
		d.report(r)
		d.report(reporting(id, 2, 8, "x", -6))
		wantParts(t, d.giveBack("r", "k", 4), "p:4")
		r = reporting(id, 3, 8)
		r.Final = true
		d.report(r)
		if b := d.account(); b.Books[Spent] != 4 || b.Grants[0].Available != 6 || b.Grants[1].Available != 10 {
			t.Errorf("late %v: %+v", late, b)
		}
		d.sound()
	}
}

func TestReportsThatCannotBeAreRefused(t *testing.T) {
	d, id := lent5(t)
	d.report(reporting(id, 0, 2, "x", 2))
	long := strings.Repeat("x", KeyMax)
	var many, large []any
	for i := range ItemsMax + 1 {
		many = append(many, fmt.Sprint(i), 1)
	}
	for range ItemBytesMax/(len(long)+itemBytes) + 1 {
		large = append(large, long, 1)
	}
	keyed := reporting(id, 1, 6, "k", 2, "k", 2)
	keyed.Items[0].Keyed, keyed.Items[1].Keyed = true, true
	undone := reporting(id, 1, 1, "k", -1)
	undone.Items[0].Keyed = true
	for name, r := range map[string]Report{
		"no such item":       reporting(id, 1, 2, "", 1),
		"item of nothing":    reporting(id, 1, 2, "y", 0),
		"item too large":     reporting(id, 1, 2, "y", int(CreditsMax)+1),
		"long id":            reporting(id, 1, 3, long+"x", 1),
		"no home":            {Allowance: id, Incarnation: 7, First: 1, Spent: 2},
		"spent below zero":   reporting(id, 1, -1, "y", -3),
		"first out of range": reporting(id, 1<<63, 2),
		"another sum":        reporting(id, 1, 4, "y", 1),
		"another sum again":  reporting(id, 0, 3, "x", 2),
		"sum without items":  reporting(id, 1, 3),
		"more than was lent": reporting(id, 1, 21, "y", 19),
		"more on the way":    reporting(id, 1, 20, "y", 19, "y", -1),
		"a key twice":        keyed,
		"a key undone":       undone,
	} {
		_, err := d.Report(t.Context(), r)
		if err == nil {
			t.Errorf("%s: done", name)
		} else {
			wantError(t, err, ErrInvalid)
		}
	}
	for _, all := range [][]any{many, large} {
		most := reporting(id, 1, 2, all...)
		wantError(t, most.check(), ErrInvalid)
		most.Items = most.Items[1:]
		wantError(t, most.check(), nil)
	}
	if all, err := d.Allowances(t.Context(), "a", Read{}); err != nil || len(all) != 1 || all[0].Settled != 2 || all[0].Left != 18 {
		t.Errorf("%+v, %v", all, err)
	}
	d.sound()
}

// The keys of a report are not let in halfway.
func TestReportOfMoreKeysThanThereIsRoomFor(t *testing.T) {
	c := lending()
	c.Keys = 4
	d := newDesk(t, c)
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 100})
	id := d.lend(1).Allowance
	r := reporting(id, 0, 3, "a", 1, "b", 1, "c", 1)
	for i := range r.Items {
		r.Items[i].Keyed = true
	}
	_, err := d.Report(t.Context(), r)
	wantError(t, err, ErrFull)
	r.Items[2].Keyed = false
	d.report(Report{Allowance: id, Home: "n1", Incarnation: 7, Items: r.Items[:2], Spent: 2})
	d.sound()
}

// The event of a report must fit into a record of the journal, of 1 MiB: one that did not would stop every voter.
func TestLargestReportFitsTheJournal(t *testing.T) {
	d := newDesk(t, lending())
	d.open(0)
	for i := range d.m.config.Grants {
		d.grant(Grant{Key: fmt.Sprint(i), Grant: fmt.Sprintf("%0255d", i), Amount: 100})
	}
	n := someLend(1)
	n.Want, n.Home = CreditsMax, strings.Repeat("n", HomeMax)
	id := d.done(d.Lend(t.Context(), n)).Allowance
	d.pass(time.Minute)
	d.debit("d", 100*Credits(d.m.config.Grants)-6000)
	d.giveBack("r", "d", 0)
	r := Report{Allowance: id, Home: n.Home, Incarnation: 7, Final: true}
	text := strings.Repeat("x", ItemBytesMax/5000-itemBytes)
	for len(r.Items) < 5000 {
		r.Items = append(r.Items, Item{ID: text, Amount: 1})
		r.Spent++
	}
	if r := d.report(r); r.Amount != 5000 || !r.Late {
		t.Errorf("%+v", r)
	}
	for i, e := range d.log.events {
		if len(e) > 1<<20 {
			t.Errorf("event %d has %d bytes", i+1, len(e))
		}
	}
	d.sound()
}

// A grant's name may be given again once it is used up for a day. What comes back late to the first is not put into the second.
func TestWhatComesBackIsNotPutIntoAGrantOfTheSameName(t *testing.T) {
	d := newDesk(t, lending())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 5})
	d.done(d.Authorize(t.Context(), Authorize{Key: "h", Account: "a", Amount: 5, TTL: 80 * time.Hour}))
	d.done(d.Capture(t.Context(), Capture{Key: "c", Hold: "h", Amount: 5}))
	d.pass(27 * time.Hour)
	d.grant(Grant{Key: "g2", Grant: "i", Amount: 5})
	d.done(d.Capture(t.Context(), Capture{Key: "c2", Hold: "h", Final: true}))
	if r := d.done(d.Refund(t.Context(), Refund{Key: "f", Charge: "h"})); r.Amount != 5 || r.BalanceAfter != 10 {
		t.Errorf("%+v", r)
	}
	d.sound()
}
