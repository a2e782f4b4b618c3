package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

const (
	viewTimeout     = time.Second            // of a GetView, and of the first word of a watch
	hailStagger     = 100 * time.Millisecond // between seeds, while none has answered
	watchPauseMin   = 100 * time.Millisecond // between watches, doubled up to the longest
	watchPauseMax   = 2 * time.Second
	refreshPauseMin = 200 * time.Millisecond // between two refreshes
	refreshSoon     = 5 * time.Second        // after the start: gossip has counted this client by then
	refreshEvery    = 30 * time.Second       // at the latest: who lives and how many watch changes without an epoch
)

// views keeps the newest view: by a watch on one node at a time, and by a refresh when an answer shows that the watch
// lags.
type views struct {
	c     *Config
	links *links
	first chan struct{} // closed with the first view
	stale chan hint     // at most one waits
	now   atomic.Pointer[routes]

	mu       sync.Mutex // guards what follows
	watched  *link      // whose word we have
	unwatch  context.CancelFunc
	refreshs atomic.Uint64
}

// hint says that a node knows better than the routes that were followed.
type hint struct {
	from *link
	old  *routes
}

func newViews(c *Config, l *links) *views {
	return &views{c: c, links: l, first: make(chan struct{}), stale: make(chan hint, 1)}
}

// current returns the routes, waiting for the first view until ctx ends; then nil.
func (s *views) current(ctx context.Context) *routes {
	if r := s.now.Load(); r != nil {
		return r
	}
	select {
	case <-s.first:
	case <-ctx.Done():
	}
	return s.now.Load()
}

// until is current with a deadline.
func (s *views) until(ctx context.Context, deadline time.Time) *routes {
	if r := s.now.Load(); r != nil {
		return r
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	return s.current(ctx)
}

// adopt puts a view in force, unless ours is newer or of another cluster.
func (s *views) adopt(v View) {
	if r := s.now.Load(); r != nil && r.view.Cluster != v.Cluster {
		s.c.Logger.Warn("a node is of another cluster: its view is not used", "node", v.Node, "cluster", v.Cluster, "ours", r.view.Cluster)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.now.Load()
	if was != nil && (was.view.Cluster != v.Cluster || !v.newer(&was.view)) {
		return
	}
	s.now.Store(newRoutes(v, s.links.link))
	if was == nil {
		close(s.first)
	}
	s.links.keep(func(address string) bool {
		return slices.Contains(s.c.Seeds, address) || slices.ContainsFunc(v.Members, func(m Member) bool { return m.GRPC == address })
	})
}

// learn has the view refreshed when an answer was given under a newer one, or by a home that we think is gone.
func (s *views) learn(r *routes, from *link, d *Decision) {
	if d.Epoch <= r.view.Epoch && d.PolicyVersion <= r.view.PolicyVersion && r.living(d.Home) {
		return
	}
	select {
	case s.stale <- hint{from, r}:
	default: // one is asked for already
	}
}

// leave ends the watch on a node that does not answer; the next one is watched.
func (s *views) leave(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watched == l && s.unwatch != nil {
		s.unwatch()
	}
}

// run keeps the view until ctx ends.
func (s *views) run(ctx context.Context) {
	var refresher sync.WaitGroup
	refresher.Go(func() { s.refresh(ctx) })
	defer refresher.Wait()
	s.hail(ctx)
	pause := watchPauseMin
	for turn := rand.IntN(1 << 16); ctx.Err() == nil; turn++ {
		if address := s.nth(turn); address != "" && s.watch(ctx, address) {
			pause = watchPauseMin
		}
		sleep(ctx, jittered(pause))
		pause = min(2*pause, watchPauseMax)
	}
}

// hail asks the seeds for a view, one after the other while none has answered. The watch goes on if nobody does.
func (s *views) hail(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, viewTimeout+time.Duration(len(s.c.Seeds))*hailStagger)
	defer cancel()
	var asked sync.WaitGroup
	defer asked.Wait()
	for _, seed := range s.c.Seeds {
		failed := make(chan struct{})
		asked.Go(func() {
			defer close(failed)
			if l, err := s.links.link(seed); err == nil && s.ask(ctx, l) == nil {
				cancel()
			}
		})
		select {
		case <-time.After(hailStagger):
		case <-failed:
		case <-ctx.Done():
			return
		}
	}
}

// nth is the address whose turn it is: of a member that lives, else of a seed.
func (s *views) nth(turn int) string {
	if r := s.now.Load(); r != nil && len(r.alive) > 0 && turn%4 != 0 { // now and then a seed, should all members be gone
		return r.alive[turn%len(r.alive)].address
	}
	return s.c.Seeds[turn%len(s.c.Seeds)]
}

// watch takes in what one node tells, and reports whether it told anything.
func (s *views) watch(ctx context.Context, address string) (told bool) {
	l, err := s.links.link(address)
	if err != nil || l.connect(ctx) != nil {
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.watched, s.unwatch = l, cancel
	s.mu.Unlock()
	silence := time.AfterFunc(viewTimeout, cancel)
	defer silence.Stop()
	st, err := l.access.WatchView(ctx, &weirv1.WatchViewRequest{})
	if err != nil {
		return false
	}
	for {
		m, err := st.Recv()
		if err != nil {
			return told
		}
		silence.Stop()
		v, err := ofView(m)
		if err != nil {
			s.c.Logger.Warn("a node tells a view that cannot be used", "address", address, "error", err)
			return told
		}
		told = true
		s.adopt(v)
	}
}

// refresh asks for the view when it is stale, one call at a time and never soon after another.
func (s *views) refresh(ctx context.Context) {
	next := time.NewTimer(refreshSoon)
	defer next.Stop()
	for {
		var l *link
		select {
		case h := <-s.stale:
			if s.now.Load() != h.old {
				continue // the watch was quicker
			}
			l = h.from
		case <-next.C:
			next.Reset(jittered(refreshEvery))
			if r := s.now.Load(); r != nil {
				l = r.toAny().nodes[0]
			}
		case <-ctx.Done():
			return
		}
		if l != nil {
			if err := s.ask(ctx, l); err != nil {
				s.c.Logger.Debug("refresh of the view", "address", l.address, "error", err)
			}
		}
		sleep(ctx, refreshPauseMin)
	}
}

// ask gets the view of one node.
func (s *views) ask(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeout(ctx, viewTimeout)
	defer cancel()
	if err := l.connect(ctx); err != nil {
		return err
	}
	s.refreshs.Add(1)
	m, err := l.access.GetView(ctx, &weirv1.GetViewRequest{})
	if err != nil {
		return fmt.Errorf("get the view of %s: %w", l.address, err)
	}
	v, err := ofView(m)
	if err != nil {
		return err
	}
	s.adopt(v)
	return nil
}

// sleep waits for d, or less when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// jittered is d or up to a fifth less, so that clients do not act in step.
func jittered(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/5+1))
}
