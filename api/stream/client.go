// Package stream lets many concurrent checks share one gRPC stream.
//
// There is no timer for messages: whatever waits when the stream is free to send goes out as one message, so a
// lone check is never delayed and a crowd shares the cost of a message. The client and the nodes use the same
// code, and both public and peer streams carry the same messages.
package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// Bounds of one stream.
const (
	packMax   = 128     // checks in one message
	packBytes = 1 << 20 // of checks in one message; the last may go beyond
	queueMax  = 4096    // checks that wait to be sent; one more is ErrBusy
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
	wake  chan struct{} // capacity 1: there is something to send
	alarm *time.Timer   // rings when the time of a call is up, or a little earlier than that of any
	idle  sync.Pool     // of *waiter that nobody knows of

	mu    sync.Mutex // guards what follows
	queue []*Call    // to be sent, or over
	sent  map[uint64]*Call
	dues  dues      // the calls whose time the client watches
	rings time.Time // when the alarm does; zero: it does not
	last  uint64    // id of the newest call
	heard uint64    // the newest id that was answered
	mute  uint64    // the newest id that was sent and then given up
	line  *line     // that is open; nil: none is
	ended bool
}

// Call is an encoded check on its way. It is posted once.
type Call struct {
	Check  string        // an encoded CheckRequest
	Epoch  uint64        // of the sender; zero outside the cluster
	Origin uint64        // names the check between nodes; zero outside the cluster
	Wait   time.Duration // how long from Post on an outcome is of use; it must be positive
	// Answer is called once with the outcome, encoded and good only until it returns, or with why there is none:
	// ErrBroken, context.DeadlineExceeded after Wait, or the error of Post's context if nothing was sent by then. took
	// is since Post. Whoever finds out calls it, and it must not block: it holds up the answers of all others.
	Answer func(outcome []byte, took time.Duration, err error)

	ctx    context.Context
	id     uint64
	posted time.Time
	due    time.Time // when its time is up; zero: never
	timed  bool      // the client watches its time
	place  int       // in dues, counted from 1; zero: its time is not watched
	over   bool      // it is answered or given up
}

// NewClient returns a Client that is silent until Run.
func NewClient(open Opener) *Client {
	c := &Client{open: open, wake: make(chan struct{}, 1), sent: make(map[uint64]*Call), alarm: time.NewTimer(time.Hour)}
	c.alarm.Stop()
	return c
}

// Check sends one check and waits for its outcome or for ctx. epoch is the sender's, zero outside the cluster. After
// an error other than ErrBusy the home may have decided all the same.
func (c *Client) Check(ctx context.Context, r *weirv1.CheckRequest, epoch uint64) (*weirv1.Outcome, error) {
	encoded, err := proto.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode the check: %w", err)
	}
	due, _ := ctx.Deadline()
	outcome, err := c.Ask(ctx, string(encoded), epoch, due)
	if err != nil {
		return nil, err
	}
	o := new(weirv1.Outcome)
	if err := proto.Unmarshal([]byte(outcome), o); err != nil {
		return nil, fmt.Errorf("%w: read an outcome: %w", ErrBroken, err)
	}
	return o, nil
}

// Ask is Check for who encodes and decodes by himself. It waits until due, too, without a timer of its own; zero is never.
func (c *Client) Ask(ctx context.Context, check string, epoch uint64, due time.Time) (outcome string, err error) {
	w, ok := c.idle.Get().(*waiter)
	if !ok {
		w = &waiter{done: make(chan result, 1)}
		w.hear = w.answer
	}
	w.Call = Call{Check: check, Epoch: epoch, Answer: w.hear, ctx: ctx, due: due}
	if own, some := ctx.Deadline(); !due.IsZero() && (!some || due.Before(own)) {
		w.timed = true
	}
	if err := c.enter(&w.Call); err != nil {
		return "", err
	}
	select {
	case r := <-w.done:
		if r.err == nil { // else the call may still stand in the queue, and is not used again
			w.Call = Call{}
			c.idle.Put(w)
		}
		return r.outcome, r.err
	case <-ctx.Done(): // nor is it when it may still be answered
		c.forget(&w.Call)
		return "", ctx.Err()
	}
}

// waiter is a call that somebody waits for.
type waiter struct {
	Call
	hear func([]byte, time.Duration, error) // answer, made once
	done chan result                        // capacity 1: the one answer never blocks who delivers it
}

type result struct {
	outcome string
	err     error
}

func (w *waiter) answer(outcome []byte, _ time.Duration, err error) {
	w.done <- result{string(outcome), err}
}

// Post sends a check and returns; its outcome goes to its Answer. What is not sent when ctx ends never is. After an
// error, which is ErrBusy or ErrBroken, nothing was sent and Answer is not called.
func (c *Client) Post(ctx context.Context, k *Call) error {
	k.ctx, k.posted, k.Wait = ctx, time.Now(), max(k.Wait, 1)
	k.due, k.timed = k.posted.Add(k.Wait), true
	return c.enter(k)
}

// enter puts a call into the queue, or sends it.
func (c *Client) enter(k *Call) error {
	alone, err := c.enqueue(k)
	if alone != nil {
		c.sendAlone(alone, k)
	}
	return err
}

// enqueue returns the line for who must send the call himself.
func (c *Client) enqueue(k *Call) (*line, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended:
		return nil, ErrBroken
	case len(c.queue) >= queueMax:
		return nil, ErrBusy
	}
	c.last++
	k.id = c.last
	if k.timed {
		c.watch(k)
	}
	if l := c.line; l != nil && !l.busy && len(c.queue)+len(c.sent) == 0 && c.heard >= c.mute {
		l.busy, c.sent[k.id] = true, k
		return l, nil
	}
	c.queue = append(c.queue, k)
	if len(c.queue) == 1 {
		c.rouse()
	}
	return nil, nil
}

func (c *Client) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// finish takes a call from all lists but the queue, and reports whether it is still to be answered. It is called with
// the lock.
func (c *Client) finish(k *Call) bool {
	if k.over {
		return false
	}
	k.over = true
	delete(c.sent, k.id)
	c.dues.remove(k)
	return true
}

// giveUp is finish for a call that may have been sent.
func (c *Client) giveUp(k *Call) {
	if c.sent[k.id] == k {
		c.mute = max(c.mute, k.id)
	}
	c.finish(k)
}

func (c *Client) forget(k *Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.giveUp(k)
}

// fail answers calls for which there will be no outcome.
func fail(calls []*Call, err error) {
	for _, k := range calls {
		k.fail(err)
	}
}

func (k *Call) fail(err error) {
	var took time.Duration
	if !k.posted.IsZero() {
		took = time.Since(k.posted)
	}
	k.Answer(nil, took, err)
}
