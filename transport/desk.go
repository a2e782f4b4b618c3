package transport

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-cluster/weir/policy"
)

// desk decides the checks that come in messages: what can be decided at once in the goroutine that read the message,
// and only what would wait in one of its own.
type desk struct {
	// try decides at once or reports that it cannot; it must keep neither the request nor the decision.
	try func(q *policy.Request, epoch uint64, d *policy.Decision) (decided bool, err error)
	// check decides and may wait.
	check   func(ctx context.Context, q policy.Request, epoch uint64) (policy.Decision, error)
	timeout time.Duration // of a check whose caller set no shorter one

	messages sync.Pool // of *message
	buffers  buffers
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
		ctx, cancel := context.WithTimeout(ctx, k.timeout)
		defer cancel()
		d, err = k.check(ctx, c.request, 0)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	b := k.buffers.Get(0)
	*b = appendDecision(*b, &d)
	return &reply{b, &k.buffers}, nil
}

// decide decides a check of a message, if it can at once.
func (k *desk) decide(c *check, d *policy.Decision) (decided bool, err error) {
	if c.err != nil {
		return true, c.err
	}
	return k.try(&c.request, c.epoch, d)
}

// wait decides a check that has to wait, within its time.
func (k *desk) wait(ctx context.Context, q policy.Request, epoch uint64, left int64) (policy.Decision, error) {
	timeout := k.timeout
	if left > 0 && left < timeout.Milliseconds() {
		timeout = time.Duration(left) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return k.check(ctx, q, epoch)
}

// batch answers each check of a message, in their order.
func (k *desk) batch(ctx context.Context, a *arrival) (*reply, error) {
	defer a.done()
	if err := batchSize(a.count); err != nil {
		return nil, toStatus(err)
	}
	b := k.buffers.Get(0)
	var late []*belated
	var work errgroup.Group
	work.SetLimit(batchOpen)
	for i := range a.list {
		c := &a.list[i]
		decided, err := k.decide(c, &a.decision)
		if decided {
			*b = appendAnswer(*b, &a.decision, err)
			continue
		}
		l := &belated{before: len(*b)}
		late = append(late, l)
		q, epoch := c.later(), c.epoch
		work.Go(func() error {
			l.decision, l.err = k.wait(ctx, q, epoch, 0)
			return nil
		})
	}
	_ = work.Wait() // each check has its own answer
	return &reply{k.insert(b, late), &k.buffers}, nil
}

// belated is an answer that the others of its batch did not wait for.
type belated struct {
	before   int // where it belongs among the bytes of the others
	decision policy.Decision
	err      error
}

// insert puts late answers where they belong.
func (k *desk) insert(b *[]byte, late []*belated) *[]byte {
	if len(late) == 0 {
		return b
	}
	whole := k.buffers.Get(0)
	from := 0
	for _, l := range late {
		*whole = append(*whole, (*b)[from:l.before]...)
		from = l.before
		*whole = appendAnswer(*whole, &l.decision, l.err)
	}
	*whole = append(*whole, (*b)[from:]...)
	k.buffers.Put(b)
	return whole
}
