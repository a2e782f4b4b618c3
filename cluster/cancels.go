package cluster

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/weir-cluster/weir/policy"
)

// Cancels tells homes of checks that they were asked for and that somebody else answered, since they did not in time: what they took for
// them, or take when the check comes late, is undone. It is safe for concurrent use.
type Cancels struct {
	cfg  CancelsConfig
	kick chan struct{} // capacity 1

	mu  sync.Mutex
	due []cancel
}

// CancelsConfig is what Cancels needs.
type CancelsConfig struct {
	Now    func() time.Time
	Views  *Views
	Peers  Peers
	Logger *slog.Logger
}

type cancel struct {
	id        uint64
	partition uint16
	until     time.Time
}

const (
	// cancelFor is how long a home is told of a check: for so long it remembers one.
	cancelFor   = 2 * time.Second
	cancelAgain = 100 * time.Millisecond
	cancelWait  = 500 * time.Millisecond
	// cancelsMax bounds the checks that wait. One more is not told of: what its home took for it, if anything, stays taken.
	cancelsMax = 16 << 10
)

// NewCancels returns Cancels with nothing to tell.
func NewCancels(c CancelsConfig) *Cancels { return &Cancels{cfg: c, kick: make(chan struct{}, 1)} }

// Add has the home of a partition told of a check. It does not block.
func (c *Cancels) Add(id uint64, partition uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.due) >= cancelsMax {
		return
	}
	c.due = append(c.due, cancel{id, partition, c.cfg.Now().Add(cancelFor)})
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Run tells until ctx ends.
func (c *Cancels) Run(ctx context.Context) error {
	for {
		select {
		case <-c.kick:
		case <-ctx.Done():
			return nil
		}
		for c.round(ctx) {
			if !wait(ctx, cancelAgain) {
				return nil
			}
		}
	}
}

// round tells each home once, all at a time, and says whether some are to be told again.
func (c *Cancels) round(ctx context.Context) (more bool) {
	c.mu.Lock()
	due := c.due
	c.due = nil
	c.mu.Unlock()
	homes := make(map[string][]cancel)
	v := c.cfg.Views.Current()
	for _, k := range due {
		if home, ok := v.Home(k.partition); ok && c.cfg.Now().Before(k.until) {
			homes[home.Peer] = append(homes[home.Peer], k)
		}
	}
	var all sync.WaitGroup
	for peer, due := range homes {
		all.Go(func() { c.tell(ctx, c.cfg.Peers.Peer(peer), due) })
	}
	all.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.due) > 0
}

// tell tells a home, and keeps what it could not be told.
func (c *Cancels) tell(ctx context.Context, home Peer, due []cancel) {
	ctx, end := context.WithTimeout(ctx, cancelWait)
	defer end()
	for len(due) > 0 {
		n := min(len(due), policy.BatchMax)
		ids := make([]uint64, n)
		for i := range ids {
			ids[i] = due[i].id
		}
		if err := home.Cancel(ctx, ids); err != nil {
			c.cfg.Logger.Debug("cancel checks", "checks", len(due), "error", err)
			c.mu.Lock()
			c.due = append(c.due, due[:min(len(due), max(0, cancelsMax-len(c.due)))]...)
			c.mu.Unlock()
			return
		}
		due = due[n:]
	}
}
