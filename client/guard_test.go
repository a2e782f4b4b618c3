package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-cluster/weir/client"
)

// oracle decides what a test tells it to, and notes what it was asked.
type oracle struct {
	says  client.Decision
	err   error
	asked client.CheckRequest
}

func (o *oracle) Check(_ context.Context, q client.CheckRequest) (client.Decision, error) {
	o.asked = q
	return o.says, o.err
}

func denial(reason string, status int, retryMS int64) client.Decision {
	return client.Decision{
		Verdict: "DENY", Reason: reason, Status: status, RetryAfterMS: retryMS, Message: "no more", Title: "t", Type: "y", Remedy: "wait", Home: "n1",
		Violated: []string{"rpm"}, Limits: []client.Limit{
			{Name: "rpm", Limit: 60, Remaining: 0, WindowMS: 60_000, Meter: "requests", Refused: true, WaitMS: retryMS, ResetMS: 60_000},
			{Name: "watch", Limit: 1, Shadow: true},
		},
	}
}

// What a handler's callers see of each decision.
func TestGuardAnswersForTheHandler(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		says   client.Decision
		err    error
		status int
		wait   int // least Retry-After; 0 for none
		limits string
	}{
		"allowed": {
			client.Decision{Verdict: "ALLOW", Reason: "OK", Limits: []client.Limit{{Name: "rpm", Limit: 60, Remaining: 59, ResetMS: 1001, WindowMS: 60_000, Meter: "requests"}, {Name: "tok", Limit: 9, Remaining: 8, Meter: "tokens", ResetMS: -1}, {Name: "slots", Limit: 4, Remaining: 3, InFlight: true, WindowMS: 5000}}},
			nil, 200, 0, `"rpm";q=60;w=60,"tok";q=9;qu="weir-tokens","slots";q=4;qu="concurrent-requests" | "rpm";r=59;t=2,"tok";r=8,"slots";r=3;t=0`,
		},
		"rate limited":  {denial("RATE_LIMITED", 429, 1001), nil, 429, 2, `"rpm";q=60;w=60 | "rpm";r=0;t=2`},
		"never":         {denial("RATE_LIMITED", 429, 0), nil, 429, 0, `"rpm";q=60;w=60 | "rpm";r=0;t=0`},
		"out of credit": {denial("CREDITS_EXHAUSTED", 402, 0), nil, 402, 0, `"rpm";q=60;w=60 | "rpm";r=0;t=0`},
		"blocked":       {denial("BLOCKED", 403, 0), nil, 403, 0, `"rpm";q=60;w=60 | "rpm";r=0;t=0`},
		"closed":        {denial("FALLBACK_CLOSED", 503, 0), nil, 503, 1, `"rpm";q=60;w=60 | "rpm";r=0;t=0`},
		"queued":        {client.Decision{Verdict: "QUEUE", Reason: "QUEUED", WaitMS: 3000}, nil, 503, 3, " | "},
		"invalid":       {client.Decision{}, fmt.Errorf("%w: 10.0.0.1 says no", client.ErrInvalid), 400, 0, " | "},
		"ended":         {client.Decision{}, client.ErrClosed, 503, 1, " | "},
	} {
		o := &oracle{says: row.says, err: row.err}
		called := false
		g := &client.Guard{
			Checker: o, Domain: "api",
			Attributes: func(r *http.Request) map[string]string { return map[string]string{"user": r.URL.Query().Get("u")} },
			Cost:       func(*http.Request) map[string]int64 { return map[string]int64{"tokens": 3} },
			Key:        func(*http.Request) string { return "key" },
		}
		w := httptest.NewRecorder()
		g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true })).ServeHTTP(w, httptest.NewRequest("GET", "/?u=ann", nil))
		if w.Code != row.status || called != (row.status == 200) {
			t.Errorf("%s: status %d, handler called: %t", name, w.Code, called)
		}
		h := w.Header()
		if wait, _ := strconv.Atoi(h.Get("Retry-After")); wait < row.wait || wait > row.wait+row.wait/10+1 || row.wait == 0 && h.Get("Retry-After") != "" {
			t.Errorf("%s: Retry-After %q", name, h.Get("Retry-After"))
		}
		if got := h.Get("RateLimit-Policy") + " | " + h.Get("RateLimit"); got != row.limits {
			t.Errorf("%s: %s, want %s", name, got, row.limits)
		}
		if q := o.asked; q.Domain != "api" || q.Attributes["user"] != "ann" || q.Cost["tokens"] != 3 || q.IdempotencyKey != "key" {
			t.Errorf("%s: asked %+v", name, q)
		}
		if row.status == 200 {
			continue
		}
		var p struct {
			Status         int
			Reason, Detail string
		}
		body := w.Body.String()
		if err := json.Unmarshal([]byte(body), &p); err != nil || p.Status != row.status || p.Reason == "" || p.Detail == "" && name != "queued" {
			t.Errorf("%s: body %s, %v", name, body, err)
		}
		if h.Get("Content-Type") != "application/problem+json" || h.Get("Cache-Control") != "no-store" || h.Get("X-RL-Reason") != p.Reason {
			t.Errorf("%s: headers %v", name, h)
		}
		if strings.Contains(body, "10.0.0.1") || strings.Contains(body, "n1") {
			t.Errorf("%s: it names a node: %s", name, body)
		}
	}
}

// A handler is told how to go on, and cannot be told so by its caller.
func TestGuardTellsOfDegrading(t *testing.T) {
	t.Parallel()
	o := &oracle{says: client.Decision{Verdict: "DEGRADE", Reason: "DEGRADED", Degrade: map[string]string{"model": "small, b=c", "a": "1"}}}
	g := &client.Guard{Checker: o, Attributes: func(*http.Request) map[string]string { return nil }}
	serve := func() (handled *http.Request, w *httptest.ResponseRecorder) {
		w = httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-RL-Degrade", "model=huge")
		r.Header.Set("X-RL-Reason", "OK")
		g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { handled = r })).ServeHTTP(w, r)
		if r.Header.Get("X-RL-Degrade") != "model=huge" {
			t.Error("the caller's request was changed")
		}
		return handled, w
	}
	r, w := serve()
	const want = "a=1, model=small%2C%20b%3Dc"
	if client.DegradeOf(r.Context())["model"] != "small, b=c" || r.Header.Get("X-RL-Degrade") != want || w.Header().Get("X-RL-Degrade") != want {
		t.Errorf("%v, %v, %v", client.DegradeOf(r.Context()), r.Header, w.Header())
	}
	if d, ok := client.DecisionOf(r.Context()); !ok || d.Reason != "DEGRADED" || r.Header.Get("X-RL-Reason") != "" {
		t.Errorf("%+v, %t, %v", d, ok, r.Header)
	}
	o.says = client.Decision{Verdict: "ALLOW", Reason: "OK"}
	if r, w = serve(); client.DegradeOf(r.Context()) != nil || r.Header.Get("X-RL-Degrade") != "" || w.Header().Get("X-RL-Degrade") != "" {
		t.Errorf("%v, %v", r.Header, w.Header())
	}
}

// Nobody is answered who has gone away.
func TestGuardAnswersNobodyWhoHasGone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g := &client.Guard{Checker: &oracle{err: context.Canceled}, Attributes: func(*http.Request) map[string]string { return nil }}
	w := httptest.NewRecorder()
	g.Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	if body, _ := io.ReadAll(w.Body); w.Code != 200 || len(body) > 0 { // a recorder's way to say nothing
		t.Errorf("%d %s", w.Code, body)
	}
}

type openStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s openStream) Context() context.Context { return s.ctx }

// A gRPC caller gets the code, the reason, and when to come back.
func TestInterceptorAnswersForTheMethod(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		says  client.Decision
		err   error
		code  codes.Code
		delay int64 // ms
	}{
		"allowed":       {client.Decision{Verdict: "ALLOW", Reason: "OK", Degrade: map[string]string{"m": "s"}}, nil, codes.OK, 0},
		"rate limited":  {denial("RATE_LIMITED", 429, 1500), nil, codes.ResourceExhausted, 1500},
		"out of credit": {denial("CREDITS_EXHAUSTED", 402, 0), nil, codes.ResourceExhausted, 0},
		"blocked":       {denial("BLOCKED", 403, 0), nil, codes.PermissionDenied, 0},
		"closed":        {denial("FALLBACK_CLOSED", 503, 1000), nil, codes.Unavailable, 1000},
		"queued":        {client.Decision{Verdict: "QUEUE", Reason: "QUEUED", WaitMS: 3000}, nil, codes.Unavailable, 3000},
		"invalid":       {client.Decision{}, client.ErrInvalid, codes.InvalidArgument, 0},
		"ended":         {client.Decision{}, client.ErrClosed, codes.Unavailable, 1000},
	} {
		o := &oracle{says: row.says, err: row.err}
		i := &client.Interceptor{
			Checker: o, Domain: "api",
			Attributes: func(_ context.Context, method string) map[string]string { return map[string]string{"method": method} },
			Cost:       func(context.Context, string) map[string]int64 { return map[string]int64{"tokens": 3} },
		}
		degraded := ""
		_, err := i.Unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/p.S/M"}, func(ctx context.Context, _ any) (any, error) {
			degraded += client.DegradeOf(ctx)["m"]
			return nil, nil
		})
		err2 := i.Stream(nil, openStream{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: "/p.S/M"}, func(_ any, s grpc.ServerStream) error {
			degraded += client.DegradeOf(s.Context())["m"]
			return nil
		})
		if o.asked.Attributes["method"] != "/p.S/M" || o.asked.Domain != "api" || o.asked.Cost["tokens"] != 3 || (degraded == "ss") != (row.code == codes.OK) {
			t.Errorf("%s: asked %+v, degraded %q", name, o.asked, degraded)
		}
		for _, err := range []error{err, err2} {
			s := status.Convert(err)
			delay, reason := int64(0), ""
			for _, d := range s.Details() {
				switch d := d.(type) {
				case *errdetails.RetryInfo:
					delay = d.GetRetryDelay().AsDuration().Milliseconds()
				case *errdetails.ErrorInfo:
					reason = d.GetReason()
				}
			}
			if s.Code() != row.code || delay != row.delay || (reason == "") != (row.code == codes.OK) {
				t.Errorf("%s: %v, %d ms, %q", name, err, delay, reason)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	i := &client.Interceptor{Checker: &oracle{err: context.Canceled}, Attributes: func(context.Context, string) map[string]string { return nil }}
	if _, err := i.Unary(ctx, nil, &grpc.UnaryServerInfo{}, nil); status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
}
