package ledger

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// at brings hold "h" of account a, which has 100 of grant i and 10 of overdraft, into a state. In those that have it, 10 are held
// and 4 of them are captured.
func (d *desk) at0(state string) {
	d.t.Helper()
	d.open(10)
	d.grant(Grant{Grant: "i", Amount: 100})
	ctx := d.t.Context()
	switch state {
	case "absent":
		return
	case "tombstone":
		d.done(d.Release(ctx, Release{Key: "r0", Hold: "h"}))
		return
	case "refused":
		r, err := d.Authorize(ctx, Authorize{Key: "h", Account: "a", Amount: 101, TTL: time.Hour})
		if err != nil || r.Outcome != Insufficient {
			d.t.Fatal(r, err)
		}
		return
	}
	d.done(d.Authorize(ctx, Authorize{Key: "h", Account: "a", Amount: 10, TTL: 40 * time.Hour}))
	d.done(d.Capture(ctx, Capture{Key: "c0", Hold: "h", Amount: 4}))
	d.pass(30 * time.Hour) // the key of the Authorize is forgotten, the hold is not
	switch state {
	case "captured":
		d.done(d.Capture(ctx, Capture{Key: "c1", Hold: "h", Final: true}))
	case "released":
		d.done(d.Release(ctx, Release{Key: "r0", Hold: "h"}))
	case "expired":
		d.pass(11 * time.Hour)
	}
}

// holdEvents are the events of LEDGER §3.2.
func holdEvents() map[string]func(*desk) (Receipt, error) {
	return map[string]func(*desk) (Receipt, error){
		"authorize": func(d *desk) (Receipt, error) {
			return d.Authorize(d.t.Context(), Authorize{Key: "h", Account: "a", Amount: 20, TTL: time.Hour, Memo: "again"})
		},
		"authorize too much": func(d *desk) (Receipt, error) {
			return d.Authorize(d.t.Context(), Authorize{Key: "h", Account: "a", Amount: 105, TTL: time.Hour})
		},
		"authorize in part": func(d *desk) (Receipt, error) {
			return d.Authorize(d.t.Context(), Authorize{Key: "h", Account: "a", Amount: 105, TTL: time.Hour, Partial: true})
		},
		"capture 5": func(d *desk) (Receipt, error) {
			return d.Capture(d.t.Context(), Capture{Key: "x", Hold: "h", Amount: 5})
		},
		"capture 5, final": func(d *desk) (Receipt, error) {
			return d.Capture(d.t.Context(), Capture{Key: "x", Hold: "h", Amount: 5, Final: true})
		},
		"capture 200": func(d *desk) (Receipt, error) {
			return d.Capture(d.t.Context(), Capture{Key: "x", Hold: "h", Amount: 200})
		},
		"capture 200, final": func(d *desk) (Receipt, error) {
			return d.Capture(d.t.Context(), Capture{Key: "x", Hold: "h", Amount: 200, Final: true})
		},
		"capture 200, overdraw": func(d *desk) (Receipt, error) {
			return d.Capture(d.t.Context(), Capture{Key: "x", Hold: "h", Amount: 200, Overshoot: Overdraw})
		},
		"capture 7, deny": func(d *desk) (Receipt, error) {
			return d.Capture(d.t.Context(), Capture{Key: "x", Hold: "h", Amount: 7, Overshoot: Deny})
		},
		"release":  func(d *desk) (Receipt, error) { return d.Release(d.t.Context(), Release{Key: "x", Hold: "h"}) },
		"extend 5": func(d *desk) (Receipt, error) { return d.Extend(d.t.Context(), Extend{Key: "x", Hold: "h", Amount: 5}) },
		"extend 95": func(d *desk) (Receipt, error) {
			return d.Extend(d.t.Context(), Extend{Key: "x", Hold: "h", Amount: 95})
		},
		"refund 3": func(d *desk) (Receipt, error) {
			return d.Refund(d.t.Context(), Refund{Key: "x", Charge: "h", Amount: 3})
		},
		"refund 5": func(d *desk) (Receipt, error) {
			return d.Refund(d.t.Context(), Refund{Key: "x", Charge: "h", Amount: 5})
		},
		"tick": func(d *desk) (Receipt, error) {
			_, err := d.upkeep(d.t.Context(), &tick{})
			return Receipt{}, err
		},
	}
}

type holdRow struct{ event, state, want string }

// holdRows is LEDGER §3.2, a row for each event and state: what is answered, and how the hold (held/captured) and the account
// (available, held, spent) stand then.
func holdRows() []holdRow {
	return []holdRow{
		{"authorize", "absent", "done 20: open 20/0, 80 20 0"},
		{"authorize", "open", "hold_exists 0: open 6/4, 90 6 4"},
		{"authorize", "captured", "hold_exists 0: captured 0/4, 96 0 4"},
		{"authorize", "released", "hold_released 0: released 0/4, 96 0 4"},
		{"authorize", "tombstone", "hold_released 0: released 0/0, 100 0 0"},
		{"authorize", "expired", "hold_exists 0: expired 0/4, 96 0 4"},
		{"authorize too much", "absent", "insufficient 0: refused 0/0, 100 0 0"},
		{"authorize in part", "absent", "done 100: open 100/0, 0 100 0"},
		{"authorize", "refused", "conflict"}, // the key answers first: it is as old as the hold

		{"capture 5", "absent", "no such hold"},
		{"capture 5", "open", "done 5: open 1/9, 90 1 9"},
		{"capture 5, final", "open", "done 5: captured 0/9, 91 0 9"},
		{"capture 5", "captured", "already_captured 0: captured 0/4, 96 0 4"},
		{"capture 5", "released", "hold_released 0: released 0/4, 96 0 4"},
		{"capture 5", "tombstone", "hold_released 0: released 0/0, 100 0 0"},
		{"capture 5", "expired", "done 5 late: expired 0/9, 91 0 9"},
		{"capture 5, final", "expired", "done 5 late: captured 0/9, 91 0 9"},
		{"capture 5", "refused", "hold_refused 0: refused 0/0, 100 0 0"},

		{"capture 200", "absent", "no such hold"},
		{"capture 200", "open", "done 96 forgiven 104: open 0/100, 0 0 100"},
		{"capture 200, final", "open", "done 96 forgiven 104: captured 0/100, 0 0 100"},
		{"capture 200, overdraw", "open", "done 106 forgiven 94: open 0/110, 0 0 110"},
		{"capture 7, deny", "open", "exceeds_hold 0: open 6/4, 90 6 4"},
		{"capture 200", "captured", "already_captured 0: captured 0/4, 96 0 4"},
		{"capture 200", "released", "hold_released 0: released 0/4, 96 0 4"},
		{"capture 200", "expired", "done 96 late forgiven 104: expired 0/100, 0 0 100"},
		{"capture 200", "refused", "hold_refused 0: refused 0/0, 100 0 0"},

		{"release", "absent", "done 0: released 0/0, 100 0 0"},
		{"release", "open", "done 6: released 0/4, 96 0 4"},
		{"release", "captured", "already_captured 0: captured 0/4, 96 0 4"},
		{"release", "released", "done 0: released 0/4, 96 0 4"},
		{"release", "tombstone", "done 0: released 0/0, 100 0 0"},
		{"release", "expired", "done 0: expired 0/4, 96 0 4"},
		{"release", "refused", "done 0: refused 0/0, 100 0 0"},

		{"extend 5", "absent", "no such hold"},
		{"extend 5", "open", "done 5: open 11/4, 85 11 4"},
		{"extend 95", "open", "insufficient 0: open 6/4, 90 6 4"},
		{"extend 5", "captured", "already_captured 0: captured 0/4, 96 0 4"},
		{"extend 5", "released", "hold_released 0: released 0/4, 96 0 4"},
		{"extend 5", "expired", "hold_expired 0: expired 0/4, 96 0 4"},
		{"extend 5", "refused", "hold_refused 0: refused 0/0, 100 0 0"},

		{"refund 3", "absent", "no such charge"},
		{"refund 3", "open", "hold_open 0: open 6/4, 90 6 4"},
		{"refund 3", "captured", "done 3: captured 0/4, 99 0 1"},
		{"refund 5", "captured", "refund_exceeds_captured 0: captured 0/4, 96 0 4"},
		{"refund 3", "released", "done 3: released 0/4, 99 0 1"},
		{"refund 3", "tombstone", "refund_exceeds_captured 0: released 0/0, 100 0 0"},
		{"refund 3", "expired", "done 3: expired 0/4, 99 0 1"},
		{"refund 3", "refused", "refund_exceeds_captured 0: refused 0/0, 100 0 0"},

		{"tick", "absent", "done 0: , 100 0 0"},
		{"tick", "open", "done 0: open 6/4, 90 6 4"},
		{"tick", "captured", "done 0: captured 0/4, 96 0 4"},
		{"tick", "released", "done 0: released 0/4, 96 0 4"},
		{"tick", "expired", "done 0: expired 0/4, 96 0 4"},
		{"tick", "refused", "done 0: refused 0/0, 100 0 0"},
	}
}

func TestHoldTable(t *testing.T) {
	events := holdEvents()
	for _, row := range holdRows() {
		t.Run(row.event+" "+row.state, func(t *testing.T) {
			d := newDesk(t, DefaultConfig())
			d.at0(row.state)
			r, err := events[row.event](d)
			if got := d.standing(r, err); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
			if err != nil {
				return // not stored: the same key may be tried again
			}
			before := d.m.head.seq
			if again, err := events[row.event](d); row.event != "tick" && (err != nil || again.Outcome != r.Outcome || !again.Replayed) {
				t.Errorf("again: %+v, %v", again, err)
			}
			if d.m.head.seq != before {
				t.Error("a duplicate made events")
			}
			if audit, err := Verify(d.log.all(), d.m); err != nil || audit.Found > 0 {
				t.Errorf("%v, %q", err, audit.Differences)
			}
		})
	}
}

// standing is a receipt in a few words, and how the hold and the account are.
func (d *desk) standing(r Receipt, err error) string {
	d.t.Helper()
	for _, e := range []error{ErrNoHold, ErrNoCharge, ErrConflict} {
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
	if r.Forgiven > 0 {
		text += fmt.Sprint(" forgiven ", int64(r.Forgiven))
	}
	text += ": "
	if h, err := d.Hold(d.t.Context(), "h", Read{}); err == nil {
		text += fmt.Sprintf("%s %d/%d", h.State, int64(h.Held), int64(h.Captured))
	}
	b := d.account().Books
	return text + fmt.Sprintf(", %d %d %d", int64(b[Available]), int64(b[Held]), int64(b[Spent]))
}

// A hold ends at its deadline, whether anything ticks or not, and counts in the log's elapsed time only.
func TestHoldEndsOnTimeWithoutATick(t *testing.T) {
	for name, onExpire := range map[string]OnExpire{"expired": ReleaseRest, "captured": CaptureRest} {
		d := newDesk(t, DefaultConfig())
		d.open(0)
		d.grant(Grant{Grant: "i", Amount: 10})
		d.done(d.Authorize(t.Context(), Authorize{Key: "h", Account: "a", Amount: 10, TTL: time.Minute, OnExpire: onExpire}))
		d.at.Wall = d.at.Wall.Add(time.Hour) // a wall clock that jumps ends no hold
		if h, err := d.Hold(t.Context(), "h", Read{}); err != nil || h.State != Open || h.ExpiresIn != time.Minute {
			t.Fatalf("%+v, %v", h, err)
		}
		d.at.Elapsed += time.Minute
		d.apply(&readAccount{"x"}) // another account: the log's clock goes on, nothing ends the hold
		if open, _ := d.m.Holds(); open != 1 {
			t.Fatalf("%d open", open)
		}
		if h, err := d.Hold(t.Context(), "h", Read{}); err != nil || h.State.String() != name {
			t.Errorf("a query sees %+v, %v", h, err)
		}
		rest := Credits(10)
		if onExpire == CaptureRest {
			rest = 0
		}
		d.balance(rest)
		if r := d.debit("d", 10); (r.Outcome == Done) != (rest == 10) {
			t.Errorf("%+v", r)
		}
		if open, all := d.m.Holds(); open != 0 || all != 1 {
			t.Errorf("%d open of %d", open, all)
		}
	}
}

// What a hold has of a grant that expires meanwhile stays held; released, it is gone, and the receipt says so.
func TestHeldCreditOutlivesItsGrantUntilReleased(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 10, Expires: d.at.Wall.Add(time.Hour)})
	d.done(d.Authorize(t.Context(), Authorize{Key: "h", Account: "a", Amount: 8, TTL: 10 * time.Hour}))
	d.pass(2 * time.Hour)
	d.balance(0)
	d.done(d.Capture(t.Context(), Capture{Key: "c", Hold: "h", Amount: 3}))
	if r := d.done(d.Release(t.Context(), Release{Key: "r", Hold: "h"})); r.Amount != 5 || r.Expired != 5 || r.BalanceAfter != 0 {
		t.Errorf("%+v", r)
	}
	// The source has expired: the refund is worth something for a week (LEDGER §2.3).
	if r := d.done(d.Refund(t.Context(), Refund{Key: "f", Charge: "h"})); r.Amount != 3 || r.BalanceAfter != 3 {
		t.Errorf("%+v", r)
	}
	a := d.account()
	if g := a.Grants[len(a.Grants)-1]; g.ID != "f#included" || !g.Expires.Equal(d.at.Wall.Add(7*24*time.Hour)) {
		t.Errorf("%+v", a.Grants)
	}
}

func TestEndedHoldsAreForgottenAfterADay(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 10})
	old := uuidAt(d.at.Wall)
	for _, id := range []string{old, "plain"} {
		d.done(d.Authorize(t.Context(), Authorize{Key: id, Account: "a", Amount: 1, TTL: time.Hour}))
		d.done(d.Capture(t.Context(), Capture{Key: "c " + id, Hold: id, Amount: 1, Final: true}))
	}
	d.pass(24 * time.Hour)
	d.done(d.Refund(t.Context(), Refund{Key: "f", Charge: old}))
	d.pass(2 * time.Hour)
	for _, row := range []struct {
		id   string
		want error
	}{{old, ErrTooOld}, {"plain", ErrNoHold}} {
		_, err := d.Extend(t.Context(), Extend{Key: "x" + row.id, Hold: row.id, Amount: 1})
		wantError(t, err, row.want)
		_, err = d.Hold(t.Context(), row.id, Read{})
		wantError(t, err, row.want)
	}
	_, err := d.Refund(t.Context(), Refund{Key: "g", Charge: "plain"})
	wantError(t, err, ErrNoCharge)
	d.done(d.Authorize(t.Context(), Authorize{Key: "plain", Account: "a", Amount: 1, TTL: time.Hour}))
	if open, all := d.m.Holds(); open != 1 || all != 1 {
		t.Errorf("%d open of %d", open, all)
	}
}

func TestBoundsOfHolds(t *testing.T) {
	c := DefaultConfig()
	c.AccountHolds, c.Holds = 2, 3
	d := newDesk(t, c)
	d.open(0)
	d.done(d.Open(t.Context(), OpenAccount{Key: "ob", Account: "b", UseCredits: true}))
	d.grant(Grant{Grant: "i", Amount: 10})
	d.done(d.Grant(t.Context(), Grant{Key: "gb", Account: "b", Amount: 10}))
	hold := func(key, account string) error {
		_, err := d.Authorize(t.Context(), Authorize{Key: key, Account: account, Amount: 1, TTL: time.Hour})
		return err
	}
	wantError(t, errors.Join(hold("1", "a"), hold("2", "a")), nil)
	wantError(t, hold("3", "a"), ErrFull)
	wantError(t, hold("4", "b"), nil)
	wantError(t, hold("5", "b"), ErrFull)
	d.done(d.Release(t.Context(), Release{Key: "r", Hold: "1"}))
	wantError(t, hold("3", "a"), nil) // was not stored
}

func TestHoldOfAnotherAccountIsNotShown(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.at0("open")
	d.done(d.Open(t.Context(), OpenAccount{Key: "ob", Account: "b"}))
	r, err := d.Authorize(t.Context(), Authorize{Key: "h", Account: "b", Amount: 1, TTL: time.Hour})
	if err != nil || r.Outcome != HoldExists || r.Hold != "" || r.Account != "b" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestBlockedAccountOnlyFinishesWhatItBegan(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.at0("open")
	d.debit("before", 5)
	yes := true
	d.done(d.Update(t.Context(), UpdateAccount{Key: "u", Account: "a", Blocked: &yes}))
	ctx := t.Context()
	blocked := func(r Receipt, err error) {
		t.Helper()
		if err != nil || r.Outcome != Blocked || r.Amount != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	blocked(d.Debit(ctx, Debit{Key: "d", Account: "a", Amount: 1}))
	blocked(d.Authorize(ctx, Authorize{Key: "h2", Account: "a", Amount: 1, TTL: time.Hour}))
	blocked(d.Extend(ctx, Extend{Key: "x", Hold: "h", Amount: 1}))
	d.done(d.Capture(ctx, Capture{Key: "c", Hold: "h", Amount: 2}))
	d.done(d.Release(ctx, Release{Key: "r", Hold: "h"}))
	d.done(d.Refund(ctx, Refund{Key: "f", Charge: "before"}))
}
