package transport

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// badInput is what the ledger must refuse, said over HTTP and, where it can be said, over gRPC.
type badInput struct {
	name, route, key, body string
	rpc                    later
	status                 int
	word, says             string
}

// Each kind of bad input gets its own error, the same word through both doors, and nothing changes: neither balance nor seq.
func TestBadInputToTheLedgerGetsItsOwnErrorAndChangesNothing(t *testing.T) {
	b := openBank(t)
	before := b.account()
	said := map[string]string{}
	for _, r := range append(badAmounts(b.rpc), append(badNames(b.rpc), append(badKeys(b), badTerms(b.rpc)...)...)...) {
		code, header, p := send[problem](b, r.route, r.key, r.body)
		if code != r.status || p.Reason != r.word || !strings.Contains(p.Detail, r.says) {
			t.Errorf("%s over HTTP: %d %s %q, want %d %s that says %q", r.name, code, p.Reason, p.Detail, r.status, r.word, r.says)
		}
		if header.Get("Idempotent-Replayed") != "" {
			t.Errorf("%s: an error was replayed", r.name)
		}
		if other, twice := said[p.Detail]; twice {
			t.Errorf("%s and %s get the same error: %s", r.name, other, p.Detail)
		}
		said[p.Detail] = r.name
		if r.rpc != nil {
			_, err := r.rpc(t.Context())
			if word, message := wordOf(err); word != r.word || !strings.Contains(message, r.says) {
				t.Errorf("%s over gRPC: %s %q, want %s that says %q", r.name, word, message, r.word, r.says)
			}
		}
		if now := b.account(); now.Balance != before.Balance || now.Seq != before.Seq || now.Event != before.Event || now.OpenHolds != 0 {
			t.Fatalf("%s changed alice from %+v to %+v", r.name, before, now)
		}
	}
	t.Logf("%d kinds of bad input, each with an error of its own", len(said))
}

const (
	debits = "POST /v1/accounts/alice/debits"
	grants = "POST /v1/accounts/alice/grants"
	holds  = "POST /v1/accounts/alice/holds"
)

func debit(s *LedgerServer, account string, micros int64) later {
	return with(s.Debit, &weirv1.DebitRequest{IdempotencyKey: "k", Account: account, AmountMicros: micros})
}

func badAmounts(s *LedgerServer) []badInput {
	const most = 1_000_000_000_000_000
	return []badInput{
		{"zero", debits, "k", `{"amount_micros":0}`, debit(s, "alice", 0), 400, wordInvalid, "amount of 0 is not between 0.000001"},
		{"negative", debits, "k", `{"amount_micros":-5}`, debit(s, "alice", -5), 400, wordInvalid, "amount of -0.000005 is not between"},
		{"beyond the bound", debits, "k", fmt.Sprintf(`{"amount_micros":%d}`, most+1), debit(s, "alice", most+1), 400, wordInvalid, "1000000000.000001 is not between"},
		{"the largest integer", debits, "k", `{"amount_micros":9223372036854775807}`, debit(s, "alice", 1<<63-1), 400, wordInvalid, "9223372036854.775807 is not"},
		{"the smallest", debits, "k", `{"amount_micros":-9223372036854775808}`, debit(s, "alice", -1<<63), 400, wordInvalid, "-9223372036854.775808 is not"},
		{"an overflow", debits, "k", `{"amount_micros":9223372036854775808}`, nil, 400, wordInvalid, "an integer of 64 bits"},
		{"a fraction", debits, "k", `{"amount_micros":1.5}`, nil, 400, wordInvalid, "found a number 1.5"},
		{"a string", debits, "k", `{"amount_micros":"7"}`, nil, 400, wordInvalid, "found a string"},
		{
			"a negative overdraft", "POST /v1/accounts", "k", `{"id":"bob","overdraft_micros":-1}`,
			with(s.OpenAccount, &weirv1.OpenAccountRequest{IdempotencyKey: "k", Account: "bob", OverdraftMicros: -1}), 400, wordInvalid, "overdraft of -0.000001",
		},
		{
			"a negative rollover", grants, "k", `{"kind":"promo","amount_micros":1,"every":"day","rollover_micros":-1}`,
			with(s.Grant, &weirv1.GrantRequest{IdempotencyKey: "k", Account: "alice", Kind: "promo", AmountMicros: 1, Every: "day", RolloverMicros: -1}),
			400, wordInvalid, "rollover of -0.000001",
		},
		{
			"an adjustment by nothing", "POST /v1/accounts/alice/adjustments", "k", `{"amount_micros":0,"kind":"promo","memo":"m"}`,
			with(s.Adjust, &weirv1.AdjustRequest{IdempotencyKey: "k", Account: "alice", Kind: "promo", Memo: "m"}), 400, wordInvalid, "adjustment of promo by 0",
		},
		{
			"a negative refund", "POST /v1/charges/d:refund", "k", `{"amount_micros":-7}`,
			with(s.Refund, &weirv1.RefundRequest{IdempotencyKey: "k", Charge: "d", AmountMicros: -7}), 400, wordInvalid, "amount of -0.000007",
		},
		{
			"a capture of nothing", "POST /v1/holds/h:capture", "k", `{}`,
			with(s.Capture, &weirv1.CaptureRequest{IdempotencyKey: "k", Hold: "h"}), 400, wordInvalid, "a capture of nothing that is not final",
		},
		{
			"an extension by nothing", "POST /v1/holds/h:extend", "k", `{}`,
			with(s.Extend, &weirv1.ExtendRequest{IdempotencyKey: "k", Hold: "h"}), 400, wordInvalid, "extension",
		},
	}
}

func badNames(s *LedgerServer) []badInput {
	long := strings.Repeat("x", 257)
	return []badInput{
		{"an unknown account", "POST /v1/accounts/ghost/debits", "k", `{"amount_micros":1}`, debit(s, "ghost", 1), 404, wordNotFound, `no such account: "ghost"`},
		{"an account id that is too long", "POST /v1/accounts/" + long + "/debits", "k", `{"amount_micros":1}`, debit(s, long, 1), 400, wordInvalid, "account must be 1 to 256 bytes"},
		{"an unknown kind", grants, "k", `{"kind":"gold","amount_micros":1}`, with(s.Grant, &weirv1.GrantRequest{Kind: "gold", AmountMicros: 1}), 400, wordInvalid, `unknown kind "gold"`},
		{"no kind", grants, "k", `{"amount_micros":1}`, with(s.Grant, &weirv1.GrantRequest{AmountMicros: 1}), 400, wordInvalid, `unknown kind ""`},
		{
			"a grant of overdraft", grants, "k", `{"kind":"overdraft","amount_micros":1}`,
			with(s.Grant, &weirv1.GrantRequest{IdempotencyKey: "k", Account: "alice", Kind: "overdraft", AmountMicros: 1}), 400, wordInvalid, "cannot be of kind overdraft",
		},
		{
			"a grant id that is too long", grants, "k", `{"kind":"promo","amount_micros":1,"id":"` + long + `"}`,
			with(s.Grant, &weirv1.GrantRequest{IdempotencyKey: "k", Account: "alice", Grant: long, Kind: "promo", AmountMicros: 1}), 400, wordInvalid, "grant must be 0 to 255 bytes",
		},
		{
			"a memo that is too long", debits, "k", `{"amount_micros":1,"memo":"` + long + `"}`,
			with(s.Debit, &weirv1.DebitRequest{IdempotencyKey: "k", Account: "alice", AmountMicros: 1, Memo: long}), 400, wordInvalid, "memo must be 0 to 256 bytes",
		},
		{
			"a hold id that is too long", "POST /v1/holds/" + long + ":release", "k", `{}`,
			with(s.Release, &weirv1.ReleaseRequest{IdempotencyKey: "k", Hold: long}), 400, wordInvalid, "hold must be 1 to 255 bytes",
		},
		{
			"an unknown hold", "POST /v1/holds/nothing:capture", "k", `{"amount_micros":1}`,
			with(s.Capture, &weirv1.CaptureRequest{IdempotencyKey: "k", Hold: "nothing", AmountMicros: 1}), 404, wordNoHold, "nothing",
		},
		{
			"an unknown charge", "POST /v1/charges/lost:refund", "k", `{}`,
			with(s.Refund, &weirv1.RefundRequest{IdempotencyKey: "k", Charge: "lost"}), 404, wordNoCharge, "lost",
		},
		{
			"an unknown grant", "DELETE /v1/grants/gone?account=alice", "k", ``,
			with(s.VoidGrant, &weirv1.VoidGrantRequest{IdempotencyKey: "k", Account: "alice", Grant: "gone"}), 404, wordNoGrant, "gone",
		},
		{"a grant of nobody", "DELETE /v1/grants/promo", "k", ``, nil, 400, wordInvalid, "?account="},
		{
			"an unknown kind in an order", debits, "k", `{"amount_micros":1,"order":["promo","cash"]}`,
			with(s.Debit, &weirv1.DebitRequest{AmountMicros: 1, Order: []string{"promo", "cash"}}), 400, wordInvalid, `order: invalid: unknown kind "cash"`,
		},
		{
			"a kind twice in an order", debits, "k", `{"amount_micros":1,"order":["promo","promo"]}`,
			with(s.Debit, &weirv1.DebitRequest{IdempotencyKey: "k", Account: "alice", AmountMicros: 1, Order: []string{"promo", "promo"}}), 400, wordInvalid, "twice in the order",
		},
	}
}

func badKeys(b *bank) []badInput {
	s := b.rpc
	long, future, past := strings.Repeat("k", 256), b.keyAt(2*time.Hour), b.keyAt(-25*time.Hour)
	keyed := func(key string) later {
		return with(s.Debit, &weirv1.DebitRequest{IdempotencyKey: key, Account: "alice", AmountMicros: 1})
	}
	return []badInput{
		{"no key", debits, "", `{"amount_micros":1}`, keyed(""), 400, wordInvalid, "ey"},
		{"a key that is too long", debits, long, `{"amount_micros":1}`, keyed(long), 400, wordInvalid, "255"},
		{"a key from the future", debits, future, `{"amount_micros":1}`, keyed(future), 400, wordInvalid, "is from 2h0m0s ahead"},
		{"a key that is too old", debits, past, `{"amount_micros":1}`, keyed(past), 410, wordTooOld, "was made 25h0m0s ago"},
		{"a key with other contents", grants, "promo", `{"kind":"promo","amount_micros":2}`, with(s.Grant, &weirv1.GrantRequest{
			IdempotencyKey: "promo", Account: "alice", Kind: "promo", AmountMicros: 2,
		}), 422, wordConflict, `key "promo" was used for another`},
		{"a key of another operation", debits, "open", `{"amount_micros":1}`, keyed("open"), 422, wordConflict, `key "open"`},
		{"an account that is open with other contents", "POST /v1/accounts", "k", `{"id":"alice"}`, with(s.OpenAccount, &weirv1.OpenAccountRequest{
			IdempotencyKey: "k", Account: "alice",
		}), 422, wordConflict, `account "alice" is open with other contents`},
		{"a grant id that is taken", grants, "k", `{"id":"promo","kind":"promo","amount_micros":1}`, with(s.Grant, &weirv1.GrantRequest{
			IdempotencyKey: "k", Account: "alice", Grant: "promo", Kind: "promo", AmountMicros: 1,
		}), 422, wordConflict, `has a grant "promo"`},
		{"a refund under the key of its charge", "POST /v1/charges/k:refund", "k", `{}`, with(s.Refund, &weirv1.RefundRequest{
			IdempotencyKey: "k", Charge: "k",
		}), 400, wordInvalid, "a key of its own"},
	}
}

func badTerms(s *LedgerServer) []badInput {
	many := map[string]string{}
	var attributes []*weirv1.Attribute
	for i := range 33 {
		many[fmt.Sprintf("a%02d", i)] = "x"
		attributes = append(attributes, &weirv1.Attribute{Name: fmt.Sprintf("a%02d", i), Value: "x"})
	}
	nine, all := objectOf(attributes[:9]), objectOf(attributes)
	hold := func(change func(*weirv1.AuthorizeRequest)) later {
		r := &weirv1.AuthorizeRequest{IdempotencyKey: "k", Account: "alice", AmountMicros: 1, TtlMs: 1000}
		change(r)
		return with(s.Authorize, r)
	}
	grant := func(change func(*weirv1.GrantRequest)) later {
		r := &weirv1.GrantRequest{IdempotencyKey: "k", Account: "alice", Kind: "promo", AmountMicros: 1}
		change(r)
		return with(s.Grant, r)
	}
	return []badInput{
		{"not JSON", debits, "k", `amount=1`, nil, 400, wordInvalid, "not JSON"},
		{"an unknown field", debits, "k", `{"amount_micros":1,"colour":2}`, nil, 400, wordInvalid, `unknown field "colour"`},
		{"a body over 64 KiB", debits, "k", `{"memo":"` + strings.Repeat("x", bodyMax) + `"}`, nil, 413, wordInvalid, "larger than 65536 bytes"},
		{"a priority that does not fit", grants, "k", `{"kind":"promo","amount_micros":1,"priority":256}`, nil, 400, wordInvalid, "priority"},
		{"an unknown overshoot", debits, "k", `{"amount_micros":1,"overshoot":"all"}`, with(s.Debit, &weirv1.DebitRequest{AmountMicros: 1, Overshoot: "all"}), 400, wordInvalid, `overshoot "all"`},
		{"33 attributes", debits, "k", `{"amount_micros":1,"attributes":` + all + `}`, with(s.Debit, &weirv1.DebitRequest{
			IdempotencyKey: "k", Account: "alice", AmountMicros: 1, Attributes: attributes,
		}), 400, wordInvalid, "33 of attributes, at most 32"},
		{"a hold without an end", holds, "k", `{"amount_micros":1}`, hold(func(r *weirv1.AuthorizeRequest) { r.TtlMs = 0 }), 400, wordInvalid, "ttl of 0s is not between 1ms and 2160h0m0s"},
		{"a hold that ended before", holds, "k", `{"amount_micros":1,"ttl_ms":-9}`, hold(func(r *weirv1.AuthorizeRequest) { r.TtlMs = -9 }), 400, wordInvalid, "ttl of -1ms"},
		{"a hold for too long", holds, "k", `{"amount_micros":1,"ttl_ms":9223372036854775807}`, hold(func(r *weirv1.AuthorizeRequest) { r.TtlMs = 1<<63 - 1 }), 400, wordInvalid, "ttl of 2562047h47m16"},
		{"an unknown end of a hold", holds, "k", `{"amount_micros":1,"ttl_ms":1000,"on_expire":"burn"}`, hold(func(r *weirv1.AuthorizeRequest) { r.OnExpire = "burn" }), 400, wordInvalid, `on_expire "burn"`},
		{"an unknown rule for the late", holds, "k", `{"amount_micros":1,"ttl_ms":1000,"late":"wait"}`, hold(func(r *weirv1.AuthorizeRequest) { r.Late = "wait" }), 400, wordInvalid, `late "wait"`},
		{"an unknown period", grants, "k", `{"kind":"promo","amount_micros":1,"every":"hour"}`, grant(func(r *weirv1.GrantRequest) { r.Every = "hour" }), 400, wordInvalid, `recurrence "hour"`},
		{"an unknown zone", grants, "k", `{"kind":"promo","amount_micros":1,"every":"day","zone":"Mars/Olympus"}`, grant(func(r *weirv1.GrantRequest) { r.Every, r.Zone = "day", "Mars/Olympus" }), 400, wordInvalid, "Mars/Olympus"},
		{"a zone without a period", grants, "k", `{"kind":"promo","amount_micros":1,"zone":"UTC"}`, grant(func(r *weirv1.GrantRequest) { r.Zone = "UTC" }), 400, wordInvalid, "zone and rollover are for recurring grants"},
		{"nine conditions", grants, "k", `{"kind":"promo","amount_micros":1,"applies_to":` + nine + `}`, grant(func(r *weirv1.GrantRequest) { r.AppliesTo = attributes[:9] }), 400, wordInvalid, "9 of applies_to, at most 8"},
		{"an end before the beginning", grants, "k", `{"kind":"promo","amount_micros":1,"effective":"2027-02-01T00:00:00Z","expires":"2027-01-01T00:00:00Z"}`, grant(func(r *weirv1.GrantRequest) {
			r.Effective, r.Expires = toStamp(time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)), toStamp(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
		}), 400, wordInvalid, "expires before it is effective"},
		{"an end in the past", grants, "k", `{"kind":"promo","amount_micros":1,"expires":"2026-01-01T00:00:00Z"}`, grant(func(r *weirv1.GrantRequest) {
			r.Expires = toStamp(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
		}), 400, wordInvalid, "has expired already"},
		{"an adjustment without a reason", "POST /v1/accounts/alice/adjustments", "k", `{"amount_micros":1,"kind":"promo"}`, with(s.Adjust, &weirv1.AdjustRequest{
			IdempotencyKey: "k", Account: "alice", AmountMicros: 1, Kind: "promo",
		}), 400, wordInvalid, "memo must be 1 to 256 bytes"},
		{"a change of nothing over HTTP", "PATCH /v1/accounts/alice", "k", `{"memo":"m"}`, nil, 400, wordInvalid, "nothing to change: name plan"},
	}
}

func objectOf(attributes []*weirv1.Attribute) string {
	var members []string
	for _, a := range attributes {
		members = append(members, fmt.Sprintf("%q:%q", a.GetName(), a.GetValue()))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// What is wrong with a question is told, too.
func TestBadQuestionsToTheLedgerAreToldApart(t *testing.T) {
	b := openBank(t)
	for path, says := range map[string]string{
		"/v1/accounts/ghost":                                                "no such account",
		"/v1/accounts/alice?consistency=eventual":                           `consistency "eventual", expected linearizable or bounded`,
		"/v1/accounts/alice?consistency=bounded":                            "go together",
		"/v1/accounts/alice?max_staleness_ms=5":                             "go together",
		"/v1/accounts/alice?min_index=-1":                                   "min_index=",
		"/v1/accounts/alice?min-index=1":                                    `the query has "min-index"`,
		"/v1/accounts/alice/entries?limit=0":                                "limit 0, expected 1 to 256",
		"/v1/accounts/alice/entries?limit=257":                              "limit 257",
		"/v1/accounts/alice/entries?order=random":                           `order "random"`,
		"/v1/accounts/alice/entries?order=newest&after=1":                   "after lists oldest first",
		"/v1/accounts/alice/entries?cursor=x":                               `"x" is no cursor`,
		"/v1/accounts/alice/entries?cursor=n":                               `"n" is no cursor`,
		"/v1/accounts/alice/entries?cursor=n7":                              `"7" is no cursor`,
		"/v1/accounts/alice/entries?cursor=o2&after=1":                      "neither order nor after goes with it",
		"/v1/accounts/alice/entries?cursor=o1&cursor=o2":                    "at most once",
		"/v1/accounts/ghost/entries":                                        "no such account",
		"/v1/accounts/alice/entries?cursor=n" + strings.Repeat("9", 30):     "is no cursor",
		"/v1/accounts/alice/entries?cursor=n1.3":                            "is not the one of account",
		"/v1/accounts/alice?min_index=1&min_index=2":                        "at most once",
		"/v1/accounts/alice?consistency=linearizable&max_staleness_ms=1000": "from 1, go together",
	} {
		code, _, p := send[problem](b, "GET "+path, "", "")
		if want := map[bool]int{true: http.StatusNotFound, false: http.StatusBadRequest}[strings.Contains(path, "ghost")]; code != want || !strings.Contains(p.Detail, says) {
			t.Errorf("%s: %d %q, want %d that says %q", path, code, p.Detail, want, says)
		}
	}
	_, err := b.rpc.GetAccount(context.Background(), &weirv1.GetAccountRequest{Account: "ghost"})
	if word, _ := wordOf(err); word != wordNotFound {
		t.Errorf("over gRPC: %v", err)
	}
	_, err = b.rpc.ListEntries(context.Background(), &weirv1.ListEntriesRequest{Account: "alice", Limit: 300})
	if word, _ := wordOf(err); word != wordInvalid {
		t.Errorf("over gRPC: %v", err)
	}
}
