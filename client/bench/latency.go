package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Bounds of what is recorded: to the microsecond, three digits; longer than latencyMax is latencyMax.
const (
	latencyMin    = time.Microsecond
	latencyMax    = time.Minute
	latencyDigits = 3
	shards        = 16 // histograms that callers share, so that their number costs no memory
)

// latencies collects durations of many callers. It is safe for concurrent use.
type latencies struct {
	parts [shards]struct {
		mu sync.Mutex
		h  *hdrhistogram.Histogram
	}
}

func newLatencies() *latencies {
	l := &latencies{}
	for i := range l.parts {
		l.parts[i].h = newHistogram()
	}
	return l
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(latencyMin), int64(latencyMax), latencyDigits)
}

// record notes what caller i measured.
func (l *latencies) record(i int, d time.Duration) {
	p := &l.parts[i%shards]
	p.mu.Lock()
	_ = p.h.RecordValue(int64(min(max(d, 0), latencyMax))) // within the bounds it cannot fail
	p.mu.Unlock()
}

// quantiles sums up everything recorded.
func (l *latencies) quantiles() Quantiles {
	all := newHistogram()
	for i := range l.parts {
		l.parts[i].mu.Lock()
		all.Merge(l.parts[i].h)
		l.parts[i].mu.Unlock()
	}
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	return Quantiles{
		Count: all.TotalCount(), P50: us(all.ValueAtQuantile(50)), P99: us(all.ValueAtQuantile(99)),
		P999: us(all.ValueAtQuantile(99.9)), Max: us(all.Max()),
	}
}

// Quantiles sums up a distribution of times.
type Quantiles struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
	Max   float64 `json:"max_us"`
}
