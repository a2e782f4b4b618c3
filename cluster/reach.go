package cluster

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/weir-cluster/weir/ring"
)

const (
	// watchMax is how many members each node watches: all of a roster of nine, of a larger one these, spread evenly. So what a
	// node spends on it does not grow with the cluster.
	watchMax   = 8
	watchEvery = time.Second
	watchWait  = 500 * time.Millisecond
	// missMax looks without an answer, in a row, count a member as out of reach.
	missMax = 2
)

// ReachConfig is what a Reach needs.
type ReachConfig struct {
	Name   string // of this node
	Views  *Views
	Gossip *Gossip
	Peers  Peers
}

// Reach watches whether this node reaches others at their peer ports, which gossip does not tell: it goes round about, by other
// ports. It is safe for concurrent use.
type Reach struct {
	cfg ReachConfig

	mu     sync.Mutex
	missed map[string]int // looks without an answer in a row, of the members that are watched
}

// NewReach returns a Reach that knows nothing until Run.
func NewReach(c ReachConfig) *Reach { return &Reach{cfg: c, missed: make(map[string]int)} }

// Run watches until ctx ends.
func (r *Reach) Run(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.look(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// Unreached returns the members that this node watches and does not reach, by name, at most watchMax.
func (r *Reach) Unreached() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, missed := range r.missed {
		if missed >= missMax {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// look tries the members that this node watches, all at once.
func (r *Reach) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchWait)
	defer cancel()
	var all sync.WaitGroup
	missed := make(map[string]int)
	for _, m := range r.watched() {
		r.mu.Lock()
		missed[m.Name] = r.missed[m.Name]
		r.mu.Unlock()
		all.Go(func() {
			err := r.cfg.Peers.Peer(m.Peer).Ping(ctx)
			r.mu.Lock()
			defer r.mu.Unlock()
			if err == nil {
				missed[m.Name] = 0
			} else {
				missed[m.Name]++
			}
		})
	}
	all.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missed = missed
}

// watched returns the members that this node watches: of those that serve, or are there and might.
func (r *Reach) watched() (members []Member) {
	v := r.cfg.Views.Current()
	if v == nil {
		return nil
	}
	self := v.Find(r.cfg.Name)
	if self < 0 {
		return nil
	}
	for _, i := range watches(len(v.Roster), self) {
		m := v.Roster[i]
		s, seen := r.cfg.Gossip.Find(m.Name)
		if seen {
			m.Peer = s.Peer
		}
		if seen || m.Standing != ring.Absent {
			members = append(members, m)
		}
	}
	return members
}

// watches returns whom a member of a roster watches, as indexes.
func watches(members, self int) (others []int) { return spread(members, self, 1) }

// watchers returns who watches a member: those that find it among whom they watch.
func watchers(members, self int) (others []int) { return spread(members, self, -1) }

func spread(members, self, way int) (others []int) {
	for j := 1; j <= watchMax; j++ {
		step := j * members / (watchMax + 1)
		if i := (self + way*step + members) % members; i != self && !slices.Contains(others, i) {
			others = append(others, i)
		}
	}
	return others
}
