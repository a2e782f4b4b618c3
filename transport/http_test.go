package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/policy"
)

// fakeAccess answers with a func.
type fakeAccess struct {
	check  func(policy.Request) (policy.Decision, error)
	settle func(policy.Settlement) (policy.Settled, error)
}

func (f fakeAccess) Check(_ context.Context, r policy.Request) (policy.Decision, error) {
	return f.check(r)
}

func (f fakeAccess) Settle(_ context.Context, s policy.Settlement) (policy.Settled, error) {
	return f.settle(s)
}

// allow answers every check with what was asked, as an allowed decision.
func allow(r policy.Request) (policy.Decision, error) {
	return policy.Decision{Verdict: policy.Allow, Reason: policy.OK, Message: fmt.Sprintf("%+v", r)}, nil
}

func server(access fakeAccess) *HTTPServer {
	return &HTTPServer{
		Access: access, Headers: func(string) string { return "ietf" }, Ready: func() error { return errors.New("starting") },
		Metrics: func(w io.Writer) { _, _ = io.WriteString(w, "weir_members 3\n") }, Jitter: func() float64 { return 0 },
		Timeout: time.Second,
	}
}

// asker asks a server and returns its answer.
type asker func(t *testing.T, s *HTTPServer, method, path, body string, headers ...string) *http.Response

// asking returns an asker that holds every answer to api/openapi.yaml.
func asking(tb testing.TB) asker {
	tb.Helper()
	hold := promised(tb)
	return func(t *testing.T, s *HTTPServer, method, path, body string, headers ...string) *http.Response {
		t.Helper()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		res := w.Result()
		if err := hold(r, []byte(body), res); err != nil {
			t.Errorf("not as api/openapi.yaml promises: %v", err)
		}
		return res
	}
}

func TestBadBodiesAreToldApart(t *testing.T) {
	ask := asking(t)
	s := server(fakeAccess{check: allow})
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		says                     string
	}{
		{"empty", "POST", "/v1/check", "", 400, "the body is empty"},
		{"not JSON", "POST", "/v1/check", "{domain}", 400, "not JSON"},
		{"cut off", "POST", "/v1/check", `{"domain":"d"`, 400, "ends too early"},
		{"two values", "POST", "/v1/check", `{"domain":"d"}{}`, 400, "more than one JSON value"},
		{"unknown field", "POST", "/v1/check", `{"domain":"d","colour":1}`, 400, `unknown field "colour"`},
		{"wrong type", "POST", "/v1/check", `{"domain":7}`, 400, "domain: found a number"},
		{"overflowing cost", "POST", "/v1/check", `{"domain":"d","cost":{"requests":99999999999999999999}}`, 400, "an integer of 64 bits"},
		{"fractional cost", "POST", "/v1/check", `{"domain":"d","cost":{"requests":1.5}}`, 400, "an integer of 64 bits"},
		{"invalid UTF-8", "POST", "/v1/check", "{\"domain\":\"\xff\"}", 400, "not valid UTF-8"},
		{"unknown mode", "POST", "/v1/check", `{"domain":"d","mode":"GRAB"}`, 400, `mode "GRAB", expected CONSUME`},
		{"too large", "POST", "/v1/check", `{"domain":"` + strings.Repeat("x", bodyMax) + `"}`, 413, "larger than 65536 bytes"},
		{"batch of 1,001", "POST", "/v1/check:batch", `{"checks":[` + strings.Repeat(`{"domain":"d"},`, 1000) + `{"domain":"d"}]}`, 400, "a batch of 1001 checks, at most 1000"},
		{"empty batch", "POST", "/v1/check:batch", `{"checks":[]}`, 400, "an empty batch"},
		{"bad check in a batch", "POST", "/v1/check:batch", `{"checks":[{"domain":"d"},{"dom":"d"}]}`, 400, `checks[1]: invalid: unknown field "dom"`},
		{"no key", "POST", "/v1/accounts", `{"id":"a"}`, 400, "needs an Idempotency-Key header"},
		{"bad If-Match", "PUT", "/v1/policy", "version: 1", 400, "expected a version"},
		{"unknown route", "GET", "/v2/check", "", 404, "no route for GET /v2/check"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := ask(t, s, c.method, c.path, c.body, "If-Match", "newest")
			var p problem
			if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != c.status || p.Status != c.status || !strings.Contains(p.Detail, c.says) {
				t.Errorf("status %d, detail %q, want %d and %q", res.StatusCode, p.Detail, c.status, c.says)
			}
			if got := res.Header.Get("Content-Type"); got != mediaProblem {
				t.Errorf("content type %s", got)
			}
		})
	}
}

func TestErrorsHaveTheirStatus(t *testing.T) {
	ask := asking(t)
	for _, c := range []struct {
		err    error
		status int
		word   string
	}{
		{policy.ErrInvalid, 400, wordInvalid},
		{policy.ErrConflict, 422, wordConflict},
		{ledger.ErrTooOld, 410, wordTooOld},
		{policy.ErrNoReservation, 404, wordNotFound},
		{policy.ErrUnavailable, 503, wordUnavailable},
		{context.DeadlineExceeded, 503, wordTimeout},
		{errors.New("surprise"), 500, wordInternal},
	} {
		s := server(fakeAccess{
			check: func(policy.Request) (policy.Decision, error) {
				return policy.Decision{}, fmt.Errorf("from below: %w", c.err)
			},
			settle: func(policy.Settlement) (policy.Settled, error) {
				return policy.Settled{}, fmt.Errorf("from below: %w", c.err)
			},
		})
		path, body := "/v1/check", `{"domain":"d"}`
		if c.err == policy.ErrNoReservation {
			path, body = "/v1/settle", `{"reservation":"r"}`
		}
		res := ask(t, s, "POST", path, body)
		var p problem
		if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != c.status || p.Reason != c.word {
			t.Errorf("%v: status %d, reason %s, want %d %s", c.err, res.StatusCode, p.Reason, c.status, c.word)
		}
		if c.status == 503 && res.Header.Get("Retry-After") == "" {
			t.Errorf("%v: 503 without Retry-After", c.err)
		}
	}
}

func TestARefusalCarriesHeadersAndAProblem(t *testing.T) {
	ask := asking(t)
	s := server(fakeAccess{check: func(policy.Request) (policy.Decision, error) {
		return policy.Decision{
			Verdict: policy.Deny, Reason: policy.RateLimited, Remedy: policy.RemedyWait, Refusing: "rpm",
			RetryAfter: 2300 * time.Millisecond, Limits: []policy.LimitState{
				{Name: "rpm", Limit: 60, Window: time.Minute, Meter: "requests", Refused: true, Wait: 2300 * time.Millisecond, Reset: 9 * time.Second},
				{Name: "tpd", Limit: 500, Window: 24 * time.Hour, Meter: "tokens", Remaining: 20, Reset: time.Hour},
			},
		}, nil
	}})
	res := ask(t, s, "POST", "/v1/check", `{"domain":"d"}`)
	for name, want := range map[string]string{
		"Retry-After":      "3",
		"RateLimit":        `"rpm";r=0;t=3,"tpd";r=20;t=3600`,
		"RateLimit-Policy": `"rpm";q=60;w=60,"tpd";q=500;qu="weir-tokens";w=86400`,
		"Content-Type":     mediaProblem,
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"RateLimit", "RateLimit-Policy"} {
		if _, err := httpsfv.UnmarshalList([]string{res.Header.Get(name)}); err != nil {
			t.Errorf("%s is not a structured field: %v", name, err)
		}
	}
	var b decisionBody
	if err := json.NewDecoder(res.Body).Decode(&b); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 429 || b.Status != 429 || b.Type != typeQuota || b.RetryAfterMS != 2300 || len(b.Violated) != 1 || b.Violated[0] != "rpm" {
		t.Errorf("status %d, body %+v", res.StatusCode, b)
	}
}

func TestStatusFollowsTheReason(t *testing.T) {
	ask := asking(t)
	for reason, status := range map[policy.Reason]int{
		policy.CreditsExhausted: 402, policy.NoMatch: 403, policy.LedgerUnavailable: 503, policy.FallbackClosed: 503,
		policy.FallbackShare: 429, policy.RateLimited: 429,
	} {
		s := server(fakeAccess{check: func(policy.Request) (policy.Decision, error) {
			return policy.Decision{Verdict: policy.Deny, Reason: reason, RetryAfter: time.Second}, nil
		}})
		res := ask(t, s, "POST", "/v1/check", `{"domain":"d"}`)
		if res.StatusCode != status || (res.Header.Get("Retry-After") != "") != (status == 429 || status == 503) {
			t.Errorf("%s: status %d, Retry-After %q", reason, res.StatusCode, res.Header.Get("Retry-After"))
		}
	}
}

func TestABatchAnswersInOrder(t *testing.T) {
	ask := asking(t)
	s := server(fakeAccess{check: func(r policy.Request) (policy.Decision, error) {
		if r.Domain == "bad" {
			return policy.Decision{}, fmt.Errorf("%w: bad domain", policy.ErrInvalid)
		}
		return policy.Decision{Verdict: policy.Allow, Reason: policy.OK, Message: r.Domain}, nil
	}})
	res := ask(t, s, "POST", "/v1/check:batch", `{"checks":[{"domain":"a"},{"domain":"bad"},{"domain":"c"}]}`)
	var b struct {
		Decisions []struct {
			Message string  `json:"message"`
			Error   problem `json:"error"`
		} `json:"decisions"`
	}
	if err := json.NewDecoder(res.Body).Decode(&b); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || len(b.Decisions) != 3 || b.Decisions[0].Message != "a" || b.Decisions[1].Error.Status != 400 || b.Decisions[2].Message != "c" {
		t.Errorf("status %d, %+v", res.StatusCode, b)
	}
}

func TestIdempotencyKeyIsQuotedOrBare(t *testing.T) {
	for in, want := range map[string]string{`abc`: "abc", `"abc"`: "abc", ` "a\"b" `: `a"b`, ``: "", `""`: "", strings.Repeat("k", 256): ""} {
		got, err := idempotencyKey(http.Header{"Idempotency-Key": {in}})
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestHealthAndReadinessDiffer(t *testing.T) {
	ask := asking(t)
	s := server(fakeAccess{check: allow})
	if res := ask(t, s, "GET", "/healthz", ""); res.StatusCode != 200 {
		t.Errorf("healthz %d", res.StatusCode)
	}
	res := ask(t, s, "GET", "/readyz", "")
	if text, _ := io.ReadAll(res.Body); res.StatusCode != 503 || !strings.Contains(string(text), "starting") {
		t.Errorf("readyz %d %s", res.StatusCode, text)
	}
	s.Ready = func() error { return nil }
	for concern, want := range map[string]string{"": "ready\n", "the disk is nearly full": "ready, but the disk is nearly full\n"} {
		s.Concern = func() string { return concern }
		res := ask(t, s, "GET", "/readyz", "")
		if text, _ := io.ReadAll(res.Body); res.StatusCode != 200 || string(text) != want {
			t.Errorf("readyz %d %q, want %q", res.StatusCode, text, want)
		}
	}
	if text, _ := io.ReadAll(ask(t, s, "GET", "/metrics", "").Body); !strings.Contains(string(text), "weir_members 3") {
		t.Errorf("metrics %s", text)
	}
}

func FuzzCheckBody(f *testing.F) {
	ask := asking(f)
	f.Add([]byte(`{"domain":"d","attributes":{"user":"u"},"cost":{"tokens":5},"mode":"PEEK","max_wait_ms":-1}`))
	f.Add([]byte(`{"domain":"\ud800"}`))
	f.Add([]byte(`[]`))
	s := server(fakeAccess{check: allow})
	f.Fuzz(func(t *testing.T, body []byte) {
		res := ask(t, s, "POST", "/v1/check", string(body))
		if res.StatusCode != 200 && res.StatusCode != 400 && res.StatusCode != 413 {
			t.Errorf("status %d", res.StatusCode)
		}
	})
}
