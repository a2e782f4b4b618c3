package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPeriodsFollowTheCalendarOfTheirZone(t *testing.T) {
	for _, row := range []struct {
		name, anchor, zone string
		every              Every
		want               []string
	}{
		{"the last day of a month", "2026-01-31T12:00:00Z", "", Monthly, []string{"2026-02-28T12:00:00Z", "2026-03-31T12:00:00Z", "2026-04-30T12:00:00Z"}},
		{"a leap day", "2024-02-29T00:00:00Z", "", Yearly, []string{"2025-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2027-02-28T00:00:00Z", "2028-02-29T00:00:00Z"}},
		{"into summer time", "2026-03-27T23:00:00Z", "Europe/Berlin", Daily, []string{"2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "2026-03-30T22:00:00Z"}},
		{"out of summer time", "2026-10-24T22:00:00Z", "Europe/Berlin", Daily, []string{"2026-10-25T23:00:00Z", "2026-10-26T23:00:00Z"}},
		{"weeks", "2026-12-28T00:00:00Z", "America/New_York", Weekly, []string{"2027-01-04T00:00:00Z", "2027-01-11T00:00:00Z"}},
		{"midnight elsewhere", "2026-06-30T15:00:00Z", "Asia/Tokyo", Monthly, []string{"2026-07-31T15:00:00Z", "2026-08-31T15:00:00Z"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			anchor, err := time.Parse(time.RFC3339, row.anchor)
			if err != nil {
				t.Fatal(err)
			}
			zone, err := zoneOf(row.zone)
			if err != nil {
				t.Fatal(err)
			}
			s := series{every: row.every, anchor: anchor.UnixNano()}
			var got []string
			for n := range row.want {
				start := s.start(n+1, zone)
				got = append(got, time.Unix(0, start).UTC().Format(time.RFC3339))
				if at, before := s.period(start, zone), s.period(start-1, zone); at != n+1 || before != n {
					t.Errorf("period %d begins in period %d, after %d", n+1, at, before)
				}
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestRecurringGrantIsMadeAnewEachPeriod(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	d.at.Wall = time.Date(2026, 10, 10, 8, 0, 0, 0, time.UTC)
	r := d.grant(Grant{Grant: "plan", Amount: 100, Every: Monthly, Rollover: 30, Effective: time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)})
	if r.Amount != 100 || r.Parts[0].Grant != "plan@2026-10-01" {
		t.Errorf("%+v", r)
	}
	d.debit("d1", 80)
	d.at.Wall = time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	d.balance(120) // 20 were left
	d.debit("d2", 10)
	d.at.Wall = time.Date(2026, 12, 2, 0, 0, 0, 0, time.UTC)
	d.balance(130) // 110 were left, 30 roll over
	want := []string{
		"open", "grant", "grant issued-100 plan@2026-10-01+100", "debit plan@2026-10-01-80 spent+80",
		"grant issued-100 plan@2026-10-01-20 plan@2026-11-01+120", "debit plan@2026-11-01-10 spent+10",
		"grant issued-100 plan@2026-11-01-30 plan@2026-12-01+130", "expire plan@2026-11-01-80 expired+80",
	}
	if got := d.movements(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	d.at.Wall = time.Date(2031, 12, 2, 0, 0, 0, 0, time.UTC) // years in which nobody came cost one event
	events := d.m.head.seq
	d.m.config.Jump = never
	d.balance(130)
	d.debit("d3", 130)
	if n := d.m.head.seq - events; n != 3 { // granted, expired, debited
		t.Errorf("%d events", n)
	}
	if a := d.account(); len(a.Recurring) != 1 || a.Recurring[0].Rollover != 30 {
		t.Errorf("%+v", a.Recurring)
	}
	if audit, err := Verify(d.log.all(), d.m); err != nil || audit.Found > 0 {
		t.Errorf("%v, %q", err, audit.Differences)
	}
}

func TestRecurringGrantEndsAndIsVoided(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	hour := 24 * time.Hour
	d.grant(Grant{Grant: "trial", Amount: 5, Every: Daily, Expires: d.at.Wall.Add(36 * time.Hour)})
	d.grant(Grant{Grant: "plan", Amount: 7, Every: Daily})
	d.balance(12)
	d.pass(hour)
	d.balance(12)
	d.pass(12 * time.Hour)
	d.balance(7) // the last period was a short one
	ctx := t.Context()
	for _, id := range []string{"plan", "plan@2030-01-01"} {
		_, err := d.Grant(ctx, Grant{Key: "clash " + id, Account: "a", Grant: id, Amount: 1})
		wantError(t, err, ErrConflict)
	}
	if r := d.done(d.Void(ctx, VoidGrant{Key: "v", Account: "a", Grant: "plan"})); r.Amount != 7 || r.BalanceAfter != 0 {
		t.Errorf("%+v", r)
	}
	d.pass(2 * hour)
	d.balance(0)
	if a := d.account(); len(a.Recurring) != 0 || a.Books[Voided] != 7 {
		t.Errorf("%+v", a)
	}
	_, err := d.Void(ctx, VoidGrant{Key: "w", Account: "a", Grant: "plan"})
	wantError(t, err, ErrNoGrant)
	for _, zone := range []string{"Local", "Nowhere/Land", "../etc"} {
		_, err := d.Grant(ctx, Grant{Key: "z", Account: "a", Amount: 1, Every: Daily, Zone: zone})
		wantError(t, err, ErrInvalid)
	}
}

// However rarely an account is touched, it has the same to spend: what nobody looked at rolled over all the same.
func TestIdlePeriodsRollOverAsIfSomeoneHadLooked(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		number := func(low, high int, what string) int { return rapid.IntRange(low, high).Draw(r, what) }
		g := Grant{
			Grant: "plan", Amount: Credits(number(1, 20, "amount")), Rollover: Credits(number(0, 70, "rollover")),
			Every: Every(number(1, 3, "every")), Zone: rapid.SampledFrom([]string{"", "Europe/Berlin", "Asia/Kathmandu"}).Draw(r, "zone"),
		}
		often, rarely := newDesk(t, DefaultConfig()), newDesk(t, DefaultConfig())
		for _, d := range []*desk{often, rarely} {
			d.open(0)
			d.grant(g)
		}
		for step := range number(1, 8, "steps") {
			hours := number(1, 3000, "hours")
			for range hours {
				often.pass(time.Hour)
				often.apply(&readAccount{"a"})
			}
			rarely.pass(time.Duration(hours) * time.Hour)
			a, b := often.account(), rarely.account()
			if a.Balance != b.Balance {
				r.Fatalf("after %d h: touched often %d, rarely %d", hours, a.Balance, b.Balance)
			}
			if amount := Credits(number(0, 90, "debit")); amount > 0 {
				x, y := often.debit(fmt.Sprint(step), amount), rarely.debit(fmt.Sprint(step), amount)
				if x.Outcome != y.Outcome || x.BalanceAfter != y.BalanceAfter {
					r.Fatalf("%+v, %+v", x, y)
				}
			}
		}
	})
}
