package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

const (
	settleTimeout  = time.Second // of one try
	settleAtOnce   = 8           // tries side by side
	settleRound    = 64          // tries before the pause is thought about again
	settlePauseMin = 100 * time.Millisecond
	settlePauseMax = 5 * time.Second
)

// settles are settlements that no node has taken. Each is tried until one does, or says that it never will. The oldest
// come first, but what fails goes to the end, so that one dead home does not hold up the others.
type settles struct {
	most  int
	spool *spool // nil without
	log   *slog.Logger
	news  chan struct{} // one more waits
	hurry chan struct{} // closed at the drain: pauses are short from then on

	mu        sync.Mutex // guards what follows
	queue     []*weirv1.SettleRequest
	trying    int // taken out of the queue for a try
	delivered uint64
	dropped   uint64
	idle      *sync.Cond // nothing waits
}

func newSettles(c *Config) *settles {
	s := &settles{most: c.Settles, log: c.Logger, news: make(chan struct{}, 1), hurry: make(chan struct{})}
	s.idle = sync.NewCond(&s.mu)
	if c.Spool != "" {
		s.spool = newSpool(c.Spool, c.SpoolSync, c.Logger)
	}
	return s
}

// open takes over what an earlier client left in the spool, even above the bound: then nothing is added until there is
// room again.
func (s *settles) open() error {
	if s.spool == nil {
		return nil
	}
	left, err := s.spool.open()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.queue = append(s.queue, left...)
	s.mu.Unlock()
	s.wake()
	return nil
}

// add lets a settlement wait, or returns ErrFull, or that the spool cannot be written.
func (s *settles) add(r *weirv1.SettleRequest) error {
	s.mu.Lock()
	full := len(s.queue)+s.trying >= s.most
	if !full {
		s.trying++ // its place is kept while it is written
	}
	s.mu.Unlock()
	if full {
		return fmt.Errorf("%w: %d settlements wait already", ErrFull, s.most)
	}
	var err error
	if s.spool != nil {
		err = s.spool.add(r)
	}
	s.mu.Lock()
	s.trying--
	if err == nil {
		s.queue = append(s.queue, r)
	}
	s.mu.Unlock()
	s.wake()
	return err
}

func (s *settles) wake() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// run tries what waits, round by round, until ctx ends.
func (s *settles) run(ctx context.Context, deliver func(context.Context, *weirv1.SettleRequest) (Settled, error)) {
	pause := settlePauseMin
	for {
		select {
		case <-s.news:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil {
			tried, taken := s.round(ctx, deliver)
			if tried == 0 {
				break
			}
			if taken > 0 {
				pause = settlePauseMin
				continue
			}
			pause = s.rest(ctx, pause)
		}
	}
}

// rest waits for a pause, and returns the next.
func (s *settles) rest(ctx context.Context, pause time.Duration) time.Duration {
	select {
	case <-s.hurry:
		sleep(ctx, settlePauseMin)
		return settlePauseMin
	default:
	}
	t := time.NewTimer(jittered(pause))
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.hurry:
	case <-ctx.Done():
	}
	return min(2*pause, settlePauseMax)
}

// round tries the oldest once, and returns how many were tried and how many are settled for good.
func (s *settles) round(ctx context.Context, deliver func(context.Context, *weirv1.SettleRequest) (Settled, error)) (tried, taken int) {
	s.mu.Lock()
	batch := slices.Clone(s.queue[:min(settleRound, len(s.queue))])
	s.queue = slices.Delete(s.queue, 0, len(batch))
	s.trying += len(batch)
	s.mu.Unlock()
	ends := make([]error, len(batch))
	var g errgroup.Group
	g.SetLimit(settleAtOnce)
	for i, r := range batch {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, settleTimeout)
			defer cancel()
			_, ends[i] = deliver(ctx, r)
			return nil
		})
	}
	_ = g.Wait() // each has its own end
	for i, r := range batch {
		if ends[i] == nil || final(ends[i]) {
			taken++
			s.end(r, ends[i])
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trying -= len(batch)
	for i, r := range batch {
		switch {
		case ends[i] == nil:
			s.delivered++
		case final(ends[i]):
			s.dropped++
		default:
			s.queue = append(s.queue, r)
		}
	}
	s.idle.Broadcast()
	return len(batch), taken
}

// end forgets a settlement that was taken, or that no node will ever take.
func (s *settles) end(r *weirv1.SettleRequest, why error) {
	if why != nil {
		s.log.Warn("a settlement that waited is refused for good", "reservation", r.GetReservation(), "error", why)
	}
	if s.spool == nil {
		return
	}
	if err := s.spool.remove(r); err != nil {
		s.log.Warn("a settlement that was taken stays in the spool: it is sent once more after a restart, which changes nothing",
			"reservation", r.GetReservation(), "error", err)
	}
}

// drain waits until nothing waits, or ctx ends. It is called once.
func (s *settles) drain(ctx context.Context) {
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.idle.Broadcast()
	})()
	close(s.hurry)
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue)+s.trying > 0 && ctx.Err() == nil {
		s.idle.Wait()
	}
}

// close ends the spool. An error tells how many settlements are lost, for want of one.
func (s *settles) close() error {
	var err error
	if s.spool != nil {
		err = s.spool.close()
	}
	waiting, _, _ := s.stats()
	switch {
	case waiting > 0 && s.spool == nil:
		err = errors.Join(err, fmt.Errorf("client ended: %d settlements that no node took are lost", waiting))
	case waiting > 0:
		s.log.Warn("settlements are left in the spool", "count", waiting)
	}
	return err
}

func (s *settles) stats() (waiting int, delivered, dropped uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) + s.trying, s.delivered, s.dropped
}
