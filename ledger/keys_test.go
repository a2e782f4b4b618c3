package ledger

import (
	"fmt"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"
)

func uuidAt(t time.Time) string {
	var id uuid.UUID
	ms := t.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6], id[8] = 0x70, 0x80
	return id.String()
}

func ulidAt(t time.Time) string {
	var id ulid.ULID
	if err := id.SetTime(uint64(t.UnixMilli())); err != nil {
		panic(err)
	}
	return id.String()
}

func TestRepeatedKeyGetsTheFirstReceipt(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 10})
	first := d.debit("d", 7)
	refused := d.debit("more", 7)
	if first.Outcome != Done || refused.Outcome != Insufficient {
		t.Fatalf("%v, then %v", first.Outcome, refused.Outcome)
	}
	d.grant(Grant{Grant: "top-up", Amount: 100})
	d.pass(20 * time.Hour)
	d.at.Term++
	for _, want := range []Receipt{first, refused} {
		again := d.debit(map[Outcome]string{Done: "d", Insufficient: "more"}[want.Outcome], 7)
		want.Replayed, want.Attempts = true, 2
		if !reflect.DeepEqual(again, want) {
			t.Errorf("got %+v, want %+v", again, want)
		}
	}
	d.balance(103)
}

func TestRepliesLostOnTheWayAreRepeatedNotRedone(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 10})
	d.lost = true
	_, err := d.Debit(t.Context(), Debit{Key: "d", Account: "a", Amount: 7, Overshoot: Deny})
	wantError(t, err, errLost)
	if want := `debit with key "d" on account "a": leadership lost`; err.Error() != want {
		t.Errorf("error reads %q, want %q", err, want)
	}
	d.lost = false
	if r := d.debit("d", 7); !r.Replayed || r.Outcome != Done || r.BalanceAfter != 3 {
		t.Errorf("%+v", r)
	}
	d.balance(3)
}

func TestKeyWithOtherContentsIsAConflict(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 10})
	d.debit("d", 7)
	for _, other := range []Debit{
		{Key: "d", Account: "a", Amount: 8},
		{Key: "d", Account: "a", Amount: 7, Memo: "m"},
		{Key: "d", Account: "a", Amount: 7, Order: []Kind{Included}},
		{Key: "d", Account: "b", Amount: 7},
	} {
		_, err := d.Debit(t.Context(), other)
		wantError(t, err, ErrConflict)
	}
	_, err := d.Return(t.Context(), Return{Key: "d", Account: "a", Debit: "x"})
	wantError(t, err, ErrConflict)
	d.balance(3)
}

func TestNoAccountIsNotRemembered(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	early := Grant{Key: "g", Account: "a", Amount: 5}
	_, err := d.Grant(t.Context(), early)
	wantError(t, err, ErrNoAccount)
	_, err = d.Account(t.Context(), "a")
	wantError(t, err, ErrNoAccount)
	d.open(0)
	if r := d.done(d.Grant(t.Context(), early)); r.Replayed || r.BalanceAfter != 5 {
		t.Errorf("%+v", r)
	}
}

func TestKeysCountForADayOfLogTime(t *testing.T) {
	for _, row := range []struct {
		name     string
		key      func(time.Time) string
		after    time.Duration
		want     error
		replayed bool
	}{
		{"plain, at the end of the window", strconvKey, 24 * time.Hour, nil, true},
		{"plain, when its hour has passed", strconvKey, 26 * time.Hour, nil, false},
		{"UUIDv7, at the end of the window", uuidAt, 24 * time.Hour, nil, true},
		{"UUIDv7, after it", uuidAt, 24*time.Hour + 1, ErrTooOld, false},
		{"ULID, at the end of the window", ulidAt, 24 * time.Hour, nil, true},
		{"ULID, after it", ulidAt, 24*time.Hour + 1, ErrTooOld, false},
		{"UUIDv7, long after it", uuidAt, 100 * time.Hour, ErrTooOld, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := newDesk(t, DefaultConfig())
			d.open(0)
			d.grant(Grant{Grant: "i", Amount: 10})
			key := row.key(d.at.Wall)
			d.debit(key, 1)
			d.pass(row.after)
			r, err := d.Debit(t.Context(), Debit{Key: key, Account: "a", Amount: 1, Overshoot: Deny})
			if wantError(t, err, row.want); r.Replayed != row.replayed {
				t.Errorf("%+v", r)
			}
		})
	}
}

func strconvKey(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// A key from the future would outlive the memory of it: done again, after it was forgotten, it would charge twice.
func TestKeyFromTheFutureIsRefused(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 10})
	key := uuidAt(d.at.Wall.Add(keySkew + time.Millisecond))
	_, err := d.Debit(t.Context(), Debit{Key: key, Account: "a", Amount: 1, Overshoot: Deny})
	wantError(t, err, ErrInvalid)

	// The last key that is taken, arriving in the first moment of an hour: known until it is too old.
	d.at.Wall = d.at.Wall.Truncate(time.Hour).Add(time.Hour)
	key = uuidAt(d.at.Wall.Add(keySkew))
	d.debit(key, 1)
	d.pass(keySkew + keyWindow)
	if r := d.debit(key, 1); !r.Replayed {
		t.Errorf("charged twice: %+v", r)
	}
	d.pass(time.Millisecond)
	_, err = d.Debit(t.Context(), Debit{Key: key, Account: "a", Amount: 1, Overshoot: Deny})
	wantError(t, err, ErrTooOld)
}

func TestReturnOfATooOldDebitIsRefused(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	_, err := d.Return(t.Context(), Return{Key: "r", Account: "a", Debit: uuidAt(d.at.Wall.Add(-25 * time.Hour))})
	wantError(t, err, ErrTooOld)
}

func TestFullTableRefusesNewKeysOnly(t *testing.T) {
	c := DefaultConfig()
	c.Keys = 5
	d := newDesk(t, c)
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 10})
	d.debit("d", 1)
	d.debit("e", 1)
	_, err := d.Debit(t.Context(), Debit{Key: "f", Account: "a", Amount: 1, Overshoot: Deny})
	wantError(t, err, ErrFull)
	if r := d.debit("d", 1); !r.Replayed || d.m.Keys() != 4 {
		t.Errorf("%+v with %d keys", r, d.m.Keys())
	}
	d.pass(26 * time.Hour)
	if r := d.debit("f", 1); r.Outcome != Done || d.m.Keys() != 1 {
		t.Errorf("%+v with %d keys", r, d.m.Keys())
	}
}

// Membership goes by log time alone: a record that is forgotten but not dropped yet must not answer, and dropping
// it must not take the key's next record along.
func TestForgottenKeysAreDroppedInSmallSteps(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 10_000})
	n := 2*dropsMax + 500
	for i := range n {
		d.debit(fmt.Sprint("d", i), 1)
	}
	d.pass(26 * time.Hour)
	for step, want := range []int{n + 2 - dropsMax + 1, n + 2 - 2*dropsMax + 2, 3} {
		key := fmt.Sprint("d", step)
		if r := d.debit(key, 1); r.Replayed || d.m.Keys() != want {
			t.Errorf("step %d: replayed %v, %d keys, want %d", step, r.Replayed, d.m.Keys(), want)
		}
	}
	for step := range 3 {
		if r := d.debit(fmt.Sprint("d", step), 1); !r.Replayed {
			t.Errorf("key of step %d is gone", step)
		}
	}
}
