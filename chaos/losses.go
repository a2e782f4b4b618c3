package chaos

import (
	"slices"
	"time"
)

const (
	// shipped is how soon a home's deputy has what it admitted, while nothing is between them (OWNERSHIP, bounds).
	shipped = 150 * time.Millisecond
	// reshipped is how soon it has all, after something was, or after its process began.
	reshipped = 3 * time.Second
	// written is how old what a disk keeps may be.
	written = 11 * time.Second
	// unseen is how long a change of home may take before others may have been home between, whom no answer told of.
	unseen = 6 * time.Second
)

// losses returns what a limit may have forgotten of takes whenever the home of an account changed: what the home before had
// admitted since its last acknowledged shipment (OWNERSHIP 14, 15). With whole links a planned move loses nothing, and a crash
// its last moment. Windows that are aligned end by the clock of each node, so that a change of home may give the limit once
// more, as may a start without a copy for every limit that then is fresh.
func (s *study) losses(account string, l bounds, takes []take) (all []loss) {
	counts := l.Algorithm != "token_bucket"
	rs := s.reigns[account]
	for i := 1; i < len(rs); i++ {
		a, b := rs[i-1], rs[i]
		_, same := s.life(b.home, a.late, b.asked)
		same = same && a.home == b.home
		k := loss{from: min(a.late, b.first), until: b.first, units: float64(max(l.Limit.Limit, l.Burst))}
		switch {
		case same && a.run == b.run:
			continue
		case l.Takeover == "copy" && !counts:
			since := s.unshipped(a, b)
			var may float64
			for _, t := range takes {
				if t.until >= since && t.from <= a.late {
					may += t.units
				}
			}
			k.units = min(k.units, may)
		case l.Takeover == "copy":
		case !counts, l.Algorithm == "rolling_log", same: // it starts with nothing left, and goes by no clock but its own
			continue
		}
		if k.units > 0 {
			all = append(all, k)
		}
	}
	return all
}

// unshipped returns since when what the home of a reign admitted may be unknown to the home of the next one; forever: nothing.
func (s *study) unshipped(a, b reign) time.Duration {
	from, until, since := a.late, b.first, forever // when a decided no more
	for _, e := range s.h.Events {
		if e.Node == a.home && (e.What == "crash" || e.What == "died") && e.At >= a.asked && e.At <= b.first {
			from, until, since = e.At, e.At, e.At-shipped
		}
	}
	starts := s.starts[b.home]
	if n := upTo(starts, b.first); n > 0 && starts[n-1]+reshipped > from && starts[n-1] > s.began() {
		since = min(since, from-written) // what it has may be from its disk
	}
	strangers := a.home == b.home || b.first-from > unseen
	for began, again := from, true; again; {
		again = false
		for _, f := range s.h.Faults {
			over := f.Until + reshipped
			if f.Until < 0 {
				over = forever
			}
			if f.From <= until && over >= began && f.From-shipped < since && f.parts(a.home, b.home, strangers) {
				began, since, again = min(began, f.From), f.From-shipped, true
			}
		}
	}
	return since
}

// began is when the last of the nodes that were there at first did.
func (s *study) began() (at time.Duration) {
	for _, starts := range s.starts {
		if starts[0] < time.Second {
			at = max(at, starts[0])
		}
	}
	return at
}

// parts says whether a fault is between two nodes, or holds one of them up; or, with strangers, is between the first one and any.
func (f Fault) parts(a, b string, strangers bool) bool {
	switch f.Kind {
	case "pause":
		return slices.Contains(f.Nodes, a) || slices.Contains(f.Nodes, b)
	case "cut", "one-way", "slow", "lossy":
		if strangers && (len(f.Peers) == 0 || slices.Contains(f.Nodes, a) || slices.Contains(f.Peers, a)) {
			return true
		}
		return f.links(a, b) || f.links(b, a)
	}
	return false
}

// links says whether a fault of links is of the one from a node of it to another.
func (f Fault) links(node, peer string) bool {
	if len(f.Peers) == 0 {
		return slices.Contains(f.Nodes, node) && !slices.Contains(f.Nodes, peer)
	}
	return slices.Contains(f.Nodes, node) && slices.Contains(f.Peers, peer)
}
