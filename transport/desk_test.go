package transport

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/policy"
)

func TestABatchIsDecidedABoundedNumberAtATime(t *testing.T) {
	var open, most atomic.Int64
	knocking(t, counting(&open, &most, time.Millisecond), func(t *testing.T, c weirv1.AccessServiceClient) {
		r := &weirv1.CheckBatchRequest{}
		for range policy.BatchMax {
			r.Checks = append(r.Checks, of("late"))
		}
		if got, err := c.CheckBatch(t.Context(), r); err != nil || len(got.GetOutcomes()) != policy.BatchMax || most.Load() != batchOpen {
			t.Errorf("%d outcomes, %d at once, %v", len(got.GetOutcomes()), most.Load(), err)
		}
		for _, n := range []int{0, policy.BatchMax + 1} {
			r.Checks = make([]*weirv1.CheckRequest, n)
			for i := range r.GetChecks() {
				r.Checks[i] = of("late")
			}
			if _, err := c.CheckBatch(t.Context(), r); status.Code(err) != codes.InvalidArgument {
				t.Errorf("a batch of %d: %v", n, err)
			}
		}
	})
}

func TestABatchIsAnsweredInItsOrder(t *testing.T) {
	turn := new(atomic.Int64)
	j := judged{check: func(_ context.Context, q policy.Request) (policy.Decision, error) {
		time.Sleep(time.Second - time.Duration(turn.Add(1))*time.Millisecond) // the last to come is the first to be decided
		return said(q), nil
	}}
	for _, order := range []string{"at once", "late", "at once,late", "late,at once", "late,late,at once,at once,bad,late,at once,late"} {
		knocking(t, j, func(t *testing.T, c weirv1.AccessServiceClient) {
			r := &weirv1.CheckBatchRequest{}
			var want []string
			for i, domain := range strings.Split(order, ",") {
				if domain == "bad" {
					r.Checks = append(r.Checks, &weirv1.CheckRequest{Domain: "at once", Mode: 9})
					want = append(want, "INVALID")
					continue
				}
				r.Checks = append(r.Checks, of(domain, fmt.Sprintf("n=%d", i)))
				want = append(want, fmt.Sprintf("%s CONSUME n=%d", domain, i))
			}
			got, err := c.CheckBatch(t.Context(), r)
			var words []string
			for _, o := range got.GetOutcomes() {
				words = append(words, heard(o))
			}
			if err != nil || fmt.Sprint(words) != fmt.Sprint(want) {
				t.Errorf("%s: got %v, %v, want %v", order, words, err, want)
			}
		})
	}
}

func TestChecksTakeFromTheirMessageWhatTheyLeaveEmpty(t *testing.T) {
	cost := func(r *weirv1.CheckRequest, meters ...string) *weirv1.CheckRequest {
		for _, m := range meters {
			r.Cost = append(r.Cost, &weirv1.Cost{Meter: m})
		}
		return r
	}
	many := func(n int, prefix string) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprint(prefix, i))
		}
		return all
	}
	peek := func(r *weirv1.CheckRequest) *weirv1.CheckRequest {
		r.Mode, r.IdempotencyKey, r.Explain = weirv1.Mode_MODE_PEEK, "not taken", true
		return r
	}
	rows := []struct {
		name          string
		common, check *weirv1.CheckRequest
		want          string
	}{
		{"nothing in common", nil, of("at once", "a=1"), "at once CONSUME a=1"},
		{"the domain", of("at once"), of("", "a=1"), "at once CONSUME a=1"},
		{"its own domain", of("other"), of("at once", "a=1"), "at once CONSUME a=1"},
		{"attributes stand before", of("at once", "x=1", "y=2"), of("", "a=1"), "at once CONSUME x=1 y=2 a=1"},
		{"only common ones", of("at once", "x=1"), nil, "at once CONSUME x=1"},
		{"the mode", peek(of("at once")), of(""), "at once PEEK"},
		{"its own mode", &weirv1.CheckRequest{Domain: "at once", Mode: weirv1.Mode_MODE_RESERVE}, peek(of("")), "at once PEEK"},
		{"the cost", cost(of("at once"), "tokens", "seconds"), of(""), "at once CONSUME tokens seconds"},
		{"its own cost", cost(of("at once"), "tokens"), cost(of(""), "requests"), "at once CONSUME requests"},
		{"a name twice", of("at once", "x=1", "a=1"), of("", "a=1"), "INVALID"},
		{"32 attributes", of("at once", many(16, "x")...), of("", many(16, "a")...), "at once CONSUME " + strings.Join(append(many(16, "x"), many(16, "a")...), "= ") + "="},
		{"33 attributes", of("at once", many(16, "x")...), of("", many(17, "a")...), "INVALID"},
		{"33 common ones", of("at once", many(33, "x")...), of(""), "INVALID"},
		{"far too many costs", cost(of("at once"), many(100, "m")...), of(""), "INVALID"},
	}
	knocking(t, judged{}, func(t *testing.T, c weirv1.AccessServiceClient) {
		for _, r := range rows {
			for _, late := range []bool{false, true} {
				if late {
					r.want = strings.Replace(r.want, "at once", "late", 1)
					for _, part := range []*weirv1.CheckRequest{r.common, r.check} {
						if part.GetDomain() == "at once" {
							part.Domain = "late"
						}
					}
				}
				// A second check tells whether the first one spoilt what they have in common.
				b, err := c.CheckBatch(t.Context(), &weirv1.CheckBatchRequest{Checks: []*weirv1.CheckRequest{r.check, r.check}, Common: r.common})
				if err != nil || heard(b.GetOutcomes()[0]) != r.want || heard(b.GetOutcomes()[1]) != r.want {
					t.Errorf("%s, in a batch: got %v, %v, want twice %q", r.name, b.GetOutcomes(), err, r.want)
				}
				m := streamed(r.check)
				m.Common = r.common
				if got := hear(t, opened(t.Context(), t, c, m)); got != "1:"+r.want {
					t.Errorf("%s, on a stream: got %q, want %q", r.name, got, r.want)
				}
			}
		}
	})
}

func TestAUnaryCheckIsReadAndAnsweredByHand(t *testing.T) {
	var methods []string
	around := grpc.UnaryInterceptor(func(ctx context.Context, m any, i *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		methods = append(methods, i.FullMethod)
		return next(ctx, m)
	})
	knocking(t, judged{}, func(t *testing.T, c weirv1.AccessServiceClient) {
		for _, domain := range []string{"at once", "late"} {
			d, err := c.Check(t.Context(), of(domain, "a=1"))
			if want := domain + " CONSUME a=1"; err != nil || d.GetMessage() != want || d.GetVerdict() != weirv1.Verdict_VERDICT_ALLOW {
				t.Errorf("got %v, %v, want %q", d, err, want)
			}
		}
		if _, err := c.Check(t.Context(), &weirv1.CheckRequest{Domain: "at once", Mode: 9}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("an unknown mode: %v", err)
		}
		if len(methods) != 3 || methods[0] != weirv1.AccessService_Check_FullMethodName {
			t.Errorf("the interceptor saw %v", methods)
		}
	}, around)
}
