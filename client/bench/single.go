package bench

import (
	"context"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// unary sends each check as a call of its own, with the generated client.
type unary struct {
	traffic
	stubs    []weirv1.AccessServiceClient
	requests []*weirv1.CheckRequest // by key
	homes    []int
}

func newUnary(f traffic, c connections) *unary {
	u := &unary{traffic: f, requests: make([]*weirv1.CheckRequest, f.keys), homes: f.homes(loadDomain)}
	for _, one := range c {
		u.stubs = append(u.stubs, weirv1.NewAccessServiceClient(one))
	}
	for k := range u.requests {
		u.requests[k] = &weirv1.CheckRequest{Domain: loadDomain, Attributes: attributes(k)}
	}
	return u
}

func (u *unary) caller(_ context.Context, i int) (caller, error) {
	pick, to, err := u.ways(loadDomain, u.homes, i)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, t *tally) error {
		k := pick()
		d, err := u.stubs[to(k)].Check(ctx, u.requests[k])
		if err != nil {
			return err
		}
		note(t, d.GetVerdict(), d.GetReason())
		return nil
	}, nil
}

// ways is what caller i needs to choose: a key, and where it goes.
func (f traffic) ways(domain string, homes []int, i int) (picks, func(key int) int, error) {
	seed := f.seed + uint64(i) + 1
	pick, err := newPicks(f.spread, f.keys, seed)
	if err != nil {
		return nil, nil, err
	}
	to, err := f.directions(domain, homes, seed)
	return pick, to, err
}

// edge sends each check as Envoy would: a ShouldRateLimit of one descriptor.
type edge struct {
	traffic
	stubs    []rlsv3.RateLimitServiceClient
	requests []*rlsv3.RateLimitRequest
	homes    []int // where a tree's bucket lives only the nodes know, so any serves as home
}

func newEdge(f traffic, c connections) *edge {
	e := &edge{traffic: f, requests: make([]*rlsv3.RateLimitRequest, f.keys), homes: make([]int, f.keys)}
	for _, one := range c {
		e.stubs = append(e.stubs, rlsv3.NewRateLimitServiceClient(one))
	}
	for k := range e.requests {
		e.requests[k] = &rlsv3.RateLimitRequest{Domain: edgeDomain, Descriptors: []*ratelimitv3.RateLimitDescriptor{
			{Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "user", Value: user(k)}}},
		}}
	}
	return e
}

func (e *edge) caller(_ context.Context, i int) (caller, error) {
	pick, to, err := e.ways(edgeDomain, e.homes, i)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, t *tally) error {
		k := pick()
		a, err := e.stubs[to(k)].ShouldRateLimit(ctx, e.requests[k])
		if err != nil {
			return err
		}
		verdict := weirv1.Verdict_VERDICT_ALLOW
		if a.GetOverallCode() != rlsv3.RateLimitResponse_OK {
			verdict = weirv1.Verdict_VERDICT_DENY
		}
		note(t, verdict, a.GetOverallCode().String())
		return nil
	}, nil
}
