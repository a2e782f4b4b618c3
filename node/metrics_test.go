package node

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// ready decides at once that a limit refuses, or leaves it to Check.
type ready struct {
	cluster.Decider
	decides bool
	err     error
}

func (r ready) Try(_ *policy.Request, d *policy.Decision) (bool, error) {
	*d = policy.Decision{Verdict: policy.Deny, Reason: policy.RateLimited, Refusing: "rpm"}
	return r.decides, r.err
}

func (r ready) Check(context.Context, policy.Request) (policy.Decision, error) {
	return policy.Decision{Verdict: policy.Allow, Reason: policy.OK}, r.err
}

func written(m *meters) string {
	var b strings.Builder
	m.write(&b)
	return b.String()
}

func quietMeters() *meters {
	zero := func() float64 { return 0 }
	return newMeters("v", gauges{
		epoch: zero, members: zero, buckets: zero, term: zero, shares: zero, bound: zero, leading: zero, lease: zero,
		tally: func() cluster.Tally { return cluster.Tally{} }, lost: func() uint64 { return 0 },
		moves: func() (uint64, time.Duration) { return 0, 0 }, unreached: zero,
	})
}

func TestEveryDecisionIsCountedAndOnlyDecisions(t *testing.T) {
	t.Parallel()
	m := quietMeters()
	const n = 1000
	for _, r := range []ready{{decides: true}, {decides: false}, {decides: true, err: policy.ErrInvalid}} {
		d := metered{r, m, time.Now}
		for range n {
			if decided, err := d.Try(&policy.Request{}, &policy.Decision{}); decided != r.decides || (err != nil) != (r.err != nil) {
				t.Fatal(decided, err)
			}
		}
	}
	d := metered{ready{}, m, time.Now}
	for range 7 {
		if _, err := d.Check(t.Context(), policy.Request{}); err != nil {
			t.Fatal(err)
		}
	}
	text := written(m)
	for _, want := range []string{
		`weir_decisions_total{limit="rpm",verdict="DENY",reason="RATE_LIMITED",path="home"} 1000` + "\n",
		`weir_decisions_total{limit="",verdict="ALLOW",reason="OK",path="home"} 7` + "\n",
		`weir_check_errors_total{path="home"} 1000` + "\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	var timed int
	_, after, _ := strings.Cut(text, `weir_check_duration_seconds_count{path="home"} `)
	if _, err := fmt.Sscan(after, &timed); err != nil || timed%timedEach != 7 || timed < n || timed > 3*n { // 2000 on average
		t.Errorf("durations of %d checks, %v, about 2007 were decided", timed, err)
	}
}

// carrying is a peer that answers what is forwarded.
type carrying struct {
	cluster.Peer
	carried cluster.Carried
	err     error
}

func (c carrying) Forward(_ context.Context, _ uint64, _ string, _ uint64, _ time.Duration, answer func(cluster.Carried, error)) {
	answer(c.carried, c.err)
}

// carryingPeers finds the same peer everywhere.
type carryingPeers struct{ peer carrying }

func (c carryingPeers) Peer(string) cluster.Peer { return c.peer }

func TestWhatIsForwardedIsCountedByWhatCameOfIt(t *testing.T) {
	t.Parallel()
	m := quietMeters()
	for _, c := range []carrying{
		{carried: cluster.Carried{Verdict: policy.Deny, Reason: policy.RateLimited, Refusing: "rpm", Took: 3 * time.Microsecond}},
		{carried: cluster.Carried{Verdict: policy.Allow, Reason: policy.OK, Took: time.Hour}},
		{err: cluster.ErrUnreachable},
	} {
		heard := 0
		meteredPeers{carryingPeers{c}, m, time.Now}.Peer("").Forward(t.Context(), 1, "", 1, time.Second, func(got cluster.Carried, err error) {
			if heard++; got.Refusing != c.carried.Refusing || err != c.err {
				t.Errorf("heard %+v, %v", got, err)
			}
		})
		if heard != 1 {
			t.Errorf("answered %d times", heard)
		}
	}
	text := written(m)
	for _, want := range []string{
		`weir_decisions_total{limit="rpm",verdict="DENY",reason="RATE_LIMITED",path="forward"} 1`, `weir_check_errors_total{path="forward"} 1`,
		`weir_decisions_total{limit="",verdict="ALLOW",reason="OK",path="forward"} 1`, `weir_check_duration_seconds_bucket{path="forward",le="5e-06"} 2`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestAHistogramCountsUpToEachBound(t *testing.T) {
	t.Parallel()
	h := newHistogram()
	h.note(time.Microsecond, 1)
	h.note(3*time.Microsecond, 16)
	h.note(time.Hour, 2)
	var b strings.Builder
	h.write(&b, "x", "p")
	for _, want := range []string{
		`x_bucket{path="p",le="1e-06"} 1`, `x_bucket{path="p",le="2.5e-06"} 1`, `x_bucket{path="p",le="5e-06"} 17`,
		`x_bucket{path="p",le="2.5"} 17`, `x_bucket{path="p",le="+Inf"} 19`, `x_sum{path="p"} 7200.000049`, `x_count{path="p"} 19`,
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
}
