package bench

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	drainTime  = 2 * time.Second // for answers that are open when a load ends
	dueMax     = 4096            // arrivals that wait for a caller; behind them the schedule waits and is late
	errorPause = time.Millisecond
)

// caller sends one message, waits for its answer and counts every check in it. One goroutine uses it. An
// error is not counted yet.
type caller func(ctx context.Context, t *tally) error

// door is a way to send checks. ctx bounds all that the caller does; i numbers the callers of one load.
type door interface {
	caller(ctx context.Context, i int) (caller, error)
}

// load is how hard a door is knocked at. Each caller sends one message at a time.
type load struct {
	callers int
	rate    float64 // messages a second that come by themselves; 0 is a closed loop
	window  time.Duration
	warmup  time.Duration // before the window; answers then count in the total only
	seed    uint64
	nap     func(time.Duration) // of an open loop; nil is the system's
}

// sample is what a load measured.
type sample struct {
	tally                     // everything, warm-up included
	took        time.Duration // the window
	inWindow    int64         // decisions that came back in it
	latency     Quantiles     // of messages; in an open loop from when they were meant to be sent
	late        Quantiles     // of an open loop: from then until they were
	interrupted bool          // the window is shorter than was asked for
}

func (s sample) perSecond() float64 { return float64(s.inWindow) / s.took.Seconds() }

// running is a load at work.
type running struct {
	load
	from, until   time.Time // the window
	due           chan time.Time
	latency, late *latencies
	tallies       []tally
	inWindow      []int64
}

// run knocks until the window ends or ctx does; then the sample is of what there was. That nothing at all was
// decided is an error.
func (l load) run(ctx context.Context, d door) (sample, error) {
	bounded, cancel := context.WithTimeout(ctx, l.warmup+l.window+drainTime)
	defer cancel()
	callers := make([]caller, l.callers)
	for i := range callers {
		c, err := d.caller(bounded, i)
		if err != nil {
			return sample{}, fmt.Errorf("open a way for caller %d: %w", i, err)
		}
		callers[i] = c
	}
	start := time.Now()
	r := &running{
		load: l, from: start.Add(l.warmup), until: start.Add(l.warmup + l.window), latency: newLatencies(), late: newLatencies(),
		tallies: make([]tally, l.callers), inWindow: make([]int64, l.callers),
	}
	var all sync.WaitGroup
	if l.rate > 0 {
		r.due = make(chan time.Time, dueMax)
		sleep := l.nap
		if sleep == nil {
			sleep = nap
		}
		all.Go(func() { pace(ctx, clock{time.Now, sleep}, newArrivals(l.rate, l.seed), start, r.until, r.due) })
	}
	for i, c := range callers {
		all.Go(func() {
			if l.rate > 0 {
				r.open(bounded, i, c)
			} else {
				r.closed(ctx, bounded, i, c)
			}
		})
	}
	all.Wait()
	return r.sum(ctx)
}

// closed sends a message as soon as the last one is answered.
func (r *running) closed(asked, ctx context.Context, i int, c caller) {
	for asked.Err() == nil {
		began := time.Now()
		if !began.Before(r.until) {
			return
		}
		r.knock(ctx, i, c, began)
	}
}

// open sends a message whenever one is due. What is due but cannot be sent before ctx ends is an error.
func (r *running) open(ctx context.Context, i int, c caller) {
	for at := range r.due {
		if ctx.Err() != nil {
			r.tallies[i].failed(ctx.Err())
			continue
		}
		if !at.Before(r.from) {
			r.late.record(i, time.Since(at))
		}
		r.knock(ctx, i, c, at)
	}
}

// knock sends one message that was meant for the time at.
func (r *running) knock(ctx context.Context, i int, c caller, at time.Time) {
	t := &r.tallies[i]
	before := t.decisions
	if err := c(ctx, t); err != nil {
		t.failed(err)
		time.Sleep(errorPause)
		return
	}
	done := time.Now()
	if !done.Before(r.from) && done.Before(r.until) {
		r.inWindow[i] += t.decisions - before
	}
	if !at.Before(r.from) {
		r.latency.record(i, done.Sub(at))
	}
}

func (r *running) sum(ctx context.Context) (sample, error) {
	s := sample{took: r.window, latency: r.latency.quantiles()}
	if r.rate > 0 {
		s.late = r.late.quantiles()
	}
	for i := range r.tallies {
		s.add(&r.tallies[i])
		s.inWindow += r.inWindow[i]
	}
	if ctx.Err() != nil {
		s.interrupted = true
		s.took = max(min(time.Since(r.from), r.window), time.Millisecond)
	}
	if s.decisions == 0 {
		return s, fmt.Errorf("not one decision came back of %d callers in %v: %w", r.callers, r.window, s.first)
	}
	return s, nil
}
