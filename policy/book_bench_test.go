package policy

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// manyRules is a policy of 10,000 rules, of which a request of alice passes one.
func manyRules(rate string) []byte {
	var text strings.Builder
	text.WriteString("version: 1\ndomains:\n  llm:\n    account: [user]\n    limits:\n")
	for i := range limitsMax - 1 {
		text.WriteString("      - {name: l" + strconv.Itoa(i) + ", match: {user: u" + strconv.Itoa(i) + "}, key: [user], algorithm: token_bucket, rate: " + rate + "}\n")
	}
	text.WriteString("      - {name: all, key: [user], algorithm: token_bucket, rate: 500000000/s, burst: 1000000000}\n")
	return []byte(text.String())
}

// BenchmarkApplyUnderLoad is the figure "apply of 10,000 rules under load: longest pause of a decision". One iteration
// is one apply while other goroutines decide without a break: one of them; or eight, more than there are processors, each
// of which gives way after a decision as that of a request ends then. A pause is the time from one decision to the next,
// less what a thread of the process waited for a processor that another program had. Of the longest pauses of all applies
// it tells the median and the maximum, and beside them the same over equal times without an apply: what the machine, and
// the garbage of the decisions themselves, make of it.
func BenchmarkApplyUnderLoad(b *testing.B) {
	texts := [2][]byte{manyRules("60/min"), manyRules("61/min")}
	book := NewBook(nil)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- book.Run(ctx) }()
	log := proposerFunc(func(_ context.Context, command []byte) ([]byte, error) { return book.Apply(logTime(), command), nil })
	apply := func(i int) {
		if _, err := book.Put(ctx, log, "f", texts[i%2], AnyVersion, ""); err != nil {
			b.Fatal(err)
		}
	}
	apply(1)
	g := newRig(b, string(texts[1]))
	g.w.c.Policy = book.Current
	decide := func() {
		if d, err := g.w.Check(ctx, Request{Domain: "llm", Attributes: []Attribute{{"user", "alice"}}}); err != nil || d.Verdict != Allow {
			b.Error(d, err)
		}
	}
	b.Run("one-decider", func(b *testing.B) { applyUnderLoad(b, 1, decide, apply) })
	b.Run("eight-deciders", func(b *testing.B) {
		applyUnderLoad(b, 8, func() { decide(); runtime.Gosched() }, apply)
	})
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

func applyUnderLoad(b *testing.B, deciders int, decide func(), apply func(i int)) {
	loaded, idle := make([]float64, b.N), make([]float64, b.N)
	for i := range b.N {
		var took time.Duration
		loaded[i] = longestPause(deciders, decide, func() {
			began := time.Now()
			apply(i)
			took = time.Since(began)
		}).Seconds() * 1e3
		b.StopTimer()
		idle[i] = longestPause(deciders, decide, func() { time.Sleep(took) }).Seconds() * 1e3
		b.StartTimer()
	}
	for name, of := range map[string][]float64{"pause": loaded, "idle": idle} {
		slices.Sort(of)
		b.ReportMetric(of[len(of)/2], name+"-median-ms")
		b.ReportMetric(of[len(of)-1], name+"-max-ms")
	}
}

// longestPause has goroutines decide over and over while load runs.
func longestPause(deciders int, decide, load func()) time.Duration {
	var stop atomic.Bool
	longest := make(chan time.Duration)
	for range deciders {
		go func() {
			var own time.Duration
			waits := newWaits()
			for i, last := 0, time.Now(); !stop.Load(); i++ {
				decide()
				now := time.Now()
				if pause := now.Sub(last); pause > own || i%1024 == 0 { // a look costs as much as some decisions
					own = max(own, pause-waits.since())
					now = time.Now()
				}
				last = now
			}
			longest <- own
		}()
	}
	load()
	stop.Store(true)
	worst := time.Duration(0)
	for range deciders {
		worst = max(worst, <-longest)
	}
	return worst
}

// waits tells how long threads of this process were ready and waited for a processor, as Linux counts it.
type waits struct {
	threads []*os.File
	before  []time.Duration
}

// newWaits looks at the threads that there are.
func newWaits() *waits {
	names, _ := filepath.Glob("/proc/self/task/*/schedstat")
	var w waits
	for _, name := range names {
		if f, err := os.Open(name); err == nil {
			w.threads, w.before = append(w.threads, f), append(w.before, 0)
		}
	}
	w.since()
	return &w
}

// since returns how long the thread that waited longest did since the last call.
func (w *waits) since() (longest time.Duration) {
	var room [128]byte
	for i, f := range w.threads {
		n, _ := f.ReadAt(room[:], 0)
		_, rest, _ := bytes.Cut(room[:n], []byte(" "))
		ns := time.Duration(0)
		for _, c := range rest {
			if c < '0' || c > '9' {
				break
			}
			ns = ns*10 + time.Duration(c-'0')
		}
		longest = max(longest, ns-w.before[i])
		w.before[i] = ns
	}
	return longest
}

// BenchmarkOverrideAtTheBound is one override more when there are nearly as many as there may be, until it is in force.
func BenchmarkOverrideAtTheBound(b *testing.B) {
	p := full(b, func(a *agreed, p place) {
		a.blocks[p], a.resets[p] = block{}, reset{number: 1}
		if p.limit = "rpm"; len(a.overrides) < OverridesMax-1 {
			a.overrides[p] = override{terms: Terms{Rate: "1/s"}}
		}
	})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := p.SetOverride(b.Context(), p, Override{Domain: "d", Account: "alice", Limit: "rpm", Terms: Terms{Burst: int64(i + 1)}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSpecial(b *testing.B) {
	p := full(b, func(a *agreed, p place) { a.blocks[p] = block{} })
	current := p.Current()
	for b.Loop() {
		if current.special("d", "alice") != nil {
			b.Fatal("alice is special")
		}
	}
}
