package client_test

import (
	"context"
	"net"
	"net/http"
	"sync"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/ring"
)

// exampleNode starts a node that admits two requests a minute, and returns its address.
func exampleNode() (seeds []string, stop func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	v := &weirv1.View{
		Epoch: 1, Cluster: "c", Hash: "xxhash64", Partitions: ring.Partitions, PolicyVersion: 1,
		Homes: make([]uint32, ring.Partitions), Deputies: make([]uint32, ring.Partitions),
		Members: []*weirv1.Member{{Name: "n1", Grpc: l.Addr().String(), Alive: true}},
		Domains: []*weirv1.Domain{{Name: "demo", Account: []string{"user"}}},
	}
	left := int64(2)
	f := &fake{view: v, changed: make(chan struct{}), decide: func(_ context.Context, c *weirv1.CheckRequest) *weirv1.Outcome {
		d := &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_ALLOW, Reason: "OK", Home: "n1", Epoch: 1, PolicyVersion: 1}
		if left--; left < 0 {
			left, d.Verdict, d.Reason, d.RetryAfterMs = 0, weirv1.Verdict_VERDICT_DENY, "RATE_LIMITED", 30_000
		}
		if c.GetMode() == weirv1.Mode_MODE_RESERVE {
			d.Reservation = reservation(0)
		}
		d.Limits = []*weirv1.LimitState{{Name: "rpm", Limit: 2, Remaining: left, WindowMs: 60_000, Meter: "requests", Refused: d.RetryAfterMs > 0}}
		return &weirv1.Outcome{Decision: d}
	}}
	given := make(map[string]bool)
	f.grant = func(g *weirv1.GrantRequest) (*weirv1.Receipt, error) {
		defer func() { given[g.GetIdempotencyKey()] = true }()
		return &weirv1.Receipt{Outcome: "done", BalanceAfterMicros: g.GetAmountMicros(), Replayed: given[g.GetIdempotencyKey()]}, nil
	}
	server := grpc.NewServer()
	weirv1.RegisterAccessServiceServer(server, f)
	weirv1.RegisterLedgerServiceServer(server, f)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	return []string{l.Addr().String()}, func() {
		server.Stop()
		serving.Wait()
	}
}

type checker func() client.Decision

func (c checker) Check(context.Context, client.CheckRequest) (client.Decision, error) {
	return c(), nil
}

// twoOnly admits two requests.
func twoOnly() client.Checker {
	left := int64(2)
	return checker(func() client.Decision {
		l := client.Limit{Name: "rpm", Limit: 2, ResetMS: 60_000, Meter: "requests"}
		if left--; left < 0 {
			l.Refused, l.WaitMS = true, 1000
			return client.Decision{
				Verdict: "DENY", Reason: "RATE_LIMITED", Status: http.StatusTooManyRequests, RetryAfterMS: 1000,
				Message: "Too many requests; try again in 1 s.", Limits: []client.Limit{l},
			}
		}
		l.Remaining = left
		return client.Decision{Verdict: "ALLOW", Reason: "OK", Limits: []client.Limit{l}}
	})
}

func userOf(r *http.Request) string {
	if user, _, ok := r.BasicAuth(); ok {
		return user
	}
	return "anonymous"
}
