package bench

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/weir-cluster/weir/api/stream"
	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
)

// shared sends single checks on one stream a node, which all callers share, as nodes do among each other and
// the client does.
type shared struct {
	traffic
	streams  []*stream.Client
	requests []*weirv1.CheckRequest // by key
	homes    []int
	stop     func()
}

func newShared(f traffic, c connections) *shared {
	s := &shared{traffic: f, requests: newUnary(f, nil).requests, homes: f.homes(loadDomain)}
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	for _, one := range c {
		stub := weirv1.NewAccessServiceClient(one)
		st := stream.NewClient(func(ctx context.Context) (grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse], error) {
			return stub.CheckStream(ctx)
		})
		s.streams = append(s.streams, st)
		g.Go(func() error { return st.Run(ctx) })
	}
	s.stop = func() {
		cancel()
		_ = g.Wait() // a stream's Run has no error
	}
	return s
}

func (s *shared) caller(_ context.Context, i int) (caller, error) {
	pick, to, err := s.ways(loadDomain, s.homes, i)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, t *tally) error {
		k := pick()
		o, err := s.streams[to(k)].Check(ctx, s.requests[k], 0)
		switch {
		case err != nil:
			return err
		case o.GetFault() != nil:
			t.fault(o.GetFault().GetWord(), errors.New(o.GetFault().GetMessage()))
			return nil
		}
		note(t, o.GetDecision().GetVerdict(), o.GetDecision().GetReason())
		return nil
	}, nil
}

// library sends single checks with the Go client, which knows the homes itself.
type library struct {
	traffic
	weir     *client.Client
	requests []client.CheckRequest // by key
}

func newLibrary(ctx context.Context, f traffic) (*library, error) {
	c := client.DefaultConfig()
	c.Deadline = callTime
	for _, n := range f.to.nodes {
		c.Seeds = append(c.Seeds, n.grpc)
	}
	if f.route == Any {
		c.Route = client.RouteAny
	}
	weir, err := client.Open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open a client: %w", err)
	}
	l := &library{traffic: f, weir: weir, requests: make([]client.CheckRequest, f.keys)}
	for k := range l.requests {
		l.requests[k] = client.CheckRequest{Domain: loadDomain, Attributes: map[string]string{"user": user(k), "org": "acme", "model": "large"}}
	}
	return l, nil
}

func (l *library) caller(_ context.Context, i int) (caller, error) {
	pick, err := newPicks(l.spread, l.keys, l.seed+uint64(i)+1)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, t *tally) error {
		d, err := l.weir.Check(ctx, l.requests[pick()])
		if err != nil {
			return err
		}
		note(t, verdictOf(d.Verdict), d.Reason)
		return nil
	}, nil
}

func verdictOf(word string) weirv1.Verdict {
	switch word {
	case "ALLOW":
		return weirv1.Verdict_VERDICT_ALLOW
	case "DENY":
		return weirv1.Verdict_VERDICT_DENY
	}
	return weirv1.Verdict(weirv1.Verdict_value["VERDICT_"+word])
}
