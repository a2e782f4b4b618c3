package sim

import (
	"math/rand/v2"
	"slices"
	"time"
)

// What Draw's schedules are like.
const (
	drawSafety   = 40 * time.Second
	drawLiveness = 25 * time.Second
	drawChecks   = 25
	drawTries    = 20               // for a fault that fits into the blast radius
	drawQuiet    = 3 * time.Second  // of a node after a fault, before the next is within the radius again
	drawFirst    = 2 * time.Second  // before the first fault
	drawLongest  = 15 * time.Second // of a fault
	wildOneIn    = 10               // schedules
	lastingOneIn = 8                // faults: not healed by themselves
	founderVotes = 3                // n1 to n3 vote at first
)

// weights are how often each fault is drawn. disk-lies is not: no Raft group survives it, so it must not be by chance.
var weights = []struct {
	inject string
	weight int
}{
	{"cut", 5},
	{"one-way", 3},
	{"slow", 2},
	{"lossy", 2},
	{"doubling", 1},
	{"reordering", 1},
	{"pause", 3},
	{"crash", 5},
	{"wipe", 1},
	{"leave", 3},
	{"join", 3},
	{"disk-error", 1},
	{"disk-full", 1},
	{"disk-stall", 1},
	{"disk-tear", 1},
	{"disk-slow", 1},
	{"clock", 2},
	{lagging, 4},
	{rolling, 1},
	{blackout, 1},
}

// Plots are drawn as one, and are steps of the fault table.
const (
	lagging  = "lagging"  // what passes between two nodes is late, or does not; then one of them crashes or leaves
	rolling  = "rolling"  // nodes leave and come back, one after the other
	blackout = "blackout" // all nodes crash at once
)

// mild faults take no node out: they do not count towards the blast radius.
var mild = []string{"doubling", "reordering", "clock", "join", "disk-slow"}

// Draw makes the schedule of a seed for a cluster of so many nodes.
func Draw(seed uint64, nodes int) Schedule {
	r := &drawer{random: rand.New(rand.NewPCG(seed, 1<<48)), nodes: nodes}
	s := Schedule{Seed: seed, Nodes: nodes, Safety: drawSafety, Liveness: drawLiveness, Checks: drawChecks}
	s.Wild = r.random.IntN(wildOneIn) == 0
	for range 2 + r.random.IntN(6) {
		for range drawTries {
			steps := r.fault()
			if apart(s.Steps, steps) && (s.Wild || fits(append(slices.Clone(s.Steps), steps...), nodes)) {
				s.Steps = append(s.Steps, steps...)
				break
			}
		}
	}
	slices.SortStableFunc(s.Steps, func(a, b Step) int { return int(a.At - b.At) })
	return s
}

type drawer struct {
	random *rand.Rand
	nodes  int
	joined int
}

// between draws a time, in whole tenths of a second.
func (r *drawer) between(from, to time.Duration) time.Duration {
	const unit = 100 * time.Millisecond
	return from + time.Duration(r.random.Int64N(int64((to-from)/unit)+1))*unit
}

func (r *drawer) node() string { return nodeName(r.random.IntN(r.nodes)) }

func (r *drawer) voter() string { return nodeName(r.random.IntN(founderVotes)) }

func (r *drawer) kind() string {
	sum := 0
	for _, w := range weights {
		sum += w.weight
	}
	x := r.random.IntN(sum)
	for _, w := range weights {
		if x -= w.weight; x < 0 {
			return w.inject
		}
	}
	return weights[0].inject
}

// fault draws a fault, with what belongs to it.
func (r *drawer) fault() []Step {
	s := Step{At: r.between(drawFirst, drawSafety-5*time.Second), Inject: r.kind(), Nodes: []string{r.node()}}
	if slices.Contains([]string{lagging, rolling, blackout}, s.Inject) {
		return r.plot(s)
	}
	s.For = r.between(time.Second, min(drawLongest, drawSafety-s.At))
	if r.random.IntN(lastingOneIn) == 0 {
		s.For = 0
	}
	switch s.Inject {
	case "cut", "one-way":
		s.For = atLeast(s.For, 3*time.Second)
		r.links(&s)
	case "slow":
		s.Delay = r.between(100*time.Millisecond, time.Second)
		r.links(&s)
	case "lossy":
		s.Chance = float64(20+r.random.IntN(60)) / 100
		s.For = atLeast(s.For, 5*time.Second)
		r.links(&s)
	case "doubling", "reordering":
		s.Chance = float64(40+r.random.IntN(50)) / 100
		s.For = atLeast(s.For, 10*time.Second)
		if s.Inject == "reordering" {
			s.Delay = 30 * time.Millisecond // packets come less often than links delay
		}
	case "disk-error", "disk-full", "disk-stall", "disk-tear", "disk-slow":
		s.Nodes = []string{r.voter()}
		if s.Inject == "disk-slow" {
			s.Delay = r.between(100*time.Millisecond, 400*time.Millisecond)
		}
		s.For = atLeast(s.For, 4*time.Second)
	case "clock":
		s.Rate = 1 + driftMax*(2*r.random.Float64()-1)
	case "join":
		r.joined++
		s.Nodes = []string{nodeName(r.nodes + r.joined - 1)}
		s.For = atLeast(s.For, 8*time.Second)
		if r.random.IntN(2) == 0 {
			s.For = 0
		}
	case "crash":
		if r.random.IntN(2) == 0 { // of a voter, with a write on its way
			s.Nodes = []string{r.voter()}
			slow := Step{At: s.At - time.Second, Inject: "disk-slow", Nodes: s.Nodes, For: time.Second, Delay: 200 * time.Millisecond}
			return []Step{slow, s}
		}
	}
	return []Step{s}
}

// plot draws the steps of one.
func (r *drawer) plot(s Step) []Step {
	switch s.Inject {
	case rolling:
		const every = 5 * time.Second // a node that is back counts as out for drawQuiet more
		s.At = r.between(drawFirst, drawSafety-3*every)
		var all []Step
		for _, i := range r.random.Perm(r.nodes)[:3] {
			all = append(all, Step{At: s.At + time.Duration(len(all))*every, Inject: "leave", Nodes: []string{nodeName(i)}, For: r.between(500*time.Millisecond, 1500*time.Millisecond)})
		}
		return all
	case blackout:
		s.Inject, s.Nodes = "crash", nil
		for i := range r.nodes {
			s.Nodes = append(s.Nodes, nodeName(i))
		}
		s.For = r.between(500*time.Millisecond, 3*time.Second)
		return []Step{s}
	}
	other := r.node()
	for other == s.Nodes[0] {
		other = r.node()
	}
	ends := Step{At: s.At, Inject: []string{"cut", "one-way", "slow"}[r.random.IntN(3)], Nodes: []string{other}, Peers: s.Nodes, For: r.between(3*time.Second, 8*time.Second)}
	if ends.Inject == "slow" {
		ends.Delay = r.between(200*time.Millisecond, time.Second)
	}
	s.Inject = []string{"crash", "crash", "leave"}[r.random.IntN(3)]
	s.At, s.For = s.At+r.between(500*time.Millisecond, 2500*time.Millisecond), r.between(time.Second, drawLongest)
	return []Step{ends, s}
}

// links draws the ends of links: a node from all others, two nodes from all others, or a node from some.
func (r *drawer) links(s *Step) {
	switch r.random.IntN(4) {
	case 0:
		for other := r.node(); len(s.Nodes) < 2; other = r.node() {
			if other != s.Nodes[0] {
				s.Nodes = append(s.Nodes, other)
			}
		}
	case 1:
		for i := range r.nodes {
			if name := nodeName(i); name != s.Nodes[0] && r.random.IntN(2) == 0 {
				s.Peers = append(s.Peers, name)
			}
		}
	}
}

// atLeast keeps a fault that is not healed by itself as it is.
func atLeast(d, shortest time.Duration) time.Duration {
	if d == 0 {
		return 0
	}
	return max(d, shortest)
}

// apart says whether no new step meets a node that another one of the same kind, or one that takes nodes out, holds at
// that time: neither could be proven to have bitten.
func apart(steps, more []Step) bool {
	for _, a := range steps {
		for _, b := range more {
			over := a.For > 0 && a.At+a.For+drawQuiet < b.At || b.For > 0 && b.At+b.For+drawQuiet < a.At
			gentle := a.Inject != b.Inject && slices.Contains(mild, a.Inject) && slices.Contains(mild, b.Inject)
			shared := slices.ContainsFunc(a.Nodes, func(name string) bool { return slices.Contains(b.Nodes, name) })
			if !over && !gentle && shared {
				return false
			}
		}
	}
	return true
}

// fits says whether the faults take out, at each moment, a minority of the nodes and of the first voters; or all of them at once.
func fits(steps []Step, nodes int) bool {
	for _, at := range steps {
		if len(at.Nodes) == nodes {
			continue // apart lets nothing else be then
		}
		out := make(map[string]bool)
		for _, s := range steps {
			over := s.For > 0 && s.At+s.For+drawQuiet < at.At
			if s.Inject == "wipe" && at.Inject == "wipe" {
				over = false // the first vote may still be lost: no other node has it yet
			}
			if s.At <= at.At && !over && !slices.Contains(mild, s.Inject) && len(s.Nodes) < nodes {
				for _, name := range s.Nodes {
					out[name] = true
				}
			}
		}
		voters := 0
		for i := range founderVotes {
			if out[nodeName(i)] {
				voters++
			}
		}
		if 2*voters >= founderVotes || 2*len(out) >= nodes {
			return false
		}
	}
	return true
}
