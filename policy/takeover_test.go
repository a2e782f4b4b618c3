package policy

import "testing"

func TestTakeoverIsACopyOrEmptyAsTheLimitSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit string
		left  int64 // of 10, of which the copy knows that 2 were taken
	}{
		{"token_bucket, rate: 1/h, burst: 10", 8},
		{"token_bucket, rate: 1/h, burst: 10, takeover: copy", 8},
		{"token_bucket, rate: 1/h, burst: 10, takeover: empty", 0},
		{"token_bucket, rate: 1/h, burst: 10, takeover: empty, cold_start: fresh", 8},
		{"fixed_window, limit: 10, window: 1h, takeover: empty", 8},
		{"fixed_window, limit: 10, window: 1h, takeover: empty, cold_start: drained", 0},
	} {
		g := newRig(t, aroundLimit("{name: a, key: [user], algorithm: "+c.limit+"}"))
		a, err := g.policy.Account(alice())
		if err != nil {
			t.Fatal(err)
		}
		g.check(t, alice("requests:2"))
		g.limits.Inherit(a.Partition, g.now.UnixNano())
		if d := g.check(t, Standing("llm", alice().Attributes)); d.Limits[0].Remaining != c.left {
			t.Errorf("%s: %d left, want %d", c.limit, d.Limits[0].Remaining, c.left)
		}
	}
}
