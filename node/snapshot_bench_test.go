package node

import (
	"io"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/ring"
)

// processor is the processor time that this process has used.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// crowd is a process that is home of all partitions, with a million live buckets.
func crowd(b *testing.B, disk Snapshots) *life {
	b.Helper()
	now := begin()
	l := newLife(b, disk, &now)
	l.sees("c", 3, 3, 2, me)
	limits := []limiter.Limit{
		{Algorithm: limiter.TokenBucket, Count: 1000, Period: time.Hour, Burst: 1000},
		{Algorithm: limiter.FixedWindow, Count: 1000, Period: time.Hour},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 1_000_000 {
		take := []limiter.Take{{Key: limiter.Key{Hi: random.Uint64(), Lo: random.Uint64()}, Limit: &limits[i%2], Cost: 1 + random.Int64N(100)}}
		l.buckets.Take(uint16(i%ring.Partitions), now.UnixNano(), take)
	}
	for p := range ring.Partitions {
		l.holds(uint16(p), 3, true)
	}
	return l
}

// A million buckets written, beside their bytes alone; read at a start; and taken in. A write every 5 s takes part/s of a core.
func BenchmarkSnapshotOfAMillionBuckets(b *testing.B) {
	dir := SnapshotsIn(b.TempDir())
	l := crowd(b, dir)
	perWrite := func(b *testing.B, do func()) {
		b.Helper()
		began := processor(b)
		for b.Loop() {
			do()
		}
		used := (processor(b) - began) / time.Duration(b.N)
		b.ReportMetric(float64(used.Milliseconds()), "cpu-ms/op")
		b.ReportMetric(100*used.Seconds()/l.snapshots.cfg.Every.Seconds(), "%core")
	}
	write := func() {
		if err := l.snapshots.write(); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("write", func(b *testing.B) {
		perWrite(b, write)
		b.ReportMetric(float64(l.snapshots.bytes.Load())/1e6, "MB")
	})
	b.Run("bytes", func(b *testing.B) {
		zeros := make([]byte, 256<<10)
		perWrite(b, func() {
			err := SnapshotsIn(b.TempDir()).Save(func(w io.Writer) error {
				for left := l.snapshots.bytes.Load(); left > 0; left -= int64(len(zeros)) {
					if _, err := w.Write(zeros); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("look", func(b *testing.B) {
		perWrite(b, func() { l.snapshots.due() })
	})
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			is := bareLife(b, dir, l.now)
			is.snapshots.load(me, metrics.NewSet())
			if len(is.snapshots.past.sections) != ring.Partitions {
				b.Fatal("not all are there")
			}
		}
	})
	b.Run("recall", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			is := bareLife(b, dir, l.now)
			is.sees("c", 4, 4, 3, me)
			is.snapshots.load(me, metrics.NewSet())
			b.StartTimer()
			for p := range ring.Partitions {
				if !is.snapshots.Recall(uint16(p), 3, 4) {
					b.Fatal("not recalled")
				}
			}
		}
	})
}
