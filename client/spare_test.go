package client_test

import (
	"context"
	"strings"
	"testing"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
)

const (
	share  = weirv1.Fallback_FALLBACK_SHARE
	open   = weirv1.Fallback_FALLBACK_OPEN
	closed = weirv1.Fallback_FALLBACK_CLOSED
	silent = weirv1.Fallback_FALLBACK_UNSPECIFIED
)

// lost has one client learn a decision of these limits, kills every node, and returns what the client then says to q.
func lost(t *testing.T, reason string, limits []*weirv1.LimitState, change func(*client.Config), qs ...client.CheckRequest) (said []client.Decision) {
	t.Helper()
	bubble(t, 2, func(t *testing.T, r *rig) {
		for _, f := range r.nodes {
			f.answer(func(context.Context, *weirv1.CheckRequest) *weirv1.Outcome {
				d := &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_ALLOW, Reason: reason, Epoch: 1, PolicyVersion: 1, Home: "n1", Limits: limits}
				if reason != "OK" {
					d.Verdict = weirv1.Verdict_VERDICT_DENY
				}
				return &weirv1.Outcome{Decision: d}
			})
		}
		k, done := r.open(change)
		defer done()
		if _, err := k.Check(t.Context(), qs[0]); err != nil {
			t.Fatal(err)
		}
		for _, f := range r.nodes {
			f.kill()
		}
		for _, q := range qs {
			d, err := k.Check(t.Context(), q)
			if err != nil {
				t.Error(err)
			}
			said = append(said, d)
		}
	})
	return said
}

func state(name, meter string, limit int64, f weirv1.Fallback) *weirv1.LimitState {
	return &weirv1.LimitState{Name: name, Meter: meter, Limit: limit, WindowMs: 60_000, Fallback: f}
}

// When no node answers, each limit's fallback has its say, and the strictest decides.
func TestFallbackOfEachLimit(t *testing.T) {
	usual := func(*client.Config) {}
	opens := func(c *client.Config) { c.Fallback = client.FallbackOpen }
	q := func(mode string, cost map[string]int64) client.CheckRequest {
		return client.CheckRequest{Domain: "d", Attributes: map[string]string{"user": "u"}, Mode: mode, Cost: cost}
	}
	for name, row := range map[string]struct {
		reason string
		limits []*weirv1.LimitState
		config func(*client.Config)
		ask    client.CheckRequest
		times  int
		want   string // verdict and reason of the last
	}{
		"open":                {"OK", []*weirv1.LimitState{state("a", "requests", 1, open)}, usual, q("", nil), 3, "ALLOW FALLBACK_OPEN"},
		"closed":              {"OK", []*weirv1.LimitState{state("a", "requests", 9, closed)}, usual, q("", nil), 1, "DENY FALLBACK_CLOSED"},
		"share":               {"OK", []*weirv1.LimitState{state("a", "requests", 2, share)}, usual, q("", nil), 2, "ALLOW FALLBACK_SHARE"},
		"share is used up":    {"OK", []*weirv1.LimitState{state("a", "requests", 2, share)}, usual, q("", nil), 3, "DENY FALLBACK_SHARE"},
		"closed beats share":  {"OK", []*weirv1.LimitState{state("a", "requests", 9, share), state("b", "requests", 9, closed)}, usual, q("", nil), 1, "DENY FALLBACK_CLOSED"},
		"share beats open":    {"OK", []*weirv1.LimitState{state("a", "requests", 9, open), state("b", "requests", 1, share)}, usual, q("", nil), 2, "DENY FALLBACK_SHARE"},
		"the tightest share":  {"OK", []*weirv1.LimitState{state("a", "requests", 9, share), state("b", "requests", 1, share)}, usual, q("", nil), 2, "DENY FALLBACK_SHARE"},
		"another meter":       {"OK", []*weirv1.LimitState{state("a", "requests", 9, share), state("b", "tokens", 1, closed)}, usual, q("", nil), 1, "ALLOW FALLBACK_SHARE"},
		"its meter":           {"OK", []*weirv1.LimitState{state("a", "requests", 9, share), state("b", "tokens", 5, share)}, usual, q("", map[string]int64{"tokens": 6}), 1, "DENY FALLBACK_SHARE"},
		"no limit at all":     {"OK", nil, usual, q("", nil), 1, "ALLOW FALLBACK_OPEN"},
		"blocked":             {"BLOCKED", nil, opens, q("", nil), 1, "DENY FALLBACK_CLOSED"},
		"nothing matched":     {"NO_MATCH", nil, opens, q("", nil), 1, "DENY FALLBACK_CLOSED"},
		"no word, closed":     {"OK", []*weirv1.LimitState{state("a", "requests", 1, silent)}, usual, q("", nil), 1, "DENY FALLBACK_CLOSED"},
		"no word, open":       {"OK", []*weirv1.LimitState{state("a", "requests", 1, silent)}, opens, q("", nil), 1, "ALLOW FALLBACK_OPEN"},
		"a look takes naught": {"OK", []*weirv1.LimitState{state("a", "requests", 1, share)}, usual, q(client.Peek, nil), 3, "ALLOW FALLBACK_SHARE"},
		"a reserve takes":     {"OK", []*weirv1.LimitState{state("a", "requests", 1, share)}, usual, q(client.Reserve, nil), 2, "DENY FALLBACK_SHARE"},
		"credit does not pay": {"CREDITS_EXHAUSTED", []*weirv1.LimitState{{Name: "a", Meter: "requests", Limit: 1, WindowMs: 60_000, Fallback: share, Spill: true, Refused: true}}, usual, q("", nil), 2, "DENY FALLBACK_SHARE"},
		"a shadow is silent":  {"OK", []*weirv1.LimitState{{Name: "a", Meter: "requests", Limit: 1, Fallback: closed, Shadow: true}}, usual, q("", nil), 1, "ALLOW FALLBACK_OPEN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asks := make([]client.CheckRequest, row.times)
			for i := range asks {
				asks[i] = row.ask
			}
			said := lost(t, row.reason, row.limits, row.config, asks...)
			d := said[len(said)-1]
			if got := d.Verdict + " " + d.Reason; got != row.want || !d.Fallback() || d.Home != "" || d.DecisionID != "" {
				t.Errorf("%s, want %s: %+v", got, row.want, d)
			}
			if strings.Contains(d.Message, "10.0.0") || (d.Status >= 400) == d.Allowed() {
				t.Errorf("%+v", d)
			}
		})
	}
}

// Of several shares that refuse, the one with the longest wait says when to come back.
func TestTheLongestShareTellsTheWait(t *testing.T) {
	slow := &weirv1.LimitState{Name: "slow", Meter: "requests", Limit: 1, WindowMs: 3_600_000, Fallback: share}
	said := lost(t, "OK", []*weirv1.LimitState{state("a", "requests", 1, share), slow, state("b", "requests", 1, share)}, func(*client.Config) {}, ask("u"), ask("u"))
	if d := said[1]; d.RetryAfterMS < 3_599_000 || len(d.Violated) != 3 || !strings.Contains(d.Message, "slow") {
		t.Errorf("%+v", d)
	}
}

// What was never decided goes by the domain if all its limits agree, else by the client's own word.
func TestFallbackForStrangers(t *testing.T) {
	for name, row := range map[string]struct {
		domain weirv1.Fallback
		own    client.Fallback
		want   string
	}{
		"domain open":     {open, client.FallbackClosed, "FALLBACK_OPEN"},
		"domain closed":   {closed, client.FallbackOpen, "FALLBACK_CLOSED"},
		"domain shares":   {share, client.FallbackClosed, "FALLBACK_CLOSED"},
		"mixed, own open": {silent, client.FallbackOpen, "FALLBACK_OPEN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, 1, func(t *testing.T, r *rig) {
				v := r.viewOf(1)
				v.Domains[0].Fallback = row.domain
				r.nodes[0].tell(v)
				k, done := r.open(func(c *client.Config) { c.Fallback = row.own })
				defer done()
				r.nodes[0].kill()
				if d := r.check(k, "u"); d.Reason != row.want || d.PolicyVersion != 1 || d.Epoch != 1 {
					t.Errorf("%+v", d)
				}
			})
		})
	}
}

// A node that fell back itself tells its share of the limits, or none: that is no knowledge of them.
func TestAFallbackOfANodeTeachesNothing(t *testing.T) {
	bubble(t, 1, func(t *testing.T, r *rig) {
		k, done := r.open()
		defer done()
		r.nodes[0].answer(func(context.Context, *weirv1.CheckRequest) *weirv1.Outcome {
			return &weirv1.Outcome{Decision: &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_DENY, Reason: "FALLBACK_CLOSED", Epoch: 1, PolicyVersion: 1, Home: "n1"}}
		})
		r.check(k, "u")
		r.nodes[0].kill()
		time.Sleep(5 * time.Millisecond)
		if d := r.check(k, "u"); d.Allowed() || d.Home != "" {
			t.Errorf("%+v", d)
		}
	})
}

// The reason that no node answers is told to who asks for it, and to nobody else.
func TestFallbackExplainsItself(t *testing.T) {
	q := ask("u")
	q.Explain = true
	said := lost(t, "OK", nil, func(*client.Config) {}, q)
	if e := said[0].Explain; len(e) != 1 || !strings.Contains(e[0].Detail, "10.0.0") {
		t.Errorf("%+v", e)
	}
}

// As many shares are kept as there is room for; beyond it nothing is admitted that would forget one in use.
func TestSharesAreBounded(t *testing.T) {
	bubble(t, 1, func(t *testing.T, r *rig) {
		r.limit = 3
		k, done := r.open(func(c *client.Config) { c.Accounts = 1 }) // so four buckets
		defer done()
		r.nodes[0].answer(func(context.Context, *weirv1.CheckRequest) *weirv1.Outcome {
			var l []*weirv1.LimitState
			for _, name := range []string{"a", "b", "c", "d", "e"} {
				l = append(l, state(name, "requests", 3, share))
			}
			return &weirv1.Outcome{Decision: &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_ALLOW, Reason: "OK", Limits: l, Epoch: 1, PolicyVersion: 1, Home: "n1"}}
		})
		r.check(k, "u")
		r.nodes[0].kill()
		admitted := 0
		for range 10 {
			if d := r.check(k, "u"); d.Allowed() {
				admitted++
			}
		}
		if admitted > 3 {
			t.Errorf("%d admitted", admitted)
		}
	})
}
