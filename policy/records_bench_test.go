package policy

import (
	"context"
	"fmt"
	"testing"

	"github.com/weir-cluster/weir/ring"
)

// BenchmarkRecords is what it costs to follow the records of a partition that 1,000 checks with a key reserved in.
func BenchmarkRecords(b *testing.B) {
	g := newRig(b, limitsOf(3))
	n, p := g.node(g.few(0)), ring.Partition("llm", "alice")
	for i := range 1000 {
		if _, err := n.c.Check(context.Background(), alice(fmt.Sprint("key=k", i), "reserve")); err != nil {
			b.Fatal(err)
		}
	}
	chunks := n.records.all(p, 64<<10)
	bytes := 0
	for _, chunk := range chunks {
		bytes += len(chunk)
	}
	perRecord := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2000, "ns/record")
	}
	b.Run("changes", func(b *testing.B) {
		for b.Loop() {
			n.records.all(p, 64<<10)
		}
		b.ReportMetric(float64(bytes)/2000, "B/record")
		perRecord(b)
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			to := g.few(0)
			for _, chunk := range chunks {
				if err := to.Restore(p, 0, chunk); err != nil {
					b.Fatal(err)
				}
			}
		}
		perRecord(b)
	})
	b.Run("track-4096-empty", func(b *testing.B) {
		rs := g.few(0)
		for b.Loop() {
			for p := range uint16(ring.Partitions) {
				rs.Track(p, true)
			}
		}
	})
}

// BenchmarkKeyedCheck compares a first check with a key in a partition that is tracked and shipped, and in one that is not.
func BenchmarkKeyedCheck(b *testing.B) {
	for _, tracked := range []bool{false, true} {
		b.Run(fmt.Sprint("tracked-", tracked), func(b *testing.B) {
			g := newRig(b, limitsOf(3))
			n, p := g.node(g.few(10_000)), ring.Partition("llm", "alice")
			n.records.Track(p, tracked)
			var d Decision
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				i++
				r := Request{Domain: "llm", Attributes: alice().Attributes, IdempotencyKey: fmt.Sprint(i)}
				if decided, err := n.c.Try(&r, &d); !decided || err != nil {
					b.Fatal(d, decided, err)
				}
				if tracked && i%256 == 0 {
					n.records.Changes(p, 1<<20)
				}
			}
		})
	}
}
