package sim

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weir-cluster/weir/chaos"
)

// nemesis carries a schedule's steps out.
type nemesis struct {
	c      *cluster
	seed   uint64
	record *recorder

	mu     sync.Mutex
	active []*injected // in the order they began
}

// injected is a fault that was begun and not healed.
type injected struct {
	fault chaos.Fault
	step  Step
}

// turn is a moment of the schedule: a step begins or is healed.
type turn struct {
	at   time.Duration
	step int
	heal bool
}

// run carries out the steps of a schedule until ctx ends.
func (n *nemesis) run(ctx context.Context, s Schedule) {
	var turns []turn
	for i, t := range s.Steps {
		turns = append(turns, turn{t.At, i, false})
		if t.For > 0 {
			turns = append(turns, turn{t.At + t.For, i, true})
		}
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return int(a.at - b.at) })
	began := time.Now()
	for _, t := range turns {
		if !pause(ctx, t.at-time.Since(began)) {
			return
		}
		if t.heal {
			n.healStep(t.step)
		} else {
			n.inject(t.step, s.Steps[t.step])
		}
	}
}

func faultID(step int) string { return fmt.Sprintf("f%d", step+1) }

func (n *nemesis) inject(index int, s Step) {
	for _, name := range s.Nodes {
		for n.c.find(name) == nil && s.Inject == "join" && len(n.c.all()) < 2*nodesMost {
			n.c.add(n.seed)
		}
	}
	f := &injected{step: s, fault: chaos.Fault{
		ID: faultID(index), Kind: s.Inject, Nodes: s.Nodes, Peers: s.Peers, From: n.record.now(), Until: -1,
		Proof: injectors[s.Inject].proof, Jump: s.Jump,
	}}
	f.fault.Before = n.count(s)
	n.record.event(chaos.Event{What: "fault", Node: first(s.Nodes), Detail: f.fault.ID + " " + s.String()})
	n.each(s, injectors[s.Inject].start)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.active = append(n.active, f)
}

func (n *nemesis) count(s Step) uint64 {
	var sum uint64
	n.each(s, func(c *cluster, s Step, m *member) { sum += injectors[s.Inject].count(c, s, m) })
	return sum
}

func (n *nemesis) each(s Step, do func(c *cluster, s Step, m *member)) {
	for _, name := range s.Nodes {
		if m := n.c.find(name); m != nil {
			do(n.c, s, m)
		}
	}
}

func (n *nemesis) healStep(index int) {
	n.healWhere(func(f *injected) bool { return f.fault.ID == faultID(index) })
}

// healWhere ends the active faults that it is true of.
func (n *nemesis) healWhere(is func(*injected) bool) {
	n.mu.Lock()
	var ending []*injected
	n.active = slices.DeleteFunc(n.active, func(f *injected) bool {
		if is(f) {
			ending = append(ending, f)
			return true
		}
		return false
	})
	n.mu.Unlock()
	for _, f := range ending {
		n.each(f.step, injectors[f.step.Inject].heal)
		f.fault.Until, f.fault.After = n.record.now(), n.count(f.step)
		n.record.event(chaos.Event{What: "heal", Node: first(f.step.Nodes), Detail: f.fault.ID})
		n.record.fault(f.fault)
	}
	n.mu.Lock()
	lasting := slices.Clone(n.active)
	n.mu.Unlock()
	for _, f := range lasting { // those that ended may have held the same links
		if injectors[f.step.Inject].links {
			n.each(f.step, injectors[f.step.Inject].start)
		}
	}
}

// faulted returns the nodes that an active fault holds.
func (n *nemesis) faulted() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	names := make(map[string]bool)
	for _, f := range n.active {
		if f.step.Inject != "join" {
			for _, name := range f.step.Nodes {
				names[name] = true
			}
		}
	}
	return names
}

// core heals what takes no node out, and then nodes, the longest broken first, until those without a fault are a
// majority of the nodes and of the voters; it returns them. A node is taken for a voter when its disk holds a log.
func (n *nemesis) core() []string {
	n.healWhere(func(f *injected) bool { return f.step.Inject != "join" && slices.Contains(mild, f.step.Inject) })
	for {
		faulted := n.faulted()
		var whole []string
		voters, sound := 0, 0
		for i, m := range n.c.all() {
			_, logs, _ := m.disk.log()
			if logs > 0 {
				voters++
			}
			if faulted[m.name] || i >= n.c.founded && !n.c.serves(m) {
				continue
			}
			whole = append(whole, m.name)
			if logs > 0 {
				sound++
			}
		}
		if len(faulted) == 0 || 2*len(whole) > len(n.c.all()) && 2*sound > voters {
			return whole
		}
		n.mu.Lock()
		oldest := n.active[slices.IndexFunc(n.active, func(f *injected) bool { return f.step.Inject != "join" })]
		n.mu.Unlock()
		n.healWhere(func(f *injected) bool { return f == oldest })
	}
}

// String tells a step in a line.
func (s Step) String() string {
	text := fmt.Sprint(s.Inject, " ", s.Nodes)
	for _, p := range []struct {
		is   bool
		text string
	}{
		{len(s.Peers) > 0, fmt.Sprint(" from ", s.Peers)},
		{s.Delay > 0, fmt.Sprint(" delay ", s.Delay)},
		{s.Chance > 0, fmt.Sprint(" probability ", s.Chance)},
		{s.Jump > 0, fmt.Sprint(" jump ", s.Jump)},
		{s.Rate > 0, fmt.Sprint(" rate ", s.Rate)},
		{s.For > 0, fmt.Sprint(" for ", s.For)},
	} {
		if p.is {
			text += p.text
		}
	}
	return text
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// pause waits and says whether ctx still goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
