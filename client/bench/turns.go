package bench

import (
	"context"
	"fmt"
)

// The names of most sides.
const (
	onWeir  = "weir"
	onFloor = "floor"
)

// side is one of those that are measured against each other.
type side struct {
	name  string
	door  door
	procs []string // HTTP addresses of the processes that serve it
}

// rounds are the samples of one side, one a turn, and what they cost.
type rounds struct {
	samples []sample
	costs   []Cost
}

// turns puts the same load on each side in turn, n times, so that whatever else the machine does falls on all
// of them alike. When ctx ends it returns what is complete, and no error if that is at least one turn.
func turns(ctx context.Context, n int, l load, sides ...side) ([]rounds, error) {
	all := make([]rounds, len(sides))
	for turn := range n {
		done := make([]rounds, len(sides))
		for i, s := range sides {
			l.seed = uint64(turn)*100 + 1
			one, cost, err := measure(ctx, l, s)
			if ctx.Err() != nil && turn > 0 {
				return all, nil
			}
			if err != nil {
				return all, fmt.Errorf("%s: %w", s.name, err)
			}
			done[i] = rounds{[]sample{one}, []Cost{cost}}
		}
		for i := range all {
			all[i].samples = append(all[i].samples, done[i].samples...)
			all[i].costs = append(all[i].costs, done[i].costs...)
		}
	}
	return all, nil
}

// measure puts a load on one side. The servers' cost is that of everything they were asked, warm-up included.
func measure(ctx context.Context, l load, s side) (sample, Cost, error) {
	before, err := usageOf(ctx, s.procs)
	if err != nil {
		return sample{}, Cost{}, err
	}
	own := ownUsage()
	one, err := l.run(ctx, s.door)
	if err != nil {
		return one, Cost{}, err
	}
	own = ownUsage().since(own)
	after, err := usageOf(context.WithoutCancel(ctx), s.procs)
	if err != nil {
		return one, Cost{}, err
	}
	cost := after.since(before).cost(one.decisions)
	cost.Generator = own.cost(one.decisions).CPUPerMillion
	return one, cost, nil
}

func (r rounds) perSecond() []float64 { return each(r.samples, sample.perSecond) }
func (r rounds) p50() []float64 {
	return each(r.samples, func(s sample) float64 { return s.latency.P50 })
}

func (r rounds) p99() []float64 {
	return each(r.samples, func(s sample) float64 { return s.latency.P99 })
}

// cpu is the servers' time for each decision, in microseconds.
func (r rounds) cpu() []float64 {
	all := make([]float64, len(r.costs))
	for i, c := range r.costs {
		all[i] = c.CPUPerMillion
	}
	return all
}

// step sums the rounds up: counts are added, everything else is the median.
func (r rounds) step(name, on string, l load, batch int) Step {
	var all tally
	s := Step{Name: name, On: on, Loop: Closed, Callers: l.callers}
	for i := range r.samples {
		all.add(&r.samples[i].tally)
		s.Seconds += r.samples[i].took.Seconds()
		s.Decisions += r.samples[i].inWindow
	}
	s.PerSecond, s.Spread, s.TailSpread = median(r.perSecond()), spread(r.perSecond()), spread(r.p99())
	s.Latency = r.quantiles(func(s sample) Quantiles { return s.latency })
	if l.rate > 0 {
		s.Loop, s.Rate, s.Spread = Open, l.rate*float64(batch), spread(r.p50())
		late := r.quantiles(func(s sample) Quantiles { return s.late })
		s.Late = &late
	}
	of := func(one func(Cost) float64) float64 {
		var values []float64
		for _, c := range r.costs {
			values = append(values, one(c))
		}
		return median(values)
	}
	s.Cost = &Cost{
		CPUPerMillion: of(func(c Cost) float64 { return c.CPUPerMillion }), Mallocs: of(func(c Cost) float64 { return c.Mallocs }),
		AllocBytes: of(func(c Cost) float64 { return c.AllocBytes }), ResidentBytes: r.costs[len(r.costs)-1].ResidentBytes,
		Generator: of(func(c Cost) float64 { return c.Generator }),
	}
	s.Verdicts, s.Reasons, s.Fallbacks, s.Errors = all.verdicts(), all.reasons(), all.fallbacks(), all.errors
	return s
}

// quantiles are the medians over the rounds; counts are added.
func (r rounds) quantiles(of func(sample) Quantiles) Quantiles {
	take := func(one func(Quantiles) float64) float64 {
		return median(each(r.samples, func(s sample) float64 { return one(of(s)) }))
	}
	q := Quantiles{
		P50: take(func(q Quantiles) float64 { return q.P50 }), P99: take(func(q Quantiles) float64 { return q.P99 }),
		P999: take(func(q Quantiles) float64 { return q.P999 }),
	}
	for _, s := range r.samples {
		q.Count += of(s).Count
		q.Max = max(q.Max, of(s).Max)
	}
	return q
}

// against compares Weir with the floor, turn by turn.
func against(weir, floor rounds) *Against {
	return &Against{
		PerSecond: median(ratios(weir.perSecond(), floor.perSecond())),
		P50:       median(ratios(weir.p50(), floor.p50())), P99: median(ratios(weir.p99(), floor.p99())),
	}
}
