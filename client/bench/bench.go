// Package bench puts load on a Weir cluster and says honestly what came of it.
//
// An open loop books latency from when a message was meant to be sent, so a server that stalls is not spared
// the messages that would have come meanwhile. What the libraries alone cost is measured in the same run, by
// a process of package floor, in turns with Weir. One account with an exact limit is asked for all the time,
// through every node: whatever is admitted beyond its bound is counted.
package bench

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Run puts the load on and returns what it measured, also when ctx ends early: then Report.Partial says so.
// With an error the report has what was complete by then.
func Run(ctx context.Context, c Config, bed Bed) (Report, error) {
	r := newReport(c.Version, c.words(), time.Now())
	if err := c.Validate(); err != nil {
		return r, err
	}
	site, err := c.site(ctx, bed)
	if err != nil {
		return r, err
	}
	defer site.end()
	b := &benchmark{Config: c, report: &r}
	audited, err := auditing(ctx, site.weir)
	if err != nil {
		return r, err
	}
	err = b.steps(ctx, site)
	r.Audit = audited()
	if ctx.Err() != nil {
		r.Partial, err = "it was interrupted", nil
	}
	return r, err
}

// words is the load in a sentence.
func (c Config) words() string {
	w := fmt.Sprintf("via %s, route %s, %s loop, %d keys %s", c.Via, c.Route, c.Loop, c.Keys, c.Spread)
	if c.Batch > 1 {
		w += fmt.Sprintf(", %d checks a message", c.Batch)
	}
	if c.Addr == "" {
		return w + ", " + nodes(c.Nodes) + " on this machine"
	}
	return w + ", the cluster at " + c.Addr
}

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

func (c Config) say(format string, args ...any) {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf(format, args...))
	}
}

// site is who is measured.
type site struct {
	weir  target
	floor *target // nil where there is none to compare with: a cluster that the bench did not start
	end   func()
}

func (c Config) site(ctx context.Context, bed Bed) (*site, error) {
	if c.Addr != "" {
		to, err := find(ctx, c.Addr)
		if err != nil {
			return nil, err
		}
		wires, err := connect(to)
		if err != nil {
			return nil, err
		}
		defer wires.close()
		_, err = answers(ctx, wires) // refuses to measure a policy that would refuse
		return &site{weir: to, end: func() {}}, err
	}
	return c.ownSite(ctx, bed, c.Nodes)
}

// ownSite starts n nodes and a floor that answers as they do.
func (c Config) ownSite(ctx context.Context, bed Bed, n int) (*site, error) {
	c.say("starting %s and the floor", nodes(n))
	addrs, endNodes, err := bed.Nodes(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", nodes(n), err)
	}
	s := &site{end: endNodes}
	if s.weir, err = find(ctx, strings.Join(addrs, ",")); err != nil {
		s.end()
		return nil, err
	}
	wires, err := connect(s.weir)
	if err != nil {
		s.end()
		return nil, err
	}
	defer wires.close()
	a, err := answers(ctx, wires)
	if err != nil {
		s.end()
		return nil, err
	}
	p, endFloor, err := bed.Calls(ctx, a)
	if err != nil {
		s.end()
		return nil, fmt.Errorf("start the floor: %w", err)
	}
	to := floorTarget(p)
	s.floor = &to
	s.end = func() {
		endFloor()
		endNodes()
	}
	return s, nil
}

// benchmark is a Run.
type benchmark struct {
	Config
	report *Report
}

// percents of the maximum are measured by an open loop.
var percents = [...]int{25, 50, 75, 90}

// callerCounts are tried to find how many give the most.
var callerCounts = [...]int{8, 32, 64, 128, 256}

func (b *benchmark) steps(ctx context.Context, s *site) error {
	sides, end, err := b.sides(ctx, s)
	if err != nil {
		return err
	}
	defer end()
	l := load{callers: b.Callers, window: b.Duration / time.Duration(b.Rounds), warmup: stepWarmup}
	for _, one := range sides {
		b.say("warming up %s", one.name)
		if _, _, err := measure(ctx, load{callers: max(b.Callers, 16), window: max(b.Warmup, durationMin), seed: 1}, one); err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
	}
	if b.Rate > 0 {
		l.rate = b.Rate / float64(b.Batch)
		l.callers = b.openCallers()
		return b.step(ctx, fmt.Sprintf("%.0f/s", b.Rate), l, sides)
	}
	if l.callers == 0 {
		if l.callers, err = b.search(ctx, sides[0]); err != nil {
			return err
		}
	}
	if err := b.step(ctx, "maximum", l, sides); err != nil || b.Loop == Closed {
		return err
	}
	most := b.report.Steps[0].PerSecond
	l.callers = b.openCallers()
	for _, p := range percents {
		l.rate = most * float64(p) / 100 / float64(b.Batch)
		if err := b.step(ctx, fmt.Sprintf("%d %%", p), l, sides); err != nil {
			return err
		}
	}
	return nil
}

func (b *benchmark) openCallers() int {
	if b.Callers > 0 {
		return b.Callers
	}
	return callersOpen
}

// sides opens the same way in to Weir and, where there is one, to the floor.
func (b *benchmark) sides(ctx context.Context, s *site) ([]side, func(), error) {
	f := traffic{to: s.weir, route: b.Route, keys: b.Keys, spread: b.Spread, batch: b.Batch, seed: 1}
	weir, end, err := enter(ctx, b.Via, f)
	if err != nil {
		return nil, nil, err
	}
	sides := []side{{onWeir, weir, s.weir.httpAddrs()}}
	if s.floor == nil {
		return sides, end, nil
	}
	f.to, f.route = *s.floor, Single
	empty, endEmpty, err := enter(ctx, b.Via, f)
	if err != nil {
		end()
		return nil, nil, err
	}
	return append(sides, side{onFloor, empty, s.floor.httpAddrs()}), func() {
		endEmpty()
		end()
	}, nil
}

// search returns how many callers get the most decisions out of a side.
func (b *benchmark) search(ctx context.Context, s side) (int, error) {
	best, most := 0, 0.0
	for _, n := range callerCounts {
		b.say("looking for the maximum: %d callers", n)
		one, _, err := measure(ctx, load{callers: n, window: min(searchTime, b.Duration), warmup: stepWarmup, seed: 1}, s)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", s.name, err)
		}
		if one.perSecond() > most {
			best, most = n, one.perSecond()
		}
	}
	return best, nil
}

// step measures one load on every side and reports it.
func (b *benchmark) step(ctx context.Context, name string, l load, sides []side) error {
	b.say("%s: %v in %d rounds, %d callers", name, b.Duration, b.Rounds, l.callers)
	all, err := turns(ctx, b.Rounds, l, sides...)
	for i, r := range all {
		if len(r.samples) == 0 {
			continue
		}
		s := r.step(name, sides[i].name, l, b.Batch)
		if i == 0 && len(all) > 1 {
			s.AtFloor = against(r, all[1])
		}
		b.report.Steps = append(b.report.Steps, s)
	}
	return err
}
