package client_test

import (
	"context"
	"testing"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
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
