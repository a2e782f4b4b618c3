package transport

import (
	"context"
	"sync"
	"time"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// desk decides the checks that come in messages: what can be decided at once in the goroutine that read the message,
// and only what would wait in one of its own.
type desk struct {
	// try decides at once or reports that it cannot; it must keep neither the request nor the decision.
	try func(q *policy.Request, epoch uint64, d *policy.Decision) (decided bool, err error)
	// check decides and may wait.
	check   func(ctx context.Context, q policy.Request, epoch uint64) (policy.Decision, error)
	away    away            // nil: what is at home elsewhere is not forwarded
	timeout time.Duration   // of a check whose caller set no shorter one
	closing <-chan struct{} // closed when streams are to end; nil: they do not

	messages sync.Pool // of *message
	buffers  buffers
}

// away is who forwards checks, as cluster.Router does.
type away interface {
	Forward(ctx context.Context, q *policy.Request, encoded string, left time.Duration, answer func(cluster.Carried, error)) bool
	Resume(ctx context.Context, q policy.Request, heard error) (policy.Decision, error)
}

// message is what a desk works with while it decides one message.
type message struct {
	checks
	decision policy.Decision // overwritten by each check
}

// arrival is a message that is still to come: it takes its room only then.
type arrival struct {
	desk     *desk
	streamed bool
	*message
}

func (a *arrival) receive(r *reader) error {
	if a.message == nil {
		if a.message, _ = a.desk.messages.Get().(*message); a.message == nil {
			a.message = new(message)
		}
	}
	return a.read(r, a.streamed)
}

// done gives the room back.
func (a *arrival) done() {
	if a.message != nil {
		a.desk.messages.Put(a.message)
		a.message = nil
	}
}

// lone is the message of a unary check.
type lone struct{ check }

func (l *lone) receive(r *reader) error {
	l.encoded = r.text
	l.read(r)
	if !r.failed {
		l.settle(&check{})
	}
	return r.err()
}

// one answers a unary check.
func (k *desk) one(ctx context.Context, c *lone) (*reply, error) {
	var d policy.Decision
	decided, err := k.try(&c.request, 0, &d)
	if !decided {
		s := k.late(ctx, 1)
		s.add(&c.check, nil, 0)
		if err := s.wait(); err != nil {
			return nil, toStatus(err)
		}
		l := s.all[0]
		if l.encoded != nil {
			return &reply{l.encoded, &k.buffers}, nil
		}
		d, err = l.decision, l.err
	}
	if err != nil {
		return nil, toStatus(err)
	}
	b := k.buffers.Get(0)
	*b = appendDecision(*b, &d)
	return &reply{b, &k.buffers}, nil
}

// batch answers each check of a message, in their order.
func (k *desk) batch(ctx context.Context, a *arrival) (*reply, error) {
	defer a.done()
	if err := batchSize(a.count); err != nil {
		return nil, toStatus(err)
	}
	b := k.buffers.Get(0)
	var late *latecomers
	for i := range a.list {
		c := &a.list[i]
		decided, err := k.decide(c, &a.decision)
		if decided {
			*b = appendAnswer(*b, &a.decision, err)
			continue
		}
		if late == nil {
			late = k.late(ctx, len(a.list)-i)
		}
		late.add(c, &a.common, len(*b))
	}
	if late == nil {
		return &reply{b, &k.buffers}, nil
	}
	if err := late.wait(); err != nil {
		k.buffers.Put(b)
		return nil, toStatus(err)
	}
	return &reply{late.insert(b), &k.buffers}, nil
}

// decide decides a check of a message, if it can at once.
func (k *desk) decide(c *check, d *policy.Decision) (decided bool, err error) {
	if c.err != nil {
		return true, c.err
	}
	if k.away == nil { // it comes from a node: what a client calls a check is of no interest
		c.request.ID = c.origin
	}
	return k.try(&c.request, c.epoch, d)
}

// within is how long a check may take.
func (k *desk) within(ctx context.Context, leftMs int64) time.Duration {
	left := k.timeout
	if leftMs > 0 && leftMs < left.Milliseconds() {
		left = time.Duration(leftMs) * time.Millisecond
	}
	if deadline, some := ctx.Deadline(); some {
		left = min(left, time.Until(deadline))
	}
	return left
}

// task is a check that a goroutine decides.
type task struct {
	id      uint64
	request policy.Request
	epoch   uint64
	left    time.Duration

	heard   error  // what came of forwarding it; nil: it was not
	origin  uint64 // its name between nodes then
	encoded string // and then instead of the request
}

// wait decides a check that has to wait, within its time.
func (k *desk) wait(ctx context.Context, t *task) (policy.Decision, error) {
	ctx, cancel := context.WithTimeout(ctx, t.left)
	defer cancel()
	if t.heard == nil {
		return k.check(ctx, t.request, t.epoch)
	}
	q, err := reread(t.encoded)
	if err != nil {
		return policy.Decision{}, err
	}
	q.ID = t.origin
	return k.away.Resume(ctx, q, t.heard)
}
