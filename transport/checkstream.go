package transport

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// openMax bounds the checks of one stream that wait at once; past it the stream is not read, and the sender waits.
const openMax = policy.BatchMax

// idleMax bounds the goroutines that a stream keeps for checks that will have to wait.
const idleMax = 64

// encodedMax bounds a check that goes on as the bytes that it came in, so that many fit into a message between nodes.
const encodedMax = 64 << 10

// stream answers the checks of one stream until the caller hangs up, its context ends, or the desk closes: in one message
// what could be decided at once, and in later ones what had to wait.
func (k *desk) stream(s grpc.ServerStream) error {
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	x := &exchange{desk: k, ctx: ctx, open: make(chan struct{}, openMax), tasks: make(chan task)}
	x.out.buffers, x.out.send = &k.buffers, func(r *reply) error { return s.SendMsg(r) }
	x.out.room.L = &x.out.mu
	over := make(chan error, 1)
	go func() { over <- x.receive(s) }() // it ends with the stream, and so soon after this returns
	select {
	case err := <-over:
		if err != nil {
			cancel()
			x.end()
			return err
		}
	case <-k.closing:
		x.hush()
	}
	x.due.Wait() // who hung up properly, or is sent away, gets all answers
	x.end()
	return x.out.failure()
}

// receive answers messages until there are no more.
func (x *exchange) receive(s grpc.ServerStream) error {
	a := arrival{desk: x.desk, streamed: true}
	defer a.done()
	return x.read(func() (*message, error) {
		a.done()
		err := s.RecvMsg(&a)
		return a.message, err
	})
}

// exchange is one stream.
type exchange struct {
	desk  *desk
	ctx   context.Context // of the stream
	out   outbox
	open  chan struct{}  // holds one for each check that waits
	due   sync.WaitGroup // of the same checks
	tasks chan task      // for a goroutine that has none
	idle  atomic.Int32   // how many wait for one

	reading sync.Mutex // held while a message is answered; guards what follows
	hushed  bool       // no further one is

	mu    sync.Mutex     // guards what follows
	work  sync.WaitGroup // of all goroutines but the one that reads
	ended bool           // what comes now comes too late
}

// read answers messages until there are no more.
func (x *exchange) read(next func() (*message, error)) error {
	for {
		m, err := next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.count > policy.BatchMax:
			return status.Errorf(codes.InvalidArgument, "%d checks in one message: at most %d", m.count, policy.BatchMax)
		}
		if err := x.take(m); err != nil {
			return err
		}
	}
}

// take answers a message, unless it comes too late: then nothing is decided.
func (x *exchange) take(m *message) error {
	x.reading.Lock()
	defer x.reading.Unlock()
	if x.hushed {
		return context.Canceled
	}
	return x.answer(m)
}

// hush lets the message that is being answered be the last.
func (x *exchange) hush() {
	x.reading.Lock()
	defer x.reading.Unlock()
	x.hushed = true
}

// answer answers what it can of a message at once, and has the rest wait.
func (x *exchange) answer(m *message) error {
	b := x.desk.buffers.Get(0)
	for i := range m.list {
		c := &m.list[i]
		decided, err := x.desk.decide(c, &m.decision)
		if decided {
			*b = appendStreamed(*b, c.id, &m.decision, err)
		} else if !x.wait(c, &m.common) { // too many do: the sender must wait too, but not for what is decided
			x.out.put(b)
			b = x.desk.buffers.Get(0)
			if err := x.await(c, &m.common); err != nil {
				return err
			}
		}
		if len(*b) >= replyBytes {
			x.out.put(b)
			b = x.desk.buffers.Get(0)
		}
	}
	return x.out.put(b)
}

// wait has a check wait, unless too many do.
func (x *exchange) wait(c, common *check) bool {
	select {
	case x.open <- struct{}{}:
		x.start(c, common)
		return true
	default:
		return false
	}
}

func (x *exchange) await(c, common *check) error {
	select {
	case x.open <- struct{}{}:
		x.start(c, common)
		return nil
	case <-x.ctx.Done():
		return x.ctx.Err()
	}
}

// start has a check answered later: by whoever hears from its home, or by a goroutine.
func (x *exchange) start(c, common *check) {
	x.due.Add(1)
	left := x.desk.within(x.ctx, c.timeoutMs)
	if x.desk.away == nil || !x.forward(c, common, left) {
		x.decide(task{id: c.id, request: c.later(), epoch: c.epoch, left: left})
	}
}

// forward has a check's home asked. Nobody waits for it: whoever receives the answer passes it on.
func (x *exchange) forward(c, common *check, left time.Duration) bool {
	encoded := c.portable(common)
	if len(encoded) > encodedMax {
		return false
	}
	if x.out.wake == nil {
		wake := make(chan struct{}, 1)
		x.out.wake = wake
		x.work.Go(func() { x.out.serve(wake) })
	}
	id := c.id
	return x.desk.away.Forward(x.ctx, &c.request, encoded, left, func(a cluster.Carried, err error) {
		if err != nil {
			x.decide(task{id: id, left: left - a.Took, heard: err, origin: a.ID, encoded: encoded})
			return
		}
		x.out.pass(id, a.Encoded)
		x.settled()
	})
}

// settled notes that a check is answered.
func (x *exchange) settled() {
	<-x.open
	x.due.Done()
}

// decide has a goroutine decide a check. Once the stream has ended nobody does.
func (x *exchange) decide(t task) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return
	}
	select {
	case x.tasks <- t:
	default:
		x.work.Go(func() { x.carry(t) })
	}
}

// end ends all goroutines and waits for them. What a home is still to answer finds nobody.
func (x *exchange) end() {
	x.mu.Lock()
	x.ended = true
	close(x.tasks)
	x.mu.Unlock()
	x.out.close()
	x.work.Wait()
}

// carry has a check decided, and those after it that come while it is idle: the stack of a new goroutine would have to
// grow for each.
func (x *exchange) carry(t task) {
	for {
		d, err := x.desk.wait(x.ctx, &t)
		x.out.add(t.id, &d, err)
		x.settled()
		if x.idle.Add(1) > idleMax {
			x.idle.Add(-1)
			return
		}
		next, more := <-x.tasks
		x.idle.Add(-1)
		if !more {
			return
		}
		t = next
	}
}
