package ledger

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// lending is a config under which few credits are lent: a fifth, at least 10, and only of 20 or more.
func lending() Config {
	c := DefaultConfig()
	c.Chunk, c.Share, c.Direct = 10, 20, 20
	return c
}

func someLend(nonce uint64) Lend {
	return Lend{Account: "a", Home: "n1", Incarnation: 7, Nonce: nonce, Want: 20, TTL: 10 * time.Second}
}

// lend has home n1 lent something of account a.
func (d *desk) lend(nonce uint64) Receipt {
	d.t.Helper()
	return d.done(d.Lend(d.t.Context(), someLend(nonce)))
}

// items are draws, such as x 5 y 4.
func items(all ...any) (list []Item) {
	for i := 0; i < len(all); i += 2 {
		list = append(list, Item{ID: all[i].(string), Amount: Credits(all[i+1].(int))})
	}
	return list
}

// reporting is a report of n1 on an allowance.
func reporting(id, first uint64, spent Credits, all ...any) Report {
	return Report{Allowance: id, Home: "n1", Incarnation: 7, First: first, Items: items(all...), Spent: spent}
}

func (d *desk) report(r Report) Receipt {
	d.t.Helper()
	return d.done(d.Report(d.t.Context(), r))
}

// lent0 brings the allowance of request 3 of account a, which has 100 of grant i, into a state: of 20 that are lent, item x was 5. It
// returns its id.
func (d *desk) lent0(state string) uint64 {
	d.t.Helper()
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 100})
	if state == "absent" {
		return 99
	}
	id := d.lend(3).Allowance
	d.report(reporting(id, 0, 5, "x", 5))
	switch state {
	case "grace":
		d.pass(10 * time.Second)
	case "lapsed":
		d.pass(40 * time.Second)
	case "forgotten":
		d.pass(40 * time.Second)
		d.apply(&tick{})
		d.pass(27 * time.Hour)
	case "closed":
		r := reporting(id, 1, 5)
		r.Final = true
		d.report(r)
	}
	return id
}

// lentEvents are what can happen to an allowance.
func lentEvents() map[string]func(*desk, uint64) (Receipt, error) {
	lend := func(change func(*Lend)) func(*desk, uint64) (Receipt, error) {
		return func(d *desk, _ uint64) (Receipt, error) {
			n := someLend(3)
			change(&n)
			return d.Lend(d.t.Context(), n)
		}
	}
	report := func(change func(*Report), first uint64, spent Credits, all ...any) func(*desk, uint64) (Receipt, error) {
		return func(d *desk, id uint64) (Receipt, error) {
			r := reporting(id, first, spent, all...)
			if change != nil {
				change(&r)
			}
			return d.Report(d.t.Context(), r)
		}
	}
	final := func(r *Report) { r.Final = true }
	return map[string]func(*desk, uint64) (Receipt, error){
		"lend again":           lend(func(*Lend) {}),
		"lend next":            lend(func(n *Lend) { n.Nonce = 4 }),
		"lend before":          lend(func(n *Lend) { n.Nonce = 2 }),
		"lend older":           lend(func(n *Lend) { n.Incarnation, n.Nonce = 6, 9 }),
		"lend newer":           lend(func(n *Lend) { n.Incarnation, n.Nonce = 8, 1 }),
		"lend other":           lend(func(n *Lend) { n.Home, n.Nonce = "n2", 1 }),
		"report next":          report(nil, 1, 9, "y", 4),
		"report all":           report(nil, 0, 9, "x", 5, "y", 4),
		"report again":         report(nil, 0, 5, "x", 5),
		"report gap":           report(nil, 2, 10, "z", 1),
		"report newer":         report(func(r *Report) { r.Incarnation = 8 }, 1, 9, "y", 4),
		"report older":         report(func(r *Report) { r.Incarnation = 6 }, 1, 9, "y", 4),
		"report other":         report(func(r *Report) { r.Home = "n2" }, 1, 9, "y", 4),
		"report undone":        report(nil, 1, 2, "x", -3),
		"report of too much":   report(nil, 1, 21, "y", 16),
		"final with more":      report(final, 1, 9, "y", 4),
		"final":                report(final, 1, 5),
		"final of what it was": report(final, 0, 5, "x", 5),
		"tick": func(d *desk, _ uint64) (Receipt, error) {
			_, err := d.upkeep(d.t.Context(), &tick{})
			return Receipt{}, err
		},
		"void": func(d *desk, _ uint64) (Receipt, error) {
			return d.Void(d.t.Context(), VoidGrant{Key: "v", Account: "a", Grant: "i"})
		},
		"block": func(d *desk, _ uint64) (Receipt, error) {
			yes := true
			return d.Update(d.t.Context(), UpdateAccount{Key: "u", Account: "a", Blocked: &yes})
		},
	}
}

// lendRows and reportRows are LEDGER §5.3, a row for each event and state: what is answered, and how the allowance (left/charged)
// and the account (available, lent, spent) stand then.
func lendRows() []holdRow {
	return []holdRow{
		{"lend again", "absent", "done 20: open 20/0, 80 20 0"},
		{"lend again", "open", "done 20 replayed: open 15/5, 80 15 5"},
		{"lend again", "grace", "done 20 replayed: open 15/5, 80 15 5"},
		{"lend again", "lapsed", "allowance_closed 0: , 95 0 5"},
		{"lend again", "forgotten", "allowance_closed 0: , 95 0 5"},
		{"lend again", "closed", "allowance_closed 0: , 95 0 5"},

		{"lend next", "open", "done 16: open 16/0, 64 31 5"},
		{"lend next", "grace", "done 16: open 16/0, 64 31 5"},
		{"lend next", "lapsed", "done 19: open 19/0, 76 19 5"},
		{"lend next", "closed", "done 19: open 19/0, 76 19 5"},
		{"lend before", "absent", "done 20: open 20/0, 80 20 0"},
		{"lend before", "open", "superseded 0: , 80 15 5"},
		{"lend before", "lapsed", "superseded 0: , 95 0 5"},
		{"lend before", "closed", "superseded 0: , 95 0 5"},
		{"lend older", "open", "superseded 0: , 80 15 5"},
		{"lend older", "closed", "superseded 0: , 95 0 5"},
		{"lend newer", "open", "done 16: open 16/0, 64 31 5"},
		{"lend newer", "closed", "done 19: open 19/0, 76 19 5"},
		{"lend other", "open", "done 16: open 16/0, 64 31 5"},

		{"tick", "absent", "done 0: , 100 0 0"},
		{"tick", "open", "done 0: , 80 15 5"},
		{"tick", "grace", "done 0: , 80 15 5"},
		{"tick", "lapsed", "done 0: , 95 0 5"},
		{"tick", "closed", "done 0: , 95 0 5"},
		{"void", "open", "done 80: , 0 15 5"},
		{"void", "grace", "done 80: , 0 15 5"},
		{"void", "lapsed", "done 95: , 0 0 5"},
		{"void", "closed", "done 95: , 0 0 5"},
		{"block", "open", "done 0: , 80 15 5"},
		{"block", "lapsed", "done 0: , 95 0 5"},
	}
}

func reportRows() []holdRow {
	return []holdRow{
		{"report next", "absent", "no such allowance"},
		{"report next", "open", "done 4: open 11/9, 80 11 9"},
		{"report next", "grace", "done 4: open 11/9, 80 11 9"},
		{"report next", "lapsed", "done 4 late: expired 0/9, 91 0 9"},
		{"report next", "forgotten", "allowance_closed 0: , 95 0 5"},
		{"report next", "closed", "allowance_closed 0: , 95 0 5"},
		{"report all", "absent", "no such allowance"},
		{"report all", "open", "done 4: open 11/9, 80 11 9"},
		{"report all", "grace", "done 4: open 11/9, 80 11 9"},
		{"report all", "lapsed", "done 4 late: expired 0/9, 91 0 9"},
		{"report all", "closed", "allowance_closed 0: , 95 0 5"},
		{"report again", "open", "done 0: open 15/5, 80 15 5"},
		{"report again", "lapsed", "done 0 late: expired 0/5, 95 0 5"},
		{"report again", "closed", "allowance_closed 0: , 95 0 5"},
		{"report gap", "absent", "no such allowance"},
		{"report gap", "open", "items_missing 0: open 15/5, 80 15 5"},
		{"report gap", "lapsed", "items_missing 0: expired 0/5, 95 0 5"},
		{"report gap", "closed", "allowance_closed 0: , 95 0 5"},
		{"report newer", "open", "done 4: open 11/9, 80 11 9"},
		{"report newer", "lapsed", "done 4 late: expired 0/9, 91 0 9"},
		{"report older", "open", "conflict"},
		{"report older", "lapsed", "conflict"},
		{"report other", "open", "conflict"},
		{"report other", "closed", "allowance_closed 0: , 95 0 5"},
		{"report undone", "open", "done -3: open 18/2, 80 18 2"},
		{"report undone", "lapsed", "done -3 late: expired 0/2, 98 0 2"},
		{"report undone", "closed", "allowance_closed 0: , 95 0 5"},
		{"report of too much", "open", "invalid"},
		{"report of too much", "lapsed", "invalid"},

		{"final with more", "absent", "no such allowance"},
		{"final with more", "open", "done 4: captured 0/9, 91 0 9"},
		{"final with more", "grace", "done 4: captured 0/9, 91 0 9"},
		{"final with more", "lapsed", "done 4 late: captured 0/9, 91 0 9"},
		{"final with more", "closed", "allowance_closed 0: , 95 0 5"},
		{"final", "open", "done 0: captured 0/5, 95 0 5"},
		{"final", "lapsed", "done 0 late: captured 0/5, 95 0 5"},
		{"final", "forgotten", "allowance_closed 0: , 95 0 5"},
		{"final", "closed", "allowance_closed 0: , 95 0 5"},
		{"final of what it was", "open", "done 0: captured 0/5, 95 0 5"},
		{"final of what it was", "lapsed", "done 0 late: captured 0/5, 95 0 5"},
	}
}

func TestAllowanceTable(t *testing.T) {
	events := lentEvents()
	for _, row := range append(lendRows(), reportRows()...) {
		t.Run(row.event+" "+row.state, func(t *testing.T) {
			d := newDesk(t, lending())
			id := d.lent0(row.state)
			r, err := events[row.event](d, id)
			if got := d.lentStanding(r, err); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
			before, books := d.m.head.seq, d.account().Books
			if _, again := events[row.event](d, id); (again == nil) != (err == nil) {
				t.Errorf("again: %v", again)
			}
			if d.m.head.seq != before || d.account().Books != books {
				t.Error("a duplicate made events")
			}
			audit, err := Verify(d.log.all(), d.m)
			if err != nil || audit.Found > 0 || d.m.Verify() != nil {
				t.Errorf("%v, %q, %v", err, audit.Differences, d.m.Verify())
			}
		})
	}
}

// lentStanding is a receipt in a few words, and how the allowance and the account are.
func (d *desk) lentStanding(r Receipt, err error) string {
	d.t.Helper()
	for _, e := range []error{ErrNoAllowance, ErrConflict, ErrInvalid} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	if err != nil {
		d.t.Fatal(err)
	}
	text := fmt.Sprintf("%s %d", r.Outcome, int64(r.Amount))
	if r.Late {
		text += " late"
	}
	if r.Replayed {
		text += " replayed"
	}
	if r.Forgiven > 0 {
		text += fmt.Sprint(" forgiven ", int64(r.Forgiven))
	}
	text += ": "
	if r.Allowance != 0 && r.Outcome != AllowanceClosed {
		text += fmt.Sprintf("%s %d/%d", r.State, int64(r.Held), int64(r.Captured))
	}
	b := d.account().Books
	return text + fmt.Sprintf(", %d %d %d", int64(b[Available]), int64(b[Lent]), int64(b[Spent]))
}
