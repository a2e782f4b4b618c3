package cluster

import (
	"sync"
	"time"

	"github.com/weir-cluster/weir/ring"
)

// Moves measures the planned moves that bring partitions to this node: from the view that names it as next home to the one that
// names it as home. It is safe for concurrent use; its zero value has measured nothing.
type Moves struct {
	mu    sync.Mutex
	began [ring.Partitions]time.Time // zero: the partition is not on its way
	done  uint64
	took  time.Duration // all of them together
}

// Follow notes what a view says of the named node, at a time of a monotone clock. Views come in their order; it does not keep them.
func (m *Moves) Follow(name string, v *View, at time.Time) {
	self := v.Find(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range m.began {
		switch {
		case self >= 0 && int(v.Table.Nexts[p]) == self:
			if m.began[p].IsZero() {
				m.began[p] = at
			}
		case !m.began[p].IsZero():
			if self >= 0 && int(v.Table.Homes[p]) == self {
				m.done++
				m.took += at.Sub(m.began[p])
			}
			m.began[p] = time.Time{}
		}
	}
}

// Tally returns how many moves have ended, and how long all of them took together.
func (m *Moves) Tally() (done uint64, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.done, m.took
}
