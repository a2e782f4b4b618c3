package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"

	"github.com/weir-cluster/weir/ring"
)

// sees answers with body and calls look with what it was asked.
func sees(status int, media, body string, look func(r *http.Request, body string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		look(r, string(b))
		answer(status, media, body)(w, r)
	}
}

func TestCheckSendsTheDocumentedNames(t *testing.T) {
	t.Parallel()
	got := ""
	c := one(t, sees(200, jsonMedia, allowed, func(r *http.Request, body string) {
		got = r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + body
	}))
	if _, err := c.Check(t.Context(), client.CheckRequest{
		Domain: "demo", Attributes: map[string]string{"user": "alice"}, Cost: map[string]int64{"tokens": 5},
		IdempotencyKey: "k", Ticket: "t", MaxWaitMS: 9, Mode: client.Peek, Explain: true,
	}); err != nil {
		t.Fatal(err)
	}
	want := `POST /v1/check application/json {"domain":"demo","attributes":{"user":"alice"},"cost":{"tokens":5},` +
		`"idempotency_key":"k","ticket":"t","max_wait_ms":9,"mode":"PEEK","explain":true}`
	if got != want {
		t.Errorf("sent\n%s, want\n%s", got, want)
	}
}

func TestRefusalIsADecision(t *testing.T) {
	t.Parallel()
	rows := []struct {
		status  int
		verdict string
		allowed bool
	}{
		{200, "ALLOW", true},
		{200, "DEGRADE", true},
		{202, "QUEUE", false},
		{429, "DENY", false},
		{402, "DENY", false},
		{403, "DENY", false},
		{503, "DENY", false},
	}
	for _, r := range rows {
		media := jsonMedia
		if r.status >= 400 {
			media = problemMedia
		}
		d, err := one(t, answer(r.status, media, fmt.Sprintf(`{"verdict":%q,"reason":"X","retry_after_ms":1500,"from_the_future":1}`, r.verdict))).
			Check(t.Context(), client.CheckRequest{})
		if err != nil || d.Verdict != r.verdict || d.Allowed() != r.allowed || d.RetryAfter() != 1500*time.Millisecond {
			t.Errorf("status %d: %+v, %v", r.status, d, err)
		}
		if want := r.status; d.Status != want && (d.Status != 0 || want >= 300) {
			t.Errorf("status %d became %d", want, d.Status)
		}
	}
}

func TestDecisionKeepsEveryField(t *testing.T) {
	t.Parallel()
	body := `{"type":"t","title":"u","status":429,"violated-policies":["l"],"verdict":"DENY","reason":"RATE_LIMITED","message":"m","remedy":"wait",` +
		`"retry_after_ms":1,"wait_ms":2,"ticket":"k","degrade":{"model":"small"},` +
		`"sources":[{"source":"CREDIT","meter":"requests","amount":1,"credits_micros":10000,"grant":"g"}],` +
		`"limits":[{"name":"l","limit":5,"remaining":3,"reset_ms":4}],"reservation":"r","policy_version":6,"home":"n1",` +
		`"epoch":7,"decision_id":"d","explain":[{"rule":"a","result":"b","detail":"c"}]}`
	d, err := one(t, answer(429, problemMedia, body)).Check(t.Context(), client.CheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	wantJSON(t, d, body)
}

// wantJSON compares v, written as JSON, with want; the order of members does not matter.
func wantJSON[T any](t *testing.T, v T, want string) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var x, y map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(b, &x), json.Unmarshal([]byte(want), &y)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(x, y) {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

func TestProblemsTellStatusDetailAndFindings(t *testing.T) {
	t.Parallel()
	body := `{"type":"about:blank","title":"bad policy","status":400,"detail":"2 mistakes",` +
		`"errors":[{"file":"p.yaml","line":3,"column":7,"message":"unknown field"}]}`
	_, err := one(t, answer(400, problemMedia, body)).ApplyPolicy(t.Context(), []byte("x"), "", "")
	wantError(t, err, "PUT http://a:1/v1/policy", "status 400", "2 mistakes")
	p := new(Problem)
	if !errors.As(err, &p) || p.Title != "bad policy" || !slices.Equal(p.Errors, []Finding{{"p.yaml", 3, 7, "unknown field"}}) {
		t.Errorf("problem %+v", p)
	}
	_, err = one(t, answer(503, problemMedia, `{"title":"no leader"}`)).Check(t.Context(), client.CheckRequest{})
	wantError(t, err, "status 503: no leader")
}

func TestPolicyTextAndVersionTravelUnchanged(t *testing.T) {
	t.Parallel()
	for _, etag := range []string{`"12"`, "12", "", `"x"`} {
		text, version, err := one(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", etag)
			io.WriteString(w, "version: 1\n")
		}).PolicyText(t.Context())
		if good := strings.Contains(etag, "12"); good != (err == nil) || (good && (version != 12 || string(text) != "version: 1\n")) {
			t.Errorf("ETag %s: %q version %d, %v", etag, text, version, err)
		}
	}
	for _, r := range [][2]string{{"", ""}, {"3", `"3"`}, {`"3"`, `"3"`}} {
		got := ""
		v, err := one(t, sees(200, jsonMedia, `{"version":4}`, func(q *http.Request, body string) {
			got = q.Method + q.Header.Get("If-Match") + q.Header.Get("Content-Type") + body
		})).ApplyPolicy(t.Context(), []byte("y"), r[0], "")
		if want := "PUT" + r[1] + "application/yamly"; err != nil || v != 4 || got != want {
			t.Errorf("if-match %q: sent %q, version %d, %v; want %q", r[0], got, v, err, want)
		}
	}
}

func TestViewPlacesAccountsAsTheRingDoes(t *testing.T) {
	t.Parallel()
	v := client.View{
		Hash: "xxhash64", Partitions: ring.Partitions, Members: []client.Member{{Name: "n1"}, {Name: "n2"}},
		Homes: make([]uint16, ring.Partitions), Deputies: slices.Repeat([]uint16{ring.None}, ring.Partitions),
	}
	p := ring.Partition("demo", "alice")
	v.Homes[p] = 1
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	got, err := one(t, answer(200, jsonMedia, string(text))).View(t.Context())
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Fatalf("view came as %+v, %v", got, err)
	}
	place := got.Place("demo", "alice")
	if place.Partition != p || place.Home == nil || place.Home.Name != "n2" || place.Deputy != nil {
		t.Errorf("place %+v, want home n2 of partition %d and no deputy", place, p)
	}
	if (client.View{}).Place("demo", "alice").Home != nil {
		t.Error("an empty view has a home for alice")
	}
	v.Deputies = v.Deputies[1:]
	if text, err = json.Marshal(v); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{string(text), `{}`, `{"partitions":4096,"homes":[1],"deputies":[]}`, `{"partitions":2,"homes":[1,1],"deputies":[1,1]}`} {
		_, err := one(t, answer(200, jsonMedia, body)).View(t.Context())
		wantError(t, err, "expected 4096 of each")
	}
}

func TestLedgerWritesCarryTheKeyAndTheDocumentedNames(t *testing.T) {
	t.Parallel()
	day := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	rows := []struct {
		want  string
		write func(c *Client) (client.Receipt, error)
	}{
		{`POST /v1/accounts k {"id":"a~b","plan":"free","labels":{"x":"y"},"use_credits":true,"overdraft_micros":7}`, func(c *Client) (client.Receipt, error) {
			return c.OpenAccount(t.Context(), "k", client.Account{ID: "a~b", Plan: "free", Labels: map[string]string{"x": "y"}, UseCredits: true, OverdraftMicros: 7})
		}},
		{`POST /v1/accounts/a%2Fb/grants k {"id":"g","kind":"promo","amount_micros":5,"priority":2,"expires":"2027-01-31T00:00:00Z"}`, func(c *Client) (client.Receipt, error) {
			return c.Grant(t.Context(), "k", "a/b", client.Grant{ID: "g", Kind: "promo", AmountMicros: 5, Priority: 2, Expires: day})
		}},
		{`POST /v1/accounts/a/debits k {"amount_micros":5,"order":["credit"],"memo":"m"}`, func(c *Client) (client.Receipt, error) {
			return c.Debit(t.Context(), "k", "a", client.Debit{AmountMicros: 5, Order: []string{"credit"}, Memo: "m"})
		}},
		{`PATCH /v1/accounts/a k {"labels":{}}`, func(c *Client) (client.Receipt, error) {
			return c.UpdateAccount(t.Context(), "k", "a", client.AccountChange{Labels: map[string]string{}})
		}},
		{`DELETE /v1/grants/g%2F1?account=a%26b k `, func(c *Client) (client.Receipt, error) { return c.VoidGrant(t.Context(), "k", "a&b", "g/1", "") }},
		{`POST /v1/accounts/a/holds k {"amount_micros":5,"ttl_ms":9}`, func(c *Client) (client.Receipt, error) {
			return c.Authorize(t.Context(), "k", "a", client.Hold{AmountMicros: 5, TTLMS: 9})
		}},
		{`POST /v1/holds/h%2F:1:extend k {"amount_micros":1}`, func(c *Client) (client.Receipt, error) {
			return c.Extend(t.Context(), "k", "h/:1", client.Extension{AmountMicros: 1})
		}},
		{`POST /v1/holds/h:capture k {"amount_micros":5,"final":true}`, func(c *Client) (client.Receipt, error) {
			return c.Capture(t.Context(), "k", "h", client.Capture{AmountMicros: 5, Final: true})
		}},
		{`POST /v1/holds/h:release k {}`, func(c *Client) (client.Receipt, error) { return c.Release(t.Context(), "k", "h", "") }},
		{`POST /v1/charges/d:refund k {"amount_micros":2}`, func(c *Client) (client.Receipt, error) {
			return c.Refund(t.Context(), "k", "d", client.Refund{AmountMicros: 2})
		}},
		{`POST /v1/accounts/a/adjustments k {"amount_micros":-2,"kind":"promo","memo":"m"}`, func(c *Client) (client.Receipt, error) {
			return c.Adjust(t.Context(), "k", "a", client.Adjustment{AmountMicros: -2, Kind: "promo", Memo: "m"})
		}},
	}
	receipt := `{"outcome":"done","account":"a","seq":1,"amount_micros":5,"balance_after_micros":-2,"forgiven_micros":3,"expired_micros":4,` +
		`"parts":[{"kind":"promo","grant":"g","amount_micros":5}],"had":{"promo":9},"hold":{"id":"h","state":"open","held_micros":5,"captured_micros":1,` +
		`"refunded_micros":2,"expires_in_ms":7},"late":true,"index":8,"term":2,"time":"2026-01-31T00:00:00Z","replayed":true,"attempts":2,"event":3}`
	for _, r := range rows {
		got := ""
		rc, err := r.write(one(t, sees(200, jsonMedia, receipt, func(q *http.Request, body string) {
			got = q.Method + " " + q.URL.RequestURI() + " " + q.Header.Get("Idempotency-Key") + " " + body
		})))
		if err != nil || got != r.want || rc.Refused() {
			t.Errorf("sent\n%s, want\n%s; receipt %+v, %v", got, r.want, rc, err)
		}
		wantJSON(t, rc, receipt)
	}
}

func TestHistoryAsksForPages(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]client.Page{
		"after=0":                {},
		"after=7&limit=3":        {After: 7, Limit: 3},
		"limit=20&order=newest":  {NewestFirst: true, Limit: 20},
		"cursor=12.7%2B&limit=5": {NewestFirst: true, Cursor: "12.7+", Limit: 5},
	} {
		got := ""
		h, err := one(t, sees(200, jsonMedia, `{"entries":[{"seq":3}],"next":"n"}`, func(r *http.Request, _ string) {
			got = r.URL.RequestURI()
		})).History(t.Context(), "a/b", p)
		if want = "/v1/accounts/a%2Fb/entries?" + want; err != nil || got != want || h.Next != "n" || len(h.Entries) != 1 {
			t.Errorf("asked %s, want %s; %+v, %v", got, want, h, err)
		}
	}
}

func TestLedgerWriteWithoutAKeyIsNotSent(t *testing.T) {
	t.Parallel()
	w := &wire{}
	if _, err := dial(t, w, "a:1").Debit(t.Context(), "", "alice", client.Debit{}); !errors.Is(err, client.ErrNoKey) || len(w.asked) > 0 {
		t.Errorf("error %v after asking %q", err, w.asked)
	}
}

func TestTooLittleCreditIsARefusedReceipt(t *testing.T) {
	t.Parallel()
	r, err := one(t, answer(402, problemMedia, `{"title":"t","detail":"d","outcome":"insufficient","account":"a","balance_after_micros":3}`)).
		Debit(t.Context(), "k", "a", client.Debit{AmountMicros: 4})
	if err != nil || !r.Refused() || r.Status != 402 || r.BalanceAfterMicros != 3 || r.Detail != "d" {
		t.Errorf("receipt %+v, %v", r, err)
	}
	_, err = one(t, answer(409, problemMedia, `{"detail":"another debit has this key"}`)).Debit(t.Context(), "k", "a", client.Debit{})
	wantError(t, err, "status 409: another debit has this key")
}

func TestStatementKeepsEveryField(t *testing.T) {
	t.Parallel()
	body := `{"id":"a","plan":"p","labels":{"x":"y"},"use_credits":true,"overdraft_micros":1,"blocked":true,"balance_micros":2,"held_micros":6,"by_kind":{"promo":3},` +
		`"books":{"available":3,"held":6,"issued":-9},"forgiven_micros":11,"written_off_micros":12,"open_holds":13,` +
		`"grants":[{"id":"g","kind":"promo","amount_micros":4,"priority":5,"effective":"2026-01-31T00:00:00Z","expires":"2027-01-31T00:00:00Z","every":"day",` +
		`"zone":"UTC","rollover_micros":2,"applies_to":{"model":"large"},"remaining_micros":3,"held_micros":1,"expired":true,"voided":true}],"recurring":[{"id":"r","kind":"promo","amount_micros":1}],"event":4,"seq":7,"index":8,"term":9,"time":"2026-11-23T00:00:00Z"}`
	path := ""
	s, err := one(t, sees(200, jsonMedia, body, func(r *http.Request, _ string) { path = r.URL.EscapedPath() })).Account(t.Context(), "a b")
	if err != nil || path != "/v1/accounts/a%20b" {
		t.Fatalf("asked %s, %v", path, err)
	}
	wantJSON(t, s, body)
	_, err = one(t, answer(404, problemMedia, `{"detail":"no account alice"}`)).Account(t.Context(), "alice")
	wantError(t, err, "status 404: no account alice")
}
