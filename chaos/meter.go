package chaos

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// take is units that were taken, surely between from and until.
type take struct {
	from, until time.Duration
	units       float64
	op          int32
	above       bool // it counts even where the limit had no room for it
}

// loss is units of which a home may not know that another before it gave them, by a change of home between from and until.
type loss struct {
	from, until time.Duration
	units       float64
}

// peak is the worst that a meter saw, and where.
type peak struct {
	most        float64
	start, ends time.Duration
}

// burst returns the effective burst of takes under a rate in units a second: the most, over all intervals, of what was
// surely taken within it less what the rate earns in it and what may be lost in it; and the first to exceed a bound. It is a
// lower bound of the true burst wherever within its interval each take happened. n takes need n log n steps.
func burst(takes []take, losses []loss, rate, bound float64) (worst, first peak) {
	byFrom := slices.Clone(takes)
	for _, l := range losses { // it counts in an interval that begins before it may be over and ends when it may have been
		byFrom = append(byFrom, take{from: l.until, until: l.from, units: -l.units})
	}
	slices.SortFunc(byFrom, func(a, b take) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.units, a.units)) })
	order := make([]int32, len(byFrom)) // of byFrom, as they ended
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(byFrom[a].until, byFrom[b].until), cmp.Compare(byFrom[a].units, byFrom[b].units))
	})
	t := newTally(len(byFrom))
	worst.most = math.Inf(-1)
	for _, i := range order {
		k := &byFrom[i]
		if k.units < 0 { // no interval is worst that begins or ends with it
			t.add(int(i), k.units, math.Inf(-1))
			continue
		}
		t.add(int(i), k.units, rate*k.from.Seconds())
		x := t.most[1] - rate*k.until.Seconds()
		if x > worst.most {
			worst = peak{x, byFrom[t.where()].from, k.until}
		}
		if first.most == 0 && x > bound+rounding {
			first = worst
		}
	}
	return worst, first
}

// tally keeps, over starts in order, the most of: all units from a start on, and the worth of that start.
type tally struct {
	leaves    int
	sum, most []float64 // a tree: node i has the children 2i and 2i+1
}

func newTally(n int) *tally {
	leaves := 1
	for leaves < n {
		leaves *= 2
	}
	t := &tally{leaves: leaves, sum: make([]float64, 2*leaves), most: make([]float64, 2*leaves)}
	for i := range t.most {
		t.most[i] = math.Inf(-1)
	}
	return t
}

func (t *tally) add(at int, units, worth float64) {
	i := t.leaves + at
	t.sum[i], t.most[i] = units, units+worth
	for i /= 2; i > 0; i /= 2 {
		l, r := 2*i, 2*i+1
		t.sum[i], t.most[i] = t.sum[l]+t.sum[r], max(t.most[r], t.most[l]+t.sum[r])
	}
}

// where returns the start of the most, the latest of several.
func (t *tally) where() int {
	i := 1
	for i < t.leaves {
		if i *= 2; t.most[i]+t.sum[i+1] > t.most[i+1] {
			continue
		}
		i++
	}
	return i - t.leaves
}

// crowded returns the most that was surely taken within any interval of so long, less what may be lost in it, and the first to
// exceed a bound.
func crowded(takes []take, losses []loss, length time.Duration, bound float64) (worst, first peak) {
	type turn struct {
		start time.Duration // of an interval: from here on, or up to here, it holds the take
		units float64
	}
	turns := make([]turn, 0, 2*(len(takes)+len(losses)))
	for _, l := range losses {
		turns = append(turns, turn{l.from - length, -l.units}, turn{l.until + 1, l.units})
	}
	for _, k := range takes {
		if k.until-k.from <= length {
			turns = append(turns, turn{k.until - length, k.units}, turn{k.from + 1, -k.units})
		}
	}
	slices.SortFunc(turns, func(a, b turn) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.units, b.units)) // what leaves goes first
	})
	var held float64
	for _, t := range turns {
		held += t.units
		if held > worst.most {
			worst = peak{held, t.start, t.start + length}
		}
		if first.most == 0 && held > bound+rounding {
			first = worst
		}
	}
	return worst, first
}

// gauge is what one bucket, or a part of it, was measured by.
type gauge struct {
	capacity float64 // the most effective burst at rate; below zero: not asked
	rate     float64 // units a second
	crowd    float64 // the most within span; below zero: not asked
	span     time.Duration
}

// gaugeOf returns what a single node that keeps a limit on its own clock holds to; parts is among how many it is
// shared. Windows lie on the node's clock, which the harness does not know: any span of a window's length touches two.
func (b bounds) gaugeOf(parts int) gauge {
	n, count, size := int64(max(parts, 1)), float64(b.Limit.Limit/int64(max(parts, 1))), float64(b.Burst/int64(max(parts, 1)))
	g := gauge{capacity: -1, crowd: -1, span: time.Duration(float64(b.Window)*(1-drift)) - 1}
	if b.Window > 0 {
		g.rate = count / b.Window.Seconds() * (1 + drift)
	}
	switch b.Algorithm {
	case "token_bucket":
		g.capacity, g.rate = size, b.Rate/float64(n)*(1+drift)
	case "sliding_window":
		g.capacity = count
	case "fixed_window", "calendar_window":
		g.capacity, g.crowd = 2*count, 2*count
	case "rolling_log":
		g.crowd = count
	}
	return g
}

// ahead widens a gauge for clocks that jumped.
func (g gauge) ahead(jumps []time.Duration, count float64) gauge {
	for _, j := range jumps {
		extra := count
		if g.crowd < 0 { // what a bucket earns by it, at most all
			extra = min(g.rate*j.Seconds(), g.capacity)
		}
		if g.capacity >= 0 {
			g.capacity += extra
		}
		if g.crowd >= 0 {
			g.crowd += count
		}
	}
	return g
}

// reading is what one side of a gauge showed.
type reading struct {
	what         string
	bound, rate  float64
	span         time.Duration // zero: an effective burst
	takes        []take
	losses       []loss
	worst, first peak // first: to exceed the bound
}

func (r reading) margin() float64 { return r.bound - r.worst.most }

func (r *reading) read(takes []take) (worst, first peak) {
	if r.span > 0 {
		return crowded(takes, r.losses, r.span, r.bound)
	}
	return burst(takes, r.losses, r.rate, r.bound)
}

// rounding is the room for sums of floating-point numbers.
const rounding = 1e-6

// measure reads a gauge over takes and returns the reading of the least margin; there is none of a limit without a bound.
func (g gauge) measure(what string, takes []take, losses []loss) (worst reading, asked bool) {
	try := func(r reading) {
		r.takes, r.losses = takes, losses
		r.worst, r.first = r.read(takes)
		if !asked || r.margin() < worst.margin() {
			worst, asked = r, true
		}
	}
	if g.capacity >= 0 {
		try(reading{what: what + ", effective burst", bound: g.capacity, rate: g.rate})
	}
	if g.crowd >= 0 {
		try(reading{what: fmt.Sprint(what, ", within ", g.span.Round(time.Millisecond)), bound: g.crowd, span: g.span})
	}
	return worst, asked
}

// result tells a reading, and what it would be had each take happened when it was answered.
func (r reading) result(s *study, id string) Result {
	points := slices.Clone(r.takes)
	for i := range points {
		points[i].from = points[i].until
	}
	estimate, _ := r.read(points)
	out := Result{Invariant: id, Status: Held, Bound: r.bound, Observed: r.worst.most, Margin: r.margin(), Unit: "units"}
	out.Why = fmt.Sprintf("%s, from %s to %s; as answered %.2f", r.what, r.worst.start, r.worst.ends, estimate.most)
	if r.margin() < -rounding {
		ops, others := r.fewest(r.first.ends), r.fewest(r.worst.ends)
		if len(others) < len(ops) {
			ops = others
		}
		out.Status, out.Excerpt = Refuted, s.excerpt(ops...)
	}
	return out
}

// fewest returns few takes that exceed the bound by themselves: those of the shortest interval up to a moment that does,
// less what is not needed.
func (r reading) fewest(ends time.Duration) (ops []int32) {
	inside := slices.DeleteFunc(slices.Clone(r.takes), func(k take) bool {
		return k.until > ends || r.span > 0 && k.from < ends-r.span
	})
	slices.SortFunc(inside, func(a, b take) int { return cmp.Compare(b.from, a.from) })
	var sum, excess float64
	for i, k := range inside {
		sum += k.units
		allowed := r.bound
		if r.span == 0 {
			allowed += r.rate * (ends - k.from).Seconds()
		}
		for _, l := range r.losses {
			if l.until >= k.from && l.from <= ends {
				allowed += l.units
			}
		}
		if excess = sum - allowed; excess > rounding {
			inside = inside[:i+1]
			break
		}
	}
	start := inside[len(inside)-1].from
	for _, k := range inside {
		if k.from > start && k.units < excess-rounding {
			excess -= k.units
			continue
		}
		ops = append(ops, k.op)
	}
	return ops
}

// String tells a bucket.
func (id bucketID) String() string { return strings.Join([]string{id.account, id.limit}, "/") }
