package ledger

import (
	"slices"
	"testing"
	"time"
)

func TestDebitBurnsInOrder(t *testing.T) {
	t0 := time.Unix(dawn, 0)
	day, week := t0.Add(24*time.Hour), t0.Add(7*24*time.Hour)
	for _, row := range []struct {
		name   string
		grants []Grant // of 10 each
		order  []Kind
		amount Credits
		want   string // empty: insufficient
	}{
		{"kinds in the usual order", []Grant{{Grant: "c", Kind: Credit}, {Grant: "p", Kind: Promo}, {Grant: "i"}}, nil, 25, "i:10 p:10 c:5"},
		{"kinds in the order given", []Grant{{Grant: "i"}, {Grant: "p", Kind: Promo}}, []Kind{Promo, Included}, 11, "p:10 i:1"},
		{"a kind not in the order is spared", []Grant{{Grant: "i"}, {Grant: "p", Kind: Promo}}, []Kind{Promo}, 11, ""},
		{"priority before expiry", []Grant{{Grant: "soon", Priority: 2, Expires: day}, {Grant: "first", Priority: 1}}, nil, 11, "first:10 soon:1"},
		{"expiry before effective", []Grant{{Grant: "old", Effective: t0.Add(-time.Hour)}, {Grant: "week", Expires: week}, {Grant: "day", Expires: day}}, nil, 21, "day:10 week:10 old:1"},
		{"effective before creation", []Grant{{Grant: "late", Effective: t0}, {Grant: "early", Effective: t0.Add(-time.Hour)}}, nil, 11, "early:10 late:1"},
		{"creation at last", []Grant{{Grant: "z"}, {Grant: "a"}}, nil, 11, "z:10 a:1"},
		{"kind before priority", []Grant{{Grant: "p", Kind: Promo}, {Grant: "i", Priority: 9}}, nil, 11, "i:10 p:1"},
		{"not yet effective", []Grant{{Grant: "i"}, {Grant: "later", Effective: day}}, nil, 11, ""},
		{"exactly all", []Grant{{Grant: "i"}, {Grant: "p", Kind: Promo}}, nil, 20, "i:10 p:10"},
		{"one more than all", []Grant{{Grant: "i"}, {Grant: "p", Kind: Promo}}, nil, 21, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := newDesk(t, DefaultConfig())
			d.open(0)
			for _, g := range row.grants {
				g.Amount = 10
				d.grant(g)
			}
			before := d.account().Balance
			r := d.debit("d", row.amount, row.order...)
			wantParts(t, r, row.want)
			charged := row.amount
			if row.want == "" {
				charged = 0
			}
			if (r.Outcome == Done) != (row.want != "") || r.Amount != charged || r.BalanceAfter != before-charged {
				t.Errorf("%+v after a balance of %d", r, before)
			}
			d.balance(before - charged)
		})
	}
}

func TestDebitSparesPaidCreditWithoutConsent(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.done(d.Open(t.Context(), OpenAccount{Key: "open", Account: "a", Overdraft: 10}))
	d.grant(Grant{Grant: "paid", Kind: Credit, Amount: 10})
	d.grant(Grant{Grant: "plan", Amount: 1})
	if r := d.debit("d", 2); r.Outcome != Unwilling {
		t.Errorf("took %v", r.Parts)
	}
	wantParts(t, d.debit("e", 1), "plan:1")
}

func TestOverdraftEndsAtItsLimitAndIsRepaidByPaidCredit(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(10)
	d.grant(Grant{Grant: "plan", Amount: 5})
	if r := d.debit("spared", 6, Included); r.Outcome != Insufficient {
		t.Errorf("an order without overdraft took %v", r.Parts)
	}
	wantParts(t, d.debit("d1", 12), "plan:5 overdraft:7")
	d.balance(-7)
	if r := d.debit("d2", 4); r.Outcome != Insufficient || r.BalanceAfter != -7 {
		t.Errorf("went below the limit: %+v", r)
	}
	if r := d.grant(Grant{Grant: "gift", Kind: Promo, Amount: 1}); r.BalanceAfter != -6 {
		t.Errorf("a gift leaves %d", r.BalanceAfter)
	}
	later := d.at.Wall.Add(time.Hour)
	d.grant(Grant{Grant: "later", Kind: Credit, Amount: 20, Effective: later, Expires: later.Add(time.Hour)})
	d.balance(-6)
	d.pass(3 * time.Hour) // what time did is booked in its order, though nobody looked when it happened
	if got := d.account().ByKind; got != [KindCount]Credits{0, 1, 0, 0} {
		t.Errorf("by kind: %v", got)
	}
	want := []string{
		"open", "grant issued-5 plan+5", "debit plan-5 overdrawn-7 spent+12", "grant issued-1 gift+1",
		"grant issued-20 later+20", "repay later-7 overdrawn+7", "expire later-13 expired+13",
	}
	if got := d.movements(); !slices.Equal(got, want) {
		t.Errorf("entries are %q, want %q", got, want)
	}
	// The overdraft was repaid since: what returns is the account's own.
	wantParts(t, d.giveBack("r", "d1", 8), "overdraft:7 plan:1")
	d.balance(9)
	wantParts(t, d.debit("d3", 18, Promo, Overdraft), "gift:1 overdraft:17")
	d.balance(-9)
}

func TestOwedIsRepaidAtOnceByWhatIsEffective(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(10)
	d.debit("d", 4)
	r := d.grant(Grant{Grant: "c", Kind: Credit, Amount: 10})
	if a := d.account(); r.Seq != 4 || r.BalanceAfter != 6 || a.Seq != 4 || a.ByKind != [KindCount]Credits{Credit: 6} {
		t.Errorf("%+v, then %+v", r, a)
	}
}

func TestOwedIsRepaidByTheGrantThatBecameEffectiveFirst(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(10)
	d.debit("d", 10)
	hour := func(n int) time.Time { return d.at.Wall.Add(time.Duration(n) * time.Hour) }
	d.grant(Grant{Grant: "third", Kind: Credit, Amount: 4, Effective: hour(3), Expires: hour(4)})
	d.grant(Grant{Grant: "first", Kind: Credit, Amount: 4, Effective: hour(2), Expires: hour(6), Priority: 9})
	d.grant(Grant{Grant: "second", Kind: Credit, Amount: 4, Effective: hour(2), Expires: hour(5)})
	d.pass(3 * time.Hour)
	want := []string{"repay first-4 overdrawn+4", "repay second-4 overdrawn+4", "repay third-2 overdrawn+2"}
	d.balance(2)
	if got := d.movements()[5:]; !slices.Equal(got, want) {
		t.Errorf("entries are %q, want %q", got, want)
	}
}

func TestReturnGoesBackLastTakenFirst(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(5)
	d.grant(Grant{Grant: "i", Amount: 10})
	d.grant(Grant{Grant: "p", Kind: Promo, Amount: 10, Expires: d.at.Wall.Add(time.Hour)})
	d.grant(Grant{Grant: "c", Kind: Credit, Amount: 10})
	d.debit("d", 33)
	wantParts(t, d.giveBack("r1", "d", 8), "overdraft:3 c:5")
	wantParts(t, d.giveBack("r2", "d", 7), "c:5 p:2")
	d.pass(2 * time.Hour)
	r := d.giveBack("r3", "d", 12)
	if wantParts(t, r, "p:8 i:4"); r.Expired != 8 || r.Amount != 12 || r.BalanceAfter != 14 {
		t.Errorf("%+v", r)
	}
	_, err := d.Return(t.Context(), Return{Key: "r4", Account: "a", Debit: "d", Amount: 7})
	wantError(t, err, ErrInvalid)
	wantParts(t, d.giveBack("r4", "d", 0), "i:6")
	if r := d.giveBack("r5", "d", 0); r.Amount != 0 {
		t.Errorf("returned %d of nothing", r.Amount)
	}
	want := "expire p-2 expired+2"
	if got := d.movements(); !slices.Contains(got, want) || !slices.Contains(got, "return spent-12 expired+8 i+4") {
		t.Errorf("entries are %q, want %q", got, want)
	}
	if a := d.account(); a.ByKind != [KindCount]Credits{10, 0, 10, 0} || !a.Grants[1].Expired {
		t.Errorf("%+v", a)
	}
}

func TestReturnBeforeItsDebitBarsTheDebit(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 10})
	if r := d.giveBack("r", "d", 0); r.Amount != 0 {
		t.Errorf("returned %d", r.Amount)
	}
	d.giveBack("r again", "d", 3)
	d.pass(20 * time.Hour)
	r := d.debit("d", 4)
	if r.Outcome != Returned || r.Amount != 0 || r.Replayed {
		t.Errorf("%+v", r)
	}
	d.pass(20 * time.Hour) // the bar would be forgotten, the answer to the debit is not
	if again := d.debit("d", 4); again.Outcome != Returned || !again.Replayed || again.Index != r.Index {
		t.Errorf("%+v", again)
	}
	_, err := d.Debit(t.Context(), Debit{Key: "d", Account: "a", Amount: 5, Overshoot: Deny})
	wantError(t, err, ErrConflict)
	d.balance(10)
}

func TestReturnNamesADebitOfItsAccount(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	d.done(d.Open(t.Context(), OpenAccount{Key: "open b", Account: "b"}))
	d.grant(Grant{Grant: "i", Amount: 10})
	d.debit("d", 4)
	d.debit("too much", 40)
	d.giveBack("bar", "barred", 0)
	for _, r := range []Return{
		{Key: "r", Account: "b", Debit: "d"},
		{Key: "r", Account: "a", Debit: "grant i"},
		{Key: "r", Account: "b", Debit: "barred"},
	} {
		_, err := d.Return(t.Context(), r)
		wantError(t, err, ErrConflict)
	}
	_, err := d.Debit(t.Context(), Debit{Key: "barred", Account: "b", Amount: 1, Overshoot: Deny})
	wantError(t, err, ErrConflict)
	if r := d.giveBack("r", "too much", 0); r.Amount != 0 {
		t.Errorf("returned %d that was never taken", r.Amount)
	}
}

func TestGrantsExpireInLogTime(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 10, Expires: d.at.Wall.Add(time.Hour)})
	d.debit("d", 1)
	d.pass(time.Hour - 1)
	d.balance(9)
	d.pass(1)
	d.balance(0)
	d.pass(-time.Minute) // a later leader whose clock is behind: log time stands
	d.balance(0)
	if a := d.account(); a.AsOf.Wall != time.Unix(dawn+3600, 0).UTC() || a.AsOf.Index != d.at.Index-1 {
		t.Errorf("as of %+v", a.AsOf)
	}
	_, err := d.Grant(t.Context(), Grant{Key: "g", Account: "a", Amount: 1, Expires: d.at.Wall})
	wantError(t, err, ErrInvalid)
	want := []string{"open", "grant issued-10 i+10", "debit i-1 spent+1", "expire i-9 expired+9"}
	if got := d.movements(); !slices.Equal(got, want) {
		t.Errorf("entries are %q, want %q", got, want)
	}
}

// A receipt proves that what pays first had no more (C1), and a refusal says what there was (C2).
func TestReceiptProvesThatEarlierLayersWereEmpty(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(10)
	d.grant(Grant{Grant: "i", Amount: 5})
	d.grant(Grant{Grant: "p", Kind: Promo, Amount: 6})
	d.grant(Grant{Grant: "only x", Kind: Promo, Amount: 50, AppliesTo: []Label{{"model", "x"}}})
	d.grant(Grant{Grant: "c", Kind: Credit, Amount: 7})
	r := d.debit("d", 13)
	if r.Had != [KindCount]Credits{5, 6, 7, 10} || partsText(r.Parts) != "i:5 p:6 c:2" {
		t.Errorf("%+v", r)
	}
	for i, p := range r.Parts[1:] {
		if earlier := r.Parts[i]; r.Had[earlier.Kind] != earlier.Amount {
			t.Errorf("%s was burned while %s had more", p.Kind, earlier.Kind)
		}
	}
	if r := d.debit("e", 16); r.Outcome != Insufficient || r.Had != [KindCount]Credits{0, 0, 5, 10} {
		t.Errorf("%+v", r)
	}
	x, err := d.Debit(t.Context(), Debit{Key: "f", Account: "a", Amount: 51, Attributes: []Label{{"model", "x"}}})
	if err != nil || partsText(x.Parts) != "only x:50 c:1" {
		t.Errorf("%+v, %v", x, err)
	}
}

func TestOvershootIsForgivenDeniedOrOwed(t *testing.T) {
	for _, row := range []struct {
		overshoot Overshoot
		order     []Kind
		want      string
		amount    Credits
		forgiven  Credits
	}{
		{Cap, nil, "i:5", 5, 95},
		{Cap, []Kind{Included, Overdraft}, "i:5", 5, 95},
		{Cap, []Kind{Promo}, "", 0, 100},
		{Overdraw, nil, "i:5 overdraft:10", 15, 85},
		{Overdraw, []Kind{Overdraft, Included}, "overdraft:10 i:5", 15, 85},
		{Deny, nil, "", 0, 0},
	} {
		d := newDesk(t, DefaultConfig())
		d.open(10)
		d.grant(Grant{Grant: "i", Amount: 5})
		r, err := d.Debit(t.Context(), Debit{Key: "d", Account: "a", Amount: 100, Order: row.order, Overshoot: row.overshoot})
		if err != nil || partsText(r.Parts) != row.want || r.Amount != row.amount || r.Forgiven != row.forgiven {
			t.Errorf("%s: %+v, %v", row.overshoot, r, err)
		}
		if a := d.account(); a.Forgiven != row.forgiven || a.WrittenOff != 0 {
			t.Errorf("%+v", a)
		}
	}
}

func TestAdjustmentsWriteDebtsOff(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(10)
	d.debit("d", 8)
	ctx := t.Context()
	_, err := d.Adjust(ctx, Adjust{Key: "j", Account: "a", Kind: Overdraft, Amount: 9, Memo: "goodwill"})
	wantError(t, err, ErrConflict)
	if r := d.done(d.Adjust(ctx, Adjust{Key: "j", Account: "a", Kind: Overdraft, Amount: 6, Memo: "goodwill"})); r.BalanceAfter != -2 {
		t.Errorf("%+v", r)
	}
	if a := d.account(); a.WrittenOff != 6 || a.Forgiven != 0 {
		t.Errorf("%+v", a)
	}
	d.done(d.Adjust(ctx, Adjust{Key: "k", Account: "a", Kind: Promo, Amount: 5, Memo: "gift"}))
	wantParts(t, d.done(d.Adjust(ctx, Adjust{Key: "l", Account: "a", Kind: Promo, Amount: -3, Memo: "too much"})), "k:3")
	if r, err := d.Adjust(ctx, Adjust{Key: "m", Account: "a", Kind: Promo, Amount: -3, Memo: "too much"}); err != nil || r.Outcome != Insufficient {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []Adjust{
		{Key: "n", Account: "a", Kind: Promo, Amount: 1},
		{Key: "n", Account: "a", Kind: Promo, Memo: "m"},
		{Key: "n", Account: "a", Kind: Overdraft, Amount: -1, Memo: "m"},
	} {
		_, err := d.Adjust(ctx, bad)
		wantError(t, err, ErrInvalid)
	}
	limit := Credits(1)
	_, err = d.Update(ctx, UpdateAccount{Key: "u", Account: "a", Overdraft: &limit})
	wantError(t, err, ErrConflict) // owes 2
}

// The order in which credit burns is total: no two grants are equal in it, however alike they are (C5).
func TestBurnOrderIsTotal(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	later := d.at.Wall.Add(time.Hour)
	for i := range 20 {
		g := Grant{Grant: string(rune('a' + i)), Amount: 1, Priority: uint8(i % 2), Kind: Kind(i % 3)}
		if i%4 == 0 {
			g.Expires = later
		}
		d.grant(g)
	}
	slot, _ := d.m.accounts.find("a")
	var a account
	a.must(d.m.accounts.at(slot))
	for i := range a.grants {
		for j := range a.grants {
			if x, y := burnOrder(a.grants[i], a.grants[j]), burnOrder(a.grants[j], a.grants[i]); x != -y || (x == 0) != (i == j) || (x < 0) != (i < j) {
				t.Errorf("grants %q and %q compare %d", a.grants[i].id, a.grants[j].id, x)
			}
		}
	}
}

// What is held of a voided grant goes on being held; released or refunded, it is voided too.
func TestVoidedGrantTakesNothingBack(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 10})
	ctx := t.Context()
	d.done(d.Authorize(ctx, Authorize{Key: "h", Account: "a", Amount: 6, TTL: time.Hour}))
	d.debit("d", 1)
	if r := d.done(d.Void(ctx, VoidGrant{Key: "v", Account: "a", Grant: "i"})); r.Amount != 3 || r.BalanceAfter != 0 {
		t.Errorf("%+v", r)
	}
	if r := d.done(d.Void(ctx, VoidGrant{Key: "v again", Account: "a", Grant: "i"})); r.Amount != 0 {
		t.Errorf("%+v", r)
	}
	d.done(d.Capture(ctx, Capture{Key: "c", Hold: "h", Amount: 2}))
	if r := d.done(d.Release(ctx, Release{Key: "r", Hold: "h"})); r.Amount != 4 || r.Expired != 4 || r.BalanceAfter != 0 {
		t.Errorf("%+v", r)
	}
	for _, charge := range []string{"h", "d"} {
		if r := d.done(d.Refund(ctx, Refund{Key: "f " + charge, Charge: charge})); r.Expired != r.Amount || r.Amount == 0 || r.BalanceAfter != 0 {
			t.Errorf("%+v", r)
		}
	}
	if a := d.account(); a.Books[Voided] != 10 || !a.Grants[0].Voided {
		t.Errorf("%+v", a)
	}
	_, err := d.Void(ctx, VoidGrant{Key: "w", Account: "a", Grant: "none"})
	wantError(t, err, ErrNoGrant)
}
