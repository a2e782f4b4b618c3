// Package stream lets many concurrent checks share one gRPC stream.
//
// There is no timer: whatever waits when the stream is free to send goes out as one message, so a lone
// check is never delayed and a crowd shares the cost of a message. The client and the nodes use the same
// code, and both public and peer streams carry the same messages.
package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// Bounds of one stream.
const (
	packMax  = 128  // checks in one message
	queueMax = 4096 // checks that wait to be sent; one more is ErrBusy
)

// The errors of a Client.
var (
	// ErrBroken is returned for checks whose stream ended before their answer: the outcome is not known.
	ErrBroken = errors.New("stream broken")
	// ErrBusy is returned at once when the queue is full; nothing was sent.
	ErrBusy = errors.New("stream busy")
)

// Opener opens the stream that a Client sends on.
type Opener func(ctx context.Context) (grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse], error)

// Client sends checks on one stream, which Run keeps open. It is safe for concurrent use.
type Client struct {
	open Opener
	wake chan struct{} // capacity 1: there is something to send
	idle sync.Pool     // of *call that nobody knows of

	mu    sync.Mutex // guards what follows
	queue []*call    // to be sent, or given up meanwhile
	wait  map[uint64]*call
	last  uint64 // id of the newest call
	ended bool
}

// call is a check on its way. It is in the queue, then among those that wait for their answer, and then done.
type call struct {
	ctx   context.Context // of who waits
	check *weirv1.StreamedCheck
	done  chan result // capacity 1: the one answer never blocks who delivers it
}

type result struct {
	outcome *weirv1.Outcome
	err     error
}

// NewClient returns a Client that is silent until Run.
func NewClient(open Opener) *Client {
	return &Client{open: open, wake: make(chan struct{}, 1), wait: make(map[uint64]*call)}
}

// Check sends one check and waits for its outcome or for ctx. The request must not change any more: it may be
// sent after Check gave up. epoch is the sender's, zero outside the cluster. After an error other than ErrBusy
// the home may have decided all the same.
func (c *Client) Check(ctx context.Context, r *weirv1.CheckRequest, epoch uint64) (*weirv1.Outcome, error) {
	k, ok := c.idle.Get().(*call)
	if !ok {
		k = &call{done: make(chan result, 1)}
	}
	k.ctx, k.check = ctx, &weirv1.StreamedCheck{Check: r, Epoch: epoch}
	if err := c.enqueue(k); err != nil {
		return nil, err
	}
	select {
	case r := <-k.done:
		k.ctx, k.check = nil, nil
		c.idle.Put(k)
		return r.outcome, r.err
	case <-ctx.Done(): // the call may still be delivered to, so it is not used again
		c.forget(k)
		return nil, ctx.Err()
	}
}

func (c *Client) enqueue(k *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended:
		return ErrBroken
	case len(c.queue) >= queueMax:
		return ErrBusy
	}
	c.last++
	k.check.Id = c.last
	c.queue = append(c.queue, k)
	if len(c.queue) == 1 {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// Run keeps a stream open until ctx ends, opening it when there is something to send. Calls in flight on a
// stream that breaks get ErrBroken, and so do those that wait when Run ends and all later ones. It may be
// called once.
func (c *Client) Run(ctx context.Context) error {
	defer c.end()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		}
		for c.pending() && ctx.Err() == nil {
			opened, err := c.serve(ctx)
			c.failSent(err)
			if !opened { // those that wait would meet the same; after a break they go on the next stream
				c.failQueued(err)
			}
		}
	}
}

func (c *Client) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.failSent(ErrBroken)
	c.failQueued(ErrBroken)
}

// serve opens a stream, sends what waits and what follows, and returns whether it opened and why it ended.
func (c *Client) serve(ctx context.Context) (opened bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.open(ctx)
	if err != nil {
		return false, fmt.Errorf("%w: open: %w", ErrBroken, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.send(ctx, s) })
	g.Go(func() error {
		defer cancel() // the peer hung up: the sender must not wait for more work
		return c.receive(s)
	})
	return true, fmt.Errorf("%w: %w", ErrBroken, g.Wait())
}

func (c *Client) send(ctx context.Context, s grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse]) error {
	for {
		for m := c.pack(); m != nil; m = c.pack() {
			if err := s.Send(m); err != nil {
				return err
			}
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pack makes the next message, nil when there is nothing to send. What its caller has given up is not sent: it must
// take nothing from anybody's limits.
func (c *Client) pack() *weirv1.CheckStreamRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &weirv1.CheckStreamRequest{}
	taken := 0
	for ; taken < len(c.queue) && len(m.GetChecks()) < packMax; taken++ {
		k := c.queue[taken]
		if k.ctx.Err() != nil {
			continue
		}
		if deadline, ok := k.ctx.Deadline(); ok {
			k.check.TimeoutMs = max(1, time.Until(deadline).Milliseconds())
		}
		c.wait[k.check.GetId()] = k
		m.Checks = append(m.Checks, k.check)
	}
	c.queue = slices.Delete(c.queue, 0, taken)
	if len(m.GetChecks()) == 0 {
		return nil
	}
	return m
}

// pending reports whether somebody waits for something to be sent.
func (c *Client) pending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = slices.DeleteFunc(c.queue, func(k *call) bool { return k.ctx.Err() != nil })
	return len(c.queue) > 0
}

func (c *Client) receive(s grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse]) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		c.deliver(m.GetOutcomes())
	}
}

func (c *Client) forget(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.wait, k.check.GetId())
}

// deliver hands out answers; one that nobody waits for any more is dropped.
func (c *Client) deliver(all []*weirv1.StreamedOutcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range all {
		if k := c.wait[o.GetId()]; k != nil {
			delete(c.wait, o.GetId())
			k.done <- result{outcome: o.GetOutcome()}
		}
	}
}

// failSent answers every call that was sent.
func (c *Client) failSent(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, k := range c.wait {
		delete(c.wait, id)
		k.done <- result{err: err}
	}
}

// failQueued answers every call that waits to be sent.
func (c *Client) failQueued(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.queue {
		k.done <- result{err: err}
	}
	c.queue = nil
}
