package client_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
)

// Each check goes straight to its home, and no other node hears of it.
func TestChecksGoStraightHome(t *testing.T) {
	bubble(t, 3, func(t *testing.T, r *rig) {
		k, done := r.open()
		defer done()
		for i, f := range r.nodes {
			for range 5 {
				if d := r.check(k, r.userOf(i)); !d.Allowed() || d.Home != f.name || d.Limits[0].Name != "l" {
					t.Errorf("%+v", d)
				}
			}
			if n := f.checks.Load(); n != 5 {
				t.Errorf("%s was asked %d times", f.name, n)
			}
		}
		if s := k.Stats(); s.Home != 15 || s.Other+s.Retried+s.DenyHits+s.Fallback != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// With RouteAny, any node is asked.
func TestRouteAnySpreadsChecks(t *testing.T) {
	bubble(t, 3, func(t *testing.T, r *rig) {
		r.limit = 1000
		k, done := r.open(func(c *client.Config) { c.Route = client.RouteAny })
		defer done()
		for range 60 {
			r.check(k, r.userOf(0))
		}
		for _, f := range r.nodes {
			if f.checks.Load() < 5 {
				t.Errorf("%s was asked %d times of 60", f.name, f.checks.Load())
			}
		}
	})
}

// What the view cannot place is sent to any node, whose answer is the error.
func TestAnInvalidRequestIsAnError(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		for _, f := range r.nodes {
			f.answer(func(context.Context, *weirv1.CheckRequest) *weirv1.Outcome {
				return &weirv1.Outcome{Fault: &weirv1.Fault{Word: "INVALID", Message: "no domain `nope`"}}
			})
		}
		k, done := r.open()
		defer done()
		_, err := k.Check(t.Context(), client.CheckRequest{Domain: "nope"})
		if !errors.Is(err, client.ErrInvalid) || !strings.Contains(err.Error(), "no domain `nope`") {
			t.Errorf("%v", err)
		}
		if n := r.sum(checksOf); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// What would break a stream that others share is never sent.
func TestWhatTheWireCannotCarryIsNotSent(t *testing.T) {
	bubble(t, 1, func(t *testing.T, r *rig) {
		k, done := r.open()
		defer done()
		for _, q := range []client.CheckRequest{
			{},
			{Domain: "d\xff"},
			{Domain: "d", Attributes: map[string]string{"user": "\xff"}},
			{Domain: "d", Attributes: map[string]string{"user": strings.Repeat("x", 257)}},
			{Domain: "d", Cost: map[string]int64{"\xff": 1}},
			{Domain: "d", Mode: "TAKE"},
			{Domain: "d", IdempotencyKey: strings.Repeat("x", 256)},
			{Domain: "d", Ticket: "\xff"},
			{Domain: "d", MaxWaitMS: -1},
		} {
			if _, err := k.Check(t.Context(), q); !errors.Is(err, client.ErrInvalid) {
				t.Errorf("%+v: %v", q, err)
			}
		}
		if n := r.sum(checksOf); n != 0 {
			t.Errorf("%d were sent", n)
		}
	})
}

// A refusal has the status and the problem that it has over HTTP.
func TestARefusalIsTheProblemThatItIsOverHTTP(t *testing.T) {
	bubble(t, 1, func(t *testing.T, r *rig) {
		k, done := r.open()
		defer done()
		for reason, status := range map[string]int{
			"RATE_LIMITED": 429, "QUOTA_EXHAUSTED": 429, "CONCURRENCY_LIMITED": 429, "FALLBACK_SHARE": 429, "CREDITS_EXHAUSTED": 402,
			"BLOCKED": 403, "NO_MATCH": 403, "FALLBACK_CLOSED": 503, "LEDGER_UNAVAILABLE": 503, "OF_A_NEWER_NODE": 503,
		} {
			r.nodes[0].answer(func(context.Context, *weirv1.CheckRequest) *weirv1.Outcome {
				return &weirv1.Outcome{Decision: &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_DENY, Reason: reason}}
			})
			if d := r.check(k, "u"); d.Status != status || d.Reason != reason || d.Type == "" || d.Title == "" {
				t.Errorf("%s: %+v", reason, d)
			}
		}
	})
}

// A check whose caller has gone is an error, before and while it is asked; one whose time is over is a decision.
func TestACancelledCheckIsAnError(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		k, done := r.open()
		defer done()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := k.Check(ctx, ask("u")); !errors.Is(err, context.Canceled) {
			t.Errorf("before: %v", err)
		}
		for _, f := range r.nodes {
			f.answer(hang)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		began := time.Now()
		if _, err := k.Check(ctx, ask("u")); !errors.Is(err, context.Canceled) || time.Since(began) > 11*time.Millisecond {
			t.Errorf("meanwhile: %v after %v", err, time.Since(began))
		}
		ctx, cancel = context.WithTimeout(t.Context(), 0)
		defer cancel()
		if d, err := k.Check(ctx, ask("u")); err != nil || d.Reason != "FALLBACK_CLOSED" {
			t.Errorf("too late: %+v, %v", d, err)
		}
	})
}

// The deadline is ctx's, else the client's; the answer comes before it.
func TestTheDeadlineHolds(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		for _, f := range r.nodes {
			f.answer(hang)
		}
		k, done := r.open(func(c *client.Config) { c.Breaker.Least = 1000 })
		defer done()
		for _, row := range []struct {
			ctx, wait, least, most time.Duration
		}{
			{0, 0, 40 * time.Millisecond, 48 * time.Millisecond},
			{20 * time.Millisecond, 0, 15 * time.Millisecond, 19 * time.Millisecond},
			{time.Second, 0, 900 * time.Millisecond, time.Second},
			{0, 300 * time.Millisecond, 300 * time.Millisecond, 350 * time.Millisecond},
		} {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if row.ctx > 0 {
				ctx, cancel = context.WithTimeout(ctx, row.ctx)
			}
			q := ask("u")
			q.MaxWaitMS = row.wait.Milliseconds()
			began := time.Now()
			d, err := k.Check(ctx, q)
			cancel()
			if took := time.Since(began); err != nil || !d.Fallback() || took < row.least || took > row.most {
				t.Errorf("%+v: %s, %v after %v", row, d.Reason, err, took)
			}
		}
	})
}

// A program that cannot reach any node hears so from Open, and goes on with Run.
func TestOpenNeedsANode(t *testing.T) {
	bubble(t, 1, func(t *testing.T, r *rig) {
		r.nodes[0].kill()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if k, err := client.Open(ctx, r.config()); k != nil || !errors.Is(err, client.ErrUnreachable) {
			t.Errorf("%v", err)
		}
		c := r.config()
		c.Fallback = client.FallbackOpen
		k, err := client.New(c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- k.Run(ctx) }()
		if d := r.check(k, "u"); d.Reason != "FALLBACK_OPEN" || !d.Allowed() {
			t.Errorf("%+v", d)
		}
		r.nodes[0].stop()
		r.nodes[0].start()
		r.until("the node is found", func() bool { return r.check(k, "u").Reason == "OK" })
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Run is called once, and a closed client answers nothing but that.
func TestAClosedClientSaysSo(t *testing.T) {
	bubble(t, 1, func(t *testing.T, r *rig) {
		k, done := r.open()
		if err := k.Run(t.Context()); err == nil {
			t.Error("run twice")
		}
		done()
		done()
		held := &client.Reservation{}
		_, err := k.Check(t.Context(), ask("u"))
		_, _, err2 := k.Reserve(t.Context(), ask("u"))
		_, err3 := k.View(t.Context())
		_, err4 := k.Balance(t.Context(), "a")
		_, err5 := k.Settle(t.Context(), "r-0000-x", client.Settlement{})
		for i, err := range []error{err, err2, err3, err4, err5} {
			if !errors.Is(err, client.ErrClosed) {
				t.Errorf("%d: %v", i, err)
			}
		}
		if _, err := held.Settle(t.Context(), client.Settlement{}); err != nil {
			t.Errorf("nothing to settle: %v", err)
		}
		never, err := client.New(r.config())
		if err != nil {
			t.Fatal(err)
		}
		if err := never.Close(); err != nil {
			t.Error(err)
		}
		if err := never.Run(t.Context()); err == nil {
			t.Error("run after Close")
		}
	})
}

// Close answers what is in progress before it ends, and lets nothing new in.
func TestCloseDrains(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		for _, f := range r.nodes {
			f.answer(func(ctx context.Context, c *weirv1.CheckRequest) *weirv1.Outcome {
				time.Sleep(30 * time.Millisecond)
				return &weirv1.Outcome{Decision: f.truth(c)}
			})
		}
		k, done := r.open()
		answers := make(chan client.Decision, 5)
		for range cap(answers) {
			go func() {
				d, err := k.Check(context.Background(), ask("u"))
				if err != nil {
					t.Error(err)
				}
				answers <- d
			}()
		}
		time.Sleep(5 * time.Millisecond)
		began := time.Now()
		done()
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("closed after %v", took)
		}
		synctest.Wait() // for those that have their answer and did not get to hand it on
		for range cap(answers) {
			select {
			case d := <-answers:
				if d.Reason != "OK" {
					t.Errorf("%+v", d)
				}
			default:
				t.Error("a check was in progress when Close returned")
			}
		}
	})
}

// When Close returns, nothing that the client started is left, whatever it was doing.
func TestNothingIsLeftAfterClose(t *testing.T) {
	bubble(t, 3, func(t *testing.T, r *rig) {
		r.nodes[0].answer(hang)
		k, done := r.open()
		go func() { _, _ = k.Check(t.Context(), ask(r.userOf(0))) }() // it is answered before
		r.check(k, r.userOf(1))
		if mine := ofClient(t); len(mine) == 0 {
			t.Error("goroutines of a client are not recognized")
		}
		done()
		if left := ofClient(t); len(left) > 0 {
			t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
		}
	})
}

// ofClient returns the stacks of this bubble's goroutines that a client started.
func ofClient(t *testing.T) (found []string) {
	t.Helper()
	all := make([]byte, 8<<20)
	all = all[:runtime.Stack(all, true)]
	stacks := strings.Split(string(all), "\n\n") // this goroutine's is the first
	head, _, _ := strings.Cut(stacks[0], "\n")
	_, bubble, ok := strings.Cut(head, "synctest bubble ")
	if !ok {
		t.Fatalf("not in a bubble: %s", head)
	}
	bubble, _, _ = strings.Cut(bubble, "]")
	for _, s := range stacks {
		head, _, _ := strings.Cut(s, "\n")
		if _, in, _ := strings.Cut(head, "synctest bubble "); strings.TrimRight(in, "]:") == bubble && strings.Contains(s, "created by github.com/weir-cluster/weir/client.") {
			found = append(found, s)
		}
	}
	return found
}

func TestConfigsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*client.Config){
		"seeds":        func(c *client.Config) { c.Seeds = nil },
		"seed":         func(c *client.Config) { c.Seeds = []string{"host"} },
		"deadline":     func(c *client.Config) { c.Deadline = -1 },
		"deny cap":     func(c *client.Config) { c.DenyCap = 2 * time.Minute },
		"accounts":     func(c *client.Config) { c.Accounts = -1 },
		"settles":      func(c *client.Config) { c.Settles = -1 },
		"drain":        func(c *client.Config) { c.Drain = time.Hour },
		"spool":        func(c *client.Config) { c.SpoolSync = true },
		"fallback":     func(c *client.Config) { c.Fallback = 9 },
		"route":        func(c *client.Config) { c.Route = 9 },
		"breaker span": func(c *client.Config) { c.Breaker.Span = time.Minute },
		"share":        func(c *client.Config) { c.Breaker.Share = 2 },
		"least":        func(c *client.Config) { c.Breaker.Least = 0 },
		"slow":         func(c *client.Config) { c.Breaker.Slow = 0 },
		"pause":        func(c *client.Config) { c.Breaker.Pause = 8 * time.Second },
	} {
		c := client.DefaultConfig()
		c.Seeds = []string{"localhost:8081"}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if _, err := client.New(c); err == nil || !strings.Contains(err.Error(), strings.Fields(what)[0]) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := client.New(client.Config{Seeds: []string{"localhost:8081"}}); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
