package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/limiter"
)

func TestRequestThatMatchesTooManyLimitsIsInvalid(t *testing.T) {
	t.Parallel()
	g := newRig(t, limitsOf(matchesMax))
	if d := g.check(t, alice()); d.Verdict != Allow || len(d.Limits) != matchesMax {
		t.Errorf("%s with %d limits", d.Verdict, len(d.Limits))
	}
	g = newRig(t, limitsOf(matchesMax+1))
	if _, err := g.w.Check(t.Context(), alice()); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "matches more than 256 limits") {
		t.Error(err)
	}
}

func TestExplanationIsCutAndSaysSo(t *testing.T) {
	t.Parallel()
	g := newRig(t, tenThousandRules())
	r := alice("tier=free")
	r.Explain = true
	d := g.check(t, r)
	if n := len(d.Explain); n != stepsMax+1 || d.Explain[n-1] != (Step{"more", "left out", "9000 more lines"}) {
		t.Errorf("%d steps, the last %v", n, d.Explain[n-1])
	}
}

// TestFullStoreGivesNewKeysTheLimitsFallback: the store has room for one bucket, which is alice's.
func TestFullStoreGivesNewKeysTheLimitsFallback(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fallback, user string
		want           Reason
	}{
		{"share", "alice", OK},
		{"share", "bob", FallbackClosed},
		{"closed", "bob", FallbackClosed},
		{"open", "bob", FallbackOpen},
		{"open", "alice", OK},
	} {
		g := newRig(t, aroundLimit("{name: a, key: [user], algorithm: fixed_window, limit: 2, window: 1h, fallback: "+c.fallback+"}"))
		g.w.c.Limits = limiter.NewStore(limiter.Config{BucketsMax: 1})
		g.check(t, alice())
		d := g.check(t, request([]string{"user=" + c.user}))
		if d.Reason != c.want || (d.Verdict == Allow) != (c.want != FallbackClosed) {
			t.Errorf("%s, %s: %s %s %q, want %s", c.fallback, c.user, d.Verdict, d.Reason, d.Message, c.want)
		}
		if c.want == OK { // a limit that has its bucket is never open
			if d := g.check(t, alice()); d.Reason != RateLimited {
				t.Errorf("%s: %+v", c.fallback, d)
			}
		}
	}
}

// TestFullStoreOpensOnlyTheLimitsWithoutABucket: alice's bucket of a is there, that of b has no room.
func TestFullStoreOpensOnlyTheLimitsWithoutABucket(t *testing.T) {
	t.Parallel()
	const open = ", algorithm: fixed_window, limit: 2, window: 1h, fallback: open}"
	g := newRig(t, aroundLimit("{name: a, key: [user]"+open+", {name: b, key: [user, model]"+open))
	g.w.c.Limits = limiter.NewStore(limiter.Config{BucketsMax: 1})
	g.check(t, alice())
	for _, want := range []string{"ALLOW FALLBACK_OPEN LIMIT requests:1 [a 0]", "DENY RATE_LIMITED 429"} {
		if got := told(g.check(t, alice("model=large"))); !strings.HasPrefix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestColdStartIsDrainedOrFreshAsTheLimitSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit string
		left  int64
	}{
		{"token_bucket, rate: 60/min, burst: 10", 3},
		{"token_bucket, rate: 60/min, burst: 10, cold_start: drained", 3},
		{"token_bucket, rate: 60/min, burst: 10, cold_start: fresh", 10},
		{"fixed_window, limit: 10, window: 1h", 10},
		{"fixed_window, limit: 10, window: 1h, cold_start: drained", 0},
		{"calendar_window, limit: 10, window: day, cold_start: drained", 0},
		{"sliding_window, limit: 10, window: 1h, cold_start: fresh", 10},
	} {
		g := newRig(t, aroundLimit("{name: a, key: [user], algorithm: "+c.limit+"}"))
		a, err := g.policy.Account(alice())
		if err != nil {
			t.Fatal(err)
		}
		g.limits.Cold(a.Partition, g.now.UnixNano())
		g.now = g.now.Add(3 * time.Second)
		if d := g.check(t, Standing("llm", alice().Attributes)); d.Limits[0].Remaining != c.left {
			t.Errorf("%s: %d left, want %d", c.limit, d.Limits[0].Remaining, c.left)
		}
	}
}

func TestDecisionsMayBeWrittenOverOneAnother(t *testing.T) {
	t.Parallel()
	g := newRig(t, spillPolicy)
	g.open(t, "alice", 0, 0, 1_000_000)
	var d Decision
	for i, words := range [][]string{{"model=large", "tokens:150", "requests:2"}, {}, {"model=large", "tokens:5", "requests:9"}, {"reserve"}, {"usr=x", "tokns:1"}} {
		r := alice(words...)
		h := newRig(t, spillPolicy) // as one decision of its own is
		h.open(t, "alice", 0, 0, 1_000_000)
		for _, before := range [][]string{{"model=large", "tokens:150", "requests:2"}, {}, {"model=large", "tokens:5", "requests:9"}, {"reserve"}}[:min(i, 4)] {
			h.check(t, alice(before...))
		}
		want, wantErr := h.w.Check(t.Context(), r)
		decided, err := g.w.Try(&r, &d)
		if !decided {
			d, err = g.w.Check(t.Context(), r)
		}
		if fmt.Sprint(err) != fmt.Sprint(wantErr) || told(d) != told(want) || (d.Reservation == "") != (want.Reservation == "") {
			t.Errorf("%d: %s %v, want %s %v", i, told(d), err, told(want), wantErr)
		}
	}
}

func TestAuthDoorsReadEveryPartThatThePolicyMaps(t *testing.T) {
	t.Parallel()
	p, err := Parse("f", []byte(around("http: {attributes: {user: header X-Api-Key, where: path, how: method, site: host, ip: client_ip}}")))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(p.domains["llm"].HTTPAttributes())
	if want := "[{user X-Api-Key header} {where  path} {how  method} {site  host} {ip  client_ip}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, style := range headerWords {
		if p, err := Parse("f", []byte(around("headers: "+style))); err != nil || p.domains["llm"].Headers() != style {
			t.Errorf("%s: %v", style, err)
		}
	}
}
