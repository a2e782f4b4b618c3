package policy

import (
	"slices"
	"strings"
	"testing"
)

func diffLines(t *testing.T, was, is string) []string {
	t.Helper()
	parse := func(text string) *Policy {
		if text == "" {
			return nil
		}
		p, err := Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	var lines []string
	for _, c := range Diff(parse(was), parse(is)) {
		lines = append(lines, c.String())
	}
	return lines
}

func TestDiffNamesWhatWasAddedRemovedAndChanged(t *testing.T) {
	t.Parallel()
	const was = `
version: 1
domains:
  llm:
    account: [user]
    limits:
      - {name: a, match: {model: large, tier: "!free"}, key: [user], algorithm: token_bucket, rate: 60/min}
      - {name: b, key: [user], algorithm: fixed_window, limit: 5, window: 1h}
      - {name: c, key: [user], algorithm: calendar_window, meter: tokens, limit: 5, window: day}
    prices:
      - {match: {model: large}, per: {requests: 0.01, tokens: 0.000002}}
      - {per: {requests: 1}}
  old:
    account: [user]
`
	const is = `
version: 1
domains:
  edge: {envoy: {descriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 5}}]}}
  llm:
    account: [user]
    order: [included]
    limits:
      - {name: d, key: [user], algorithm: concurrency, limit: 5, ttl: 90s}
      - {name: c, key: [user], algorithm: calendar_window, limit: 5, window: week, time_zone: Europe/Berlin}
      - {name: a, match: {tier: "!free", model: [large, "x*"]}, key: [user], algorithm: token_bucket, rate: 90/7d, burst: 60, spill: true, fallback: open, cold_start: fresh, takeover: empty}
    prices:
      - {match: {model: large}, per: {requests: 0.01, tokens: 0.000001}}
`
	got := diffLines(t, was, is)
	want := []string{
		"added edge",
		"changed llm: order [included, promo, credit, overdraft] -> [included]",
		"added llm limit d",
		"changed llm limit c: meter tokens -> requests, window day -> week, time_zone UTC -> Europe/Berlin (buckets start afresh)",
		"changed llm limit a: match [model: large, tier: !free] -> [model: [large, x*], tier: !free], rate 60/min -> 90/7d, spill false -> true, fallback share -> open, cold_start drained -> fresh, takeover copy -> empty",
		"removed llm limit b (buckets start afresh)",
		"changed llm price 1: per [requests: 0.01, tokens: 0.000002] -> [requests: 0.01, tokens: 0.000001]",
		"removed llm price 2",
		"removed old (buckets start afresh)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := diffLines(t, is, is); got != nil {
		t.Errorf("to itself: %v", got)
	}
	if got := diffLines(t, "", was); !slices.Equal(got, []string{"added llm", "added old"}) {
		t.Errorf("from nothing: %v", got)
	}
	got = diffLines(t, is, strings.NewReplacer("unit: day", "unit: week", "[user]", "[user, model]", "order: [included]", "headers: openai").Replace(is))
	if len(got) < 2 || got[0] != "changed edge: envoy a tree -> another tree" || !strings.HasSuffix(got[1], "(buckets start afresh)") {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}

// TestReloadKeepsTheBucketsOfLimitsAsDiffSays reloads each changed limit and looks whether its bucket goes on.
func TestReloadKeepsTheBucketsOfLimitsAsDiffSays(t *testing.T) {
	t.Parallel()
	const limit = "{name: a, key: [user, model], algorithm: fixed_window, limit: 5, window: 1h}"
	for _, c := range []struct {
		name, limit string
		afresh      bool
		left        int64
	}{
		{"nothing", limit, false, 2},
		{"what matches", strings.Replace(limit, "key", "match: {user: alice}, key", 1), false, 2},
		{"the count", strings.Replace(limit, "5", "7", 1), false, 4},
		{"the window", strings.Replace(limit, "1h", "2h", 1), false, 2},
		{"spill and shadow", strings.Replace(limit, "key", "spill: true, shadow: true, key", 1), false, 2},
		{"the name", strings.Replace(limit, "name: a", "name: b", 1), true, 5},
		{"the key", strings.Replace(limit, "[user, model]", "[user]", 1), true, 5},
		{"an attribute of the key", strings.Replace(limit, "model", "tier", 1), true, 5},
		{"the meter", strings.Replace(limit, "key", "meter: tokens, key", 1), true, 5},
		{"the algorithm", strings.Replace(limit, "fixed_window", "rolling_log", 1), true, 5},
	} {
		g := newRig(t, aroundLimit(limit))
		attributes := alice("model=large", "tier=large").Attributes
		g.check(t, alice("model=large", "tier=large", "requests:3", "tokens:3"))
		was := g.policy
		is, err := Parse("f", []byte(aroundLimit(c.limit)))
		if err != nil {
			t.Fatal(err)
		}
		g.policy = is
		d := g.check(t, Standing("llm", attributes))
		if len(d.Limits) != 1 || d.Limits[0].Remaining != c.left {
			t.Errorf("%s changed: %+v, want %d left", c.name, d.Limits, c.left)
		}
		afresh := slices.ContainsFunc(Diff(was, is), func(c Change) bool { return c.Afresh || c.Verb == Added })
		if afresh != c.afresh {
			t.Errorf("%s changed: %v", c.name, Diff(was, is))
		}
	}
}
