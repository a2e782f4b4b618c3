package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weir-cluster/weir/policy"
)

const routerPolicy = `
version: 1
domains:
  d:
    account: [user]
    limits:
      - {name: rpm, key: [user], algorithm: token_bucket, rate: 60/min}
`

// fakeHome decides that it was asked.
type fakeHome struct{ err error }

func (h fakeHome) Check(context.Context, policy.Request) (policy.Decision, error) {
	return policy.Decision{Verdict: policy.Allow, Reason: policy.OK}, h.err
}

func (h fakeHome) Try(_ *policy.Request, d *policy.Decision) (bool, error) {
	*d = policy.Decision{Verdict: policy.Allow, Reason: policy.OK, Message: "at once"}
	return true, h.err
}

func (h fakeHome) Settle(context.Context, policy.Settlement) (policy.Settled, error) {
	return policy.Settled{Final: true}, h.err
}

// fakeFallback records for how many nodes it was asked.
type fakeFallback struct{ nodes []int }

func (f *fakeFallback) Check(ctx context.Context, _ policy.Request, nodes int) (policy.Decision, error) {
	if ctx.Err() != nil {
		return policy.Decision{}, ctx.Err()
	}
	f.nodes = append(f.nodes, nodes)
	return policy.Decision{Verdict: policy.Allow, Reason: policy.FallbackShare}, nil
}

func (f *fakeFallback) Deputise(context.Context, policy.Request) (policy.Decision, error) {
	return policy.Decision{Verdict: policy.Allow, Reason: policy.FallbackDeputy}, nil
}

func (f *fakeFallback) Leaseless(context.Context, policy.Request) (policy.Decision, error) {
	return policy.Decision{Verdict: policy.Allow, Reason: policy.FallbackShare, Message: "half"}, nil
}

// fakeTenant is what a node is to all partitions; fakeLease is whether it has a lease.
type fakeTenant struct {
	begun, copied bool
	merged        []Report
}

func (f *fakeTenant) Begun(uint16, uint64) bool { return f.begun }
func (f *fakeTenant) Copied(uint16) bool        { return f.copied }

func (f *fakeTenant) Merge(r Report) error {
	f.merged = append(f.merged, r)
	return nil
}

type fakeLease struct{ holds bool }

func (f *fakeLease) Holds(uint16) bool                 { return f.holds }
func (f *fakeLease) Wait(context.Context, uint16) bool { return f.holds }

// fakePeer answers with funcs; the other calls are not used here.
type fakePeer struct {
	Peer
	check  func(epoch uint64) (policy.Decision, error)
	deputy func(ctx context.Context) (policy.Decision, error)
	asked  *calls // nil: nobody asks
}

// calls are by which ids a peer was asked.
type calls struct {
	mu                          sync.Mutex
	checks, deputies, cancelled []uint64
	down                        bool // it cannot be told to cancel
}

func (p fakePeer) Cancel(_ context.Context, ids []uint64) error {
	if p.asked == nil {
		return ErrUnreachable
	}
	p.asked.mu.Lock()
	defer p.asked.mu.Unlock()
	if p.asked.down {
		return ErrUnreachable
	}
	p.asked.cancelled = append(p.asked.cancelled, ids...)
	return nil
}

// undone returns the ids that were cancelled.
func (c *calls) undone() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.cancelled)
}

func (c *calls) cut(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

func (p fakePeer) Deputise(ctx context.Context, q policy.Request, _ uint64) (policy.Decision, error) {
	if p.asked != nil {
		p.asked.deputies = append(p.asked.deputies, q.ID)
	}
	if p.deputy == nil {
		return policy.Decision{}, ErrUnreachable
	}
	return p.deputy(ctx)
}

func (p fakePeer) Check(_ context.Context, q policy.Request, epoch uint64) (policy.Decision, error) {
	if p.asked != nil {
		p.asked.checks = append(p.asked.checks, q.ID)
	}
	return p.check(epoch)
}

type fakePeers map[string]fakePeer

func (p fakePeers) Peer(address string) Peer { return p[address] }

// noPolicies is a keeper's store that learns nothing.
type noPolicies struct{}

func (noPolicies) Revision() (revision, version uint64) { return 1, 1 }
func (noPolicies) State(uint64) []byte                  { return nil }
func (noPolicies) Learn([]byte) error                   { return nil }
func (noPolicies) Changed() <-chan struct{}             { return nil }

// routed is a router of node a under a view of a and b, with everything around it to look at.
type routed struct {
	*Router
	views    *Views
	fallback *fakeFallback
	tenant   *fakeTenant
	lease    *fakeLease
}

func newRouted(t *testing.T, peers Peers, homeErr error) routed {
	t.Helper()
	p, err := policy.Parse("test", []byte(routerPolicy))
	if err != nil {
		t.Fatal(err)
	}
	views, fallback, tenant, lease := NewViews(nil), &fakeFallback{}, &fakeTenant{}, &fakeLease{true}
	if _, err := views.Learn(grown(t, nil, sighted("a", "1"), sighted("b", "2"))); err != nil {
		t.Fatal(err)
	}
	keeper := &Keeper{Views: views, Policies: noPolicies{}, Peers: peers, Logger: slog.New(slog.DiscardHandler)}
	r := NewRouter(RouterConfig{
		Name: "a", Boot: "1", Views: views, Keeper: keeper, Peers: peers, Policy: func() *policy.Policy { return p },
		Home: fakeHome{homeErr}, Lease: lease, Tenant: tenant, Fallback: fallback, ForwardTimeout: time.Second, Source: 100,
		Cancels: NewCancels(CancelsConfig{Now: time.Now, Views: views, Peers: peers, Logger: slog.New(slog.DiscardHandler)}),
	})
	return routed{r, views, fallback, tenant, lease}
}

// of returns a request whose account is at home at the named member.
func (r routed) of(t *testing.T, member string) policy.Request {
	t.Helper()
	for i := range 1000 {
		q := policy.Request{Domain: "d", Attributes: []policy.Attribute{{Name: "user", Value: fmt.Sprint("u", i)}}}
		account, err := r.cfg.Policy().Account(q)
		if err != nil {
			t.Fatal(err)
		}
		if m, _ := r.views.Current().Home(account.Partition); m.Name == member {
			return q
		}
	}
	t.Fatalf("no account of %s", member)
	return policy.Request{}
}
