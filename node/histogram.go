package node

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// histogramBounds are the upper bounds of a histogram's buckets, from a decision in memory to one that waited for the
// ledger.
var histogramBounds = [...]time.Duration{
	time.Microsecond, 2500 * time.Nanosecond, 5 * time.Microsecond, 10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
}

// histogram counts durations. It takes no lock, so that it costs next to nothing to note one.
type histogram struct {
	counts [len(histogramBounds) + 1]atomic.Uint64 // the last is of what is longer than all bounds
	sum    atomic.Int64                            // nanoseconds
}

func newHistogram() *histogram { return new(histogram) }

// note counts n checks that took so long.
func (h *histogram) note(took time.Duration, n int) {
	i := 0
	for i < len(histogramBounds) && took > histogramBounds[i] {
		i++
	}
	h.counts[i].Add(uint64(n))
	h.sum.Add(int64(took) * int64(n))
}

// write writes the histogram of a path as Prometheus reads it. Counts that are noted meanwhile may be in it in part.
func (h *histogram) write(w io.Writer, name, path string) {
	total := uint64(0)
	for i := range h.counts {
		total += h.counts[i].Load()
		bound := "+Inf"
		if i < len(histogramBounds) {
			bound = fmt.Sprint(histogramBounds[i].Seconds())
		}
		fmt.Fprintf(w, "%s_bucket{path=%q,le=%q} %d\n", name, path, bound, total)
	}
	fmt.Fprintf(w, "%s_sum{path=%q} %v\n", name, path, time.Duration(h.sum.Load()).Seconds())
	fmt.Fprintf(w, "%s_count{path=%q} %d\n", name, path, total)
}
