package node_test

import (
	"context"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/node"
)

// echoing answers each message of a stream with the outcome of a decision, and decides nothing.
type echoing struct {
	weirv1.UnimplementedAccessServiceServer
	decision *weirv1.Decision
}

func (e echoing) CheckStream(s grpc.BidiStreamingServer[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse]) error {
	for {
		m, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		r := &weirv1.CheckStreamResponse{}
		for _, c := range m.GetChecks() {
			r.Outcomes = append(r.Outcomes, &weirv1.StreamedOutcome{Id: c.GetId(), Outcome: &weirv1.Outcome{Decision: e.decision}})
		}
		if err := s.Send(r); err != nil {
			return err
		}
	}
}

// BenchmarkForward compares checks that a node forwards to their home with a bare stream that echoes, at the same rate: so
// many streams, with one check at a time every so often on each. The metrics are relative to the echo.
func BenchmarkForward(b *testing.B) {
	first, second := runPair(b)
	weir := benchClient(b, first)
	var away []*weirv1.StreamedCheck
	var sample *weirv1.Decision
	for i := 0; len(away) < 1000; i++ {
		c := &weirv1.CheckRequest{Domain: "d", Attributes: []*weirv1.Attribute{{Name: "user", Value: "u" + strconv.Itoa(i)}}}
		d, err := weir.Check(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		if d.GetHome() == second {
			away, sample = append(away, &weirv1.StreamedCheck{Check: c}), d
		}
	}
	floor := benchClient(b, runEmpty(b, func(s *grpc.Server) { weirv1.RegisterAccessServiceServer(s, echoing{decision: sample}) }))
	burst := func(c weirv1.AccessServiceClient) (p50, p99, cpu float64) { return paced(b, c, away) }
	burst(floor)
	burst(weir)
	figures := map[string][]float64{}
	b.ResetTimer()
	for range b.N {
		f50, f99, fcpu := burst(floor)
		w50, w99, wcpu := burst(weir)
		for name, v := range map[string]float64{
			"p50-ratio": w50 / f50, "p99-ratio": w99 / f99, "cpu-ratio": wcpu / fcpu, "p50-µs": w50 / 1e3, "echo-p50-µs": f50 / 1e3, "cpu-µs": wcpu / 1e3 / pacedStreams / pacedEach,
		} {
			figures[name] = append(figures[name], v)
		}
	}
	for name, all := range figures {
		b.ReportMetric(median(all), name)
	}
	b.ReportMetric(0, "ns/op")
}

const pacedStreams, pacedEach, pacedEvery = 32, 100, 16 * time.Millisecond

// paced sends the checks at an even pace over many streams, one at a time on each. It returns how long they took and what
// the process spent on them, in nanoseconds.
func paced(b *testing.B, c weirv1.AccessServiceClient, checks []*weirv1.StreamedCheck) (p50, p99, cpu float64) {
	b.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	var took []float64
	before := processTime()
	for n := range pacedStreams {
		all.Go(func() {
			s, err := c.CheckStream(b.Context())
			if err != nil {
				b.Error(err)
				return
			}
			begin := time.Now().Add(time.Duration(n) * pacedEvery / pacedStreams)
			for i := range pacedEach {
				time.Sleep(time.Until(begin.Add(time.Duration(i) * pacedEvery)))
				sent := time.Now()
				if err := s.Send(&weirv1.CheckStreamRequest{Checks: []*weirv1.StreamedCheck{checks[(n*pacedEach+i)%len(checks)]}}); err != nil {
					b.Error(err)
					return
				}
				if _, err := s.Recv(); err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				took = append(took, float64(time.Since(sent)))
				mu.Unlock()
			}
			_ = s.CloseSend()
			_, _ = s.Recv()
		})
	}
	all.Wait()
	cpu = float64(processTime() - before)
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], cpu
}

// runPair runs two nodes, and returns the gRPC address of the first and the name of the second.
func runPair(b *testing.B) (address, second string) {
	b.Helper()
	var l [2]net.Listener
	for i := range l {
		var err error
		if l[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			b.Fatal(err)
		}
	}
	gossip := [2]string{l[0].Addr().String(), l[1].Addr().String()}
	_, _ = l[0].Close(), l[1].Close()
	var nodes [2]*node.Node
	for i := range nodes {
		c := node.DefaultConfig()
		c.Name, c.Ephemeral, c.Policy, c.PolicyName = "n"+strconv.Itoa(i), true, []byte(benchPolicy), "bench.yaml"
		c.HTTPAddr, c.GRPCAddr, c.GossipAddr, c.PeerAddr = "127.0.0.1:0", "127.0.0.1:0", gossip[i], "127.0.0.1:0"
		c.Join, c.BootstrapExpect = gossip[:], 2
		n, err := node.New(c)
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		b.Cleanup(func() {
			cancel()
			<-done
		})
		nodes[i] = n
	}
	for _, n := range nodes {
		select {
		case <-n.Ready():
		case <-time.After(time.Minute):
			b.Fatal("the pair does not form")
		}
	}
	return nodes[0].GRPCAddr(), "n1"
}
