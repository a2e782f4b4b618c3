package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// paged is a desk whose account a has n debits, with others' events between.
func paged(t *testing.T, n int) *desk {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	d.done(d.Open(t.Context(), OpenAccount{Key: "ob", Account: "b", UseCredits: true}))
	d.grant(Grant{Grant: "i", Amount: CreditsMax})
	d.done(d.Grant(t.Context(), Grant{Key: "gb", Account: "b", Amount: CreditsMax}))
	for i := range n {
		d.debit(fmt.Sprint("d", i), 1)
		d.done(d.Debit(t.Context(), Debit{Key: fmt.Sprint("e", i), Account: "b", Amount: 1}))
	}
	return d
}

func seqs(events []Event) (all []uint64) {
	for _, e := range events {
		all = append(all, e.AccountSeq)
	}
	return all
}

func TestEntriesArePagedFromTheNewestBack(t *testing.T) {
	d := paged(t, 5)
	q := PageQuery{Account: "a", Limit: 3}
	var got []uint64
	for range 4 {
		p, err := d.Page(t.Context(), q, Read{})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, seqs(p.Events)...)
		if q.Before = p.Next; p.Next == "" {
			break
		}
		d.debit("meanwhile "+p.Next, 1) // moves nothing
	}
	if !slices.Equal(got, []uint64{7, 6, 5, 4, 3, 2, 1}) {
		t.Errorf("got %v", got)
	}
	for _, before := range []string{"x", "1", "1.x", "3.0", "7.1", "6." + fmt.Sprint(d.m.head.seq)} {
		_, err := d.Page(t.Context(), PageQuery{Account: "a", Limit: 1, Before: before}, Read{})
		wantError(t, err, ErrInvalid)
	}
}

func TestEntriesAreListedFromTheOldestOn(t *testing.T) {
	d := paged(t, 5)
	for _, row := range []struct {
		after uint64
		limit int
		want  []uint64
	}{{0, 3, []uint64{1, 2, 3}}, {3, 2, []uint64{4, 5}}, {3, 256, []uint64{4, 5, 6, 7}}, {7, 5, nil}, {70, 5, nil}} {
		all, err := d.Entries(t.Context(), "a", row.after, row.limit)
		if err != nil || !slices.Equal(seqs(all), row.want) {
			t.Errorf("after %d: %v, %v", row.after, seqs(all), err)
		}
	}
	_, err := d.Entries(t.Context(), "nobody", 0, 1)
	wantError(t, err, ErrNoAccount)
	_, err = d.Entries(t.Context(), "a", 0, EntriesMax+1)
	wantError(t, err, ErrInvalid)
}

func TestWhatTheJournalKeepsNoMoreIsGone(t *testing.T) {
	d := paged(t, 5)
	d.log.events[4] = nil // the first debit of a
	_, err := d.Entries(t.Context(), "a", 0, 1)
	wantError(t, err, ErrGone)
	p, err := d.Page(t.Context(), PageQuery{Account: "a", Limit: 100}, Read{})
	if err != nil || !slices.Equal(seqs(p.Events), []uint64{7, 6, 5, 4}) || p.Next == "" {
		t.Errorf("%v, %q, %v", seqs(p.Events), p.Next, err)
	}
	_, err = d.Page(t.Context(), PageQuery{Account: "a", Limit: 100, Before: p.Next}, Read{})
	wantError(t, err, ErrGone)
	d.log.fail = errLost
	_, err = d.Entries(t.Context(), "a", 0, 1)
	wantError(t, err, ErrJournal)
	c := DefaultConfig()
	silent := NewMachine(c)
	if _, err := silent.Apply(d.at, encodeCommand(&OpenAccount{Key: "o", Account: "a"})); err != nil {
		t.Fatal(err)
	}
	_, err = silent.page(&PageQuery{Account: "a", Limit: 1})
	wantError(t, err, ErrGone)
}

func TestListingDoesNotGoBackForEver(t *testing.T) {
	d := paged(t, 0)
	for i := range walkMax {
		d.apply(&Debit{Key: fmt.Sprint("d", i), Account: "a", Amount: 1})
	}
	_, err := d.Entries(t.Context(), "a", 0, 1)
	wantError(t, err, ErrInvalid)
	if all, err := d.Entries(t.Context(), "a", 2, 1); err != nil || len(all) != 1 || all[0].AccountSeq != 3 {
		t.Errorf("%v, %v", all, err)
	}
}

// An event tells what was done, why and with what result (O9, O28, O29).
func TestEventsTellAllOfAChange(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(10)
	d.grant(Grant{Grant: "i", Amount: 10})
	d.done(d.Debit(t.Context(), Debit{Key: "d", Account: "a", Amount: 14, Memo: "lunch", Overshoot: Cap}))
	all, err := d.Entries(t.Context(), "a", 2, 1)
	want := Event{
		Seq: 3, Account: "a", AccountSeq: 3, Prev: 2, Movement: Debiting, Key: "d", Memo: "lunch", Charge: "d",
		Postings: []Posting{{Available, "i", -10}, {Book: Spent, Amount: 10}}, Forgiven: 4, Index: d.at.Index - 2, Term: 1, Wall: d.at.Wall,
	}
	if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], want) {
		t.Errorf("got %+v, %v, want %+v", all, err, want)
	}
	again, err := DecodeEvent(want.Encode())
	if err != nil || !reflect.DeepEqual(again, want) || !bytes.Equal(want.Encode(), d.log.events[2]) {
		t.Errorf("%+v, %v", again, err)
	}
	_, err = DecodeEvent(append(want.Encode(), 0))
	wantError(t, err, ErrCorrupt)
	_, err = DecodeEvent(append([]byte{eventNewest + 1}, want.Encode()[1:]...))
	wantError(t, err, ErrNewer)
}

func TestStatusTellsOfTheWhole(t *testing.T) {
	d := worked(t)
	s, err := d.Status(t.Context(), Read{})
	seq, chain := d.m.Events()
	if err != nil || s.Accounts != 2 || s.OpenHolds != 1 || s.Holds != 3 || s.OpenAllowances != 1 || s.Events != seq || s.Chain != chain || s.Digest != d.m.Digest() ||
		len(s.Cursors) != 2 || s.AsOf.Index != d.at.Index-1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestCursorsGoAheadOnly(t *testing.T) {
	d := paged(t, 5)
	for _, row := range []struct {
		set  SetCursor
		want uint64
		err  error
	}{
		{SetCursor{Name: "w", Seq: 4}, 4, nil},
		{SetCursor{Name: "w", Seq: 3}, 4, nil},
		{SetCursor{Name: "w", Seq: 3, Rewind: true}, 3, nil},
		{SetCursor{Name: "w", Seq: 1000}, 0, ErrInvalid},
		{SetCursor{Seq: 1}, 0, ErrInvalid},
	} {
		got, err := d.SetCursor(t.Context(), row.set)
		if wantError(t, err, row.err); got != row.want {
			t.Errorf("%+v: %d", row.set, got)
		}
	}
	d.m.config.Cursors = 1
	_, err := d.SetCursor(t.Context(), SetCursor{Name: "x"})
	wantError(t, err, ErrFull)
	before := d.m.Digest()
	if _, err := d.SetCursor(t.Context(), SetCursor{Name: "w", Remove: true}); err != nil || d.m.cursed != 0 || d.m.Digest() == before {
		t.Errorf("%v", err)
	}
}

// Queries run beside Apply and see whole commands only: while credit moves into holds and out of them no sum is ever off.
func TestQueriesRunBesideTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, DefaultConfig())
		d.open(0)
		d.grant(Grant{Grant: "i", Amount: 1000})
		var stop atomic.Bool
		done := make(chan error)
		go func() {
			var err error
			for err == nil && !stop.Load() {
				var a Account
				if a, err = d.m.account("a"); err == nil && a.Books[Available]+a.Books[Held]+a.Books[Spent] != 1000 {
					err = fmt.Errorf("%v", a.Books)
				}
				if err == nil {
					_, err = d.m.page(&PageQuery{Account: "a", Limit: 5})
				}
			}
			done <- err
		}()
		for i := range 300 {
			id := fmt.Sprint("h", i)
			d.apply(&Authorize{Key: id, Account: "a", Amount: 3, TTL: time.Hour})
			d.apply(&Capture{Key: "c" + id, Hold: id, Amount: 2, Final: true})
		}
		stop.Store(true)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestVerifyFindsWhatDoesNotFit(t *testing.T) {
	for name, row := range map[string]struct {
		harm func(*desk)
		want string
	}{
		"a lost event":      {func(d *desk) { d.log.events = slices.Delete(d.log.events, 5, 6) }, "follows event"},
		"a lost end":        {func(d *desk) { d.log.events = d.log.events[:len(d.log.events)-1] }, "does not have"},
		"a damaged event":   {func(d *desk) { d.log.events[6] = d.log.events[6][:9] }, "corrupt"},
		"a changed memo":    {func(d *desk) { d.edit(6, func(e *Event) { e.Memo = "x" }) }, "chain"},
		"a changed amount":  {func(d *desk) { d.edit(6, func(e *Event) { e.Postings[0].Amount-- }) }, "sum to"},
		"a changed source":  {func(d *desk) { d.edit(6, func(e *Event) { e.Postings[0].Grant = "j" }) }, "no event made grant"},
		"a wrong balance":   {func(d *desk) { d.edit(6, func(e *Event) { e.BalanceAfter++ }) }, "balance of"},
		"a key twice":       {func(d *desk) { d.edit(6, func(e *Event) { e.Key = "d0" }) }, "done before"},
		"another account's": {func(d *desk) { d.edit(6, func(e *Event) { e.Account = "b" }) }, "number"},
		"a state that forgot a key": {func(d *desk) {
			r, _ := d.m.keys.find("d1", d.m.head.hour())
			r.key = "other"
			d.m.keys.replace(r.at, d.m.encode(r.wire))
		}, "does not remember"},
		"a state with more money": {func(d *desk) {
			slot, _ := d.m.accounts.find("a")
			var a account
			a.must(d.m.accounts.at(slot))
			a.grants[0].available++
			a.books[Available]++
			a.books[Spent]--
			d.m.accounts.replace(slot, d.m.encode(a.wire))
		}, "in the state"},
		"a charge for no item":   {func(d *desk) { d.edit(len(d.log.events)-1, func(e *Event) { e.Items[0].Charged-- }) }, "items that make up"},
		"an allowance again":     {func(d *desk) { d.edit(len(d.log.events)-1, func(e *Event) { e.Movement = Lending }) }, "begins again"},
		"an allowance of more":   {func(d *desk) { d.edit(len(d.log.events)-1, func(e *Event) { e.After.Captured = 1000 }) }, "captured"},
		"lent from another":      {func(d *desk) { d.edit(len(d.log.events)-2, func(e *Event) { e.Postings[1].Grant = "j" }) }, "no event made grant"},
		"an allowance with more": {func(d *desk) { d.edit(len(d.log.events)-1, func(e *Event) { e.After.Captured-- }) }, "is lent"},
		"an allowance that left": {func(d *desk) {
			_, slot, _ := d.m.hold(lentID(d.log.seqOf(Lending)))
			d.m.holds.remove(slot, lentID(d.log.seqOf(Lending)))
		}, "not in the state"},
		"a hold that is gone": {func(d *desk) {
			_, slot, _ := d.m.hold("h")
			d.m.holds.remove(slot, "h")
		}, "not in the state"},
	} {
		d := paged(t, 3)
		d.done(d.Authorize(t.Context(), Authorize{Key: "h", Account: "a", Amount: 5, TTL: time.Hour}))
		n := someLend(1)
		n.Want = 100
		d.report(reporting(d.done(d.Lend(t.Context(), n)).Allowance, 0, 5, "x", 5))
		audit, err := Verify(d.log.all(), d.m)
		if err != nil || audit.Found > 0 {
			t.Fatalf("%v, %q", err, audit.Differences)
		}
		row.harm(d)
		if audit, err = Verify(d.log.all(), d.m); err != nil || !strings.Contains(strings.Join(audit.Differences, "\n"), row.want) {
			t.Errorf("%s: %v, %q", name, err, audit.Differences)
		}
	}
	_, err := Verify(func(yield func([]byte, error) bool) { yield(nil, errLost) }, nil)
	if !errors.Is(err, errLost) {
		t.Errorf("got %v", err)
	}
}

// edit changes an event in the journal behind the machine's back.
func (d *desk) edit(i int, harm func(*Event)) {
	d.t.Helper()
	e, err := DecodeEvent(d.log.events[i])
	if err != nil {
		d.t.Fatal(err)
	}
	harm(&e)
	d.log.events[i] = e.Encode()
}

// seqOf is that of the last event with a movement.
func (m *memory) seqOf(of Movement) (seq uint64) {
	for _, b := range m.events {
		if e, err := DecodeEvent(b); err == nil && e.Movement == of {
			seq = e.Seq
		}
	}
	return seq
}

func TestVerifyOfTheEndOfAJournal(t *testing.T) {
	d := paged(t, 5)
	audit, err := Verify(func(yield func([]byte, error) bool) {
		for _, e := range d.log.events[7:] {
			if !yield(e, nil) {
				return
			}
		}
	}, d.m)
	if err != nil || audit.Found > 0 || audit.Whole() || audit.First != 8 {
		t.Errorf("%v, %+v", err, audit)
	}
}
