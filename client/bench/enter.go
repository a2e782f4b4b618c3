package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client/bench/floor"
	"github.com/weir-cluster/weir/client/rest"
)

var errNoDomain = errors.New("the policy in force is not the one to measure with: apply what `weir bench policy` prints, perhaps beside what is there")

// find returns the living nodes of the cluster at the addresses.
func find(ctx context.Context, httpAddrs string) (target, error) {
	c, err := rest.New(rest.Config{Addr: httpAddrs, Timeout: callTime})
	if err != nil {
		return target{}, err
	}
	v, err := c.View(ctx)
	if err != nil {
		return target{}, fmt.Errorf("ask for the view: %w", err)
	}
	to := target{view: &v}
	for _, m := range v.Members {
		if m.Alive && m.GRPC != "" {
			to.nodes = append(to.nodes, peer{m.Name, m.HTTP, m.GRPC})
		}
	}
	if len(to.nodes) == 0 {
		return to, fmt.Errorf("the view of %s shows no living node", httpAddrs)
	}
	return to, nil
}

func (g target) httpAddrs() []string {
	var all []string
	for _, n := range g.nodes {
		all = append(all, n.http)
	}
	return all
}

// answers are what Weir says to the messages of a load, for the floor to repeat. That it says something else
// than yes, or that a domain is not there, is an error.
func answers(ctx context.Context, wires connections) (floor.Answers, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var a floor.Answers
	d, err := weirv1.NewAccessServiceClient(wires[0]).Check(ctx, &weirv1.CheckRequest{Domain: loadDomain, Attributes: attributes(0)})
	if err != nil {
		return a, fmt.Errorf("%w: %w", errNoDomain, err)
	}
	if d.GetVerdict() != weirv1.Verdict_VERDICT_ALLOW {
		return a, fmt.Errorf("the first check is answered %s, %s: %w", d.GetVerdict(), d.GetReason(), errNoDomain)
	}
	r, err := rlsv3.NewRateLimitServiceClient(wires[0]).ShouldRateLimit(ctx, newEdge(traffic{keys: 1}, nil).requests[0])
	if err != nil {
		return a, fmt.Errorf("%w: %w", errNoDomain, err)
	}
	if a.Decision, err = proto.Marshal(d); err != nil {
		return a, fmt.Errorf("encode the decision: %w", err)
	}
	if a.RateLimit, err = proto.Marshal(r); err != nil {
		return a, fmt.Errorf("encode the rate limit response: %w", err)
	}
	return a, nil
}

// enter opens a way in, and says how to close it.
func enter(ctx context.Context, via Via, f traffic) (door, func(), error) {
	if via == ViaClient && f.to.view != nil {
		l, err := newLibrary(ctx, f)
		if err != nil {
			return nil, nil, err
		}
		return l, func() { _ = l.weir.Close() }, nil // nothing waits to be settled
	}
	wires, err := connect(f.to)
	if err != nil {
		return nil, nil, err
	}
	var d door
	end := wires.close
	switch {
	case via == ViaUnary:
		d = newUnary(f, wires)
	case via == ViaRLS:
		d = newEdge(f, wires)
	case via == ViaClient, via == ViaStream && f.batch == 1: // a floor has no view for the client to go by
		s := newShared(f, wires)
		d, end = s, func() {
			s.stop()
			wires.close()
		}
	default:
		if d, err = newPacked(f, wires, via == ViaStream); err != nil {
			wires.close()
			return nil, nil, err
		}
	}
	return d, end, nil
}

// auditing starts to ask for the account of the audit until the returned function is called, which tells
// what came of it. A cluster whose policy has no such limit has no audit: the function returns nil.
func auditing(ctx context.Context, to target) (func() *Audit, error) {
	wires, err := connect(to)
	if err != nil {
		return nil, err
	}
	a := newAuditor(wires, "audit-"+rand.Text())
	look, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	if ok, err := a.exact(look); err != nil || !ok {
		wires.close()
		return func() *Audit { return nil }, err
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan Audit, 1)
	go func() { done <- a.run(ctx) }()
	return func() *Audit {
		stop()
		result := <-done
		wires.close()
		return &result
	}, nil
}

// exact looks whether the limit is there, with the numbers that the audit counts by. A look takes nothing.
func (a *auditor) exact(ctx context.Context) (bool, error) {
	look := proto.CloneOf(a.request)
	look.Mode = weirv1.Mode_MODE_PEEK
	d, err := a.stubs[0].Check(ctx, look, grpc.WaitForReady(true))
	if err != nil {
		if ctx.Err() != nil {
			return false, fmt.Errorf("look at the limit to audit: %w", err)
		}
		return false, nil // no such domain
	}
	for _, l := range d.GetLimits() {
		if l.GetName() == auditLimit {
			return max(l.GetBurst(), l.GetLimit()) == auditBurst, nil
		}
	}
	return false, nil
}
