package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHowMuchIsLent(t *testing.T) {
	for _, row := range []struct {
		available, want Credits
		outcome         Outcome
		amount          Credits
	}{
		{100, 1000, Done, 20},
		{100, 7, Done, 7},
		{99, 1000, Done, 19},
		{40, 1000, Done, 10}, // a chunk, though that is a quarter
		{20, 1000, Done, 10},
		{19, 1000, UseDirect, 0},
		{1, 1, UseDirect, 0},
		{0, 1000, Insufficient, 0},
		{CreditsMax, CreditsMax, Done, CreditsMax / 5},
	} {
		d := newDesk(t, lending())
		d.open(1000)
		if row.available > 0 {
			d.grant(Grant{Grant: "i", Amount: row.available})
		}
		n := someLend(1)
		n.Want = row.want
		r, err := d.Lend(t.Context(), n)
		if err != nil || r.Outcome != row.outcome || r.Amount != row.amount || r.BalanceAfter != row.available-row.amount {
			t.Errorf("of %d, want %d: %+v, %v", row.available, row.want, r, err)
		}
		if r.Outcome != Done {
			d.grant(Grant{Grant: "more", Amount: 100})
			d.done(d.Lend(t.Context(), n)) // a request that got nothing may be made again
		}
	}
}

// An allowance is made of grants as a debit would be paid, of those that it applies to, and never of the overdraft.
func TestAllowanceIsMadeInBurnOrder(t *testing.T) {
	c := lending()
	c.Share = 100
	d := newDesk(t, c)
	d.open(1000)
	soon := d.at.Wall.Add(time.Hour)
	d.grant(Grant{Grant: "paid", Kind: Credit, Amount: 10})
	d.grant(Grant{Grant: "soon", Kind: Promo, Amount: 10, Expires: soon})
	d.grant(Grant{Grant: "gift", Kind: Promo, Amount: 10})
	d.grant(Grant{Grant: "large", Amount: 10, AppliesTo: []Label{{"model", "large"}}})
	n := someLend(1)
	n.Want, n.Order = 25, []Kind{Overdraft, Promo, Credit, Included}
	r := d.done(d.Lend(t.Context(), n))
	wantParts(t, r, "soon:10 gift:10 paid:5")
	if r.Had != [KindCount]Credits{0, 20, 10, 0} || r.ExpiresIn != n.TTL || r.Allowance != r.Event || r.Held != 25 {
		t.Errorf("%+v", r)
	}
	a := d.account()
	if a.OpenAllowances != 1 || a.Books[Lent] != 25 || a.Grants[1].Lent != 10 || a.Balance != 15 {
		t.Errorf("%+v", a)
	}
	d.report(reporting(r.Allowance, 0, 12, "x", 12))
	if a := d.account(); a.Grants[1].Lent != 0 || a.Grants[2].Lent != 8 || a.Books[Spent] != 12 {
		t.Errorf("%+v", a.Grants)
	}
	n.Nonce, n.Attributes = 2, []Label{{"model", "large"}}
	d.grant(Grant{Grant: "more", Kind: Promo, Amount: 10})
	n.Order = []Kind{Included, Promo}
	wantParts(t, d.done(d.Lend(t.Context(), n)), "large:10 more:10")
	c.Share = 20
	d = newDesk(t, c)
	d.done(d.Open(t.Context(), OpenAccount{Key: "o", Account: "a"}))
	d.grant(Grant{Grant: "paid", Kind: Credit, Amount: 100})
	if r, err := d.Lend(t.Context(), someLend(1)); err != nil || r.Outcome != Unwilling {
		t.Errorf("%+v, %v", r, err)
	}
	yes := true
	d.done(d.Update(t.Context(), UpdateAccount{Key: "u", Account: "a", UseCredits: &yes, Blocked: &yes}))
	if r, err := d.Lend(t.Context(), someLend(1)); err != nil || r.Outcome != Blocked {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAllowanceEndsWithItsSoonestGrant(t *testing.T) {
	for in, want := range map[time.Duration]time.Duration{time.Hour: 10 * time.Second, 4 * time.Second: 4 * time.Second, time.Second: time.Second, 999 * time.Millisecond: 0} {
		d := newDesk(t, lending())
		d.open(0)
		d.grant(Grant{Grant: "i", Amount: 100})
		d.grant(Grant{Grant: "soon", Amount: 1, Expires: d.at.Wall.Add(in)})
		r, err := d.Lend(t.Context(), someLend(1))
		if err != nil || r.ExpiresIn != want || (r.Outcome == UseDirect) != (want == 0) {
			t.Errorf("%s: %+v, %v", in, r, err)
		}
	}
}

// What is lent comes back 30 s after its home must have stopped, in the log's elapsed time: no wall clock and no change of
// leader makes that shorter (I6; mutants M1, M2 and M8 of LEDGER §5.6).
func TestLentCreditComesBackAfterItsGrace(t *testing.T) {
	d := newDesk(t, lending())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 100})
	d.lend(1)
	for _, row := range []struct {
		wall, elapsed time.Duration
		left          time.Duration
		lent          Credits
	}{
		{0, 0, 10 * time.Second, 20},
		{time.Hour, 0, 10 * time.Second, 20},
		{0, 9 * time.Second, time.Second, 20},
		{0, 2 * time.Second, 0, 20},
		{0, 29*time.Second - 1, 0, 20},
		{0, 1, 0, 0},
	} {
		d.at.Wall, d.at.Elapsed = d.at.Wall.Add(row.wall), d.at.Elapsed+row.elapsed
		d.apply(&tick{})
		all, err := d.Allowances(t.Context(), "a", Read{})
		if err != nil || len(all) > 0 != (row.lent > 0) || len(all) > 0 && all[0].ExpiresIn != row.left {
			t.Errorf("%+v: %+v, %v", row, all, err)
		}
		if got := d.account().Books[Lent]; got != row.lent {
			t.Errorf("%+v: %d are lent", row, got)
		}
	}
	if got := d.movements(); !slices.Equal(got[2:], []string{"lend i-20 lent+20", "lapse lent-20 i+20"}) {
		t.Errorf("%q", got)
	}
}

// A mark is all that a revocation is: what is lent stays so until its home gives it back or its time is over (mutant M4).
func TestRevokedAllowanceComesBackOnlyFromItsHome(t *testing.T) {
	no, yes := false, true
	for name, revoke := range map[string]func(*desk) (Receipt, error){
		"void": func(d *desk) (Receipt, error) {
			return d.Void(d.t.Context(), VoidGrant{Key: "v", Account: "a", Grant: "p"})
		},
		"block": func(d *desk) (Receipt, error) {
			return d.Update(d.t.Context(), UpdateAccount{Key: "u", Account: "a", Blocked: &yes})
		},
		"consent": func(d *desk) (Receipt, error) {
			return d.Update(d.t.Context(), UpdateAccount{Key: "u", Account: "a", UseCredits: &no})
		},
	} {
		d := newDesk(t, lending())
		d.open(0)
		d.grant(Grant{Grant: "p", Kind: Credit, Amount: 100})
		id := d.lend(1).Allowance
		if r := d.report(reporting(id, 0, 2, "x", 2)); r.Revoked {
			t.Errorf("%s: %+v", name, r)
		}
		d.done(revoke(d))
		if a := d.account(); a.Books[Lent] != 18 || a.Grants[0].Lent != 18 {
			t.Errorf("%s: %v", name, a.Books)
		}
		if r := d.report(reporting(id, 1, 5, "y", 3)); !r.Revoked || r.Held != 15 || r.Amount != 3 {
			t.Errorf("%s: %+v", name, r)
		}
		if all, err := d.Allowances(t.Context(), "a", Read{}); err != nil || !all[0].Revoked || all[0].Left != 15 {
			t.Errorf("%s: %+v, %v", name, all, err)
		}
		final := reporting(id, 2, 5)
		final.Final = true
		r := d.report(final)
		if b := d.account().Books; b[Lent] != 0 || b[Spent] != 5 || (name == "void") != (b[Voided] == 95) || (name == "void") != (r.Expired == 15) {
			t.Errorf("%s: %+v, %v", name, r, b)
		}
	}
}

// What expired while it was lent stays lent; what is left of it is then gone.
func TestLentCreditOutlivesItsGrantUntilItComesBack(t *testing.T) {
	d := newDesk(t, lending())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 100, Expires: d.at.Wall.Add(5 * time.Second)})
	id := d.lend(1).Allowance
	d.pass(6 * time.Second)
	d.balance(0)
	r := reporting(id, 0, 15, "x", 15)
	r.Final = true
	if r := d.report(r); r.Amount != 15 || r.Expired != 5 || r.BalanceAfter != 0 {
		t.Errorf("%+v", r)
	}
	if b := d.account().Books; b[Spent] != 15 || b[Expired] != 85 || b[Lent] != 0 {
		t.Errorf("%v", b)
	}
}

func TestLendThatCannotBeIsRefused(t *testing.T) {
	d, _ := lent5(t)
	for name, n := range map[string]func(*Lend){
		"no account":     func(n *Lend) { n.Account = "" },
		"no home":        func(n *Lend) { n.Home = "" },
		"long home":      func(n *Lend) { n.Home = strings.Repeat("x", HomeMax+1) },
		"wants nothing":  func(n *Lend) { n.Want = 0 },
		"wants too much": func(n *Lend) { n.Want = CreditsMax + 1 },
		"brief":          func(n *Lend) { n.TTL = time.Second - 1 },
		"long":           func(n *Lend) { n.TTL = LendTTLMax + 1 },
		"order":          func(n *Lend) { n.Order = []Kind{Promo, Promo} },
		"attributes":     func(n *Lend) { n.Attributes = []Label{{"x", ""}, {"x", ""}} },
	} {
		l := someLend(9)
		n(&l)
		if _, err := d.Lend(t.Context(), l); err == nil {
			t.Errorf("%s: done", name)
		} else {
			wantError(t, err, ErrInvalid)
		}
	}
	n := someLend(9)
	n.Account = "nobody"
	_, err := d.Lend(t.Context(), n)
	wantError(t, err, ErrNoAccount)
	d.sound()
}

func TestBoundsOfAllowances(t *testing.T) {
	c := lending()
	c.AccountAllowances, c.Allowances = 2, 3
	d := newDesk(t, c)
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 1000})
	d.done(d.Open(t.Context(), OpenAccount{Key: "ob", Account: "b"}))
	d.done(d.Grant(t.Context(), Grant{Key: "gb", Account: "b", Amount: 1000}))
	first := d.lend(1)
	d.lend(2)
	_, err := d.Lend(t.Context(), someLend(3))
	wantError(t, err, ErrFull)
	other := func(nonce uint64) Lend {
		n := someLend(nonce)
		n.Account = "b"
		return n
	}
	d.done(d.Lend(t.Context(), other(1)))
	_, err = d.Lend(t.Context(), other(2))
	wantError(t, err, ErrFull)
	r := reporting(first.Allowance, 0, 0)
	r.Final = true
	d.report(r)
	d.lend(3)
	if open, all := d.m.Allowances(); open != 3 || all != 3 {
		t.Errorf("%d of %d are open", open, all)
	}
	if open, all := d.m.Holds(); open != 0 || all != 0 {
		t.Errorf("%d of %d holds", open, all)
	}
	d.pass(time.Minute)
	d.apply(&tick{})
	d.lend(4)
	d.lend(5)
	d.done(d.Lend(t.Context(), other(4)))
	d.pass(time.Minute)
	d.apply(&tick{}) // six have lapsed, and are remembered for a day
	_, err = d.Lend(t.Context(), other(5))
	wantError(t, err, ErrFull)
	d.pass(27 * time.Hour)
	d.apply(&tick{})
	d.lend(6)
	if open, all := d.m.Allowances(); open != 1 || all != 1 {
		t.Errorf("%d of %d are open", open, all)
	}
}

func TestAllowanceIsMadeOfFewGrantsForFewHomes(t *testing.T) {
	d := newDesk(t, lending())
	d.open(0)
	for i := range slicesMax + 5 {
		d.grant(Grant{Grant: fmt.Sprint("g", i), Amount: 1})
	}
	d.grant(Grant{Grant: "h", Kind: Promo, Amount: 1000})
	n := someLend(1)
	n.Want = 100
	if r := d.done(d.Lend(t.Context(), n)); r.Amount != slicesMax || len(r.Parts) != slicesMax {
		t.Errorf("%d, of %d grants", r.Amount, len(r.Parts))
	}
	for i := range borrowersMax + 3 {
		n.Home = fmt.Sprint("m", i)
		d.done(d.Lend(t.Context(), n))
	}
	slot, _ := d.m.accounts.find("a")
	var a account
	a.must(d.m.accounts.at(slot))
	if len(a.borrowers) != borrowersMax || a.borrower("n1") != nil || a.borrower("m3") == nil {
		t.Errorf("%+v", a.borrowers)
	}
	if r := d.done(d.Lend(t.Context(), n)); !r.Replayed {
		t.Errorf("%+v", r)
	}
}

func TestAllowancesOfAnAccountAreListed(t *testing.T) {
	d := newDesk(t, lending())
	d.open(0)
	d.grant(Grant{Grant: "i", Amount: 100})
	d.done(d.Authorize(t.Context(), Authorize{Key: "h", Account: "a", Amount: 5, TTL: time.Minute}))
	id := d.lend(1).Allowance
	d.report(reporting(id, 0, 4, "x", 4))
	d.pass(time.Second)
	all, err := d.Allowances(t.Context(), "a", Read{})
	want := Allowance{
		ID: id, Home: "n1", Incarnation: 7, Amount: 19, Settled: 4, Left: 15, Items: 1, ExpiresIn: 9 * time.Second,
		Slices: []Part{{Included, "i", 19}}, Created: d.at.Wall.Add(-time.Second),
	}
	if err != nil || len(all) != 1 || fmt.Sprint(all[0]) != fmt.Sprint(want) {
		t.Errorf("%+v, %v", all, err)
	}
	_, err = d.Allowances(t.Context(), "nobody", Read{})
	wantError(t, err, ErrNoAccount)
	s, err := d.Status(t.Context(), Read{})
	if err != nil || s.OpenAllowances != 1 || s.OpenHolds != 1 || s.Holds != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if a := d.account(); a.OpenHolds != 1 || a.OpenAllowances != 1 || a.Books[Held] != 5 || a.Books[Lent] != 15 {
		t.Errorf("%+v", a)
	}
}

// The table of holds has allowances too; no command about holds can name one.
func TestAllowanceIsNoHold(t *testing.T) {
	d := newDesk(t, lending())
	id := lentID(d.lent0("open"))
	before := d.m.head.seq
	for _, c := range []command{
		&Capture{Key: "k", Hold: id, Amount: 1}, &Release{Key: "k", Hold: id}, &Extend{Key: "k", Hold: id, Amount: 1},
		&Refund{Key: "k", Charge: id}, &Authorize{Key: id, Account: "a", Amount: 1, TTL: time.Hour}, &ask{string(encodeQuery(&query{what: asksHold, id: id}))},
	} {
		err := decodeReply(string(d.apply(c)), func(uint8, *coder) {})
		wantError(t, err, ErrInvalid)
	}
	if d.m.head.seq != before {
		t.Error("and something happened")
	}
}
