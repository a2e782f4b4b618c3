package node_test

import (
	"context"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/node"
)

const benchPolicy = `
version: 1
domains:
  d:
    account: [user]
    limits:
      - {name: rpm, key: [user], algorithm: token_bucket, rate: 100000/s, burst: 1000000}
  edge:
    envoy:
      descriptors:
        - {key: user, rate_limit: {unit: second, requests_per_unit: 1000000}}
`

// empty answers every check with the same decision: what gRPC alone costs.
type empty struct {
	weirv1.UnimplementedAccessServiceServer
	decision *weirv1.Decision
}

func (e empty) Check(context.Context, *weirv1.CheckRequest) (*weirv1.Decision, error) {
	return e.decision, nil
}

// BenchmarkUnaryCheck compares unary checks of one node with a handler that decides nothing and carries the
// same messages.
func BenchmarkUnaryCheck(b *testing.B) {
	weir := benchClient(b, runNode(b))
	request := func(i int64) *weirv1.CheckRequest {
		return &weirv1.CheckRequest{Domain: "d", Attributes: []*weirv1.Attribute{
			{Name: "user", Value: "user-" + strconv.FormatInt(i%1000, 10)},
			{Name: "model", Value: "large"},
			{Name: "org", Value: "acme"},
		}}
	}
	sample, err := weir.Check(b.Context(), request(0))
	if err != nil {
		b.Fatal(err)
	}
	floor := benchClient(b, runEmpty(b, func(s *grpc.Server) { weirv1.RegisterAccessServiceServer(s, empty{decision: sample}) }))
	versus(b, func(i int64) error {
		_, err := weir.Check(b.Context(), request(i))
		return err
	}, func(i int64) error {
		_, err := floor.Check(b.Context(), request(i))
		return err
	})
}

// emptyRLS answers every call with the same response.
type emptyRLS struct {
	rlsv3.UnimplementedRateLimitServiceServer
	response *rlsv3.RateLimitResponse
}

func (e emptyRLS) ShouldRateLimit(context.Context, *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	return e.response, nil
}

// BenchmarkShouldRateLimit is BenchmarkUnaryCheck for Envoy's door.
func BenchmarkShouldRateLimit(b *testing.B) {
	conn := benchConn(b, runNode(b))
	weir := rlsv3.NewRateLimitServiceClient(conn)
	request := func(i int64) *rlsv3.RateLimitRequest {
		return &rlsv3.RateLimitRequest{Domain: "edge", Descriptors: []*ratelimitv3.RateLimitDescriptor{{
			Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "user", Value: "user-" + strconv.FormatInt(i%1000, 10)}},
		}}}
	}
	sample, err := weir.ShouldRateLimit(b.Context(), request(0))
	if err != nil {
		b.Fatal(err)
	}
	floor := rlsv3.NewRateLimitServiceClient(benchConn(b, runEmpty(b, func(s *grpc.Server) {
		rlsv3.RegisterRateLimitServiceServer(s, emptyRLS{response: sample})
	})))
	versus(b, func(i int64) error {
		_, err := weir.ShouldRateLimit(b.Context(), request(i))
		return err
	}, func(i int64) error {
		_, err := floor.ShouldRateLimit(b.Context(), request(i))
		return err
	})
}

// versus compares calls with empty ones, in turns within one run: 64 callers each. The metrics are relative to the empty
// ones, the median over the turns, since the machine may be busy with other things: throughput, 99th percentile of the
// latencies, and processor time of both sides.
func versus(b *testing.B, ours, floor func(i int64) error) {
	b.Helper()
	const round, callers = 2000, 64
	burst := func(call func(i int64) error) (rate, p99, cpu float64) {
		var next atomic.Int64
		var all sync.WaitGroup
		took := make([]float64, round)
		before, began := processTime(), time.Now()
		for range callers {
			all.Go(func() {
				for i := next.Add(1); i <= round; i = next.Add(1) {
					began := time.Now()
					if err := call(i); err != nil {
						b.Error(err)
						return
					}
					took[i-1] = float64(time.Since(began))
				}
			})
		}
		all.Wait()
		rate, cpu = round/time.Since(began).Seconds(), float64(processTime()-before)
		slices.Sort(took)
		return rate, took[round*99/100], cpu
	}
	burst(floor)
	burst(ours)
	figures := map[string][]float64{}
	b.ResetTimer()
	for range b.N {
		rate0, p0, cpu0 := burst(floor)
		rate1, p1, cpu1 := burst(ours)
		for name, v := range map[string]float64{
			"ratio": rate1 / rate0, "p99-ratio": p1 / p0, "cpu-ratio": cpu1 / cpu0, "checks/s": rate1, "empty/s": rate0,
		} {
			figures[name] = append(figures[name], v)
		}
	}
	for name, all := range figures {
		b.ReportMetric(median(all), name)
	}
	b.ReportMetric(0, "ns/op")
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

func runNode(b *testing.B) string {
	b.Helper()
	c := node.DefaultConfig()
	c.Name, c.Ephemeral, c.Policy, c.PolicyName = "bench", true, []byte(benchPolicy), "bench.yaml"
	c.HTTPAddr, c.GRPCAddr, c.GossipAddr, c.PeerAddr = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	n, err := node.New(c)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	select {
	case <-n.Ready():
	case err := <-done:
		b.Fatal(err)
	}
	return n.GRPCAddr()
}

func runEmpty(b *testing.B, register func(*grpc.Server)) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	go func() { _ = s.Serve(l) }()
	b.Cleanup(s.Stop)
	return l.Addr().String()
}

func benchClient(b *testing.B, address string) weirv1.AccessServiceClient {
	b.Helper()
	return weirv1.NewAccessServiceClient(benchConn(b, address))
}

func benchConn(b *testing.B, address string) *grpc.ClientConn {
	b.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}
