package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The loads of the figures, as promised.
const (
	figureKeys     = 10_000
	unaryCallers   = 64
	packedChecks   = 100
	packedCallers  = 32 // each on a stream of its own: with few, one waits for the other's wakeups instead of working
	clientCallers  = 256
	figureNodes    = 3
	idleWindows    = 3
	forwardPercent = 50
)

// FiguresConfig says how long the figures are measured.
type FiguresConfig struct {
	Rounds   int           // in which the sides of a figure take turns
	Round    time.Duration // how long each side is loaded in one
	Idle     time.Duration // how long nothing is asked of nodes, three times, after half as long to settle
	Version  string        // of Weir, for the report
	Progress func(what string)
}

// DefaultFigures takes about three minutes.
func DefaultFigures() FiguresConfig {
	return FiguresConfig{Rounds: 7, Round: time.Second, Idle: 10 * time.Second}
}

// Validate returns everything that is wrong with the configuration.
func (c FiguresConfig) Validate() error {
	var wrong []error
	if c.Rounds < 1 || c.Rounds > roundsMax {
		wrong = append(wrong, fmt.Errorf("rounds %d: 1 to %d", c.Rounds, roundsMax))
	}
	if c.Round < durationMin || c.Round > durationMax {
		wrong = append(wrong, fmt.Errorf("round %v: %v to %v", c.Round, durationMin, durationMax))
	}
	if c.Idle < durationMin || c.Idle > durationMax {
		wrong = append(wrong, fmt.Errorf("idle %v: %v to %v", c.Idle, durationMin, durationMax))
	}
	return errors.Join(wrong...)
}

// Figures measures what the project promises, each figure against its floor in the same run, on nodes that
// the Bed starts. It returns what was measured, also when ctx ends early; a figure that could not be measured
// is reported as not held, with the reason as its note.
func Figures(ctx context.Context, c FiguresConfig, bed Bed) (Report, error) {
	r := newReport(c.Version, "suite figures", time.Now())
	if err := c.Validate(); err != nil {
		return r, err
	}
	f := &figures{FiguresConfig: c, bed: bed, report: &r}
	err := f.cluster(ctx)
	if err == nil && ctx.Err() == nil {
		err = f.oneNode(ctx)
	}
	if ctx.Err() != nil {
		r.Partial, err = "it was interrupted", nil
	}
	return r, err
}

// figures is a run of the suite.
type figures struct {
	FiguresConfig
	bed    Bed
	report *Report
}

func (f *figures) config() Config {
	c := DefaultConfig()
	c.Progress = f.Progress
	return c
}

// cluster measures what takes three nodes: first what they use while nothing happens.
func (f *figures) cluster(ctx context.Context) error {
	s, err := f.config().ownSite(ctx, f.bed, figureNodes)
	if err != nil {
		return err
	}
	defer s.end()
	if err := f.idle(ctx, s.weir); err != nil {
		return err
	}
	audited, err := auditing(ctx, s.weir)
	if err != nil {
		return err
	}
	f.routed(ctx, s)
	f.forward(ctx, s)
	f.report.Audit = audited()
	return nil
}

// oneNode measures what one node does, against what the libraries alone do.
func (f *figures) oneNode(ctx context.Context) error {
	s, err := f.config().ownSite(ctx, f.bed, 1)
	if err != nil {
		return err
	}
	defer s.end()
	f.calls(ctx, s, ViaUnary, "unary Check", 0.8, 1.5)
	f.calls(ctx, s, ViaRLS, "RLS ShouldRateLimit", 0.75, 0)
	f.packed(ctx, s, ViaStream, "CheckStream")
	f.packed(ctx, s, ViaBatch, "CheckBatch")
	f.hot(ctx, s)
	return nil
}

// contest is two ways in that take turns; the first is the one that is judged.
type contest struct {
	name string
	load load
	vias [2]Via
	to   [2]traffic
	on   [2]string
}

// hold lets the sides take turns and reports both.
func (f *figures) hold(ctx context.Context, c contest) (a, b rounds, err error) {
	sides, end, err := f.enter(ctx, c)
	if err != nil {
		return rounds{}, rounds{}, err
	}
	defer end()
	if c.load.rate == forwardPercent { // of a maximum that is to be found
		if c.load.rate, err = f.share(ctx, c.load, sides[0]); err != nil {
			return rounds{}, rounds{}, err
		}
	}
	f.config().say("%s: %d rounds of %v a side", c.name, f.Rounds, f.Round)
	all, err := turns(ctx, f.Rounds, c.load, sides...)
	if err != nil {
		return rounds{}, rounds{}, err
	}
	if len(all[0].samples) == 0 {
		return rounds{}, rounds{}, errors.New("no round was complete")
	}
	for i, r := range all {
		s := r.step(c.name, sides[i].name, c.load, c.to[i].batch)
		if i == 0 {
			s.AtFloor = against(r, all[1])
		}
		f.report.Steps = append(f.report.Steps, s)
	}
	return all[0], all[1], nil
}

// enter opens both sides and warms them up.
func (f *figures) enter(ctx context.Context, c contest) (sides []side, end func(), err error) {
	var ends []func()
	end = func() {
		for _, e := range ends {
			e()
		}
	}
	for i, via := range c.vias {
		d, e, err := enter(ctx, via, c.to[i])
		if err != nil {
			end()
			return nil, nil, fmt.Errorf("%s: %w", c.on[i], err)
		}
		ends = append(ends, e)
		sides = append(sides, side{c.on[i], d, c.to[i].to.httpAddrs()})
		f.config().say("%s: warming up %s", c.name, c.on[i])
		if _, _, err := measure(ctx, load{callers: c.load.callers, window: f.Round, seed: 1}, sides[i]); err != nil {
			end()
			return nil, nil, fmt.Errorf("%s: %w", c.on[i], err)
		}
	}
	return sides, end, nil
}

// share is the rate that is forwardPercent of what a side can do.
func (f *figures) share(ctx context.Context, l load, s side) (float64, error) {
	l.rate = 0
	all, err := turns(ctx, 3, load{callers: l.callers, window: f.Round, warmup: stepWarmup}, s)
	if err != nil {
		return 0, err
	}
	return median(all[0].perSecond()) * forwardPercent / 100, nil
}

// add reports figures, or, of a measurement that failed, that they were not measured.
func (f *figures) add(ctx context.Context, err error, all ...Figure) {
	for _, one := range all {
		if err != nil {
			if ctx.Err() != nil {
				return // the report is partial and says so
			}
			one.Note = "not measured: " + err.Error()
		}
		f.report.Figures = append(f.report.Figures, one)
	}
}

func traffics(weir, other target, routes [2]Route, batch int) [2]traffic {
	one := traffic{to: weir, route: routes[0], keys: figureKeys, spread: Uniform, batch: batch, seed: 1}
	two := one
	two.to, two.route = other, routes[1]
	return [2]traffic{one, two}
}

// calls compares single calls with empty handlers; a p99 of 0 has no bar.
func (f *figures) calls(ctx context.Context, s *site, via Via, name string, throughput, p99 float64) {
	a, b, err := f.hold(ctx, contest{
		name: name, load: load{callers: unaryCallers, window: f.Round, warmup: stepWarmup},
		vias: [2]Via{via, via}, to: traffics(s.weir, *s.floor, [2]Route{Single, Single}, 1), on: [2]string{onWeir, onFloor},
	})
	all := []Figure{atLeast(name+", throughput against an empty handler", "x", throughput, ratios(a.perSecond(), b.perSecond()),
		fmt.Sprintf("%.0f/s against %.0f/s, %d callers", median(a.perSecond()), median(b.perSecond()), unaryCallers))}
	if p99 > 0 {
		all = append(all, atMost(name+", p99 against an empty handler", "x", p99, ratios(a.p99(), b.p99()),
			fmt.Sprintf("%.0f µs against %.0f µs", median(a.p99()), median(b.p99()))))
	}
	f.add(ctx, err, all...)
}

// packed measures messages of many checks, whose floor is for comparison only.
func (f *figures) packed(ctx context.Context, s *site, via Via, name string) {
	a, b, err := f.hold(ctx, contest{
		name: name, load: load{callers: packedCallers, window: f.Round, warmup: stepWarmup},
		vias: [2]Via{via, via}, to: traffics(s.weir, *s.floor, [2]Route{Single, Single}, packedChecks), on: [2]string{onWeir, onFloor},
	})
	f.add(ctx, err,
		atLeast(name+", 100 checks a message", "decisions/s", 600_000, a.perSecond(),
			fmt.Sprintf("%.0f/s by an empty handler with the generated codec", median(b.perSecond()))),
		atMost(name+", server CPU of a decision", "µs", 1.5, a.cpu(), fmt.Sprintf("%.2f µs by the empty handler", median(b.cpu()))))
}

// routed compares the client that goes home with the same client that goes anywhere.
func (f *figures) routed(ctx context.Context, s *site) {
	a, b, err := f.hold(ctx, contest{
		name: "client", load: load{callers: clientCallers, window: f.Round, warmup: stepWarmup},
		vias: [2]Via{ViaClient, ViaClient}, to: traffics(s.weir, s.weir, [2]Route{Home, Any}, 1), on: [2]string{onWeir, "any node"},
	})
	f.add(ctx, err, atLeast("owner-routed client against any-node spray, 3 nodes", "x", 1.7, ratios(a.perSecond(), b.perSecond()),
		fmt.Sprintf("%.0f/s against %.0f/s, %d goroutines", median(a.perSecond()), median(b.perSecond()), clientCallers)))
}

// forward compares the way over another node with the way to an empty handler and back.
func (f *figures) forward(ctx context.Context, s *site) {
	a, b, err := f.hold(ctx, contest{
		name: "forward", load: load{callers: clientCallers, window: f.Round, warmup: stepWarmup, rate: forwardPercent},
		vias: [2]Via{ViaStream, ViaStream}, to: traffics(s.weir, *s.floor, [2]Route{Away, Single}, 1), on: [2]string{onWeir, onFloor},
	})
	rate := ""
	if len(a.samples) > 0 {
		rate = fmt.Sprintf(" at %.0f/s", median(a.perSecond()))
	}
	f.add(ctx, err,
		atMost("forward to the home at 50 % load, p50 against a bare stream echo", "x", 2, ratios(a.p50(), b.p50()),
			fmt.Sprintf("%.0f µs against %.0f µs%s", median(a.p50()), median(b.p50()), rate)),
		atMost("forward to the home at 50 % load, p99 against a bare stream echo", "x", 2, ratios(a.p99(), b.p99()),
			fmt.Sprintf("%.0f µs against %.0f µs%s", median(a.p99()), median(b.p99()), rate)))
}

// hot compares one key with half of all traffic with traffic that is spread evenly.
func (f *figures) hot(ctx context.Context, s *site) {
	to := traffics(s.weir, s.weir, [2]Route{Single, Single}, packedChecks)
	to[0].spread = Hot
	a, b, err := f.hold(ctx, contest{
		name: "hot key", load: load{callers: packedCallers, window: f.Round, warmup: stepWarmup},
		vias: [2]Via{ViaStream, ViaStream}, to: to, on: [2]string{onWeir, "uniform"},
	})
	f.add(ctx, err, atLeast("one key with half of all traffic, throughput against uniform", "x", 0.8, ratios(a.perSecond(), b.perSecond()),
		fmt.Sprintf("%.0f/s against %.0f/s", median(a.perSecond()), median(b.perSecond()))))
}

// idle compares nodes that nobody asks with processes that only gossip and vote, at the same time.
func (f *figures) idle(ctx context.Context, weir target) error {
	bare, end, err := f.bed.Idle(ctx, figureNodes)
	if err != nil {
		return fmt.Errorf("start bare members: %w", err)
	}
	defer end()
	f.config().say("idle: %d windows of %v", idleWindows, f.Idle)
	pause(ctx, f.Idle/2)
	var ours, theirs, memory []float64
	for range idleWindows {
		spent, err := during(ctx, f.Idle, weir.httpAddrs(), bare)
		if err != nil {
			return err
		}
		ours, theirs = append(ours, spent[0].cpu), append(theirs, spent[1].cpu)
		memory = append(memory, spent[0].residentMax/1e6)
	}
	each := f.Idle.Seconds() * figureNodes / 100 // to percent of a processor, for one process
	f.add(ctx, nil,
		atMost("idle node, CPU against bare memberlist and raft", "x", 1.5, ratios(ours, theirs),
			fmt.Sprintf("%.2f %% of a processor against %.2f %%", median(ours)/each, median(theirs)/each)),
		atMost("idle node, resident memory", "MB", 40, memory, "the largest of 3 nodes"))
	return nil
}

// during returns what groups of processes used in a span of time.
func during(ctx context.Context, span time.Duration, groups ...[]string) ([]usage, error) {
	before := make([]usage, len(groups))
	for i, g := range groups {
		u, err := usageOf(ctx, g)
		if err != nil {
			return nil, err
		}
		before[i] = u
	}
	pause(ctx, span)
	spent := make([]usage, len(groups))
	for i, g := range groups {
		u, err := usageOf(ctx, g)
		if err != nil {
			return nil, err
		}
		spent[i] = u.since(before[i])
	}
	return spent, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
