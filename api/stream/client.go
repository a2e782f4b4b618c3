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
	open  Opener
	queue chan *call
	ended chan struct{} // closed when Run ends

	mu   sync.Mutex
	wait map[uint64]*call // sent, not answered
	last uint64           // id of the newest call
}

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
	return &Client{open: open, queue: make(chan *call, queueMax), ended: make(chan struct{}), wait: make(map[uint64]*call)}
}

// Check sends one check and waits for its outcome or for ctx. The request must not change any more: it may be
// sent after Check gave up. epoch is the sender's, zero outside the cluster. After an error other than ErrBusy
// the home may have decided all the same.
func (c *Client) Check(ctx context.Context, r *weirv1.CheckRequest, epoch uint64) (*weirv1.Outcome, error) {
	k := &call{ctx: ctx, check: &weirv1.StreamedCheck{Check: r, Epoch: epoch}, done: make(chan result, 1)}
	c.mu.Lock()
	c.last++
	k.check.Id = c.last
	c.mu.Unlock()
	select {
	case c.queue <- k:
	default:
		return nil, ErrBusy
	}
	select {
	case r := <-k.done:
		return r.outcome, r.err
	case <-c.ended: // Run may not have seen the call, but may also have sent it
		select {
		case r := <-k.done:
			return r.outcome, r.err
		default:
			return nil, ErrBroken
		}
	case <-ctx.Done():
		c.forget(k)
		return nil, ctx.Err()
	}
}

// Run keeps a stream open until ctx ends, opening it when there is something to send. Calls in flight on a
// stream that breaks get ErrBroken, and so do those that wait when Run ends and all later ones. It may be
// called once.
func (c *Client) Run(ctx context.Context) error {
	defer close(c.ended)
	for {
		select {
		case <-ctx.Done():
			c.failSent(ErrBroken)
			c.failQueued(ErrBroken)
			return nil
		case first := <-c.queue:
			if !c.expect(first) {
				continue
			}
			opened, err := c.serve(ctx, first)
			c.failSent(err)
			if !opened { // those that wait would meet the same; after a break they go on the next stream
				c.failQueued(err)
			}
		}
	}
}

// serve opens a stream, sends first and what follows, and returns whether it opened and why it ended.
func (c *Client) serve(ctx context.Context, first *call) (opened bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.open(ctx)
	if err != nil {
		return false, fmt.Errorf("%w: open: %w", ErrBroken, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.send(ctx, s, first) })
	g.Go(func() error {
		defer cancel() // the peer hung up: the sender must not wait for more work
		return c.receive(s)
	})
	return true, fmt.Errorf("%w: %w", ErrBroken, g.Wait())
}

func (c *Client) send(ctx context.Context, s grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse], first *call) error {
	for k := first; ; {
		m := &weirv1.CheckStreamRequest{Checks: []*weirv1.StreamedCheck{k.check}}
		for len(m.Checks) < packMax {
			next, ok := c.waiting()
			if !ok {
				break
			}
			m.Checks = append(m.Checks, next.check)
		}
		if err := s.Send(m); err != nil {
			return err
		}
		for known := false; !known; {
			select {
			case k = <-c.queue:
				known = c.expect(k)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func (c *Client) waiting() (*call, bool) {
	for {
		select {
		case k := <-c.queue:
			if c.expect(k) {
				return k, true
			}
		default:
			return nil, false
		}
	}
}

func (c *Client) receive(s grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse]) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		for _, o := range m.GetOutcomes() {
			c.deliver(o)
		}
	}
}

// expect readies a call for sending, unless nobody waits for it any more: what its caller has given up must
// take nothing from anybody's limits.
func (c *Client) expect(k *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.ctx.Err() != nil {
		return false
	}
	if deadline, ok := k.ctx.Deadline(); ok {
		k.check.TimeoutMs = max(1, time.Until(deadline).Milliseconds())
	}
	c.wait[k.check.GetId()] = k
	return true
}

func (c *Client) forget(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.wait, k.check.GetId())
}

func (c *Client) deliver(o *weirv1.StreamedOutcome) {
	c.mu.Lock()
	k := c.wait[o.GetId()]
	delete(c.wait, o.GetId())
	c.mu.Unlock()
	if k != nil {
		k.done <- result{outcome: o.GetOutcome()}
	}
}

// failSent answers every call that was sent.
func (c *Client) failSent(err error) {
	c.mu.Lock()
	failed := c.wait
	c.wait = make(map[uint64]*call)
	c.mu.Unlock()
	for _, k := range failed {
		k.done <- result{err: err}
	}
}

// failQueued answers every call that waits to be sent.
func (c *Client) failQueued(err error) {
	for {
		select {
		case k := <-c.queue:
			k.done <- result{err: err}
		default:
			return
		}
	}
}
