package transport

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-cluster/weir/policy"
)

// openMax bounds the checks of one stream that wait at once; past it the stream is not read, and the sender waits.
const openMax = policy.BatchMax

// idleMax bounds the goroutines that a stream keeps for checks that will have to wait.
const idleMax = 64

// stream answers the checks of one stream until the caller hangs up or its context ends: in one message what could be
// decided at once, and in later ones what had to wait.
func (k *desk) stream(s grpc.ServerStream) error {
	ctx, cancel := context.WithCancel(s.Context())
	x := &exchange{desk: k, ctx: ctx, open: make(chan struct{}, openMax), tasks: make(chan task)}
	x.out.buffers, x.out.send = &k.buffers, func(r *reply) error { return s.SendMsg(r) }
	x.out.room.L = &x.out.mu
	a := arrival{desk: k, streamed: true}
	err := x.read(func() (*message, error) {
		a.done()
		err := s.RecvMsg(&a)
		return a.message, err
	})
	a.done()
	if err != nil {
		cancel()
	}
	close(x.tasks)
	x.work.Wait() // who hung up properly gets all answers
	cancel()
	return errors.Join(err, x.out.close())
}

// exchange is one stream.
type exchange struct {
	desk  *desk
	ctx   context.Context // of the stream
	out   outbox
	work  sync.WaitGroup
	open  chan struct{} // holds one for each check that waits
	tasks chan task     // for a goroutine that has none
	idle  atomic.Int32  // how many wait for one
}

// task is a check that has to wait.
type task struct {
	id      uint64
	request policy.Request
	epoch   uint64
	leftMs  int64
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
		if err := x.answer(m); err != nil {
			return err
		}
	}
}

// answer answers what it can of a message at once, and has the rest wait.
func (x *exchange) answer(m *message) error {
	b := x.desk.buffers.Get(0)
	for i := range m.list {
		c := &m.list[i]
		decided, err := x.desk.decide(c, &m.decision)
		if decided {
			*b = appendStreamed(*b, c.id, &m.decision, err)
		} else if !x.wait(c) { // too many do: the sender must wait too, but not for what is decided
			x.out.put(b)
			b = x.desk.buffers.Get(0)
			if err := x.await(c); err != nil {
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

// wait has a check wait in a goroutine of its own, unless too many do.
func (x *exchange) wait(c *check) bool {
	select {
	case x.open <- struct{}{}:
		x.start(c)
		return true
	default:
		return false
	}
}

func (x *exchange) await(c *check) error {
	select {
	case x.open <- struct{}{}:
		x.start(c)
		return nil
	case <-x.ctx.Done():
		return x.ctx.Err()
	}
}

func (x *exchange) start(c *check) {
	t := task{c.id, c.later(), c.epoch, c.timeoutMs}
	select {
	case x.tasks <- t:
	default:
		x.work.Go(func() { x.carry(t) })
	}
}

// carry has a check decided, and those after it that come while it is idle: the stack of a new goroutine would have to
// grow for each.
func (x *exchange) carry(t task) {
	for {
		d, err := x.desk.wait(x.ctx, t.request, t.epoch, t.leftMs)
		x.out.add(t.id, &d, err)
		<-x.open
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
