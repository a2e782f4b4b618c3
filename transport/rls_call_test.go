package transport_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-cluster/weir/policy"
)

func TestRLSStatusesStandInOrderAndOneOverIsEnough(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		d.ask(of("user=a", "+3"))
		got := words(d.ask(of("nobody=1"), of("path=/"), of("user=a"), of("user=b")))
		if got != "OVER_LIMIT: OK 0, OK 9 10/HOUR per-path, OVER_LIMIT 0 3/MINUTE per-user, OK 2 3/MINUTE per-user" {
			t.Error(got)
		}
		d.wants(row{of("path=/", "+0"), "OK: OK 9 10/HOUR per-path"}) // counted though another one refused
	})
}

func TestRLSReplacedRulesAreNeitherAskedNorCounted(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		if got := words(d.ask(of("path=/"), of("login=a"), of("user=a"))); got != "OK: OK 0, OK 0 1/DAY, OK 0" {
			t.Errorf("replaced by a limit: %s", got)
		}
		if got := words(d.ask(of("path=/"), of("user=root"))); got != "OK: OK 0, OK 4294967295" {
			t.Errorf("replaced by an unlimited rule: %s", got)
		}
		if got := words(d.ask(of("free=a"), of("login=b"))); got != "OK: OK 4294967295, OK 0 1/DAY" {
			t.Errorf("what is unlimited stays: %s", got)
		}
		d.wants(row{of("path=/", "+0"), "OK: OK 10 10/HOUR per-path"}, row{of("user=a", "+0"), "OK: OK 3 3/MINUTE per-user"})
	})
}

func TestRLSQuotaModeRefusesOnlyWhenAllQuotasAreGone(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		for i, want := range []string{
			"OK: OK 0 1/DAY large, OK 1 2/DAY | metadata map[note:cheap service:large tier:1]",
			"OK: OK 0 1/DAY large, OK 0 2/DAY | metadata map[note:cheap service:small] | quotaModeViolations [0]",
			"OVER_LIMIT: OVER_LIMIT 0 1/DAY large, OVER_LIMIT 0 2/DAY | limit large | quotaModeViolations [0 1] | reason RATE_LIMITED | retry_after_ms 8.64e+07",
		} {
			r := d.ask(of("model=large"), of("model=small"))
			got := words(r)
			for _, name := range []string{"limit", "metadata", "quotaModeViolations", "reason", "retry_after_ms"} {
				if v, ok := r.GetDynamicMetadata().AsMap()[name]; ok {
					got += fmt.Sprintf(" | %s %v", name, v)
				}
			}
			if got != want {
				t.Errorf("call %d:\n got %s\nwant %s", i+1, got, want)
			}
		}
		r := d.ask(of("model=large"), of("user=a", "+4"), of("model=small", "-3"))
		if got := words(r); got != "OVER_LIMIT: OK 0 1/DAY large, OVER_LIMIT 0 3/MINUTE per-user, OK 2 2/DAY" {
			t.Errorf("a limit refuses beside quotas: %s", got)
		}
	})
}

func TestRLSSaysWhyAndUntilWhen(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		time.Sleep(1500 * time.Millisecond)
		d.ask(of("user=a", "+3"))
		r := d.ask(of("user=a"), of("path=/"))
		if header(r, "retry-after") != "59" || header(r, "x-rl-reason") != "RATE_LIMITED" || header(r, "content-type") != "application/problem+json" {
			t.Errorf("headers %v", r.GetResponseHeadersToAdd())
		}
		if header(r, "ratelimit") != "" {
			t.Error("an Envoy tree without a header style tells limits in headers")
		}
		var body struct {
			Type, Reason, Verdict string
			Status                int
			RetryAfterMS          int `json:"retry_after_ms"`
		}
		if err := json.Unmarshal(r.GetRawBody(), &body); err != nil || body.Status != 429 || body.Reason != "RATE_LIMITED" || body.RetryAfterMS != 58500 ||
			!strings.HasSuffix(body.Type, "#quota-exceeded") {
			t.Errorf("body %s: %v", r.GetRawBody(), err)
		}
		m := r.GetDynamicMetadata().AsMap()
		if m["reason"] != "RATE_LIMITED" || m["retry_after_ms"] != 58500.0 || m["limit"] != "per-user" {
			t.Errorf("metadata %v", m)
		}
		time.Sleep(58500 * time.Millisecond)
		if got := words(d.ask(of("user=a"))); got != "OK: OK 2 3/MINUTE per-user" {
			t.Errorf("after the wait: %s", got)
		}
		if r := d.ask(of("user=a", "+4")); header(r, "retry-after") != "" || header(r, "x-rl-reason") != "RATE_LIMITED" {
			t.Errorf("no wait helps 4 of 3: %v", r.GetResponseHeadersToAdd())
		}
	})
}

func TestRLSOfSeveralRefusalsTellsTheLongestWait(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		d.ask(of("second=a"), of("user=a", "+3"))
		for _, c := range []struct{ hits, retry, limit string }{{"+1", "60", "per-user"}, {"+4", "", "per-user"}} {
			r := d.ask(of("second=a"), of("user=a", c.hits), of("second=a"))
			if got := r.GetDynamicMetadata().AsMap()["limit"]; header(r, "retry-after") != c.retry || got != c.limit {
				t.Errorf("%s: after %q for %v, want %q for %s", c.hits, header(r, "retry-after"), got, c.retry, c.limit)
			}
		}
	})
}

func TestRLSTellsLimitsInTheDomainsStyle(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		r := d.call(&rlsv3.RateLimitRequest{Domain: "told", Descriptors: []*ratelimitv3.RateLimitDescriptor{of("user=a")}})
		if header(r, "x-ratelimit-limit") != `3, 3;w=60;name="per-user"` || header(r, "x-ratelimit-remaining") != "2" {
			t.Errorf("headers %v", r.GetResponseHeadersToAdd())
		}
		if r.GetRawBody() != nil || header(r, "x-rl-reason") != "" {
			t.Errorf("an allowed call carries a body or a reason: %v", r)
		}
	})
}

func TestRLSAsksADomainOfOurs(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		ask := func(descriptors ...*ratelimitv3.RateLimitDescriptor) (*rlsv3.RateLimitResponse, error) {
			return d.client.ShouldRateLimit(d.t.Context(), &rlsv3.RateLimitRequest{Domain: "ours", Descriptors: descriptors})
		}
		for i, c := range []struct{ descriptor, want string }{
			{"+1", "OK: OK 2 3/MINUTE rpm"},
			{"+2", "OK: OK 0 3/MINUTE rpm"},
			{"+0", "OK: OK 0 3/MINUTE rpm"},
			{"+1", "OVER_LIMIT: OVER_LIMIT 0 3/MINUTE rpm"},
			{"+0", "OVER_LIMIT: OVER_LIMIT 0 3/MINUTE rpm"},
			{"-4", "OK: OK 3 3/MINUTE rpm"},
		} {
			r, err := ask(of("user=a", c.descriptor))
			if err != nil || words(r) != c.want {
				t.Errorf("step %d: %s, %v; want %s", i+1, words(r), err, c.want)
			}
		}
		r, err := ask(of("user=b", "+6"))
		if err != nil || words(r) != "OVER_LIMIT: OVER_LIMIT 0 100/SECONDx10 burst" && words(r) != "OVER_LIMIT: OVER_LIMIT 0 3/MINUTE rpm" {
			t.Errorf("past both limits: %s, %v", words(r), err)
		}
		if header(r, "ratelimit-policy") == "" {
			t.Errorf("the domain's style is ietf: %v", r.GetResponseHeadersToAdd())
		}
		_, err = ask(of("user=c"), of("path=/"))
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "descriptor 1: ") || !strings.Contains(err.Error(), "attribute `user` is missing") {
			t.Errorf("no account: %v", err)
		}
		if r, err := ask(of("user=c", "+0")); err != nil || words(r) != "OK: OK 3 3/MINUTE rpm" {
			t.Errorf("an invalid call counted something: %s, %v", words(r), err)
		}
		_, err = ask(own(of("user=c"), 1, 2))
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "is not an Envoy tree") {
			t.Errorf("a limit brought along: %v", err)
		}
	})
}

func TestRLSDecidesDifferentBucketsAtOnceAndOneInOrder(t *testing.T) {
	t.Parallel()
	var open, most atomic.Int64
	slow := func(home policy.Checker) policy.Checker {
		return policy.CheckerFunc(func(ctx context.Context, r policy.Request) (policy.Decision, error) {
			most.Store(max(most.Load(), open.Add(1)))
			defer open.Add(-1)
			time.Sleep(10 * time.Millisecond)
			return home.Check(ctx, r)
		})
	}
	rls(t, rlsPolicy, slow, func(d *door) {
		var eight, many []*ratelimitv3.RateLimitDescriptor
		for i := range 200 {
			many = append(many, of(fmt.Sprint("user=u", i)))
		}
		eight = many[:8]
		begun := time.Now()
		d.ask(eight...)
		if took := time.Since(begun); took != 10*time.Millisecond {
			t.Errorf("eight buckets took %v", took)
		}
		d.ask(of("user=root"), of("nobody=1"), of("user=root", "+0"))
		if took := time.Since(begun); took != 10*time.Millisecond {
			t.Errorf("what needs no home took %v more", took-10*time.Millisecond)
		}
		most.Store(0)
		d.ask(many...)
		if n := most.Load(); n != 64 {
			t.Errorf("%d of 200 were asked at once, want 64", n)
		}
		got := words(d.ask(of("user=a"), of("user=a"), of("user=a"), of("user=a")))
		if got != "OVER_LIMIT: OK 2 3/MINUTE per-user, OK 1 3/MINUTE per-user, OK 0 3/MINUTE per-user, OVER_LIMIT 0 3/MINUTE per-user" {
			t.Errorf("one bucket: %s", got)
		}
	})
}

func TestRLSFailsTheCallWhenADescriptorCannotBeDecided(t *testing.T) {
	t.Parallel()
	broken := func(home policy.Checker) policy.Checker {
		return policy.CheckerFunc(func(ctx context.Context, r policy.Request) (policy.Decision, error) {
			if r.Attributes[0].Value == "lost" {
				return policy.Decision{}, fmt.Errorf("%w: nobody is home", policy.ErrUnavailable)
			}
			return home.Check(ctx, r)
		})
	}
	rls(t, rlsPolicy, broken, func(d *door) {
		_, err := d.client.ShouldRateLimit(d.t.Context(), &rlsv3.RateLimitRequest{Domain: "edge", Descriptors: []*ratelimitv3.RateLimitDescriptor{of("user=a"), of("user=lost")}})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "descriptor 1: unavailable: nobody is home") {
			t.Error(err)
		}
		if w := post(d, `{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"lost"}]}]}`); w.Code != 500 {
			t.Errorf("over HTTP: %d %s", w.Code, w.Body)
		}
		d.server.Policy = func() *policy.Policy { return nil }
		_, err = d.client.ShouldRateLimit(d.t.Context(), &rlsv3.RateLimitRequest{Domain: "edge", Descriptors: []*ratelimitv3.RateLimitDescriptor{of("user=a")}})
		if status.Code(err) != codes.Unavailable {
			t.Errorf("without a policy: %v", err)
		}
	})
}

func post(d *door, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	d.server.JSON(w, httptest.NewRequest(http.MethodPost, "/json", strings.NewReader(body)))
	return w
}

func TestRLSOverJSONAnswersTheTrueStatus(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		for i, c := range []struct {
			body   string
			status int
			want   string
		}{
			{`{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"a"}],"hitsAddend":"0"}]}`, 200, `{"overallCode":"OK","statuses":[{"code":"OK","currentLimit":{"name":"per-user","requestsPerUnit":3,"unit":"MINUTE"},"limitRemaining":3,"durationUntilReset":"60s"}]}`},
			{`{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"a"}],"hits_addend":3}]}`, 200, `{"overallCode":"OK","statuses":[{"code":"OK","currentLimit":{"name":"per-user","requestsPerUnit":3,"unit":"MINUTE"},"durationUntilReset":"60s"}]}`},
			{`{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"a"}]}]}`, 429, `"code":"OVER_LIMIT"`},
			{`{"domain":"","descriptors":[{"entries":[{"key":"user","value":"a"}]}]}`, 400, "rate limit domain must not be empty"},
			{`{"domain":"edge"}`, 400, "rate limit descriptor list must not be empty"},
			{`{"domain":"edge","descriptor":[]}`, 400, "unknown field"},
			{`{`, 400, "not a RateLimitRequest as JSON"},
			{``, 400, "not a RateLimitRequest as JSON"},
			{strings.Repeat(" ", 4<<20+1), 400, "larger than"},
		} {
			w := post(d, c.body)
			if got := strings.ReplaceAll(strings.ReplaceAll(w.Body.String(), `": `, `":`), `, "`, `,"`); w.Code != c.status || !strings.Contains(got, c.want) {
				t.Errorf("step %d: %d %s, want %d %s", i+1, w.Code, got, c.status, c.want)
			}
			if limited := c.status == 429; limited != (w.Header().Get("Retry-After") == "60") || limited != (w.Header().Get("X-RL-Reason") == "RATE_LIMITED") {
				t.Errorf("step %d: headers %v", i+1, w.Header())
			}
		}
	})
}
