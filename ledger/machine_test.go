package ledger

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestOpenAgainChangesNothing(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	o := OpenAccount{
		Key: "k1", Account: "a", Plan: "pro", UseCredits: true, Overdraft: 5,
		Labels: []Label{{"tier", "gold"}, {"region", "eu"}},
	}
	first := d.done(d.Open(t.Context(), o))
	o.Key, o.Labels = "k2", []Label{{"region", "eu"}, {"tier", "gold"}}
	again := d.done(d.Open(t.Context(), o))
	if first.Seq != 1 || again.Seq != 1 || again.Replayed || d.m.Accounts() != 1 {
		t.Errorf("%+v, then %+v", first, again)
	}
	for key, other := range map[string]func(*OpenAccount){
		"plan": func(o *OpenAccount) { o.Plan = "free" }, "credits": func(o *OpenAccount) { o.UseCredits = false },
		"overdraft": func(o *OpenAccount) { o.Overdraft = 6 }, "labels": func(o *OpenAccount) { o.Labels = nil },
	} {
		p := o
		p.Key = key
		other(&p)
		_, err := d.Open(t.Context(), p)
		wantError(t, err, ErrConflict)
	}
	a := d.account()
	want := Account{
		ID: "a", Plan: "pro", Labels: o.Labels, UseCredits: true, Overdraft: 5, Seq: 1, Event: 1,
		AsOf: Stamp{Term: 1, Index: d.at.Index - 1, Wall: d.at.Wall},
	}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("got %+v, want %+v", a, want)
	}
}

func TestAccountShowsItsGrants(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	later := d.at.Wall.Add(time.Hour)
	d.grant(Grant{Grant: "i", Amount: 10, Priority: 3, Expires: later})
	d.grant(Grant{Key: "named by its key", Kind: Promo, Amount: 5, Effective: later})
	d.debit("d", 4)
	a := d.account()
	want := []GrantState{
		{ID: "i", Priority: 3, Amount: 10, Available: 6, Expires: later},
		{ID: "named by its key", Kind: Promo, Amount: 5, Available: 5, Effective: later},
	}
	if !reflect.DeepEqual(a.Grants, want) || a.Balance != 6 || a.ByKind[Included] != 6 || a.Seq != 4 {
		t.Errorf("%+v", a)
	}
}

func TestBoundsOfTheStateAreFull(t *testing.T) {
	c := DefaultConfig()
	c.Accounts, c.Grants, c.Keys = 1, 2, 1000
	d := newDesk(t, c)
	d.open(0)
	_, err := d.Open(t.Context(), OpenAccount{Key: "o", Account: "b"})
	wantError(t, err, ErrFull)
	for i := range 8 { // as many as are kept, all but one used up
		d.grant(Grant{Grant: fmt.Sprint(i), Amount: 1})
		d.debit(fmt.Sprint("d", i), 1)
	}
	over := Grant{Key: "over", Account: "a", Amount: 1}
	_, err = d.Grant(t.Context(), over)
	wantError(t, err, ErrFull)
	for range 2 {
		d.pass(13 * time.Hour)
		d.account()
	}
	d.grant(over)
	d.grant(Grant{Grant: "two", Amount: 1})
	_, err = d.Grant(t.Context(), Grant{Key: "three", Account: "a", Amount: 1})
	wantError(t, err, ErrFull)
	_, err = d.Grant(t.Context(), Grant{Key: "again", Account: "a", Grant: "two", Amount: 1})
	wantError(t, err, ErrConflict)
}

func TestAccountIsGrantedABoundedAmountInItsLife(t *testing.T) {
	c := DefaultConfig()
	c.Grants, c.Keys = 4096, 10_000
	d := newDesk(t, c)
	d.open(0)
	n := int(issuedMax / CreditsMax)
	for i := range n {
		d.grant(Grant{Grant: fmt.Sprint(i), Amount: CreditsMax})
	}
	_, err := d.Grant(t.Context(), Grant{Key: "over", Account: "a", Amount: CreditsMax})
	wantError(t, err, ErrFull)
	d.balance(Credits(n) * CreditsMax)
}

func TestCommandsBeyondTheirBoundsAreInvalid(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	long := func(n int) string { return strings.Repeat("x", n) }
	var labels []Label
	for i := range LabelsMax + 1 {
		labels = append(labels, Label{Name: fmt.Sprint(i)})
	}
	t0 := d.at.Wall
	for name, c := range map[string]command{
		"no key":                  &Debit{Account: "a", Amount: 1},
		"long key":                &Debit{Key: long(KeyMax + 1), Account: "a", Amount: 1},
		"key not UTF-8":           &Debit{Key: "\xff", Account: "a", Amount: 1},
		"no account":              &Debit{Key: "k", Amount: 1},
		"long account":            &Debit{Key: "k", Account: long(AccountMax + 1), Amount: 1},
		"debit of nothing":        &Debit{Key: "k", Account: "a"},
		"debit below zero":        &Debit{Key: "k", Account: "a", Amount: -1},
		"debit too large":         &Debit{Key: "k", Account: "a", Amount: CreditsMax + 1},
		"long memo":               &Debit{Key: "k", Account: "a", Amount: 1, Memo: long(MemoMax + 1)},
		"kind twice":              &Debit{Key: "k", Account: "a", Amount: 1, Order: []Kind{Promo, Promo}},
		"unknown kind":            &Debit{Key: "k", Account: "a", Amount: 1, Order: []Kind{9}},
		"grant of overdraft":      &Grant{Key: "k", Account: "a", Amount: 1, Kind: Overdraft},
		"grant of nothing":        &Grant{Key: "k", Account: "a"},
		"long grant":              &Grant{Key: "k", Account: "a", Amount: 1, Grant: long(KeyMax + 1)},
		"expires when effective":  &Grant{Key: "k", Account: "a", Amount: 1, Effective: t0, Expires: t0},
		"too many labels":         &OpenAccount{Key: "k", Account: "b", Labels: labels},
		"label without a name":    &OpenAccount{Key: "k", Account: "b", Labels: []Label{{Value: "v"}}},
		"label twice":             &OpenAccount{Key: "k", Account: "b", Labels: []Label{{Name: "n"}, {Name: "n"}}},
		"long label":              &OpenAccount{Key: "k", Account: "b", Labels: []Label{{"n", long(LabelValueMax + 1)}}},
		"long plan":               &OpenAccount{Key: "k", Account: "b", Plan: long(PlanMax + 1)},
		"overdraft below zero":    &OpenAccount{Key: "k", Account: "b", Overdraft: -1},
		"return below zero":       &Return{Key: "k", Account: "a", Debit: "d", Amount: -1},
		"return of no debit":      &Return{Key: "k", Account: "a"},
		"return of itself":        &Return{Key: "k", Account: "a", Debit: "k"},
		"account of no name":      &readAccount{},
		"entries without a limit": &readEntries{account: "a"},
		"too many entries":        &readEntries{account: "a", limit: EntriesMax + 1},
	} {
		index := d.at.Index
		_, err := d.propose(t.Context(), c)
		if wantError(t, err, ErrInvalid); d.at.Index != index {
			t.Errorf("%s: took a place in the log", name)
		}
		// The machine trusts no proposer.
		wantError(t, decodeReply(string(d.apply(c)), only(repliesReceipt, nil)), ErrInvalid)
	}
	for _, times := range [][2]time.Time{{time.Unix(0, 0)}, {1: time.Unix(1<<40, 0)}} { // the encoding has no such times
		_, err := d.Grant(t.Context(), Grant{Key: "k", Account: "a", Amount: 1, Effective: times[0], Expires: times[1]})
		wantError(t, err, ErrInvalid)
	}
	if d.m.Keys() != 1 || d.m.Accounts() != 1 {
		t.Errorf("%d keys and %d accounts, want 1 and 1", d.m.Keys(), d.m.Accounts())
	}
}

func TestCommandThatCannotBeReadIsRefused(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	before := d.m.Digest()
	for _, command := range []string{"\x00", "", "\x01", "\x01\x00", "\x01\x7f", "\x01\x09\x00", string(encodeCommand(&readAccount{"a"})) + "x"} {
		reply, err := d.m.Apply(d.at, []byte(command))
		wantError(t, err, nil)
		wantError(t, decodeReply(string(reply), only(repliesAccount, nil)), ErrInvalid)
	}
	if d.m.Digest() != before {
		t.Error("what cannot be read changed the state")
	}
}

// To answer a newer command with a refusal, while newer replicas execute it, would make replicas differ.
func TestCommandOfANewerVersionStopsTheReplica(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	before := d.m.Digest()
	for _, command := range []string{string([]byte{wireNewest + 1}) + "anything", string(encodeCommand(&tick{}))} {
		_, err := d.m.Apply(d.at, []byte(command))
		wantError(t, err, ErrNewer)
	}
	if d.m.Digest() != before {
		t.Error("a replica that stopped changed")
	}
}

func TestClockThatJumpsAheadIsNotBelieved(t *testing.T) {
	c := DefaultConfig()
	c.Jump = 48 * time.Hour
	d := newDesk(t, c)
	d.open(0)
	before := d.m.Digest()
	honest := d.at.Wall
	for _, wall := range []time.Time{honest.Add(c.Jump + 1), {}, time.Unix(1<<40, 0)} {
		d.at.Wall = wall
		_, err := d.Account(t.Context(), "a")
		wantError(t, err, ErrClock)
	}
	if d.m.Digest() != before {
		t.Error("a refused stamp changed the state")
	}
	d.at.Wall = honest.Add(c.Jump)
	d.balance(0)
}

// The checks behind every command must see what they are there for, before anyone sees the state.
func TestBrokenBooksStopTheReplica(t *testing.T) {
	for name, harm := range map[string]func(*account){
		"spent from nowhere": func(a *account) { a.books[Spent]++ },
		"grant grew":         func(a *account) { a.grants[0].available++ },
		"grant below zero":   func(a *account) { a.grants[0].available, a.books[Available], a.books[Spent] = -2, -2, 12 },
		"held by nobody":     func(a *account) { a.books[Held]++; a.books[Spent]-- },
		"below overdraft":    func(a *account) { a.books[Overdrawn]--; a.books[Spent]++ },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, DefaultConfig())
			d.open(0)
			d.grant(Grant{Grant: "i", Amount: 10})
			slot, _ := d.m.accounts.find("a")
			var a account
			a.must(d.m.accounts.at(slot))
			harm(&a)
			d.m.accounts.replace(slot, d.m.encode(a.wire))
			before := d.m.Digest()
			for range 2 {
				_, err := d.Debit(t.Context(), Debit{Key: "d", Account: "a", Amount: 1})
				if wantError(t, err, errBroken); !strings.Contains(err.Error(), `account "a"`) {
					t.Errorf("got %v", err)
				}
			}
			if d.m.Digest() != before || len(d.log.events) != 2 {
				t.Error("a replica that stopped changed")
			}
		})
	}
}

func TestUnbalancedPostingsStopTheReplica(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	x, err := d.m.bringUp(d.at, "a")
	wantError(t, err, nil)
	x.post(Event{Postings: []Posting{{Book: Spent, Amount: 1}}})
	wantError(t, x.commit(), errBroken)
}

func TestJournalThatFailsStopsTheReplica(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	before := d.m.Digest()
	d.log.fail = errLost
	_, err := d.Grant(t.Context(), Grant{Key: "g", Account: "a", Amount: 1})
	wantError(t, err, errLost)
	_, err = d.m.Snapshot()
	wantError(t, err, errLost)
	d.log.fail = nil
	_, err = d.Account(t.Context(), "a")
	if wantError(t, err, errLost); d.m.Digest() != before {
		t.Error("a replica that stopped changed")
	}
}
