package policy

import (
	"bytes"
	"context"
	"os"
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
// is one apply, while another goroutine decides without a break; a pause is the time from one decision to the next, less
// what its thread waited for a processor that other programs had. Of the longest pauses of all applies it tells the
// median and the maximum, and beside them the same over equal times without an apply: what the machine makes of it.
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
	loaded, idle := make([]float64, b.N), make([]float64, b.N)
	b.ResetTimer()
	for i := range b.N {
		var took time.Duration
		loaded[i] = longestPauses(decide, func() {
			began := time.Now()
			apply(i)
			took = time.Since(began)
		}).own.Seconds() * 1e3
		b.StopTimer()
		idle[i] = longestPauses(decide, func() { time.Sleep(took) }).own.Seconds() * 1e3
		b.StartTimer()
	}
	for name, of := range map[string][]float64{"pause": loaded, "idle": idle} {
		slices.Sort(of)
		b.ReportMetric(of[len(of)/2], name+"-median-ms")
		b.ReportMetric(of[len(of)-1], name+"-max-ms")
	}
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

// pauses are the longest of a goroutine: by the clock, and less what its thread was ready to run and did not.
type pauses struct{ wall, own time.Duration }

// longestPauses has a goroutine decide over and over while load runs.
func longestPauses(decide, load func()) pauses {
	var stop atomic.Bool
	longest := make(chan pauses)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var p pauses
		waited := readyWaits()
		before := waited()
		for i, last := 0, time.Now(); !stop.Load(); i++ {
			decide()
			now := time.Now()
			if pause := now.Sub(last); pause > p.own || i%64 == 0 { // a look costs as much as a decision
				after := waited()
				p.wall, p.own = max(p.wall, pause), max(p.own, pause-(after-before))
				before, now = after, time.Now()
			}
			last = now
		}
		longest <- p
	}()
	load()
	stop.Store(true)
	return <-longest
}

// readyWaits returns a function that tells how long the calling thread was ready and waited for a processor, as Linux
// counts it; 0 elsewhere.
func readyWaits() func() time.Duration {
	f, err := os.Open("/proc/thread-self/schedstat")
	if err != nil {
		return func() time.Duration { return 0 }
	}
	room := make([]byte, 128)
	return func() time.Duration {
		n, _ := f.ReadAt(room, 0)
		_, rest, _ := bytes.Cut(room[:n], []byte(" "))
		ns := time.Duration(0)
		for _, c := range rest {
			if c < '0' || c > '9' {
				break
			}
			ns = ns*10 + time.Duration(c-'0')
		}
		return ns
	}
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
