package transport

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
)

// answers is a ledger that gives one receipt to every debit.
type answers struct {
	Ledger
	receipt ledger.Receipt
}

func (a answers) Debit(context.Context, ledger.Debit) (ledger.Receipt, error) { return a.receipt, nil }

// Every outcome has a status, a problem type and a reason of its own, and a repetition is marked.
func TestEveryRefusalHasItsStatusAndItsReason(t *testing.T) {
	ask := asking(t)
	want := map[ledger.Outcome]struct {
		status int
		reason string
	}{
		ledger.Insufficient: {402, "CREDITS_EXHAUSTED"}, ledger.Unwilling: {402, "UNWILLING"}, ledger.Blocked: {403, "BLOCKED"},
		ledger.Returned: {409, "RETURNED"}, ledger.HoldExists: {409, "HOLD_EXISTS"}, ledger.HoldReleased: {409, "HOLD_RELEASED"},
		ledger.AlreadyCaptured: {409, "ALREADY_CAPTURED"}, ledger.HoldRefused: {409, "HOLD_REFUSED"}, ledger.HoldOpen: {409, "HOLD_OPEN"},
		ledger.HoldExpired: {410, "HOLD_EXPIRED"}, ledger.ExceedsHold: {422, "EXCEEDS_HOLD"}, ledger.RefundExceedsCaptured: {422, "REFUND_EXCEEDS_CAPTURED"},
		// These are told to homes only.
		ledger.UseDirect: {409, "USE_DIRECT"}, ledger.Superseded: {409, "SUPERSEDED"}, ledger.AllowanceClosed: {409, "ALLOWANCE_CLOSED"},
		ledger.ItemsMissing: {409, "ITEMS_MISSING"},
	}
	s := server(fakeAccess{})
	for o := ledger.Done + 1; ; o++ {
		if _, err := ledger.ParseOutcome(o.String()); err != nil {
			if int(o)-1 != len(want) {
				t.Errorf("the ledger has %d refusals, this test knows %d", o-1, len(want))
			}
			break
		}
		w := want[o]
		s.Ledger = answers{receipt: ledger.Receipt{Outcome: o, Account: "a", Replayed: true, Attempts: 2}}
		res := ask(t, s, http.MethodPost, "/v1/accounts/a/debits", `{"amount_micros":1}`, "Idempotency-Key", "k")
		b := decoded[receiptBody](t, res)
		if res.StatusCode != w.status || b.Status != w.status || b.Reason != w.reason || b.Type != typeOurs+w.reason || b.Title == "" || b.Detail == "" ||
			b.Outcome != o.String() || res.Header.Get("Idempotent-Replayed") != "true" || res.Header.Get("Content-Type") != mediaProblem {
			t.Errorf("%s: %d %+v, want %d %s", o, res.StatusCode, b, w.status, w.reason)
		}
		rpc := &LedgerServer{Ledger: s.Ledger, Timeout: time.Second}
		if r, err := rpc.Debit(t.Context(), &weirv1.DebitRequest{}); err != nil || r.GetOutcome() != o.String() || !r.GetReplayed() || r.GetAttempts() != 2 {
			t.Errorf("%s over gRPC: %v, %v", o, r, err)
		}
	}
}

// A hold lives through both doors: held, charged in parts, extended, ended, given back; each answer is as documented, and each
// step out of order is refused (LEDGER 3.2).
func TestTheLifeOfAHold(t *testing.T) {
	b := openBank(t)
	held := b.write(holds, "job:1", `{"amount_micros":800000,"ttl_ms":60000,"attributes":{"model":"large"},"memo":"m"}`)
	if h := held.Hold; h == nil || h.ID != "job:1" || h.State != "open" || h.Held != 800_000 || h.ExpiresIn != 60_000 || held.BalanceAfter != 700_000 {
		t.Errorf("held: %+v %+v", held, h)
	}
	if held.Had["promo"] != 1_000_000 || held.Had["credit"] != 500_000 || len(held.Parts) != 1 || held.Parts[0].Grant != "promo" {
		t.Errorf("C1: the receipt of %+v does not tell what there was", held)
	}
	if a := b.account(); a.Held != 800_000 || a.OpenHolds != 1 || a.Balance != 700_000 || a.Grants[0].Held != 800_000 {
		t.Errorf("alice with a hold: %+v", a)
	}
	b.refused("POST /v1/charges/job:1:refund", "early", `{}`, 409, "HOLD_OPEN")
	b.write("POST /v1/holds/job:1:capture", "c1", `{"amount_micros":300000}`)
	b.write("POST /v1/holds/job:1:extend", "x1", `{"amount_micros":100000,"ttl_ms":120000}`)
	b.refused("POST /v1/holds/job:1:capture", "deny", `{"amount_micros":600001,"overshoot":"deny"}`, 422, "EXCEEDS_HOLD")
	last := b.write("POST /v1/holds/job:1:capture", "c2", `{"amount_micros":200000,"final":true}`)
	if h := last.Hold; h.State != "captured" || h.Held != 0 || h.Captured != 500_000 || last.BalanceAfter != 1_000_000 {
		t.Errorf("captured: %+v %+v", last, h)
	}
	b.refused("POST /v1/holds/job:1:release", "r1", `{}`, 409, "ALREADY_CAPTURED")
	b.refused("POST /v1/holds/job:1:extend", "x2", `{"ttl_ms":1}`, 409, "ALREADY_CAPTURED")
	b.refused(holds, "job:1", `{"amount_micros":1,"ttl_ms":60000}`, 422, wordConflict)
	b.refused("POST /v1/charges/job:1:refund", "f1", `{"amount_micros":500001}`, 422, "REFUND_EXCEEDS_CAPTURED")
	b.write("POST /v1/charges/job:1:refund", "f2", `{"amount_micros":100000,"memo":"sorry"}`)
	back := b.write("POST /v1/charges/job:1:refund", "f3", `{}`)
	if back.Amount != 400_000 || back.BalanceAfter != 1_500_000 || back.Hold.Refunded != 500_000 {
		t.Errorf("given back: %+v %+v", back, back.Hold)
	}

	b.write("POST /v1/holds/never:release", "r2", `{}`) // it overtakes its authorization
	b.refused(holds, "never", `{"amount_micros":1,"ttl_ms":60000}`, 409, "HOLD_RELEASED")
	b.refused(holds, "rich", `{"amount_micros":9000000,"ttl_ms":60000}`, 402, "CREDITS_EXHAUSTED")
	b.refused("POST /v1/holds/rich:capture", "c3", `{"amount_micros":1}`, 409, "HOLD_REFUSED")
	if p := b.write(holds, "part", `{"amount_micros":9000000,"ttl_ms":60000,"partial":true,"late":"reject"}`); p.Amount != 1_500_000 || p.Hold.Held != 1_500_000 {
		t.Errorf("a hold of what there is: %+v %+v", p, p.Hold)
	}
	b.replica.elapsed += time.Minute
	b.refused("POST /v1/holds/part:capture", "c4", `{"amount_micros":1}`, 410, "HOLD_EXPIRED")
	b.write(holds, "short", `{"amount_micros":400000,"ttl_ms":1000}`)
	b.replica.elapsed += time.Second
	if late := b.write("POST /v1/holds/short:capture", "c5", `{"amount_micros":1600000}`); !late.Late || late.Amount != 1_500_000 || late.Forgiven != 100_000 {
		t.Errorf("a late capture: %+v", late)
	}
	if a := b.account(); a.Balance != 0 || a.Held != 0 || a.OpenHolds != 0 || a.Forgiven != 100_000 {
		t.Errorf("alice in the end: %+v", a)
	}
	b.refused("POST /v1/accounts/alice/debits", "d", `{"amount_micros":5,"overshoot":"deny","order":["promo"]}`, 402, "CREDITS_EXHAUSTED")
}

// refused makes a write that must be refused.
func (b *bank) refused(route, key, body string, status int, reason string) {
	b.t.Helper()
	if code, _, r := send[receiptAndProblem](b, route, key, body); code != status || r.Reason != reason {
		b.t.Errorf("%s %s: %d %+v, want %d %s", route, body, code, r, status, reason)
	}
}

// receiptAndProblem has what both have.
type receiptAndProblem struct {
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

// A write through one door, repeated through the other, is the same write: the doors read everything alike.
func TestBothDoorsSayTheSameToTheLedger(t *testing.T) {
	b := openBank(t)
	until := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	model := []*weirv1.Attribute{{Name: "user", Value: "u"}, {Name: "model", Value: "large"}}
	yes, plan, overdraft := true, "pro", int64(300_000)
	for _, r := range []struct {
		key, route, body string
		rpc              later
	}{
		{"a", "POST /v1/accounts", `{"id":"bob","plan":"p","labels":{"b":"2","a":"1"},"use_credits":true,"overdraft_micros":7,"blocked":true}`, with(b.rpc.OpenAccount, &weirv1.OpenAccountRequest{
			IdempotencyKey: "a", Account: "bob", Plan: "p", Labels: []*weirv1.Label{{Name: "b", Value: "2"}, {Name: "a", Value: "1"}}, UseCredits: true, OverdraftMicros: 7, Blocked: true,
		})},
		{"b", "PATCH /v1/accounts/alice", `{"plan":"pro","labels":{},"use_credits":true,"overdraft_micros":300000,"memo":"m"}`, with(b.rpc.UpdateAccount, &weirv1.UpdateAccountRequest{
			IdempotencyKey: "b", Account: "alice", Plan: &plan, Labels: &weirv1.Labels{}, UseCredits: &yes, OverdraftMicros: &overdraft, Memo: "m",
		})},
		{"c", grants, `{"id":"g","kind":"included","amount_micros":9,"priority":3,"effective":"2026-11-01T00:00:00Z","expires":"2027-01-31T00:00:00Z",` +
			`"every":"week","zone":"Europe/Berlin","rollover_micros":4,"applies_to":{"user":"u","model":"large"}}`, with(b.rpc.Grant, &weirv1.GrantRequest{
			IdempotencyKey: "c", Account: "alice", Grant: "g", Kind: "included", AmountMicros: 9, Priority: 3, Effective: toStamp(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)),
			Expires: toStamp(until), Every: "week", Zone: "Europe/Berlin", RolloverMicros: 4, AppliesTo: model,
		})},
		{"d", debits, `{"amount_micros":100000,"order":["promo","credit"],"memo":"m","overshoot":"overdraw","attributes":{"user":"u","model":"large"}}`, with(b.rpc.Debit, &weirv1.DebitRequest{
			IdempotencyKey: "d", Account: "alice", AmountMicros: 100_000, Order: []string{"promo", "credit"}, Memo: "m", Overshoot: "overdraw", Attributes: model,
		})},
		{"e", holds, `{"amount_micros":100000,"ttl_ms":5000,"partial":true,"order":["promo"],"attributes":{"user":"u","model":"large"},"on_expire":"capture","late":"reject","memo":"m"}`, with(b.rpc.Authorize, &weirv1.AuthorizeRequest{
			IdempotencyKey: "e", Account: "alice", AmountMicros: 100_000, TtlMs: 5000, Partial: true, Order: []string{"promo"}, Attributes: model, OnExpire: "capture", Late: "reject", Memo: "m",
		})},
		{"f", "POST /v1/holds/e:extend", `{"amount_micros":5,"ttl_ms":9000,"memo":"m"}`, with(b.rpc.Extend, &weirv1.ExtendRequest{IdempotencyKey: "f", Hold: "e", AmountMicros: 5, TtlMs: 9000, Memo: "m"})},
		{"g", "POST /v1/holds/e:capture", `{"amount_micros":7,"overshoot":"deny","memo":"m"}`, with(b.rpc.Capture, &weirv1.CaptureRequest{IdempotencyKey: "g", Hold: "e", AmountMicros: 7, Overshoot: "deny", Memo: "m"})},
		{"h", "POST /v1/holds/e:release", `{"memo":"m"}`, with(b.rpc.Release, &weirv1.ReleaseRequest{IdempotencyKey: "h", Hold: "e", Memo: "m"})},
		{"i", "POST /v1/charges/d:refund", `{"amount_micros":3,"memo":"m"}`, with(b.rpc.Refund, &weirv1.RefundRequest{IdempotencyKey: "i", Charge: "d", AmountMicros: 3, Memo: "m"})},
		{"j", "POST /v1/accounts/alice/adjustments", `{"amount_micros":-4,"kind":"credit","memo":"m"}`, with(b.rpc.Adjust, &weirv1.AdjustRequest{
			IdempotencyKey: "j", Account: "alice", AmountMicros: -4, Kind: "credit", Memo: "m",
		})},
		{"k", "DELETE /v1/grants/paid?account=alice&memo=m", "", with(b.rpc.VoidGrant, &weirv1.VoidGrantRequest{IdempotencyKey: "k", Account: "alice", Grant: "paid", Memo: "m"})},
	} {
		first := b.write(r.route, r.key, r.body)
		again, err := r.rpc(t.Context())
		if err != nil || !again.GetReplayed() || again.GetSeq() != first.Seq || again.GetEvent() != first.Event || again.GetAmountMicros() != first.Amount ||
			again.GetBalanceAfterMicros() != first.BalanceAfter || len(again.GetParts()) != len(first.Parts) || (again.GetHold() == nil) != (first.Hold == nil) {
			t.Errorf("%s %s over gRPC: %v, %v, want the replay of %+v", r.route, r.body, again, err, first)
		}
		code, header, third := send[receiptBody](b, r.route, r.key, r.body)
		if code != 200 || !third.Replayed || third.Attempts != 3 || header.Get("Idempotent-Replayed") != "true" || third.Index != first.Index {
			t.Errorf("%s: the third time %d %+v", r.route, code, third)
		}
	}
	if got, want := b.account(), fromWire(t, b.rpc); got.Balance != want.GetBalanceMicros() || got.Seq != want.GetSeq() || got.Plan != "pro" || len(got.Labels) != 0 ||
		len(got.Grants) != len(want.GetGrants()) || len(got.Recurring) != 1 || len(want.GetRecurring()) != 1 || len(want.GetBooks()) != len(got.Books) {
		t.Errorf("alice over HTTP %+v\nover gRPC %v", got, want)
	}
	sum := int64(0)
	for _, micros := range b.account().Books {
		sum += micros
	}
	if sum != 0 {
		t.Errorf("the books sum to %d", sum)
	}
}

func fromWire(t *testing.T, s *LedgerServer) *weirv1.Account {
	t.Helper()
	a, err := s.GetAccount(t.Context(), &weirv1.GetAccountRequest{Account: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Pages go through the movements of an account in both orders, without a gap, through both doors.
func TestEntriesComeInPagesInBothOrders(t *testing.T) {
	b := openBank(t)
	for _, key := range []string{"d1", "d2", "d3", "d4"} {
		b.write(debits, key, `{"amount_micros":10000,"memo":"lunch"}`)
	}
	for order, want := range map[string][]uint64{"oldest": {1, 2, 3, 4, 5, 6, 7}, "newest": {7, 6, 5, 4, 3, 2, 1}} {
		var seqs, wired []uint64
		next := "order=" + order
		for pages := 0; next != "" && pages < 9; pages++ {
			code, _, page := send[entriesBody](b, "GET /v1/accounts/alice/entries?limit=3&"+next, "", "")
			if code != 200 {
				t.Fatalf("%s: %d", next, code)
			}
			for _, e := range page.Entries {
				seqs = append(seqs, e.Seq)
			}
			if next = page.Next; next != "" {
				next = "cursor=" + next
			}
		}
		q := &weirv1.ListEntriesRequest{Account: "alice", Limit: 2, NewestFirst: order == "newest"}
		for pages := 0; pages < 9; pages++ {
			page, err := b.rpc.ListEntries(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.GetEntries() {
				wired = append(wired, e.GetSeq())
			}
			if page.GetNext() == "" {
				break
			}
			q = &weirv1.ListEntriesRequest{Account: "alice", Limit: 2, Cursor: page.GetNext()}
		}
		if !slices.Equal(seqs, want) || !slices.Equal(wired, want) {
			t.Errorf("%s first: %v over HTTP, %v over gRPC, want %v", order, seqs, wired, want)
		}
	}
	_, _, page := send[entriesBody](b, "GET /v1/accounts/alice/entries?after=3&limit=1", "", "")
	e := page.Entries[0]
	want := entryBody{
		Seq: 4, Event: 4, Movement: "debit", Key: "d1", Memo: "lunch", Charge: "d1", BalanceAfter: 1_490_000, Index: e.Index, Term: 3, Time: b.replica.now,
		Postings: []postingBody{{"available", "promo", -10_000}, {"spent", "", 10_000}},
	}
	if len(page.Entries) != 1 || !reflect.DeepEqual(e, want) {
		t.Errorf("after 3: %+v\nwant %+v", page.Entries, want)
	}
	delete(b.events, 4)
	code, _, gone := send[problem](b, "GET /v1/accounts/alice/entries", "", "")
	if code != http.StatusGone || !strings.Contains(gone.Detail, "event 4 of account") {
		t.Errorf("with an event gone: %d %+v", code, gone)
	}
}

// A read may be as old as it says.
func TestReadsTellHowOldTheyMayBe(t *testing.T) {
	b := openBank(t)
	for query, want := range map[string]ledger.Read{
		"":                          {},
		"?consistency=linearizable": {},
		"?consistency=bounded&max_staleness_ms=1500&min_index=2": {MaxStaleness: 1500 * time.Millisecond, MinIndex: 2},
		"?min_index=3": {MinIndex: 3},
	} {
		code, _, a := send[accountBody](b, "GET /v1/accounts/alice"+query, "", "")
		if code != 200 || b.replica.read != want || a.Index == 0 || a.Term != 3 || !a.Time.Equal(b.replica.now) {
			t.Errorf("%q: %d, read %+v, as of %d in %d at %s; want %+v", query, code, b.replica.read, a.Index, a.Term, a.Time, want)
		}
	}
	if _, err := b.rpc.GetAccount(t.Context(), &weirv1.GetAccountRequest{Account: "alice", MaxStalenessMs: 7, MinIndex: 1}); err != nil ||
		b.replica.read != (ledger.Read{MaxStaleness: 7 * time.Millisecond, MinIndex: 1}) {
		t.Errorf("over gRPC: %v, read %+v", err, b.replica.read)
	}
}

// A path that has no verb, or another one, is no route; a verb takes POST only.
func TestVerbsBehindAnIDAreRoutes(t *testing.T) {
	b := openBank(t)
	for route, want := range map[string]int{
		"POST /v1/holds/a":                404,
		"GET /v1/holds/a":                 404,
		"POST /v1/holds/a:burn":           404,
		"POST /v1/holds/:capture":         404,
		"POST /v1/charges/a:capture":      404,
		"GET /v1/holds/a:capture":         405,
		"POST /v1/holds/a:capture":        404, // no such hold
		"POST /v1/holds/a%2Fb%3Ac:refund": 404,
	} {
		code, header, p := send[problem](b, route, "k", `{"amount_micros":1}`)
		if code != want || want == 405 && header.Get("Allow") != "POST" {
			t.Errorf("%s: %d %+v, Allow %q, want %d", route, code, p, header.Get("Allow"), want)
		}
	}
	b.write(holds, "a/b:c", `{"amount_micros":1,"ttl_ms":60000}`)
	if r := b.write("POST /v1/holds/a%2Fb:c:release", "k", `{}`); r.Hold.ID != "a/b:c" {
		t.Errorf("released %+v", r.Hold)
	}
}

// The status is that of the whole ledger, as fresh as asked for.
func TestTheLedgerTellsWhatItHas(t *testing.T) {
	b := openBank(t)
	b.write(holds, "job", `{"amount_micros":1,"ttl_ms":60000}`)
	code, _, all := send[ledgerBody](b, "GET /v1/ledger/status?consistency=bounded&max_staleness_ms=31536000000", "", "")
	if code != 200 || all.Accounts != 1 || all.OpenHolds != 1 || all.Holds != 1 || all.Events != 4 || all.Keys != 4 || len(all.Digest) != 64 || all.Index != 4 ||
		b.replica.read.MaxStaleness != 365*24*time.Hour {
		t.Errorf("%d %+v, read %+v", code, all, b.replica.read)
	}
	before := all.Digest
	b.write("POST /v1/holds/job:release", "k", `{}`)
	if _, _, all = send[ledgerBody](b, "GET /v1/ledger/status", "", ""); all.Digest == before || all.OpenHolds != 0 || all.Holds != 1 {
		t.Errorf("after a release: %+v", all)
	}
}
