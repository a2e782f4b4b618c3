package policy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/ledger"
	"pgregory.net/rapid"
)

const spillPolicy = `
version: 1
domains:
  llm:
    account: [user]
    limits:
      - {name: rpm, key: [user], algorithm: token_bucket, rate: 60/min, burst: 2, spill: true}
      - {name: tpm, match: {model: large}, key: [user], algorithm: fixed_window, meter: tokens, limit: 100, window: 1m, spill: true}
      - {name: guard, key: [user], algorithm: fixed_window, limit: 5, window: 1m}
    prices: [{per: {requests: 0.01, tokens: 0.0001}}]
`

func alice(words ...string) Request { return request(append([]string{"user=alice"}, words...)) }

func TestRequestsBeyondABoundAreInvalidAndSayWhy(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	with := func(change func(*Request)) Request {
		r := alice()
		change(&r)
		return r
	}
	for _, c := range []struct {
		r    Request
		want string
	}{
		{Request{}, "it names no domain"},
		{Request{Domain: "lml"}, "there is no domain `lml`; did you mean `llm`?"},
		{with(func(r *Request) { r.Attributes = make([]Attribute, 33) }), "it has 33 attributes, at most 32 are allowed"},
		{with(func(r *Request) { r.Attributes[0].Name = "" }), "an attribute has no name"},
		{alice(strings.Repeat("n", 65) + "=x"), "has 65 bytes, at most 64 are allowed"},
		{alice("x=" + strings.Repeat("v", 257)), "the value of attribute `x` has 257 bytes, at most 256 are allowed"},
		{alice("x=\xff"), "attribute `x` is not UTF-8"},
		{alice("user=bob"), "it names the attribute `user` twice"},
		{request([]string{"user="}), "the attribute `user` is missing, which names the account in domain `llm`"},
		{alice("tokens:-1"), "its cost of -1 tokens is negative"},
		{alice("tokens:1", "tokens:2"), "it names the meter `tokens` twice"},
		{alice("tokns:1"), "domain `llm` has no meter `tokns`; did you mean `tokens`?"},
		{alice("tokens:1099511627777"), "is above the bound, at most 1099511627776 is allowed"},
		{alice("requests:0", "tokens:0"), "it costs nothing of any meter; to look without taking, use the mode PEEK"},
		{alice("key=" + strings.Repeat("k", 256)), "the idempotency key has 256 bytes, at most 255 are allowed"},
		{with(func(r *Request) { r.Mode = 9 }), "mode 9 is none of"},
		{with(func(r *Request) { r.MaxWait = -1 }), "a wait of -1ns is outside"},
		{with(func(r *Request) { r.Ticket = "t" }), "it has a ticket, but domain `llm` has no queue"},
	} {
		_, err := g.w.Check(t.Context(), c.r)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	g.policy = nil
	if _, err := g.w.Check(t.Context(), alice()); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

func TestAccountNamesPayerAndPartition(t *testing.T) {
	t.Parallel()
	p, err := Parse("f", []byte("version: 1\ndomains: {llm: {account: [org, user], payer: [org]}}"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.Account(request([]string{"user=a b", "org=acme"}))
	if err != nil || a.ID != "acme~a=20b" || a.Payer != "acme" || a.Partition >= 4096 || a.Domain != "llm" {
		t.Errorf("%+v %v", a, err)
	}
}

func TestBucketKeysOfDifferentValuesNeverMeet(t *testing.T) {
	t.Parallel()
	l := limit{key: []string{"a", "b"}}
	l.prefix = l.frame(nil, "llm")
	var p plan
	p.key(&l, []Attribute{{"a", "x"}, {"b", "y\x00z"}})
	first := string(p.text)
	p.key(&l, []Attribute{{"a", "x\x00y"}, {"b", "z"}})
	if first == string(p.text) {
		t.Error("one key for two values")
	}
}

func TestExplainShowsEachRuleLookedAt(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	g.open(t, "alice", 0, 0, 1_000_000)
	r := alice("requests:3", "tokens:0")
	r.Explain = true
	d := g.check(t, r)
	got := fmt.Sprint(d.Explain)
	for _, want := range []string{"{limit tpm no match it asks for model: large}", "{limit rpm refuses 3 requests asked, 0 taken, 2 left}", "{price 1 applies", "{credit credit pays 0.03 from grant credit}"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
	if d.PolicyVersion != 7 || d.ID == (ulid.ULID{}) {
		t.Errorf("%+v", d)
	}
}

func TestLedgerOutOfReachDeniesAndUndoesWhatItMayHaveDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, spillPolicy)
		g.open(t, "alice", 0, 0, 1_000_000)
		g.log.broken = errors.New("leadership lost")
		d := g.check(t, alice("requests:3"))
		if d.Verdict != Deny || d.Reason != LedgerUnavailable || d.Status() != 503 || d.Limits[0].Remaining != 2 {
			t.Errorf("%+v", d)
		}
		// With a key the caller repeats it, and finds the first debit.
		keyed := alice("requests:3", "key=k")
		g.check(t, keyed)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- g.w.Run(ctx) }()
		time.Sleep(3 * time.Second)
		g.log.mu.Lock()
		g.log.broken = nil
		g.log.mu.Unlock()
		if b := g.balance(t, "alice"); b != 970_000 {
			t.Errorf("balance %s before the retry", b)
		}
		if d = g.check(t, keyed); d.Reason != OKCredit {
			t.Errorf("%+v", d)
		}
		time.Sleep(10 * time.Second)
		if b := g.balance(t, "alice"); b != 970_000 {
			t.Errorf("balance %s", b)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestLedgerAwayThenUndoBarsTheDebit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, spillPolicy)
		g.open(t, "alice", 0, 0, 1_000_000)
		g.log.away = errors.New("no leader")
		d := g.check(t, alice("requests:3"))
		g.log.away = nil
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.w.Run(ctx); err != nil {
			t.Error(err)
		}
		late, err := g.ledger.Debit(t.Context(), ledger.Debit{Key: d.ID.String(), Account: "alice", Amount: 30_000, Overshoot: ledger.Deny})
		if err != nil || late.Outcome != ledger.Returned || g.balance(t, "alice") != 1_000_000 {
			t.Errorf("%+v %v", late, err)
		}
	})
}

func TestSettleRepeatedAfterTheLedgerFailedChargesOnce(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	g.open(t, "alice", 0, 0, 1_000_000)
	d := g.check(t, alice("model=large", "tokens:150", "reserve"))
	for _, s := range []Settlement{
		{Reservation: d.Reservation, Actual: []Cost{{"tokens", 300}}},
		{Reservation: d.Reservation, Actual: []Cost{{"tokens", 50}}, Final: true},
	} {
		g.log.broken = errors.New("leadership lost")
		if _, err := g.w.Settle(t.Context(), s); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		g.log.broken = nil
		if _, err := g.w.Settle(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if b := g.balance(t, "alice"); b != 1_000_000 {
		t.Errorf("balance %s", b)
	}
	if p, err := ReservationPartition(d.Reservation); err != nil {
		t.Error(err)
	} else if a, _ := g.policy.Account(alice()); p != a.Partition {
		t.Errorf("partition %d", p)
	}
	for _, id := range []string{"", "r-", "r-1234-x", "r-ffff-01KDVDNA00S1G1SXKTTW45EGQ8", "x"} {
		if _, err := ReservationPartition(id); !errors.Is(err, ErrNoReservation) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestReservationsAreBoundedAndTheEndedMakeRoom(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	g.w.c.Records.c.ReservationsMax = 2
	for i, want := range []Reason{OK, OK, FallbackClosed} {
		if d := g.check(t, request([]string{fmt.Sprintf("user=u%d", i), "reserve"})); d.Reason != want {
			t.Errorf("%d: %+v", i, d)
		}
	}
	g.now = g.now.Add(11 * time.Minute)
	if d := g.check(t, alice("reserve", "requests:9")); d.Reason != RateLimited || g.w.c.Records.claimed != 0 {
		t.Errorf("%+v", d)
	}
	if d := g.check(t, alice("reserve")); d.Reason != OK || g.w.c.Records.reserved != 1 || g.w.c.Records.claimed != 0 {
		t.Errorf("%+v", d)
	}
}

func TestDenialsAndLooksChangeNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		document := spillPolicy
		a, b := newRig2(t, document), newRig2(t, document)
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			step := time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "pause"))
			a.now, b.now = a.now.Add(step), b.now.Add(step)
			r := Request{Domain: "llm", Attributes: []Attribute{
				{"user", rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "user")},
				{"model", rapid.SampledFrom([]string{"large", "small"}).Draw(t, "model")},
			}, Cost: []Cost{{"requests", rapid.Int64Range(1, 6).Draw(t, "requests")}, {"tokens", rapid.Int64Range(0, 150).Draw(t, "tokens")}}}
			look := r
			look.Mode = Peek
			seen, _ := a.w.Check(context.Background(), look)
			d, _ := a.w.Check(context.Background(), r)
			if seen.Verdict == Allow && d.Reason != OK || seen.Verdict == Deny && d.Reason == OK {
				t.Fatalf("looked %+v, got %+v", seen, d)
			}
			if d.Verdict == Deny {
				continue // b never sees it
			}
			e, err := b.w.Check(context.Background(), r)
			d.ID, e.ID = ulid.ULID{}, ulid.ULID{}
			if err != nil || !reflect.DeepEqual(d, e) {
				t.Fatalf("after denials and looks %+v, without %+v", d, e)
			}
			sum := amounts{}
			for _, s := range d.Sources {
				sum[map[string]int{"requests": 0, "tokens": 1}[s.Meter]] += s.Amount
			}
			if sum[0] != r.Cost[0].Amount || sum[1] != r.Cost[1].Amount {
				t.Fatalf("%+v does not add up to %+v", d.Sources, r.Cost)
			}
		}
	})
}

// newRig2 is a rig for rapid, whose T is no testing.TB; alice has a little of each kind.
func newRig2(t *rapid.T, document string) *rig {
	g := newRig(new(testing.B), document)
	for i, kind := range []ledger.Kind{ledger.Included, ledger.Promo, ledger.Credit} {
		_, err := g.ledger.Open(context.Background(), ledger.OpenAccount{Key: fmt.Sprint("o", i), Account: "alice", UseCredits: true})
		if err == nil {
			_, err = g.ledger.Grant(context.Background(), ledger.Grant{Key: kind.String(), Account: "alice", Kind: kind, Amount: 25_001})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return g
}
