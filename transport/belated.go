package transport

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// belated is an answer that the others of its message did not wait for.
type belated struct {
	before   int // where it belongs among the bytes of the others
	task     task
	decision policy.Decision
	encoded  *[]byte // instead of the decision, if it came from elsewhere
	err      error
}

// latecomers are the checks of one message that have to wait. All methods are for the goroutine that answers it.
type latecomers struct {
	desk  *desk
	ctx   context.Context
	all   []*belated
	away  int           // how many are forwarded and not heard of
	heard chan *belated // has room for all, so that who hears of one never waits
	work  errgroup.Group
}

// late returns room for up to n checks of a message that have to wait.
func (k *desk) late(ctx context.Context, n int) *latecomers {
	s := &latecomers{desk: k, ctx: ctx, heard: make(chan *belated, n)}
	s.work.SetLimit(batchOpen)
	return s
}

// add has one more check decided. It may wait until few enough are being decided here.
func (s *latecomers) add(c, common *check, before int) {
	l := &belated{before: before, task: task{epoch: c.epoch, left: s.desk.within(s.ctx, c.timeoutMs)}}
	s.all = append(s.all, l)
	if s.desk.away != nil && s.forward(l, c, common) {
		s.away++
		return
	}
	l.task.request = c.later()
	s.decide(l)
}

func (s *latecomers) forward(l *belated, c, common *check) bool {
	l.task.encoded = c.portable(common)
	if len(l.task.encoded) > encodedMax {
		return false
	}
	return s.desk.away.Forward(s.ctx, &c.request, l.task.encoded, l.task.left, func(a cluster.Carried, err error) {
		if err == nil {
			l.encoded = s.desk.buffers.Get(0)
			*l.encoded = append(*l.encoded, a.Encoded...)
		}
		l.task.heard, l.task.origin, l.task.left = err, a.ID, l.task.left-a.Took
		s.heard <- l
	})
}

func (s *latecomers) decide(l *belated) {
	s.work.Go(func() error {
		l.decision, l.err = s.desk.wait(s.ctx, &l.task)
		return nil
	})
}

// wait returns when all are answered, or an error when the caller is gone.
func (s *latecomers) wait() error {
	defer func() { _ = s.work.Wait() }() // each check has its own answer
	for ; s.away > 0; s.away-- {
		select {
		case l := <-s.heard:
			if l.task.heard != nil {
				s.decide(l)
			}
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
	return nil
}

// insert puts the answers where they belong among those of the others.
func (s *latecomers) insert(b *[]byte) *[]byte {
	k := s.desk
	whole := k.buffers.Get(0)
	from := 0
	for _, l := range s.all {
		*whole = append(*whole, (*b)[from:l.before]...)
		from = l.before
		if l.encoded == nil {
			*whole = appendAnswer(*whole, &l.decision, l.err)
			continue
		}
		*whole = appendCarriedAnswer(*whole, *l.encoded)
		k.buffers.Put(l.encoded)
	}
	*whole = append(*whole, (*b)[from:]...)
	k.buffers.Put(b)
	return whole
}
