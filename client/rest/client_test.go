package rest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/client"
)

// wire is a network without sockets: a host answers with its handler, hangs, breaks or refuses.
type wire struct {
	hosts map[string]http.HandlerFunc // absent refuses the connection, nil breaks it after the request
	asked []string                    // hosts in the order they were asked
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.asked = append(w.asked, r.URL.Host)
	answer, listening := w.hosts[r.URL.Host]
	switch {
	case !listening:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case answer == nil:
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	rec := httptest.NewRecorder()
	answer(rec, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func answer(status int, media, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

const (
	jsonMedia    = "application/json"
	problemMedia = "application/problem+json"
	allowed      = `{"verdict":"ALLOW","reason":"OK","policy_version":3,"home":"n2","epoch":7}`
)

func dial(t *testing.T, w *wire, addr string) *Client {
	t.Helper()
	c, err := New(Config{Addr: addr, HTTPClient: &http.Client{Transport: w}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// one is a client of a single node that answers so.
func one(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	return dial(t, &wire{hosts: map[string]http.HandlerFunc{"a:1": h}}, "a:1")
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
}

func TestNewRefusesAddressesItCannotUse(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"", " , ", "ftp://a:1", "http://a:1/v1", "a:1?x", "://", ":8080", strings.Repeat("a:1,", 65)} {
		if _, err := New(Config{Addr: addr}); err == nil {
			t.Errorf("address %q was taken", addr)
		}
	}
	c, err := New(Config{Addr: "a:1, https://b:2/ ,[::1]:3"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"http://a:1", "https://b:2", "http://[::1]:3"}; !slices.Equal(c.nodes, want) {
		t.Errorf("nodes %q, want %q", c.nodes, want)
	}
	if _, err := New(Config{Addr: "a:1", Timeout: -1}); err == nil {
		t.Error("a negative timeout was taken")
	}
}

func TestCallsMoveOnOnlyWhenThatCannotChargeTwice(t *testing.T) {
	t.Parallel()
	ok := answer(200, jsonMedia, allowed)
	rows := []struct {
		name    string
		hosts   map[string]http.HandlerFunc
		request client.CheckRequest
		asked   string
		fails   bool
	}{
		{"refused connection", map[string]http.HandlerFunc{"b:1": ok}, client.CheckRequest{}, "a:1 b:1", false},
		{"broken, no key", map[string]http.HandlerFunc{"a:1": nil, "b:1": ok}, client.CheckRequest{}, "a:1", true},
		{"broken, key", map[string]http.HandlerFunc{"a:1": nil, "b:1": ok}, client.CheckRequest{IdempotencyKey: "k"}, "a:1 b:1", false},
		{"broken, peek", map[string]http.HandlerFunc{"a:1": nil, "b:1": ok}, client.CheckRequest{Mode: client.Peek}, "a:1 b:1", false},
		{"broken second, no key", map[string]http.HandlerFunc{"b:1": nil, "c:1": ok}, client.CheckRequest{}, "a:1 b:1", true},
		{"answered problem", map[string]http.HandlerFunc{"a:1": answer(500, problemMedia, `{}`), "b:1": ok}, client.CheckRequest{IdempotencyKey: "k"}, "a:1", true},
	}
	for _, r := range rows {
		w := &wire{hosts: r.hosts}
		_, err := dial(t, w, "a:1,b:1,c:1").Check(t.Context(), r.request)
		if asked := strings.Join(w.asked, " "); asked != r.asked || (err != nil) != r.fails {
			t.Errorf("%s: asked %q with error %v, want %q and an error: %v", r.name, asked, err, r.asked, r.fails)
		}
		if errors.Is(err, client.ErrUnreachable) {
			t.Errorf("%s: %v claims that nothing was sent", r.name, err)
		}
	}
}

func TestUnreachableSaysWhoWasAskedAndWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := dial(t, &wire{}, "a:1,b:2").View(t.Context())
	wantError(t, err, "http://a:1/v1/view", "http://b:2/v1/view", "connection refused", "weir dev")
	if !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("%v is not ErrUnreachable", err)
	}
}

func TestSilenceEndsAtTheTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := one(t, hang)
		rows := []struct {
			waitMS int64
			took   time.Duration
		}{{0, 5 * time.Second}, {2000, 7 * time.Second}, {-9e15, 5 * time.Second}, {9e15, time.Hour + 5*time.Second}}
		for _, r := range rows {
			began := time.Now()
			_, err := c.Check(t.Context(), client.CheckRequest{MaxWaitMS: r.waitMS})
			wantError(t, err, "http://a:1/v1/check", "no answer within", "allow more time")
			if took := time.Since(began); took != r.took {
				t.Errorf("max_wait_ms %d: gave up after %v, want %v", r.waitMS, took, r.took)
			}
		}
	})
}

func TestCallerCanGiveUpFirst(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := &wire{hosts: map[string]http.HandlerFunc{"a:1": hang, "b:1": answer(200, jsonMedia, allowed)}}
	_, err := dial(t, w, "a:1,b:1").Check(ctx, client.CheckRequest{IdempotencyKey: "k"})
	if !errors.Is(err, context.Canceled) || len(w.asked) > 1 {
		t.Errorf("error %v after asking %q, want context.Canceled and nobody else asked", err, w.asked)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	_, err := one(t, answer(200, jsonMedia, strings.Repeat(" ", replyBytesMax+1))).View(t.Context())
	wantError(t, err, "longer than")
}

func TestSomethingElseOnThePortIsNoDecision(t *testing.T) {
	t.Parallel()
	rows := []struct {
		status int
		media  string
		body   string
		words  []string
	}{
		{200, "text/html", "<html>", []string{"is that a Weir node?"}},
		{200, jsonMedia, "{}", []string{"status 200"}},
		{404, "text/plain", strings.Repeat("x", 500), []string{"status 404: xxx", "x..."}},
		{302, "text/plain", "", []string{"status 302: Found"}},
	}
	for _, r := range rows {
		c := one(t, answer(r.status, r.media, r.body))
		_, err := c.Check(t.Context(), client.CheckRequest{})
		wantError(t, err, append(r.words, "http://a:1/v1/check")...)
		_, err = c.Grant(t.Context(), "k", "alice", client.Grant{})
		wantError(t, err, append(r.words, "http://a:1/v1/accounts/alice/grants")...)
	}
}

// A node that dies with a request in hand on a kept connection was reached, though net/http's own repetition is refused.
func TestARequestThatWasSentOnAKeptConnectionIsNotUnreachable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			answer(200, jsonMedia, allowed)(w, r)
			return
		}
		_ = l.Close()
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.(*net.TCPConn).SetLinger(0) // a reset, as of a process that is gone
		_ = conn.Close()
	})}}
	s.Start()
	defer s.Close()
	c, err := New(Config{Addr: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Check(t.Context(), client.CheckRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Grant(t.Context(), "k", "alice", client.Grant{ID: "g", Kind: "promo", AmountMicros: 1}); err == nil || errors.Is(err, client.ErrUnreachable) || calls.Load() != 2 {
		t.Errorf("after %d calls: %v", calls.Load(), err)
	}
}
