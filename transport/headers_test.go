package transport

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/weir-cluster/weir/policy"
)

// twoLimits is what a check met: a limit of each meter.
func twoLimits(verdict policy.Verdict) policy.Decision {
	d := policy.Decision{Verdict: verdict, Reason: policy.OK, Limits: []policy.LimitState{
		{Name: "rpm", Limit: 60, Window: time.Minute, Meter: "requests", Remaining: 12, Reset: 47001 * time.Millisecond},
		{Name: "tpd", Limit: 500, Window: 24 * time.Hour, Meter: "tokens", Remaining: 20, Reset: time.Hour},
		{Name: "seen", Limit: 1, Window: time.Minute, Meter: "requests", Refused: true, Wait: 9 * time.Hour, Shadow: true},
	}}
	if verdict == policy.Deny {
		d.Reason, d.Refusing, d.RetryAfter = policy.RateLimited, "rpm", 2300*time.Millisecond
		d.Limits[0].Remaining, d.Limits[0].Refused, d.Limits[0].Wait = 0, true, 2300*time.Millisecond
	}
	return d
}

func TestEachStyleTellsTheLimitsInItsOwnHeaders(t *testing.T) {
	const (
		policies  = `RateLimit-Policy: "rpm";q=60;w=60,"tpd";q=500;qu="weir-tokens";w=86400`
		envoyList = `X-Ratelimit-Limit: %, 60;w=60;name="rpm", 500;w=86400;name="tpd"`
	)
	for _, c := range []struct {
		style   string
		verdict policy.Verdict
		want    []string
	}{
		{"ietf", policy.Allow, []string{policies, `RateLimit: "rpm";r=12;t=48,"tpd";r=20;t=3600`}},
		{"ietf", policy.Deny, []string{policies, `RateLimit: "rpm";r=0;t=3,"tpd";r=20;t=3600`, "Retry-After: 3"}},
		{"envoy", policy.Allow, []string{strings.Replace(envoyList, "%", "500", 1), "X-Ratelimit-Remaining: 20", "X-Ratelimit-Reset: 3600"}},
		{"envoy", policy.Deny, []string{
			strings.Replace(envoyList, "%", "60", 1), "X-Ratelimit-Remaining: 0", "X-Ratelimit-Reset: 3", "X-Envoy-Ratelimited: true", "Retry-After: 3",
		}},
		{"openai", policy.Allow, []string{
			"X-Ratelimit-Limit-Requests: 60", "X-Ratelimit-Remaining-Requests: 12", "X-Ratelimit-Reset-Requests: 48s",
			"X-Ratelimit-Limit-Tokens: 500", "X-Ratelimit-Remaining-Tokens: 20", "X-Ratelimit-Reset-Tokens: 1h0m0s",
		}},
		{"openai", policy.Deny, []string{
			"X-Ratelimit-Limit-Requests: 60", "X-Ratelimit-Remaining-Requests: 0", "X-Ratelimit-Reset-Requests: 3s",
			"X-Ratelimit-Limit-Tokens: 500", "X-Ratelimit-Remaining-Tokens: 20", "X-Ratelimit-Reset-Tokens: 1h0m0s", "Retry-After: 3",
		}},
		{"none", policy.Allow, nil},
		{"none", policy.Deny, []string{"Retry-After: 3"}},
	} {
		h := make(http.Header)
		rateHeaders(h, twoLimits(c.verdict), c.style, 0)
		if len(h) != len(c.want) {
			t.Errorf("%s, %s: %d headers, want %d: %v", c.style, c.verdict, len(h), len(c.want), h)
		}
		for _, line := range c.want {
			name, want, _ := strings.Cut(line, ": ")
			if got := h.Get(name); got != want {
				t.Errorf("%s, %s: %s: %s, want %s", c.style, c.verdict, name, got, want)
			}
		}
	}
}

// No header tells more left than its quota, nor a rate that is not the bucket's.
func TestABurstAboveTheRateIsTheQuota(t *testing.T) {
	for _, c := range []struct {
		limit, burst, left int64
		window             time.Duration
		want               string
	}{
		{60, 0, 60, time.Minute, `"b";q=60;w=60 "b";r=60`},
		{60, 20, 20, time.Minute, `"b";q=60;w=60 "b";r=20`},
		{60, 100, 100, time.Minute, `"b";q=100;w=100 "b";r=100`},
		{7, 10, 9, time.Minute, `"b";q=10;w=86 "b";r=9`}, // 10 in 85.7 s
		{1, 50_000, 50_000, 24 * time.Hour, `"b";q=50000;w=4320000000 "b";r=50000`},
		{1, 1 << 40, 1, 24 * time.Hour, `"b";q=1099511627776;w=9223372036 "b";r=1`},
	} {
		d := policy.Decision{Verdict: policy.Allow, Limits: []policy.LimitState{
			{Name: "b", Limit: c.limit, Burst: c.burst, Window: c.window, Meter: "requests", Remaining: c.left, Reset: -1},
		}}
		h := make(http.Header)
		rateHeaders(h, d, styleIETF, 0)
		if got := h.Get("RateLimit-Policy") + " " + h.Get("RateLimit"); got != c.want {
			t.Errorf("%d, burst %d: %s, want %s", c.limit, c.burst, got, c.want)
		}
		rateHeaders(h, d, styleOpenAI, 0)
		rateHeaders(h, d, styleEnvoy, 0)
		first, _, _ := strings.Cut(h.Get("X-RateLimit-Limit"), ",")
		if q := strconv.FormatInt(max(c.limit, c.burst), 10); h.Get("X-RateLimit-Limit-Requests") != q || first != q {
			t.Errorf("%d, burst %d: %v, want %s", c.limit, c.burst, h, q)
		}
	}
}

// What a client reads from the structured fields is what was decided.
func TestRateLimitFieldsReadBack(t *testing.T) {
	d := twoLimits(policy.Deny)
	d.Limits[0].Name = `a "quoted" \ name`
	h := make(http.Header)
	rateHeaders(h, d, "ietf", 0)
	for field, params := range map[string][2]map[string]any{
		"RateLimit":        {{"r": int64(0), "t": int64(3)}, {"r": int64(20), "t": int64(3600)}},
		"RateLimit-Policy": {{"q": int64(60), "w": int64(60)}, {"q": int64(500), "w": int64(86400), "qu": "weir-tokens"}},
	} {
		list, err := httpsfv.UnmarshalList(h.Values(field))
		if err != nil || len(list) != 2 {
			t.Fatalf("%s: %d items, %v", field, len(list), err)
		}
		for i, member := range list {
			item, ok := member.(httpsfv.Item)
			if !ok || item.Value != d.Limits[i].Name || len(item.Params.Names()) != len(params[i]) {
				t.Errorf("%s: item %d is %+v, want %s with %v", field, i, member, d.Limits[i].Name, params[i])
				continue
			}
			for name, want := range params[i] {
				if got, _ := item.Params.Get(name); got != want {
					t.Errorf("%s: %s is %v, want %v", field, name, got, want)
				}
			}
		}
	}
}

func TestManyLimitsTellTheTightest(t *testing.T) {
	d := policy.Decision{Verdict: policy.Deny, Reason: policy.RateLimited, RetryAfter: time.Second, Refusing: "x"}
	for range 9 {
		d.Limits = append(d.Limits, policy.LimitState{Name: "wide", Limit: 10, Remaining: 9, Meter: "requests", Window: time.Second})
	}
	d.Limits = append(d.Limits, policy.LimitState{Name: "x", Limit: 10, Meter: "requests", Window: time.Second, Refused: true, Wait: time.Second})
	h := make(http.Header)
	rateHeaders(h, d, "ietf", 0)
	if got := h.Get("RateLimit"); !strings.HasPrefix(got, `"x";r=0;t=1,`) || strings.Count(got, ";r=") != headerLimits {
		t.Errorf("%d of 10 limits, the refusing one last: %s", headerLimits, got)
	}
	if d.Limits[0].Name != "wide" {
		t.Error("the decision's limits were sorted")
	}
}

// A client that waits as long as any header says never comes back too early.
func TestNoHeaderIsEarlierThanTheTruth(t *testing.T) {
	for _, wait := range []time.Duration{1, time.Millisecond, 999999999, time.Second, time.Second + 1, 59999 * time.Millisecond, 400 * 24 * time.Hour} {
		for _, style := range []string{"ietf", "envoy", "openai", "none"} {
			for _, jitter := range []float64{0, 0.5, 0.999} {
				d := twoLimits(policy.Deny)
				d.RetryAfter, d.Limits[0].Wait = wait, wait
				h := make(http.Header)
				rateHeaders(h, d, style, jitter)
				for _, name := range []string{"Retry-After", "X-RateLimit-Reset", "X-RateLimit-Reset-Requests"} {
					text := h.Get(name)
					if text == "" {
						continue
					}
					told, err := time.ParseDuration(strings.TrimSuffix(text, "s") + "s")
					if err != nil || told < wait || told > wait+wait/10+2*time.Second {
						t.Errorf("%s, %s: %s for a wait of %v, %v", style, name, text, wait, err)
					}
				}
			}
		}
	}
}

func TestA429WithoutRetryAfterMeansThatNoTimeHelps(t *testing.T) {
	d := twoLimits(policy.Deny)
	d.RetryAfter, d.Limits[0].Wait = 0, -1
	for style, absent := range map[string]string{"ietf": "Retry-After", "envoy": "X-RateLimit-Reset", "openai": "X-RateLimit-Reset-Requests"} {
		h := make(http.Header)
		rateHeaders(h, d, style, 0)
		if h.Get("Retry-After") != "" || h.Get(absent) != "" {
			t.Errorf("%s: %v, want no time", style, h)
		}
		if field := h.Get("RateLimit"); style == "ietf" && !strings.HasPrefix(field, `"rpm";r=0,`) {
			t.Errorf("RateLimit: %s, want no t", field)
		}
	}
}

func TestRefusalsHaveTheTypesOfTheDraft(t *testing.T) {
	for _, c := range []struct {
		reason policy.Reason
		status int
		want   string
	}{
		{policy.RateLimited, 429, typeQuota},
		{policy.FallbackClosed, 503, typeCapacity},
		{policy.LedgerUnavailable, 503, typeCapacity},
		{policy.CreditsExhausted, 402, typeOurs + "CREDITS_EXHAUSTED"},
		{policy.Blocked, 403, typeOurs + "BLOCKED"},
		{policy.Blocked, 429, typeAbnormal},
		{policy.NoMatch, 403, typeOurs + "NO_MATCH"},
	} {
		if got, title := refusalType(c.reason, c.status); got != c.want || title == "" {
			t.Errorf("%s at %d: %s %q, want %s", c.reason, c.status, got, title, c.want)
		}
	}
}

// Slots in flight are told as what they are: no rate, and no window.
func TestSlotsInFlightAreNoRate(t *testing.T) {
	d := policy.Decision{Verdict: policy.Allow, Limits: []policy.LimitState{
		{Name: "slots", Limit: 4, Window: 10 * time.Minute, Meter: "requests", Remaining: 3, Reset: time.Minute, InFlight: true},
	}}
	for style, want := range map[string]string{
		"ietf":   `RateLimit-Policy: "slots";q=4;qu="concurrent-requests"`,
		"envoy":  `X-Ratelimit-Limit: 4, 4;name="slots"`,
		"openai": `X-Ratelimit-Limit-Requests: `,
	} {
		h := make(http.Header)
		rateHeaders(h, d, style, 0)
		name, value, _ := strings.Cut(want, ": ")
		if got := h.Get(name); got != value {
			t.Errorf("%s: %s, want %s", style, got, value)
		}
	}
}

// A limit that can never admit the cost is tighter than any that only makes one wait.
func TestNeverIsTheTightest(t *testing.T) {
	never := policy.LimitState{Name: "never", Limit: 5, Refused: true, Wait: -1}
	later := policy.LimitState{Name: "later", Limit: 5, Refused: true, Wait: time.Hour}
	if tighter(never, later) >= 0 || tighter(later, never) <= 0 {
		t.Errorf("never against later: %d, %d", tighter(never, later), tighter(later, never))
	}
}
