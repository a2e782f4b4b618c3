// Package floor is what Weir's libraries cost when they decide nothing: a gRPC server whose handlers are
// empty but carry the messages that Weir carries, and a member of a cluster that only gossips and votes. A
// bench runs them in processes of their own beside Weir, so that both are measured alike.
package floor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/VictoriaMetrics/metrics"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// Answers are encoded messages as Weir sent them. The floor sends them again, whatever it is asked.
type Answers struct {
	Decision  []byte `json:"decision"`   // weir.v1.Decision
	RateLimit []byte `json:"rate_limit"` // envoy.service.ratelimit.v3.RateLimitResponse
}

// Calls answers checks and ShouldRateLimit on grpcAddr, and /readyz and /metrics on httpAddr, until ctx ends.
// It decodes each request and encodes each answer as any gRPC server does, and does nothing in between.
func Calls(ctx context.Context, grpcAddr, httpAddr string, a Answers) error {
	e := &empty{decision: &weirv1.Decision{}, rateLimit: &rlsv3.RateLimitResponse{}}
	if err := proto.Unmarshal(a.Decision, e.decision); err != nil {
		return fmt.Errorf("read the decision to answer: %w", err)
	}
	if err := proto.Unmarshal(a.RateLimit, e.rateLimit); err != nil {
		return fmt.Errorf("read the rate limit response to answer: %w", err)
	}
	l, err := net.Listen("tcp", grpcAddr)
	if err != nil {
		return fmt.Errorf("listen for gRPC: %w", err)
	}
	s := grpc.NewServer()
	weirv1.RegisterAccessServiceServer(s, e)
	rlsv3.RegisterRateLimitServiceServer(s, rateLimits{e: e})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Serve(l) })
	g.Go(func() error { return status(ctx, httpAddr) })
	g.Go(func() error {
		<-ctx.Done()
		s.Stop()
		return nil
	})
	return g.Wait()
}

// empty answers every check with the same decision.
type empty struct {
	weirv1.UnimplementedAccessServiceServer

	decision  *weirv1.Decision
	rateLimit *rlsv3.RateLimitResponse
}

// Check answers.
func (e *empty) Check(context.Context, *weirv1.CheckRequest) (*weirv1.Decision, error) {
	return e.decision, nil
}

// CheckBatch answers each check.
func (e *empty) CheckBatch(_ context.Context, r *weirv1.CheckBatchRequest) (*weirv1.CheckBatchResponse, error) {
	out := &weirv1.CheckBatchResponse{Outcomes: make([]*weirv1.Outcome, len(r.GetChecks()))}
	for i := range out.Outcomes {
		out.Outcomes[i] = &weirv1.Outcome{Decision: e.decision}
	}
	return out, nil
}

// CheckStream answers each message with one.
func (e *empty) CheckStream(s grpc.BidiStreamingServer[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse]) error {
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out := &weirv1.CheckStreamResponse{Outcomes: make([]*weirv1.StreamedOutcome, len(m.GetChecks()))}
		for i, c := range m.GetChecks() {
			out.Outcomes[i] = &weirv1.StreamedOutcome{Id: c.GetId(), Outcome: &weirv1.Outcome{Decision: e.decision}}
		}
		if err := s.Send(out); err != nil {
			return err
		}
	}
}

// rateLimits is the door of Envoy.
type rateLimits struct {
	rlsv3.UnimplementedRateLimitServiceServer

	e *empty
}

// ShouldRateLimit answers.
func (r rateLimits) ShouldRateLimit(context.Context, *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	return r.e.rateLimit, nil
}

// status serves what a bench asks of every process: whether it is ready, and what it has used.
func status(ctx context.Context, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for HTTP: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { metrics.WriteProcessMetrics(w) })
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}
