package client

import (
	"testing"
	"time"
)

// breakerStep is something that happens to a breaker, and its health after it.
type breakerStep struct {
	at     time.Duration // since the start
	do     string        // ok, slow, bad: the end of a check; may, mayn't: whether the node may be asked
	expect Health
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	c := Breaker{Span: 4 * time.Second, Least: 4, Share: 0.5, Slow: 100 * time.Millisecond, Pause: time.Second}
	for name, steps := range map[string][]breakerStep{
		"too few to judge": {{0, "bad", Healthy}, {0, "bad", Healthy}, {0, "bad", Healthy}, {0, "may", Healthy}},
		"half are bad": {
			{0, "ok", Healthy}, {0, "ok", Healthy}, {0, "bad", Healthy}, {0, "bad", Resting}, {0, "mayn't", Resting}, {999 * time.Millisecond, "mayn't", Resting},
		},
		"slow is bad": {{0, "slow", Healthy}, {0, "slow", Healthy}, {0, "slow", Healthy}, {0, "slow", Resting}},
		"one probe each pause": {
			{0, "bad", Healthy},
			{0, "bad", Healthy},
			{0, "bad", Healthy},
			{0, "bad", Resting},
			{time.Second, "may", Probing},
			{time.Second, "mayn't", Probing},
			{time.Second, "bad", Resting},
			{1900 * time.Millisecond, "mayn't", Resting},
			{2 * time.Second, "may", Probing},
			{2 * time.Second, "ok", Healthy},
			{2 * time.Second, "may", Healthy},
			{2 * time.Second, "bad", Healthy},
		},
		"a probe that never ends only delays": {
			{0, "bad", Healthy},
			{0, "bad", Healthy},
			{0, "bad", Healthy},
			{0, "bad", Resting},
			{time.Second, "may", Probing},
			{1500 * time.Millisecond, "mayn't", Probing},
			{2 * time.Second, "may", Probing},
		},
		"a slow probe fails": {{0, "bad", Healthy}, {0, "bad", Healthy}, {0, "bad", Healthy}, {0, "bad", Resting}, {time.Second, "may", Probing}, {time.Second, "slow", Resting}},
		"the past fades": {
			{0, "ok", Healthy}, {0, "bad", Healthy}, {0, "bad", Healthy}, {4 * time.Second, "bad", Healthy}, {4 * time.Second, "ok", Healthy}, {4 * time.Second, "may", Healthy},
		},
		"the older half still counts": {
			{0, "ok", Healthy}, {time.Second, "bad", Healthy}, {2 * time.Second, "bad", Healthy}, {2 * time.Second, "bad", Resting},
		},
		"the clock goes back while it rests": {
			{0, "bad", Healthy}, {0, "bad", Healthy}, {0, "bad", Healthy}, {0, "bad", Resting}, {-time.Hour, "may", Probing}, {-time.Hour, "ok", Healthy},
		},
		"the clock goes back while it works": {
			{0, "bad", Healthy}, {0, "bad", Healthy}, {0, "bad", Healthy}, {-time.Hour, "bad", Healthy}, {-time.Hour, "may", Healthy},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			follow(t, &breaker{c: c}, steps)
		})
	}
}

func follow(t *testing.T, b *breaker, steps []breakerStep) {
	t.Helper()
	start := time.Unix(1_000_000, 0)
	for i, s := range steps {
		now := start.Add(s.at)
		switch s.do {
		case "ok":
			b.record(now, time.Millisecond, false)
		case "slow":
			b.record(now, b.c.Slow, false)
		case "bad":
			b.record(now, time.Millisecond, true)
		default:
			if b.allow(now) != (s.do == "may") {
				t.Errorf("step %d: %s is wrong", i, s.do)
			}
		}
		if b.state() != s.expect {
			t.Errorf("step %d: %v, want %v", i, b.state(), s.expect)
		}
	}
}
