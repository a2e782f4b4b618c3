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
// same messages, in turns within one run: 64 callers each. The metric ratio is their throughput relative to
// the empty handler's, the median over the turns, since the machine may be busy with other things.
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
	floor := benchClient(b, runEmpty(b, sample))
	const round = 2000
	burst := func(c weirv1.AccessServiceClient) time.Duration {
		var next atomic.Int64
		var callers sync.WaitGroup
		began := time.Now()
		for range 64 {
			callers.Go(func() {
				for i := next.Add(1); i <= round; i = next.Add(1) {
					if _, err := c.Check(b.Context(), request(i)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		callers.Wait()
		return time.Since(began)
	}
	burst(floor)
	burst(weir)
	ratios, ours, theirs := make([]float64, b.N), make([]float64, b.N), make([]float64, b.N)
	b.ResetTimer()
	for i := range b.N {
		theirs[i] = round / burst(floor).Seconds()
		ours[i] = round / burst(weir).Seconds()
		ratios[i] = ours[i] / theirs[i]
	}
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(ours), "checks/s")
	b.ReportMetric(median(theirs), "empty/s")
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

func runEmpty(b *testing.B, d *weirv1.Decision) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := grpc.NewServer()
	weirv1.RegisterAccessServiceServer(s, empty{decision: d})
	go func() { _ = s.Serve(l) }()
	b.Cleanup(s.Stop)
	return l.Addr().String()
}

func benchClient(b *testing.B, address string) weirv1.AccessServiceClient {
	b.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return weirv1.NewAccessServiceClient(conn)
}
