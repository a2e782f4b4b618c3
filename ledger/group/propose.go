package group

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// proposal is an operation and whoever waits for its reply.
type proposal struct {
	operation
	state atomic.Int32
	reply reply // good once it is answered
	call  *call
}

// A proposal starts waiting. Whoever moves it on alone decides whether it is submitted or given up.
const (
	waiting int32 = iota
	submitted
	givenUp
	answered
)

func (p *proposal) submit() bool { return p.state.CompareAndSwap(waiting, submitted) }
func (p *proposal) giveUp() bool { return p.state.CompareAndSwap(waiting, givenUp) }

func (p *proposal) answer(r reply) {
	p.reply = r
	p.state.Store(answered)
	if p.call.left.Add(-1) == 0 {
		close(p.call.done)
	}
}

// call is what one caller proposes together.
type call struct {
	all  []proposal
	left atomic.Int32  // not answered yet
	done chan struct{} // closed when none is left
}

// Propose submits a command for a machine and waits until this server has applied it, then returns the
// machine's reply. It shares a log entry with what other goroutines propose meanwhile. command must not be
// changed any more. OutcomeOf tells what an error means; after ErrUnknown the command may still be applied,
// even later. Only the leader takes proposals.
func (g *Group) Propose(ctx context.Context, machine string, command []byte) ([]byte, error) {
	var bodies [1][]byte
	var errs [1]error
	g.proposeAll(ctx, machine, [][]byte{command}, bodies[:], errs[:])
	return bodies[0], errs[0]
}

// ProposeAll is Propose for several commands at once: it is cheaper, and each has its own reply or error. They need not be applied
// in their order, nor all.
func (g *Group) ProposeAll(ctx context.Context, machine string, commands [][]byte) (bodies [][]byte, errs []error) {
	bodies, errs = make([][]byte, len(commands)), make([]error, len(commands))
	if len(commands) > 0 {
		g.proposeAll(ctx, machine, commands, bodies, errs)
	}
	return bodies, errs
}

func (g *Group) proposeAll(ctx context.Context, machine string, commands, bodies [][]byte, errs []error) {
	c := &call{all: make([]proposal, len(commands)), done: make(chan struct{})}
	c.left.Store(int32(len(commands)))
	for i := range c.all {
		p := &c.all[i]
		p.operation, p.call = operation{machine, commands[i]}, c
		if err := g.enqueue(p); err != nil {
			p.answer(reply{err: err})
		}
	}
	unsure := g.finish(ctx, c)
	for i := range c.all {
		p := &c.all[i]
		if errs[i] = unsure; p.state.Load() == answered {
			bodies[i], errs[i] = p.reply.body, p.reply.err
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("propose to %s: %w", machine, errs[i])
		}
	}
}

func (g *Group) enqueue(p *proposal) error {
	r := g.raft.Load()
	select {
	case <-g.ending:
		return ErrStopped
	default:
	}
	switch {
	case r == nil:
		return ErrStopped
	case p.machine == "" || len(p.machine) > machineNameBytesMax:
		return ErrUnknownMachine
	case len(p.command) > g.cfg.CommandBytes:
		return fmt.Errorf("%d bytes, at most %d: %w", len(p.command), g.cfg.CommandBytes, ErrTooLarge)
	case r.State() != raft.Leader || g.fence.up():
		return ErrNotLeader // the library would say so too, but only in its turn
	case g.room.lacking.Load():
		return ErrNoRoom
	}
	size := int64(len(p.command))
	if g.queuedBytes.Add(size) > int64(g.cfg.QueueBytes) {
		g.queuedBytes.Add(-size)
		return fmt.Errorf("%d bytes queued: %w", g.cfg.QueueBytes, ErrBusy)
	}
	select {
	case g.queue <- p:
		return nil
	default:
		g.queuedBytes.Add(-size)
		return fmt.Errorf("%d operations queued: %w", g.cfg.QueueOperations, ErrBusy)
	}
}

// finish waits for what becomes of a call. Whoever gives up a proposal before it was submitted knows that it was
// not applied. Of those that have no answer when it returns the error is true.
func (g *Group) finish(ctx context.Context, c *call) (unsure error) {
	ending := g.ending
	for {
		select {
		case <-c.done:
			return nil
		case <-ctx.Done():
			c.giveUp(fmt.Errorf("%w: %w", ErrBusy, ctx.Err()))
			return fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
		case <-ending:
			c.giveUp(ErrStopped)
			ending = nil // those that were submitted: the answer still comes
		case <-g.stopped:
			c.giveUp(ErrStopped)
			return fmt.Errorf("%w: %w", ErrUnknown, ErrStopped)
		}
	}
}

// giveUp answers what was not submitted yet.
func (c *call) giveUp(err error) {
	for i := range c.all {
		if p := &c.all[i]; p.giveUp() {
			p.answer(reply{err: err})
		}
	}
}

// pack submits what waits, an entry at a time, until the group ends. It needs no timer to fill entries: while
// earlier ones are being written, what is proposed piles up.
func (g *Group) pack(r *raft.Raft) {
	slots := make(chan struct{}, g.cfg.InFlight)
	var held *proposal // did not fit into the entry before
	for {
		first := held
		if first == nil {
			select {
			case first = <-g.queue:
			case <-g.ending:
				return
			}
		}
		select {
		case slots <- struct{}{}:
		case <-g.ending:
			return
		}
		var batch []*proposal
		batch, held = g.gather(first)
		if len(batch) == 0 {
			<-slots
			continue
		}
		g.submit(r, batch, func() { <-slots })
	}
}

// gather takes first and what waits behind it, as far as it fits into one entry. What did not fit is held.
func (g *Group) gather(first *proposal) (batch []*proposal, held *proposal) {
	size := entryHeadBytes
	for p := first; ; {
		if size+p.bytes() > g.cfg.PackBytes && len(batch) > 0 {
			return batch, p
		}
		g.queuedBytes.Add(-int64(len(p.command)))
		if p.submit() {
			batch = append(batch, p)
			size += p.bytes()
		}
		if len(batch) == g.cfg.PackOperations {
			return batch, nil
		}
		select {
		case p = <-g.queue:
		default:
			return batch, nil
		}
	}
}

// submit hands one entry to the library, which takes it between two writes of its log, and leaves a goroutine
// waiting for the answer. There are at most Config.InFlight of them.
func (g *Group) submit(r *raft.Raft, batch []*proposal, done func()) {
	operations := make([]operation, len(batch))
	size := entryHeadBytes
	for i, p := range batch {
		operations[i] = p.operation
		size += p.bytes()
	}
	h := heading{reading{r.CurrentTerm(), g.cfg.Mono()}, g.cfg.Now()}
	entry := appendEntry(make([]byte, 0, size), h, operations)
	answer := r.Apply(entry, enqueueWait)
	g.calls.Go(func() {
		defer done()
		replies, err := g.await(answer)
		for i, p := range batch {
			if err != nil {
				p.answer(reply{err: err})
			} else {
				p.answer(replies[i])
			}
		}
	})
}

// await waits for an entry to be applied here.
func (g *Group) await(answer raft.ApplyFuture) ([]reply, error) {
	if err := answer.Error(); err != nil {
		return nil, refine(err)
	}
	replies, ok := answer.Response().([]reply)
	if !ok {
		return nil, fmt.Errorf("%w: replica at fault: %v", ErrUnknown, g.replica.err())
	}
	return replies, nil
}

// order hands something else to the library and waits for its answer, or for ctx. wait is how long the
// library may take to accept it.
func (g *Group) order(ctx context.Context, give func(r *raft.Raft, wait time.Duration) raft.Future) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	r := g.raft.Load()
	g.mu.Lock()
	refused := r == nil || g.closed
	if !refused {
		g.calls.Add(1)
	}
	g.mu.Unlock()
	if refused {
		return ErrStopped
	}
	answer := make(chan error, 1)
	go func() {
		defer g.calls.Done()
		answer <- refine(give(r, enqueueWait).Error())
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
}
