package simnet

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"
)

// Faults is how a link treats what crosses it. Streams know only the delay; the rest is of packets.
type Faults struct {
	DelayMin, DelayMax            time.Duration // drawn anew for each write and each packet; packets may overtake each other
	Loss, Duplication, Reordering float64       // probability for a packet, 0 to 1
}

// reorderMax is how many times the longest delay a packet is held back at most so that others overtake it.
const reorderMax = 10

// path names a link: what goes from one host to another. The way back is another link.
type path struct{ from, to string }

type link struct {
	n      *Network
	cut    bool
	held   bool    // the host it comes from is paused
	own    *Faults // nil: those of the network
	random *rand.Rand
	flows  []*flow // streams on it, in the order they were made
	stats  Stats
	newest time.Time // when the packet was sent that was sent last of those that arrived
}

// stopped says whether nothing sets out on the link.
func (l *link) stopped() bool { return l.cut || l.held }

// tally counts on the link and for the network.
func (l *link) tally(count func(s *Stats)) {
	count(&l.stats)
	count(&l.n.stats)
}

// Cut stops all traffic between hosts a and b. Packets vanish, those on their way too; bytes of streams wait
// for Heal, as those of TCP do; dials wait for Heal or for the end of their context.
func (n *Network) Cut(a, b string) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// CutOneWay stops what goes from one host to another, and nothing of the way back. (TCP would miss its
// acknowledgements and stop the way back too, after a window; a stream here does not.)
func (n *Network) CutOneWay(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(from, to).sever()
}

// Heal ends a cut between hosts a and b, in both directions.
func (n *Network) Heal(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(a, b).heal()
	n.link(b, a).heal()
	n.changed.Broadcast()
}

// HealOneWay ends a cut of what goes from one host to another, and nothing of the way back.
func (n *Network) HealOneWay(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(from, to).heal()
	n.changed.Broadcast()
}

// Pause freezes what the host at ip does on the network, as a stopped process does: it accepts and reads nothing,
// which waits for Resume, and nothing it sends sets out: bytes wait, packets are lost, dials hang. Its timers go on,
// so deadlines pass.
func (n *Network) Pause(ip string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[ip]; h != nil && !h.paused {
		h.paused = true
		n.hold(ip, true)
	}
}

// Resume ends a pause.
func (n *Network) Resume(ip string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[ip]
	if h == nil || !h.paused {
		return
	}
	h.paused = false
	n.hold(ip, false)
	n.changed.Broadcast()
	for _, l := range h.listeners {
		l.ready.Broadcast()
	}
	for _, b := range h.boxes {
		b.ready.Broadcast()
	}
	for _, c := range h.conns {
		c.ready.Broadcast()
	}
}

// hold stops or starts every link from a host.
func (n *Network) hold(ip string, held bool) {
	for p, l := range n.links { // in any order: a link draws from its own stream
		if p.from == ip {
			l.hold(held)
		}
	}
}

// HealAll ends every cut. Delay, loss and duplication stay.
func (n *Network) HealAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.heal()
	}
	n.changed.Broadcast()
}

// SetDelay sets the delay of every link that SetLink has not set: it is drawn evenly from shortest to longest.
func (n *Network) SetDelay(shortest, longest time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.usual.DelayMin, n.usual.DelayMax = shortest, longest
}

// SetLoss sets with which probability a packet is lost, on every link that SetLink has not set.
func (n *Network) SetLoss(probability float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.usual.Loss = probability
}

// SetDuplication sets with which probability a packet arrives twice, on every link that SetLink has not set.
func (n *Network) SetDuplication(probability float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.usual.Duplication = probability
}

// SetReordering sets with which probability a packet is held back so that later ones overtake it, on every link that
// SetLink has not set.
func (n *Network) SetReordering(probability float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.usual.Reordering = probability
}

// SetLink gives the link from one host to another faults of its own, which replace those of the network.
func (n *Network) SetLink(from, to string, f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(from, to).own = &f
}

// ResetLink takes the faults from a link that SetLink gave it.
func (n *Network) ResetLink(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(from, to).own = nil
}

// LinkStats returns the counters of what went from one host to another, and of the dials the one made to the other.
func (n *Network) LinkStats(from, to string) Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.link(from, to).stats
}

// link returns the link between two hosts. There are at most as many as pairs of hosts were ever named.
func (n *Network) link(from, to string) *link {
	p := path{from, to}
	l := n.links[p]
	if l == nil {
		name := fnv.New64a()
		_, _ = name.Write([]byte(from + ">" + to)) // a hash takes all
		h := n.hosts[from]
		l = &link{n: n, random: rand.New(rand.NewPCG(n.seed, name.Sum64())), held: h != nil && h.paused}
		n.links[p] = l
	}
	return l
}

func (l *link) faults() Faults {
	if l.own != nil {
		return *l.own
	}
	return l.n.usual
}

func (l *link) delay() time.Duration {
	f := l.faults()
	if f.DelayMax <= f.DelayMin {
		return f.DelayMin
	}
	return f.DelayMin + time.Duration(l.random.Int64N(int64(f.DelayMax-f.DelayMin)+1))
}

// chance draws even where p decides alone, so that one fault's setting does not shift the draws of the next.
func (l *link) chance(p float64) bool { return l.random.Float64() < p }

// setback is how much longer a packet is held back that others should overtake.
func (l *link) setback() time.Duration {
	longest := max(l.faults().DelayMax, time.Millisecond)
	return longest + time.Duration(l.random.Int64N(int64(longest)*reorderMax))
}

func (l *link) sever() {
	if !l.stopped() {
		l.stall()
	}
	l.cut = true
}

func (l *link) heal() {
	was := l.stopped()
	l.cut = false
	l.resume(was)
}

func (l *link) hold(held bool) {
	was := l.stopped()
	if held && !was {
		l.stall()
	}
	l.held = held
	l.resume(was)
}

func (l *link) stall() {
	for _, f := range l.flows {
		f.stall()
	}
}

// resume lets streams go on if the link was stopped and is no more.
func (l *link) resume(was bool) {
	if !was || l.stopped() {
		return
	}
	due := time.Now().Add(l.delay())
	for _, f := range slices.Clone(l.flows) {
		f.resume(due)
	}
}
