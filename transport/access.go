package transport

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/weir-cluster/weir/api/stream"
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

// AccessServer is weir.v1.AccessService.
type AccessServer struct {
	weirv1.UnimplementedAccessServiceServer

	Access Access
	Views  Views
	// Timeout bounds a check whose caller set no deadline.
	Timeout time.Duration
}

// Check decides one request.
func (s *AccessServer) Check(ctx context.Context, r *weirv1.CheckRequest) (*weirv1.Decision, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	d, err := s.Access.Check(ctx, fromRequest(r))
	if err != nil {
		return nil, toStatus(err)
	}
	return toDecision(d), nil
}

// CheckBatch decides each request by itself.
func (s *AccessServer) CheckBatch(ctx context.Context, r *weirv1.CheckBatchRequest) (*weirv1.CheckBatchResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	if err := batchSize(len(r.GetChecks())); err != nil {
		return nil, toStatus(err)
	}
	requests := make([]policy.Request, len(r.GetChecks()))
	for i, c := range r.GetChecks() {
		requests[i] = fromRequest(c)
	}
	answers := checkAll(ctx, s.Access, requests)
	out := &weirv1.CheckBatchResponse{Outcomes: make([]*weirv1.Outcome, len(answers))}
	for i, a := range answers {
		out.Outcomes[i] = a.wire()
	}
	return out, nil
}

// answer is a decision or why there is none.
type answer struct {
	decision policy.Decision
	err      error
}

func (a answer) wire() *weirv1.Outcome {
	if a.err != nil {
		return &weirv1.Outcome{Fault: toFault(a.err)}
	}
	return &weirv1.Outcome{Decision: toDecision(a.decision)}
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

// CheckStream decides many requests over one stream.
func (s *AccessServer) CheckStream(st grpc.BidiStreamingServer[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse]) error {
	return stream.Serve(st, func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
		d, err := s.Access.Check(ctx, fromRequest(c.GetCheck()))
		return answer{d, err}.wire()
	}, s.Timeout)
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
