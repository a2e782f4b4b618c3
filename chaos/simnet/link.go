package simnet

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"
)

// Faults is how a link treats what crosses it. Streams know only the delay; loss and duplication are of packets.
type Faults struct {
	DelayMin, DelayMax time.Duration // drawn anew for each write and each packet; packets may overtake each other
	Loss, Duplication  float64       // probability for a packet, 0 to 1
}

// path names a link: what goes from one host to another. The way back is another link.
type path struct{ from, to string }

type link struct {
	n      *Network
	cut    bool
	own    *Faults // nil: those of the network
	random *rand.Rand
	flows  []*flow // streams on it, in the order they were made
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

// SetLink gives the link from one host to another faults of its own, which replace those of the network.
func (n *Network) SetLink(from, to string, f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(from, to).own = &f
}

// link returns the link between two hosts. There are at most as many as pairs of hosts were ever named.
func (n *Network) link(from, to string) *link {
	p := path{from, to}
	l := n.links[p]
	if l == nil {
		name := fnv.New64a()
		_, _ = name.Write([]byte(from + ">" + to)) // a hash takes all
		l = &link{n: n, random: rand.New(rand.NewPCG(n.seed, name.Sum64()))}
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

func (l *link) sever() {
	l.cut = true
	for _, f := range l.flows {
		f.stall()
	}
}

func (l *link) heal() {
	if !l.cut {
		return
	}
	l.cut = false
	due := time.Now().Add(l.delay())
	for _, f := range slices.Clone(l.flows) {
		f.resume(due)
	}
}
