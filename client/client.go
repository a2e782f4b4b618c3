package client

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

const openTimeout = 10 * time.Second // of an Open whose ctx has no deadline

// Client asks a cluster. It is safe for concurrent use. It works while Run runs; before, it waits for it.
type Client struct {
	c       Config
	links   *links
	views   *views
	shaper  shaper
	denials *denials
	spare   *spare
	settles *settles
	counts  counts
	calls   gate

	began   atomic.Bool
	closing chan struct{} // closed by Close
	close   sync.Once
	ended   chan struct{} // closed when Run has ended
	err     error         // of Run, once ended is closed
}

// New returns a client that is silent until Run. Open does both.
func New(c Config) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("client config: %w", err)
	}
	c = c.filled()
	k := &Client{c: c, shaper: shaper{maphash.MakeSeed()}, closing: make(chan struct{}), ended: make(chan struct{}), calls: newGate()}
	k.links = &links{c: &k.c, all: make(map[string]*link)}
	k.views = newViews(&k.c, k.links)
	k.denials = newDenials(&k.c)
	k.spare = newSpare(&k.c)
	k.settles = newSettles(&k.c)
	return k, nil
}

// Open returns a client that runs until Close and knows a view. When no seed tells one until ctx ends, at most 10 s, the
// error wraps ErrUnreachable and nothing is left running. A program that must start all the same uses New and Run.
func Open(ctx context.Context, c Config) (*Client, error) {
	k, err := New(c)
	if err != nil {
		return nil, err
	}
	life := context.WithoutCancel(ctx)
	go func() { _ = k.Run(life) }() // Close waits for it and returns its error
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	select {
	case <-k.views.first:
		return k, nil
	case <-k.ended:
		return nil, k.Close()
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("%w: no view of %v: %w", ErrUnreachable, c.Seeds, ctx.Err()), k.Close())
	}
}

// Run keeps the view, the connections and the settlements that wait, until ctx ends or Close is called. Then it drains:
// new calls get ErrClosed, those in progress are answered and what waits is settled, for Config.Drain at most. It
// returns after everything it started has ended; an error if the spool does not open, or settlements are left that no
// spool keeps. It may be called once.
func (k *Client) Run(ctx context.Context) error {
	if !k.began.CompareAndSwap(false, true) {
		return errors.New("client: run twice, or after Close")
	}
	k.err = k.run(ctx)
	close(k.ended)
	return k.err
}

func (k *Client) run(ctx context.Context) error {
	if err := k.settles.open(); err != nil {
		k.calls.shut()
		return err
	}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var parts sync.WaitGroup
	parts.Go(func() { k.views.run(inner) })
	parts.Go(func() { k.settles.run(inner, k.deliver) })
	select {
	case <-ctx.Done():
	case <-k.closing:
	}
	// Callers first: they may still leave settlements behind. Then those, which need the connections. Then these.
	drained, expire := context.WithTimeout(inner, k.c.Drain)
	defer expire()
	k.calls.shut()
	k.calls.wait(drained)
	k.settles.drain(drained)
	cancel()
	k.links.close()
	parts.Wait()
	return k.settles.close()
}

// Close ends Run, waits for it, and returns what Run returns. It may be called more than once.
func (k *Client) Close() error {
	k.close.Do(func() { close(k.closing) })
	if k.began.CompareAndSwap(false, true) { // Run was never called, and now never will be
		k.calls.shut()
		close(k.ended)
	}
	<-k.ended
	return k.err
}

// View returns the view that checks go by, waiting for the first one until ctx ends. Its slices must not be changed.
func (k *Client) View(ctx context.Context) (View, error) {
	if !k.calls.enter() {
		return View{}, ErrClosed
	}
	defer k.calls.leave()
	r := k.views.current(ctx)
	if r == nil {
		return View{}, fmt.Errorf("%w: no view of %v: %w", ErrUnreachable, k.c.Seeds, ctx.Err())
	}
	return r.view, nil
}

// gate counts the calls in progress, and lets no further ones in once it is shut.
type gate struct {
	inside atomic.Int64
	closed *atomic.Bool
	once   *sync.Once
	empty  chan struct{} // closed when it is shut and nobody is inside
}

func newGate() gate {
	return gate{closed: new(atomic.Bool), once: new(sync.Once), empty: make(chan struct{})}
}

func (g *gate) enter() bool {
	g.inside.Add(1)
	if g.closed.Load() {
		g.leave()
		return false
	}
	return true
}

func (g *gate) leave() {
	if g.inside.Add(-1) == 0 && g.closed.Load() {
		g.once.Do(func() { close(g.empty) })
	}
}

func (g *gate) shut() {
	g.inside.Add(1)
	g.closed.Store(true)
	g.leave()
}

func (g *gate) wait(ctx context.Context) {
	select {
	case <-g.empty:
	case <-ctx.Done():
	}
}
