package node_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// raw is a codec of bytes that are encoded already, so that the generator costs little beside the server.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(m any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*m.(*[]byte))}, nil
}

func (raw) Unmarshal(b mem.BufferSlice, m any) error {
	into := m.(*[]byte)
	if cap(*into) < b.Len() {
		*into = make([]byte, b.Len())
	}
	*into = (*into)[:b.Len()]
	b.CopyTo(*into)
	return nil
}

const packed = 100 // checks a message

// packedMessages are encoded messages of 100 checks of a thousand users; user chooses whose each is.
func packedMessages(b *testing.B, user func(i int) int) [][]byte {
	b.Helper()
	all := make([][]byte, 50)
	for i := range all {
		m := &weirv1.CheckStreamRequest{}
		for j := range packed {
			m.Checks = append(m.Checks, &weirv1.StreamedCheck{Id: uint64(j), Check: &weirv1.CheckRequest{Domain: "d", Attributes: []*weirv1.Attribute{
				{Name: "user", Value: "user-" + strconv.Itoa(user(i*packed+j))}, {Name: "model", Value: "large"}, {Name: "org", Value: "acme"},
			}}})
		}
		var err error
		if all[i], err = proto.Marshal(m); err != nil {
			b.Fatal(err)
		}
	}
	return all
}

// outcomesIn counts the outcomes of an encoded CheckStreamResponse.
func outcomesIn(m []byte) (n int) {
	for len(m) > 0 {
		_, _, tag := protowire.ConsumeTag(m)
		_, value := protowire.ConsumeBytes(m[tag:])
		m = m[tag+value:]
		n++
	}
	return n
}

// pump sends messages on a few streams, with several in flight on each, until count were answered, and returns how
// long that took.
func pump(b *testing.B, address string, messages [][]byte, count int) time.Duration {
	b.Helper()
	const streams, inFlight = 4, 4
	var next, answered atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range streams {
		all.Go(func() {
			conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})))
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			s, err := conn.NewStream(b.Context(), &weirv1.AccessService_ServiceDesc.Streams[0], weirv1.AccessService_CheckStream_FullMethodName)
			if err != nil {
				b.Error(err)
				return
			}
			open := make(chan struct{}, inFlight)
			all.Go(func() {
				for i := next.Add(1); i <= int64(count); i = next.Add(1) {
					open <- struct{}{}
					if err := s.SendMsg(&messages[int(i)%len(messages)]); err != nil {
						b.Error(err)
						return
					}
				}
				_ = s.CloseSend()
			})
			var m []byte
			for due := 0; ; {
				if err := s.RecvMsg(&m); err != nil {
					if !errors.Is(err, io.EOF) {
						b.Error(err)
					}
					return
				}
				n := outcomesIn(m)
				answered.Add(int64(n))
				for due += n; due >= packed; due -= packed {
					<-open
				}
			}
		})
	}
	all.Wait()
	if answered.Load() != int64(count*packed) {
		b.Fatalf("%d of %d answered", answered.Load(), count*packed)
	}
	return time.Since(began)
}

// BenchmarkCheckStream is the figure "CheckStream, 100 checks a message, 3 attributes each, prebuilt messages": checks/s
// is with the generator on the same processors, and cpu-ns/check is what both use together; echo- is the same with a server
// that sends an answer of the same size without reading or deciding anything. hot is with half of all traffic on one key.
func BenchmarkCheckStream(b *testing.B) {
	weir := runNode(b)
	spread := packedMessages(b, func(i int) int { return i * 7919 % 1000 })
	hot := packedMessages(b, func(i int) int { return i * 7919 % 1000 * (i % 2) })
	echo := runEcho(b, weir, spread)
	const round = 2000
	var took [3]time.Duration
	var cpu [3]time.Duration
	run := func(i int, address string, messages [][]byte) {
		before := processTime()
		took[i] += pump(b, address, messages, round)
		cpu[i] += processTime() - before
	}
	pump(b, weir, spread, round)
	b.ResetTimer()
	for range b.N {
		run(0, weir, spread)
		run(1, weir, hot)
		run(2, echo, spread)
	}
	checks := float64(b.N * round * packed)
	b.ReportMetric(checks/took[0].Seconds(), "checks/s")
	b.ReportMetric(float64(cpu[0])/checks, "cpu-ns/check")
	b.ReportMetric(checks/took[1].Seconds(), "hot-checks/s")
	b.ReportMetric(checks/took[2].Seconds(), "echo-checks/s")
	b.ReportMetric(float64(cpu[2])/checks, "echo-cpu-ns/check")
	b.ReportMetric(0, "ns/op")
}

func processTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// runEcho serves CheckStream with what a node answered to the first message, whatever is sent.
func runEcho(b *testing.B, weir string, messages [][]byte) string {
	b.Helper()
	conn, err := grpc.NewClient(weir, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	d := weirv1.AccessService_ServiceDesc
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	s, err := conn.NewStream(ctx, &d.Streams[0], weirv1.AccessService_CheckStream_FullMethodName)
	if err != nil {
		b.Fatal(err)
	}
	var answer []byte
	if err := errors.Join(s.SendMsg(&messages[0]), s.RecvMsg(&answer)); err != nil || outcomesIn(answer) != packed {
		b.Fatal(err, outcomesIn(answer))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(raw{}))
	d.Methods, d.Streams = nil, []grpc.StreamDesc{{StreamName: "CheckStream", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		var m []byte
		for {
			if err := s.RecvMsg(&m); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
			if err := s.SendMsg(&answer); err != nil {
				return err
			}
		}
	}}}
	server.RegisterService(&d, weirv1.UnimplementedAccessServiceServer{})
	go func() { _ = server.Serve(l) }()
	b.Cleanup(server.Stop)
	return l.Addr().String()
}
