package transport

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/policy"
)

// Access is what the doors need to decide: the router, and who owns what.
type Access interface {
	policy.Checker
	Settle(ctx context.Context, s policy.Settlement) (policy.Settled, error)
}

// batchOpen bounds how many checks of one batch are decided at once.
const batchOpen = 64

// AccessServer is weir.v1.AccessService. Register it on a server that has the Codec option.
type AccessServer struct {
	weirv1.UnimplementedAccessServiceServer // of which Check, CheckBatch and CheckStream are never called: Register has others

	Access PromptAccess
	Views  Views
	// Timeout bounds a check whose caller set no deadline.
	Timeout time.Duration
	// Closing is closed when the server stops: each CheckStream then ends as soon as what it read is answered. Nil: they
	// end only with their callers.
	Closing <-chan struct{}
}

// PromptAccess is an Access that can say at once what it need not wait for, and pass on what it need not decide.
type PromptAccess interface {
	policy.Trier
	away
	Settle(ctx context.Context, s policy.Settlement) (policy.Settled, error)
}

// Register adds the service to a gRPC server. Checks are read and answered by hand; the rest is as it is generated.
func (s *AccessServer) Register(g *grpc.Server) {
	k := s.desk()
	d := weirv1.AccessService_ServiceDesc
	d.Methods, d.Streams = slices.Clone(d.Methods), slices.Clone(d.Streams)
	for i := range d.Methods {
		switch m := &d.Methods[i]; m.MethodName {
		case "Check":
			m.Handler = byHand(weirv1.AccessService_Check_FullMethodName, func() *lone { return new(lone) }, k.one)
		case "CheckBatch":
			m.Handler = byHand(weirv1.AccessService_CheckBatch_FullMethodName, func() *arrival { return &arrival{desk: k} }, k.batch)
		}
	}
	k.streams(&d)
	g.RegisterService(&d, s)
}

func (s *AccessServer) desk() *desk {
	return &desk{
		try: func(q *policy.Request, _ uint64, d *policy.Decision) (bool, error) { return s.Access.Try(q, d) },
		check: func(ctx context.Context, q policy.Request, _ uint64) (policy.Decision, error) {
			return s.Access.Check(ctx, q)
		},
		away: s.Access, timeout: s.Timeout, closing: s.Closing,
	}
}

// streams has the desk answer the service's CheckStream.
func (k *desk) streams(d *grpc.ServiceDesc) {
	for i := range d.Streams {
		if d.Streams[i].StreamName == "CheckStream" {
			d.Streams[i].Handler = func(_ any, s grpc.ServerStream) error { return k.stream(s) }
		}
	}
}

// byHand is the handler of a unary method whose messages are read and written by hand.
func byHand[M incoming](method string, room func() M, decide func(context.Context, M) (*reply, error)) grpc.MethodHandler {
	return func(server any, ctx context.Context, read func(any) error, around grpc.UnaryServerInterceptor) (any, error) {
		m := room()
		if err := read(m); err != nil {
			return nil, err
		}
		if around == nil {
			return decide(ctx, m)
		}
		return around(ctx, m, &grpc.UnaryServerInfo{Server: server, FullMethod: method},
			func(ctx context.Context, _ any) (any, error) { return decide(ctx, m) })
	}
}

// batchSize returns what is wrong with a batch of n checks.
func batchSize(n int) error {
	switch {
	case n > policy.BatchMax:
		return fmt.Errorf("%w: a batch of %d checks, at most %d", policy.ErrInvalid, n, policy.BatchMax)
	case n == 0:
		return fmt.Errorf("%w: an empty batch", policy.ErrInvalid)
	}
	return nil
}

// answer is a decision or why there is none.
type answer struct {
	decision policy.Decision
	err      error
}

// checkAll decides a batch, a bounded number of checks at once, and answers in order.
func checkAll(ctx context.Context, c policy.Checker, requests []policy.Request) []answer {
	answers := make([]answer, len(requests))
	var g errgroup.Group
	g.SetLimit(batchOpen)
	for i := range requests {
		g.Go(func() error {
			d, err := c.Check(ctx, requests[i])
			answers[i] = answer{d, err}
			return nil
		})
	}
	_ = g.Wait() // each check has its own answer
	return answers
}

// Settle reports what a reserved request really used.
func (s *AccessServer) Settle(ctx context.Context, r *weirv1.SettleRequest) (*weirv1.SettleResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	done, err := s.Access.Settle(ctx, fromSettle(r))
	if err != nil {
		return nil, toStatus(err)
	}
	return toSettled(done), nil
}
