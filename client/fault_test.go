package client_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
)

// The home is killed: the very next check is answered by its deputy, in time, and nobody storms the others for views.
func TestAKilledHomeIsNotMissed(t *testing.T) {
	bubble(t, 3, func(t *testing.T, r *rig) {
		r.limit = 1000
		k, done := r.open()
		defer done()
		user := r.userOf(0)
		r.check(k, user)
		before, watched := r.sum(viewsOf), r.sum(watchesOf)
		r.nodes[0].kill()
		time.Sleep(2 * time.Millisecond) // the reset is on its way
		for range 200 {
			if d := r.check(k, user); d.Reason != "OK" {
				t.Fatalf("%+v", d)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := r.nodes[1].checks.Load(); n < 190 {
			t.Errorf("the deputy was asked %d times of 200", n)
		}
		if n := r.sum(viewsOf) - before; n > 1 {
			t.Errorf("the view was asked for %d times", n)
		}
		if n := r.sum(watchesOf) - watched; n > 1 {
			t.Errorf("the view was watched anew %d times", n)
		}
		for _, n := range k.Stats().Nodes { // a refused connection is gRPC's to mend, as soon as there is somebody again
			if n.Health != client.Healthy {
				t.Errorf("%+v", n)
			}
		}
		moved := r.viewOf(2)
		for p := range moved.Homes {
			if moved.Homes[p] == 0 {
				moved.Homes[p], moved.Deputies[p] = 1, 2
			}
		}
		moved.Members[0].Alive = false
		r.nodes[1].tell(moved)
		r.nodes[2].tell(moved)
		r.until("the client follows", func() bool { return k.Stats().Epoch == 2 })
		was := k.Stats()
		r.check(k, user)
		if is := k.Stats(); is.Home != was.Home+1 || is.Other != was.Other {
			t.Errorf("not straight to the new home: %+v, then %+v", was, is)
		}
	})
}

// The home falls silent without a word. What may be sent again is answered by the deputy, what may not by the fallback,
// all in time; soon the breaker has neither wait any more.
func TestASilentHomeIsLeftAlone(t *testing.T) {
	bubble(t, 3, func(t *testing.T, r *rig) {
		r.limit = 1000
		k, done := r.open()
		defer done()
		user := r.userOf(0)
		r.check(k, user)
		r.network.Cut("10.0.1.1", r.nodes[0].ip)
		keyed := ask(user)
		keyed.IdempotencyKey = "once"
		if d, err := k.Check(t.Context(), keyed); err != nil || d.Reason != "OK" || k.Stats().Retried != 1 {
			t.Errorf("with a key: %+v, %v, %+v", d, err, k.Stats())
		}
		if d := r.check(k, user); d.Reason != "FALLBACK_SHARE" || !d.Fallback() || d.Home != "" {
			t.Errorf("without one: %+v", d)
		}
		for range 3 {
			r.check(k, user)
		}
		was := k.Stats().Other
		for range 20 {
			began := time.Now()
			if d := r.check(k, user); d.Reason != "OK" || time.Since(began) > 5*time.Millisecond {
				t.Fatalf("%+v after %v", d, time.Since(began))
			}
		}
		if n := k.Stats().Other - was; n != 20 {
			t.Errorf("%d of 20 by another node", n)
		}
		r.network.HealAll()
		r.until("a probe finds the home again", func() bool {
			was := k.Stats().Home
			r.check(k, user)
			return k.Stats().Home > was
		})
	})
}

// All nodes are gone: whatever comes is decided here, at once, within this client's share of what was last known.
func TestAllNodesGoneLeavesTheShare(t *testing.T) {
	bubble(t, 3, func(t *testing.T, r *rig) {
		for _, f := range r.nodes {
			v := r.viewOf(1)
			v.Members[0].Clients, v.Members[1].Clients, v.Members[2].Clients = 1, 1, 1
			f.tell(v)
		}
		r.limit = 12
		k, done := r.open()
		defer done()
		r.check(k, "u")
		for _, f := range r.nodes {
			f.kill()
		}
		allowed := 0
		for range 20 {
			d := r.check(k, "u")
			if d.Reason != "FALLBACK_SHARE" {
				t.Fatalf("%+v", d)
			}
			if d.Allowed() {
				allowed++
			} else if d.Status != 429 || d.RetryAfterMS <= 0 || d.Violated[0] != "l" {
				t.Errorf("%+v", d)
			}
		}
		if allowed != 4 { // a third of 12
			t.Errorf("%d allowed", allowed)
		}
		time.Sleep(16 * time.Minute) // a fourth of the share
		if d := r.check(k, "u"); !d.Allowed() {
			t.Errorf("after a while: %+v", d)
		}
		if d := r.check(k, "stranger"); d.Reason != "FALLBACK_CLOSED" || d.Status != 503 {
			t.Errorf("%+v", d)
		}
	})
}

// A node that accepts connections and never says a word costs neither the start nor a check its deadline.
func TestANodeThatAcceptsAndNeverAnswers(t *testing.T) {
	bubble(t, 3, func(t *testing.T, r *rig) {
		mute := r.nodes[0]
		mute.stop()
		l, err := r.network.Host(mute.ip).Listen(":8081")
		if err != nil {
			t.Fatal(err)
		}
		var accepting sync.WaitGroup
		accepting.Go(func() {
			var open []net.Conn
			for {
				c, err := l.Accept()
				if err != nil {
					break
				}
				open = append(open, c)
			}
			for _, c := range open {
				_ = c.Close()
			}
		})
		began := time.Now()
		k, done := r.open(func(c *client.Config) { c.Seeds = []string{mute.ip + ":8081", r.nodes[2].ip + ":8081"} })
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("opened after %v", took)
		}
		for range 8 {
			if d := r.check(k, r.userOf(0)); d.Reason != "OK" {
				t.Fatalf("%+v", d)
			}
		}
		done()
		_ = l.Close()
		accepting.Wait()
		mute.start()
	})
}

// A node takes checks and never answers them: the same, though they were sent.
func TestANodeThatTakesChecksAndNeverAnswers(t *testing.T) {
	bubble(t, 3, func(t *testing.T, r *rig) {
		r.limit = 1000
		r.nodes[0].answer(hang)
		k, done := r.open()
		defer done()
		user := r.userOf(0)
		for range 5 {
			q := ask(user)
			q.Mode = client.Peek
			if d, err := k.Check(t.Context(), q); err != nil || d.Reason != "OK" {
				t.Errorf("%+v, %v", d, err)
			}
		}
		if n := r.nodes[0].checks.Load(); n != 5 {
			t.Errorf("asked %d times before it was left alone", n)
		}
		for range 10 {
			if d := r.check(k, user); d.Reason != "OK" {
				t.Errorf("%+v", d)
			}
		}
		if n := r.nodes[0].checks.Load(); n != 5 {
			t.Errorf("asked %d times while it is left alone", n)
		}
	})
}

// What was sent without a key is sent to nobody else, and never more than twice with one.
func TestOnlyWhatMayBeRepeatedIs(t *testing.T) {
	bubble(t, 4, func(t *testing.T, r *rig) {
		for _, f := range r.nodes {
			f.answer(func(context.Context, *weirv1.CheckRequest) *weirv1.Outcome {
				return &weirv1.Outcome{Fault: &weirv1.Fault{Word: "UNAVAILABLE", Message: "no quorum"}}
			})
		}
		k, done := r.open(func(c *client.Config) { c.Breaker.Least = 1000 })
		defer done()
		for _, row := range []struct {
			key, mode string
			sent      int64
		}{{"", "", 1}, {"", client.Reserve, 1}, {"k", "", 2}, {"", client.Peek, 2}} {
			before := r.sum(checksOf)
			q := ask("u")
			q.IdempotencyKey, q.Mode = row.key, row.mode
			if d, err := k.Check(t.Context(), q); err != nil || !d.Fallback() {
				t.Errorf("%+v: %+v, %v", row, d, err)
			}
			if n := r.sum(checksOf) - before; n != row.sent {
				t.Errorf("%+v: sent %d times", row, n)
			}
		}
	})
}

// Callers who give up early say nothing about the node.
func TestImpatientCallersDoNotRestANode(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		r.nodes[0].answer(hang)
		k, done := r.open()
		defer done()
		for range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(5*time.Millisecond, cancel)
			if _, err := k.Check(ctx, ask(r.userOf(0))); err == nil {
				t.Error("answered")
			}
		}
		for _, patience := range []time.Duration{-time.Second, time.Millisecond, 5 * time.Millisecond} {
			for range 10 {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				if d, err := k.Check(ctx, ask(r.userOf(0))); err != nil || !d.Fallback() {
					t.Errorf("%+v, %v", d, err)
				}
				cancel()
			}
		}
		for _, n := range k.Stats().Nodes {
			if n.Health != client.Healthy {
				t.Errorf("%+v", n)
			}
		}
	})
}

// The clock jumps: nothing is refused, rested or shared out for as long as it jumped.
func TestTheClockMayJump(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		var jump atomic.Int64
		k, done := r.open(func(c *client.Config) {
			c.Now = func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }
		})
		defer done()
		r.limit = 1
		r.check(k, "u")
		r.check(k, "u")
		if d := r.check(k, "u"); !d.Cached {
			t.Fatalf("%+v", d)
		}
		jump.Store(-int64(time.Hour))
		if d := r.check(k, "u"); d.Cached || d.Reason != "RATE_LIMITED" {
			t.Errorf("a refusal outlived the jump back: %+v", d)
		}
		user := r.userOf(0)
		r.nodes[0].answer(hang)
		for range 6 {
			r.check(k, user)
		}
		r.nodes[0].answer(nil)
		jump.Store(-int64(2 * time.Hour))
		was := k.Stats().Home
		if r.check(k, user); k.Stats().Home != was+1 {
			t.Errorf("the home still rests: %+v", k.Stats())
		}
		jump.Store(int64(10 * time.Hour))
		if d := r.check(k, "v"); !d.Allowed() {
			t.Errorf("%+v", d)
		}
	})
}

// Ten thousand goroutines at once share three streams, and exactly the limit is admitted.
func TestTenThousandGoroutines(t *testing.T) {
	bubble(t, 3, func(t *testing.T, r *rig) {
		r.limit = 1234
		k, done := r.open(func(c *client.Config) { c.DenyMax = -1 })
		defer done()
		r.check(k, "all")
		var allowed, refused, other atomic.Int64
		var all sync.WaitGroup
		for range 10_000 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				d, err := k.Check(ctx, ask("all"))
				switch {
				case err == nil && d.Reason == "OK":
					allowed.Add(1)
				case err == nil && d.Reason == "RATE_LIMITED":
					refused.Add(1)
				default:
					other.Add(1)
				}
			})
		}
		all.Wait()
		if allowed.Load() != 1233 || refused.Load() != 10_000-1233 || other.Load() != 0 {
			t.Errorf("%d allowed, %d refused, %d neither", allowed.Load(), refused.Load(), other.Load())
		}
		if n := r.sum(streamsOf); n > int64(len(r.nodes)) {
			t.Errorf("%d streams to %d nodes", n, len(r.nodes))
		}
		if n := r.sum(messagesOf); n > 9000 {
			t.Errorf("%d messages for 10,001 checks: they do not share them", n)
		}
	})
}
