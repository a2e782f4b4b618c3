package client_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/ring"
)

// A refusal that only time ends is repeated from memory, with what is left of its wait, and asked anew after the cap.
func TestARefusalIsRepeatedFromMemory(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		r.limit = 1
		k, done := r.open()
		defer done()
		r.check(k, "u")
		first := r.check(k, "u")
		if first.Cached || first.Allowed() || first.RetryAfterMS != 60_000 {
			t.Fatalf("%+v", first)
		}
		asked := r.sum(checksOf)
		time.Sleep(500 * time.Millisecond)
		d := r.check(k, "u")
		if !d.Cached || d.RetryAfterMS > 59_500 || d.RetryAfterMS < 59_490 || d.Limits[0].WaitMS != d.RetryAfterMS || d.Reason != "RATE_LIMITED" || d.Status != 429 {
			t.Errorf("%+v", d)
		}
		if n := r.sum(checksOf) - asked; n != 0 || k.Stats().DenyHits != 1 {
			t.Errorf("asked %d times, %+v", n, k.Stats())
		}
		time.Sleep(500 * time.Millisecond)
		if d := r.check(k, "u"); d.Cached {
			t.Errorf("past the cap: %+v", d)
		}
		if d := r.check(k, "v"); !d.Allowed() {
			t.Errorf("another account: %+v", d)
		}
	})
}

// Who was refused at one instant does not ask again at one instant, nor after the cap.
func TestRefusedClientsDoNotComeBackInStep(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		r.limit = 0
		k, done := r.open()
		defer done()
		var early, late atomic.Int64
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				user := fmt.Sprint("u", i)
				r.check(k, user)
				time.Sleep(950 * time.Millisecond)
				if r.check(k, user).Cached {
					late.Add(1)
				} else {
					early.Add(1)
				}
			})
		}
		all.Wait()
		if early.Load() < 5 || late.Load() < 5 {
			t.Errorf("%d of 50 asked again before 950 ms, %d after", early.Load(), late.Load())
		}
	})
}

// What may be admitted all the same is always asked.
func TestWhatMemoryMayNotRefuse(t *testing.T) {
	refuse := func(change func(*weirv1.Decision)) func(context.Context, *weirv1.CheckRequest) *weirv1.Outcome {
		return func(context.Context, *weirv1.CheckRequest) *weirv1.Outcome {
			d := &weirv1.Decision{
				Verdict: weirv1.Verdict_VERDICT_DENY, Reason: "RATE_LIMITED", RetryAfterMs: 60_000, Epoch: 1, PolicyVersion: 1, Home: "n1",
				Limits: []*weirv1.LimitState{{Name: "l", Meter: "requests", Refused: true}, {Name: "m", Meter: "tokens"}},
			}
			change(d)
			return &weirv1.Outcome{Decision: d}
		}
	}
	same := func(*client.CheckRequest) {}
	for name, row := range map[string]struct {
		decision func(*weirv1.Decision)
		second   func(*client.CheckRequest)
		cached   bool
	}{
		"the same again": {func(*weirv1.Decision) {}, same, true},
		"quota":          {func(d *weirv1.Decision) { d.Reason = "QUOTA_EXHAUSTED" }, same, true},
		"a shadow spills": {func(d *weirv1.Decision) {
			d.Limits[1].Refused, d.Limits[1].Shadow, d.Limits[1].Spill = true, true, true
		}, same, true},
		"another spills":        {func(d *weirv1.Decision) { d.Limits[1].Spill = true }, same, true},
		"costs more":            {func(*weirv1.Decision) {}, func(q *client.CheckRequest) { q.Cost = map[string]int64{"requests": 3, "tokens": 9} }, true},
		"costs less":            {func(*weirv1.Decision) {}, func(q *client.CheckRequest) { q.Cost = map[string]int64{"requests": 2, "tokens": 4} }, false},
		"other meters":          {func(*weirv1.Decision) {}, func(q *client.CheckRequest) { q.Cost = map[string]int64{"requests": 2} }, false},
		"other attributes":      {func(*weirv1.Decision) {}, func(q *client.CheckRequest) { q.Attributes["model"] = "large" }, false},
		"credit buys past it":   {func(d *weirv1.Decision) { d.Limits[0].Spill = true }, same, false},
		"a slot may be freed":   {func(d *weirv1.Decision) { d.Limits[0].InFlight = true }, same, false},
		"nothing refused":       {func(d *weirv1.Decision) { d.Limits[0].Refused = false }, same, false},
		"no wait":               {func(d *weirv1.Decision) { d.RetryAfterMs = 0 }, same, false},
		"an operator's block":   {func(d *weirv1.Decision) { d.Reason = "BLOCKED" }, same, false},
		"an outage":             {func(d *weirv1.Decision) { d.Reason = "FALLBACK_SHARE" }, same, false},
		"credit is used up":     {func(d *weirv1.Decision) { d.Reason = "CREDITS_EXHAUSTED" }, same, false},
		"a key may be a repeat": {func(*weirv1.Decision) {}, func(q *client.CheckRequest) { q.IdempotencyKey = "k" }, false},
		"a reservation":         {func(*weirv1.Decision) {}, func(q *client.CheckRequest) { q.Mode = client.Reserve }, false},
		"a look":                {func(*weirv1.Decision) {}, func(q *client.CheckRequest) { q.Mode = client.Peek }, false},
		"it would wait":         {func(*weirv1.Decision) {}, func(q *client.CheckRequest) { q.MaxWaitMS = 10 }, false},
		"it asks why":           {func(*weirv1.Decision) {}, func(q *client.CheckRequest) { q.Explain = true }, false},
		"a newer policy":        {func(d *weirv1.Decision) { d.PolicyVersion = 0 }, same, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, 1, func(t *testing.T, r *rig) {
				r.nodes[0].answer(refuse(row.decision))
				k, done := r.open()
				defer done()
				for i := range 2 {
					q := client.CheckRequest{Domain: "d", Attributes: map[string]string{"user": "u", "b": "1", "a": "2"}, Cost: map[string]int64{"requests": 2, "tokens": 5}}
					if i == 1 {
						row.second(&q)
					}
					d, err := k.Check(t.Context(), q)
					if err != nil || d.Cached != (i == 1 && row.cached) {
						t.Errorf("check %d: %+v, %v", i+1, d, err)
					}
				}
			})
		})
	}
}

// What this client gave back is there for the next check, whatever is remembered; another account's gives nothing.
func TestASettlementEndsWhatIsRemembered(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		k, done := r.open()
		defer done()
		r.limit = 1
		home := int(ring.Partition("d", "u"))
		for _, row := range []struct {
			partition int
			cached    bool
		}{{home ^ 1, true}, {home, false}} {
			r.used["u"] = 0
			time.Sleep(2 * time.Second) // past what was remembered before
			r.check(k, "u")
			r.check(k, "u")
			if d := r.check(k, "u"); !d.Cached {
				t.Fatalf("%+v", d)
			}
			if s, err := k.Settle(t.Context(), reservation(row.partition), client.Settlement{}); err != nil || s.Queued {
				t.Fatalf("%+v, %v", s, err)
			}
			if d := r.check(k, "u"); d.Cached != row.cached {
				t.Errorf("settled in partition %d of %d: %+v", row.partition, home, d)
			}
		}
	})
}

// A refusal that was on its way while its account got something back says nothing about what is there now.
func TestARefusalOlderThanASettlementIsNotRemembered(t *testing.T) {
	bubble(t, 1, func(t *testing.T, r *rig) {
		k, done := r.open()
		defer done()
		r.limit = 0
		r.nodes[0].answer(func(_ context.Context, c *weirv1.CheckRequest) *weirv1.Outcome {
			d := r.nodes[0].truth(c)
			time.Sleep(20 * time.Millisecond)
			return &weirv1.Outcome{Decision: d}
		})
		refused := make(chan client.Decision, 1)
		go func() {
			d, _ := k.Check(t.Context(), ask("u"))
			refused <- d
		}()
		time.Sleep(10 * time.Millisecond)
		if _, err := k.Settle(t.Context(), reservation(int(ring.Partition("d", "u"))), client.Settlement{}); err != nil {
			t.Fatal(err)
		}
		if d := <-refused; d.Reason != "RATE_LIMITED" {
			t.Fatalf("%+v", d)
		}
		if d := r.check(k, "u"); d.Cached {
			t.Errorf("%+v", d)
		}
	})
}

// The deny cache is bounded.
func TestTheDenyCacheIsBounded(t *testing.T) {
	bubble(t, 1, func(t *testing.T, r *rig) {
		r.limit = 0
		k, done := r.open(func(c *client.Config) { c.DenyMax = 2 })
		defer done()
		for _, user := range []string{"a", "b", "a", "c", "a", "b"} { // c pushes b out, which was used least lately
			r.check(k, user)
		}
		if s := k.Stats(); s.DenyHits != 2 || r.sum(checksOf) != 4 {
			t.Errorf("%d hits, asked %d times", s.DenyHits, r.sum(checksOf))
		}
	})
}
