package group

import (
	"context"
	"testing"

	"github.com/weir-cluster/weir/chaos/simnet"
)

// counter is a machine that costs nothing.
type counter struct{ tape }

func (m *counter) Apply(Stamp, []byte) []byte { return nil }

func BenchmarkProposeMemory(b *testing.B) { benchmarkPropose(b, Memory()) }

func BenchmarkProposeDisk(b *testing.B) { benchmarkPropose(b, Disk(b.TempDir())) }

// benchmarkPropose has 1,024 goroutines a core propose 128 bytes each to a group of one.
func benchmarkPropose(b *testing.B, s Storage) {
	g, stop := alone(b, s, &counter{}, simnet.New(1).Host("10.0.0.1"))
	defer stop()
	command := make([]byte, 128)
	before := g.Status().LastIndex
	b.ReportAllocs()
	b.SetParallelism(1024)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := g.Propose(context.Background(), "tape", command); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(b.N)/float64(g.Status().LastIndex-before), "ops/entry")
}
