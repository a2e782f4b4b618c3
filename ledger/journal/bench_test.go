package journal

import (
	"bufio"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func onDisk(b *testing.B) *Journal {
	b.Helper()
	c := DefaultConfig()
	c.Now = time.Now
	j, err := Open(b.TempDir(), c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = j.Close() })
	return j
}

// BenchmarkAppend appends records of 200 B; floor is the same bytes through a bufio.Writer of the same size to a file.
func BenchmarkAppend(b *testing.B) {
	record := make([]byte, 200)
	b.Run("journal", func(b *testing.B) {
		j := onDisk(b)
		b.SetBytes(200)
		seq := uint64(0)
		for b.Loop() {
			seq++
			if err := j.Append(seq, record); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("floor", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "floor"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		w := bufio.NewWriterSize(f, bufferBytes)
		b.SetBytes(200)
		for b.Loop() {
			if _, err := w.Write(record); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("again", func(b *testing.B) { // what a Raft log does that is applied again
		j := onDisk(b)
		const newest = 500_000
		for seq := uint64(1); seq <= newest; seq++ {
			if err := j.Append(seq, record); err != nil {
				b.Fatal(err)
			}
		}
		seq := uint64(0)
		for b.Loop() {
			seq = seq%newest + 1
			if err := j.Append(seq, record); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRead reads records at random out of a million; floor is a ReadAt of as many bytes as one record.
func BenchmarkRead(b *testing.B) {
	j := onDisk(b)
	const newest = 1_000_000
	for seq := uint64(1); seq <= newest; seq++ {
		if err := j.Append(seq, make([]byte, 200)); err != nil {
			b.Fatal(err)
		}
	}
	if err := j.Sync(); err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	medians := func(b *testing.B, read func(seq uint64)) {
		b.Helper()
		var took []time.Duration
		for b.Loop() {
			seq := 1 + rng.Uint64N(newest)
			begun := time.Now()
			read(seq)
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
		b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
	}
	b.Run("journal", func(b *testing.B) {
		medians(b, func(seq uint64) {
			if _, err := j.Read(seq); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("floor", func(b *testing.B) {
		s, buf := j.segments[0], make([]byte, 200)
		medians(b, func(seq uint64) {
			if _, err := s.file.ReadAt(buf, int64(seq%s.count)*208); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("scan", func(b *testing.B) {
		after := uint64(0)
		for b.Loop() {
			found, err := j.Scan(b.Context(), after, 256, 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			after = (after + uint64(len(found))) % newest
		}
		b.ReportMetric(float64(b.N)*256/b.Elapsed().Seconds(), "records/s")
	})
}
