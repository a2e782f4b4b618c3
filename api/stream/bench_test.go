package stream_test

import (
	"context"
	"sync"
	"testing"

	"github.com/weir-cluster/weir/api/stream"
	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// BenchmarkCrowd tells how many checks share a message when many goroutines ask at once: each message costs both sides
// system calls and wakeups.
func BenchmarkCrowd(b *testing.B) {
	l := &link{room: 64}
	c := stream.NewClient(l.open)
	l.answer = echo
	ctx, cancel := context.WithCancel(b.Context())
	var run sync.WaitGroup
	run.Go(func() { _ = c.Run(ctx) })
	b.ReportAllocs()
	b.SetParallelism(128)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := c.Check(ctx, &weirv1.CheckRequest{Domain: "d"}, 0); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/float64(l.messages.Load()), "checks/message")
	cancel()
	run.Wait()
	l.servers.Wait()
}
