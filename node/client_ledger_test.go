package node_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

// office is what a client of the ledger can do, whichever door it goes through.
type office interface {
	OpenAccount(ctx context.Context, key string, a client.Account) (client.Receipt, error)
	UpdateAccount(ctx context.Context, key, account string, a client.AccountChange) (client.Receipt, error)
	Grant(ctx context.Context, key, account string, g client.Grant) (client.Receipt, error)
	VoidGrant(ctx context.Context, key, account, grant, memo string) (client.Receipt, error)
	Debit(ctx context.Context, key, account string, d client.Debit) (client.Receipt, error)
	Authorize(ctx context.Context, key, account string, h client.Hold) (client.Receipt, error)
	Extend(ctx context.Context, key, hold string, e client.Extension) (client.Receipt, error)
	Capture(ctx context.Context, key, hold string, a client.Capture) (client.Receipt, error)
	Release(ctx context.Context, key, hold, memo string) (client.Receipt, error)
	Refund(ctx context.Context, key, charge string, r client.Refund) (client.Receipt, error)
	Adjust(ctx context.Context, key, account string, a client.Adjustment) (client.Receipt, error)
	AccountAsOf(ctx context.Context, account string, r client.Read) (client.Statement, error)
	History(ctx context.Context, account string, p client.Page) (client.History, error)
}

// errand is a write, and what becomes of it.
type errand struct {
	key     string
	do      func(ctx context.Context, o office, key string) (client.Receipt, error)
	outcome string
	status  int
	balance int64 // after it
}

// errands has every operation of the ledger, most with all that can be said with it.
func errands(now time.Time) []errand {
	plan, yes, no, much := "gold", true, false, int64(50)
	large, labels := map[string]string{"model": "large", "tier": "a"}, map[string]string{"b": "2", "a": "1", "c": "3"}
	type receipt = client.Receipt
	type ctx = context.Context
	return []errand{
		{"open", func(c ctx, o office, k string) (receipt, error) {
			return o.OpenAccount(c, k, client.Account{ID: "acme", Plan: "free", Labels: labels, OverdraftMicros: 7, Blocked: true})
		}, "done", 0, 0},
		{"refused", func(c ctx, o office, k string) (receipt, error) {
			return o.Debit(c, k, "acme", client.Debit{AmountMicros: 1, Overshoot: client.OvershootDeny})
		}, "blocked", 403, 0},
		{"change", func(c ctx, o office, k string) (receipt, error) {
			return o.UpdateAccount(c, k, "acme", client.AccountChange{
				Plan: &plan, Labels: map[string]string{"z": "9", "y": "8"}, UseCredits: &yes, OverdraftMicros: &much, Blocked: &no, Memo: "welcome",
			})
		}, "done", 0, 0},
		{"grant", func(c ctx, o office, k string) (receipt, error) {
			return o.Grant(c, k, "acme", client.Grant{ID: "spring", Kind: "promo", AmountMicros: 100, Priority: 3, Effective: now.Add(-time.Hour), Expires: now.Add(24 * time.Hour), AppliesTo: large})
		}, "done", 0, 100},
		{"monthly", func(c ctx, o office, k string) (receipt, error) {
			return o.Grant(c, k, "acme", client.Grant{ID: "plan", Kind: "included", AmountMicros: 30, Every: "month", Zone: "Europe/Berlin", RolloverMicros: 5})
		}, "done", 0, 130},
		{"paid", func(c ctx, o office, k string) (receipt, error) {
			return o.Grant(c, k, "acme", client.Grant{Kind: "credit", AmountMicros: 1000})
		}, "done", 0, 1130},
		{"debit", func(c ctx, o office, k string) (receipt, error) {
			return o.Debit(c, k, "acme", client.Debit{AmountMicros: 120, Order: []string{"promo", "credit"}, Memo: "a picture", Overshoot: client.OvershootDeny, Attributes: large})
		}, "done", 0, 1010},
		{"too much", func(c ctx, o office, k string) (receipt, error) {
			return o.Debit(c, k, "acme", client.Debit{AmountMicros: 9999, Overshoot: client.OvershootDeny})
		}, "insufficient", 402, 1010},
		{"hold", func(c ctx, o office, k string) (receipt, error) {
			return o.Authorize(c, k, "acme", client.Hold{
				AmountMicros: 200, TTLMS: 60_000, Partial: true, Order: []string{"credit"}, Attributes: large, OnExpire: "capture", Late: "reject", Memo: "job",
			})
		}, "done", 0, 810},
		{"longer", func(c ctx, o office, k string) (receipt, error) {
			return o.Extend(c, k, "hold", client.Extension{AmountMicros: 100, TTLMS: 120_000, Memo: "more"})
		}, "done", 0, 710},
		{"exceeds", func(c ctx, o office, k string) (receipt, error) {
			return o.Capture(c, k, "hold", client.Capture{AmountMicros: 5000, Overshoot: client.OvershootDeny})
		}, "exceeds_hold", 422, 710},
		{"capture", func(c ctx, o office, k string) (receipt, error) {
			return o.Capture(c, k, "hold", client.Capture{AmountMicros: 250, Final: true, Overshoot: client.OvershootCap, Memo: "done"})
		}, "done", 0, 760},
		{"other", func(c ctx, o office, k string) (receipt, error) {
			return o.Authorize(c, k, "acme", client.Hold{AmountMicros: 60, TTLMS: 60_000})
		}, "done", 0, 700},
		{"release", func(c ctx, o office, k string) (receipt, error) { return o.Release(c, k, "other", "no need") }, "done", 0, 760},
		{"again", func(c ctx, o office, k string) (receipt, error) {
			return o.Capture(c, k, "other", client.Capture{AmountMicros: 1})
		}, "hold_released", 409, 760},
		{"refund", func(c ctx, o office, k string) (receipt, error) {
			return o.Refund(c, k, "debit", client.Refund{AmountMicros: 20, Memo: "sorry"})
		}, "done", 0, 780},
		{"all back", func(c ctx, o office, k string) (receipt, error) { return o.Refund(c, k, "hold", client.Refund{}) }, "done", 0, 1030},
		{"adjust", func(c ctx, o office, k string) (receipt, error) {
			return o.Adjust(c, k, "acme", client.Adjustment{AmountMicros: -10, Kind: "credit", Memo: "a mistake"})
		}, "done", 0, 1020},
		{"void", func(c ctx, o office, k string) (receipt, error) { return o.VoidGrant(c, k, "acme", "spring", "over") }, "done", 0, 1020},
	}
}

// Every operation means the same through both doors: what was done through one is a repetition through the other, which the ledger
// compares by its contents, and is told with the same words.
func TestEveryLedgerOperationIsTheSameThroughBothDoors(t *testing.T) {
	simulate(t, 61, 3, func(s *sim) {
		web, err := rest.New(rest.Config{Addr: s.nodes[1].ip + ":8080", HTTPClient: s.web})
		if err != nil {
			t.Fatal(err)
		}
		rpc, done := s.client("10.0.2.1", s.nodes[2])
		defer done()
		for i, e := range errands(time.Now()) {
			first, second := office(rpc), office(web)
			if i%2 == 1 {
				first, second = second, first
			}
			one, err := e.do(s.t.Context(), first, e.key)
			if err != nil || one.Outcome != e.outcome || one.Status != e.status || one.BalanceAfterMicros != e.balance || one.Replayed {
				t.Errorf("%s: %+v, %v", e.key, one, err)
			}
			two, err := e.do(s.t.Context(), second, e.key)
			if err != nil || !two.Replayed || two.Attempts != 2 {
				t.Errorf("%s through the other door: %+v, %v", e.key, two, err)
			}
			if !reflect.DeepEqual(plain(one), plain(two)) {
				t.Errorf("%s: %+v\nthrough the other door: %+v", e.key, plain(one), plain(two))
			}
		}
		s.sameReads(rpc, web)
		for name, o := range map[string]office{"gRPC": rpc, "HTTP": web} {
			_, err := o.Capture(s.t.Context(), "early-"+name, "nowhere", client.Capture{AmountMicros: 1})
			if p := (*rest.Problem)(nil); !errors.Is(err, client.ErrNotFound) && (!errors.As(err, &p) || p.Reason != "HOLD_NOT_FOUND") {
				t.Errorf("a capture without a hold over %s: %v", name, err)
			}
			if _, err := o.Release(s.t.Context(), "", "other", ""); !errors.Is(err, client.ErrNoKey) {
				t.Errorf("a release without a key over %s: %v", name, err)
			}
		}
	})
}

// plain is a receipt without what tells the doors or the repetition apart: of a refusal its title and detail are for people.
func plain(r client.Receipt) client.Receipt {
	r.Replayed, r.Attempts, r.Type, r.Title, r.Detail = false, 0, "", "", ""
	r.Time = r.Time.UTC()
	if len(r.Parts) == 0 {
		r.Parts = nil
	}
	if r.Hold != nil {
		h := *r.Hold
		h.ExpiresInMS = 0 // as of when it was asked
		r.Hold = &h
	}
	return r
}

// sameReads compares what both doors tell of the account and of its history, a page of three at a time from each end.
func (s *sim) sameReads(rpc, web office) {
	s.t.Helper()
	var told []client.Statement
	var all []client.Entry
	for _, o := range []office{rpc, web} {
		a, err := o.AccountAsOf(s.t.Context(), "acme", client.Read{MaxStaleness: time.Minute, MinIndex: 5})
		if err != nil || a.Seq == 0 || len(a.Recurring) != 1 || a.Labels["z"] != "9" {
			s.t.Errorf("account %+v, %v", a, err)
		}
		a.Index, a.Term, a.Time = 0, 0, time.Time{} // as of when it was asked
		told = append(told, a)
		for _, p := range []client.Page{{Limit: 3}, {Limit: 3, NewestFirst: true}} {
			for more := true; more; more = p.Cursor != "" {
				h, err := o.History(s.t.Context(), "acme", p)
				if err != nil || len(all) > 200 {
					s.t.Fatalf("%d entries, %v", len(all), err)
				}
				all = append(all, h.Entries...)
				p = client.Page{Limit: 3, Cursor: h.Next}
			}
		}
	}
	if !reflect.DeepEqual(told[0], told[1]) {
		s.t.Errorf("account %+v\nthrough the other door: %+v", told[0], told[1])
	}
	half := len(all) / 2
	if half < 30 || !reflect.DeepEqual(all[:half], all[half:]) {
		s.t.Errorf("history %+v\nthrough the other door: %+v", all[:half], all[half:])
	}
}
