package chaos

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func perSecond(b *testing.B, ops int) {
	b.ReportMetric(float64(ops)*float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkMeter measures the exact meter on one bucket, the worst case: n takes that overlap a good deal.
func BenchmarkMeter(b *testing.B) {
	for _, n := range []int{10_000, 300_000} {
		r := rand.New(rand.NewPCG(1, 1))
		takes := make([]take, n)
		for i := range takes {
			from := time.Duration(i)*time.Millisecond + time.Duration(r.Int64N(1e8))
			takes[i] = take{from: from, until: from + time.Duration(r.Int64N(5e7)), units: 1, op: int32(i)}
		}
		g := gauge{capacity: 100, rate: 900, crowd: 1000, span: time.Second}
		b.Run(fmt.Sprint("takes-", n), func(b *testing.B) {
			for b.Loop() {
				g.measure("", takes, nil)
			}
			perSecond(b, n)
		})
	}
}

// BenchmarkJournal measures L1 to L9 together, and BenchmarkOverAdmission M1 with all that it needs to be laid out.
func BenchmarkJournal(b *testing.B) {
	for _, n := range []int{10_000, 300_000} {
		h := newBank(1, n, "").history
		b.Run(fmt.Sprint("ops-", len(h.Ops)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k := newStudy(h, nil).books()
				for _, check := range []func() Result{
					k.conservation, k.floor, k.exactlyOnce, k.sameReply, k.linearizable, k.durable, k.equalReplicas, k.sessionReads, k.noPhantom,
				} {
					if r := check(); r.Status == Refuted {
						b.Fatal(r.Why)
					}
				}
			}
			perSecond(b, len(h.Ops))
		})
	}
}
