package sim

import (
	"maps"
	"slices"

	"github.com/weir-cluster/weir/chaos/simnet"
)

// injector is a kind of fault: how it begins and ends at one node, and what counts that it bit. A pause freezes the
// network, the disk and the clock of a node; its timers and what it computes go on, since all nodes share one bubble.
type injector struct {
	about string // for whoever reads the table
	proof string // what count counts
	links bool   // it is a state of links: when another fault of the same links ends, it is set again
	start func(c *cluster, s Step, m *member)
	heal  func(c *cluster, s Step, m *member)
	count func(c *cluster, s Step, m *member) uint64
}

// injectors is the fault table.
var injectors = map[string]injector{
	"cut": {
		"nothing passes between the nodes and their peers", "packets dropped, bytes stalled, dials hung", true,
		func(c *cluster, s Step, m *member) { c.links(s, m, c.network.Cut) },
		func(c *cluster, s Step, m *member) { c.links(s, m, c.network.Heal) },
		func(c *cluster, s Step, m *member) uint64 { return c.counted(s, m, true, stopped) },
	},
	"one-way": {
		"nothing passes from the nodes to their peers; the way back is open", "packets dropped, bytes stalled, dials hung", true,
		func(c *cluster, s Step, m *member) { c.links(s, m, c.network.CutOneWay) },
		func(c *cluster, s Step, m *member) { c.links(s, m, c.network.HealOneWay) },
		func(c *cluster, s Step, m *member) uint64 { return c.counted(s, m, false, stopped) },
	},
	"slow": {
		"what passes between the nodes and their peers takes half of delay to delay", "packets and writes delayed", true,
		func(c *cluster, s Step, m *member) {
			c.treat(s, m, simnet.Faults{DelayMin: s.Delay / 2, DelayMax: s.Delay})
		},
		untreat, func(c *cluster, s Step, m *member) uint64 {
			return c.counted(s, m, true, func(t simnet.Stats) uint64 { return t.PacketsSent + t.Writes })
		},
	},
	"lossy": {
		"packets between the nodes and their peers are lost with the probability", "packets dropped", true,
		func(c *cluster, s Step, m *member) { c.treat(s, m, lan(simnet.Faults{Loss: s.Chance})) },
		untreat, func(c *cluster, s Step, m *member) uint64 {
			return c.counted(s, m, true, func(t simnet.Stats) uint64 { return t.PacketsDropped })
		},
	},
	"doubling": {
		"packets arrive twice with the probability", "packets duplicated", true,
		func(c *cluster, s Step, m *member) { c.treat(s, m, lan(simnet.Faults{Duplication: s.Chance})) },
		untreat, func(c *cluster, s Step, m *member) uint64 {
			return c.counted(s, m, true, func(t simnet.Stats) uint64 { return t.PacketsDuplicated })
		},
	},
	"reordering": {
		"packets are overtaken by later ones with the probability; delays vary up to delay", "packets reordered", true,
		func(c *cluster, s Step, m *member) {
			c.treat(s, m, simnet.Faults{DelayMin: lanShortest, DelayMax: max(s.Delay, lanLongest), Reordering: s.Chance})
		},
		untreat, func(c *cluster, s Step, m *member) uint64 {
			return c.counted(s, m, true, func(t simnet.Stats) uint64 { return t.PacketsReordered })
		},
	},
	"pause": {
		"the network, the disk and the clock of the nodes stand still", "packets lost, bytes stalled, dials hung, disk writes stalled", false,
		func(c *cluster, _ Step, m *member) { c.network.Pause(m.ip); m.disk.stall(); m.clock.freeze() },
		func(c *cluster, _ Step, m *member) { m.clock.thaw(); m.disk.repair(); c.network.Resume(m.ip) },
		func(c *cluster, _ Step, m *member) uint64 {
			return c.counted(Step{Nodes: []string{m.name}}, m, false, stopped) + m.disk.stats().Stalled
		},
	},
	"crash": {
		"kill -9: the write on its way is lost, torn or done; then a restart", "listeners, sockets and streams closed", false,
		func(c *cluster, _ Step, m *member) { c.crash(m, false) }, restart,
		func(c *cluster, _ Step, m *member) uint64 { return c.tally(&m.opened) },
	},
	"wipe": {
		"kill -9 and an empty disk; then a restart", "entries lost, and what else the crash closed", false,
		func(c *cluster, _ Step, m *member) { c.crash(m, true) }, restart,
		func(c *cluster, _ Step, m *member) uint64 { return c.tally(&m.opened) + m.disk.stats().Lost },
	},
	"leave": {
		"a graceful stop; then a restart", "processes ended", false,
		func(c *cluster, _ Step, m *member) { c.running.Go(func() { c.leave(m) }) },
		func(c *cluster, s Step, m *member) {
			c.running.Go(func() { c.leave(m); restart(c, s, m) })
		},
		func(c *cluster, _ Step, m *member) uint64 { return c.tally(&m.ends) },
	},
	"join": {
		"a node that was never there joins; then it leaves", "nodes that became ready", false,
		restart,
		func(c *cluster, _ Step, m *member) { c.running.Go(func() { c.leave(m) }) },
		func(c *cluster, _ Step, m *member) uint64 {
			if _, ready := c.up(m); ready || c.tally(&m.ends) > 0 {
				return 1
			}
			return 0
		},
	},
	"disk-error": {
		"writes fail with EIO; one of a term ends the process", "writes refused", false,
		func(_ *cluster, _ Step, m *member) { m.disk.fail(bad()) }, repair,
		func(_ *cluster, _ Step, m *member) uint64 { return m.disk.stats().Refused },
	},
	"disk-full": {
		"writes fail with ENOSPC; the few bytes of a vote still fit", "writes refused", false,
		func(_ *cluster, _ Step, m *member) { m.disk.fail(full()) }, repair,
		func(_ *cluster, _ Step, m *member) uint64 { return m.disk.stats().Refused },
	},
	"disk-stall": {
		"writes wait until it is healed", "writes stalled", false,
		func(_ *cluster, _ Step, m *member) { m.disk.stall() }, repair,
		func(_ *cluster, _ Step, m *member) uint64 { return m.disk.stats().Stalled },
	},
	"disk-tear": {
		"the next log write is cut short, and the process ends in it; its supervisor starts it again", "writes torn", false,
		func(_ *cluster, _ Step, m *member) { m.disk.tear() }, repair,
		func(_ *cluster, _ Step, m *member) uint64 { return m.disk.stats().Torn },
	},
	"disk-slow": {
		"a write takes half of delay to delay", "writes slowed", false,
		func(_ *cluster, s Step, m *member) { m.disk.slow(s.Delay/2, s.Delay) }, repair,
		func(_ *cluster, _ Step, m *member) uint64 { return m.disk.stats().Slowed },
	},
	"disk-lies": {
		"writes return before they are synced: a crash before the end takes them all; no Raft survives that on a majority", "entries not synced", false,
		func(_ *cluster, _ Step, m *member) { m.disk.lie() }, repair,
		func(_ *cluster, _ Step, m *member) uint64 { return m.disk.stats().Unsure },
	},
	"clock": {
		"the clock jumps ahead, and runs at the rate", "readings of a wrong clock", false,
		func(_ *cluster, s Step, m *member) { m.clock.set(s.Jump, rateOf(s), true) },
		func(_ *cluster, _ Step, m *member) { m.clock.set(0, 1, false) },
		func(_ *cluster, _ Step, m *member) uint64 { return m.clock.readings() },
	},
}

func injectorNames() []string { return slices.Sorted(maps.Keys(injectors)) }

func restart(c *cluster, _ Step, m *member) { _ = c.start(m) } // a configuration that was good before

func repair(_ *cluster, _ Step, m *member) { m.disk.repair() }

func rateOf(s Step) float64 {
	if s.Rate == 0 {
		return 1
	}
	return s.Rate
}

// lan adds the delay that links have by themselves.
func lan(f simnet.Faults) simnet.Faults {
	f.DelayMin, f.DelayMax = lanShortest, lanLongest
	return f
}

func stopped(t simnet.Stats) uint64 { return t.PacketsDropped + t.BytesStalled + t.DialsHung }

// peers returns the addresses of the other ends of a step's links at one of its nodes.
func (c *cluster) peers(s Step, m *member) []string {
	var ips []string
	for _, other := range c.all() {
		named := slices.Contains(s.Peers, other.name) || len(s.Peers) == 0 && !slices.Contains(s.Nodes, other.name)
		if named && other != m {
			ips = append(ips, other.ip)
		}
	}
	return ips
}

func (c *cluster) links(s Step, m *member, do func(a, b string)) {
	for _, ip := range c.peers(s, m) {
		do(m.ip, ip)
	}
}

func (c *cluster) treat(s Step, m *member, f simnet.Faults) {
	for _, ip := range c.peers(s, m) {
		c.network.SetLink(m.ip, ip, f)
		c.network.SetLink(ip, m.ip, f)
	}
}

func untreat(c *cluster, s Step, m *member) {
	for _, ip := range c.peers(s, m) {
		c.network.ResetLink(m.ip, ip)
		c.network.ResetLink(ip, m.ip)
	}
}

// counted sums what the links of a step counted at one of its nodes, those back to it too if both.
func (c *cluster) counted(s Step, m *member, both bool, of func(simnet.Stats) uint64) uint64 {
	var sum uint64
	for _, ip := range append(c.peers(s, m), clientIP) {
		sum += of(c.network.LinkStats(m.ip, ip))
		if both {
			sum += of(c.network.LinkStats(ip, m.ip))
		}
	}
	return sum
}
