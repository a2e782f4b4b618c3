package stream

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Run keeps a stream open until ctx ends, opening it when there is something to send. Calls in flight on a
// stream that breaks get ErrBroken, and so do those that wait when Run ends and all later ones. It may be
// called once.
func (c *Client) Run(ctx context.Context) error {
	defer c.end()
	var clock sync.WaitGroup
	clock.Go(func() { c.expire(ctx) })
	defer clock.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		}
		for c.pending() && ctx.Err() == nil {
			opened, err := c.serve(ctx)
			fail(c.allSent(), err)
			if !opened { // those that wait would meet the same; after a break they go on the next stream
				fail(c.allQueued(), err)
			}
		}
	}
}

func (c *Client) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.alarm.Stop()
	fail(c.allSent(), ErrBroken)
	fail(c.allQueued(), ErrBroken)
}

// serve opens a stream, sends what waits and what follows, and returns whether it opened and why it ended.
func (c *Client) serve(ctx context.Context) (opened bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.open(ctx)
	if err != nil {
		return false, fmt.Errorf("%w: open: %w", ErrBroken, err)
	}
	l := &line{ClientStream: s}
	c.lay(l)
	defer c.lay(nil)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.send(ctx, l) })
	g.Go(func() error {
		defer cancel() // the peer hung up: the sender must not wait for more work
		return c.receive(s)
	})
	return true, fmt.Errorf("%w: %w", ErrBroken, g.Wait())
}

// frame is a message whose fields its type does not know, so that gRPC's codec leaves its bytes as they are.
type frame = emptypb.Empty

// line is an open stream.
type line struct {
	grpc.ClientStream
	busy bool // somebody sends; guarded by the client's lock
}

func (c *Client) lay(l *line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line = l
}

// sendAlone sends a call that is alone on its line from where it was posted. It does not wait: there is room for one message
// at least when all that went before was answered.
func (c *Client) sendAlone(l *line, k *Call) {
	m := new(frame)
	m.ProtoReflect().SetUnknown(k.append(nil, time.Now()))
	_ = l.SendMsg(m) // its error comes from receive, too
	c.mu.Lock()
	defer c.mu.Unlock()
	l.busy = false
	if len(c.queue) > 0 {
		c.rouse()
	}
}

// send sends what waits whenever it is roused.
func (c *Client) send(ctx context.Context, l *line) error {
	var calls []*Call
	var b []byte
	m := new(frame)
	for {
		for calls = c.pack(l, calls[:0]); len(calls) > 0; calls = c.pack(l, calls[:0]) {
			b = b[:0]
			now := time.Now()
			for _, k := range calls {
				b = k.append(b, now)
			}
			clear(calls)
			m.ProtoReflect().SetUnknown(b)
			err := l.SendMsg(m)
			c.free(l)
			if err != nil {
				return err
			}
		}
		select {
		case <-c.wake:
			runtime.Gosched() // whoever is about to post as well does so now; when nobody is, this takes no time
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Client) free(l *line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.busy = false
}

// pack returns the calls of the next message and makes the line busy. It returns none when there is nothing to send, or when
// another sends and will rouse who asked.
func (c *Client) pack(l *line, calls []*Call) []*Call {
	var gone []*Call
	c.mu.Lock()
	taken, bytes := 0, 0
	for ; !l.busy && taken < len(c.queue) && len(calls) < packMax && bytes < packBytes; taken++ {
		k := c.queue[taken]
		if c.unwanted(k, &gone) {
			continue
		}
		c.sent[k.id] = k
		calls, bytes = append(calls, k), bytes+len(k.Check)
	}
	c.queue = slices.Delete(c.queue, 0, taken)
	l.busy = l.busy || len(calls) > 0
	c.mu.Unlock()
	dismiss(gone)
	return calls
}

// pending reports whether somebody waits for something to be sent.
func (c *Client) pending() bool {
	var gone []*Call
	c.mu.Lock()
	c.queue = slices.DeleteFunc(c.queue, func(k *Call) bool { return c.unwanted(k, &gone) })
	some := len(c.queue) > 0
	c.mu.Unlock()
	dismiss(gone)
	return some
}

// unwanted reports whether a call of the queue must not be sent, since nobody waits for it any more: it must take nothing
// from anybody's limits. It adds those to gone that are to be told that their context ended; who waits for a call sees it
// by itself. It is called with the lock.
func (c *Client) unwanted(k *Call, gone *[]*Call) bool {
	if !k.over && k.ctx.Err() == nil {
		return false
	}
	if c.finish(k) && !k.posted.IsZero() {
		*gone = append(*gone, k)
	}
	return true
}

func dismiss(gone []*Call) {
	for _, k := range gone {
		k.fail(k.ctx.Err())
	}
}

func (c *Client) receive(s grpc.ClientStream) error {
	m := new(frame)
	var heard []answer
	for {
		if err := s.RecvMsg(m); err != nil {
			return err
		}
		var err error
		heard, err = readAnswers(m.ProtoReflect().GetUnknown(), heard[:0])
		c.deliver(heard)
		clear(heard)
		if err != nil {
			return err
		}
	}
}

// answer is an outcome, and the call that it is of.
type answer struct {
	id      uint64
	outcome []byte
	call    *Call // nil when nobody waits for it any more
}

// readAnswers appends the answers of a message. With an error it returns those before what is malformed.
func readAnswers(m []byte, all []answer) ([]answer, error) {
	for len(m) > 0 {
		id, outcome, rest, err := nextOutcome(m)
		if err != nil {
			return all, err
		}
		all, m = append(all, answer{id: id, outcome: outcome}), rest
	}
	return all, nil
}

// deliver hands out the answers of a message; one that nobody waits for any more is dropped.
func (c *Client) deliver(heard []answer) {
	now := time.Now()
	c.mu.Lock()
	for i := range heard {
		a := &heard[i]
		if k := c.sent[a.id]; k != nil && c.finish(k) {
			a.call = k
		}
		c.heard = max(c.heard, a.id)
	}
	c.mu.Unlock()
	for i := range heard {
		if a := &heard[i]; a.call != nil {
			a.call.Answer(a.outcome, now.Sub(a.call.posted), nil)
		}
	}
}

// allSent takes out every call that was sent.
func (c *Client) allSent() (calls []*Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.sent {
		c.finish(k)
		calls = append(calls, k)
	}
	return calls
}

// allQueued takes out every call that waits to be sent.
func (c *Client) allQueued() (calls []*Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.queue {
		if c.finish(k) {
			calls = append(calls, k)
		}
	}
	c.queue = nil
	return calls
}
