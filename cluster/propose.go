package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// proposeAgain is the pause before a proposal is offered again: about how long a follower needs to hear of a
// new leader.
const proposeAgain = 20 * time.Millisecond

// proposeOnce bounds one offer, so that a leader that hangs does not use up the caller's time.
const proposeOnce = time.Second

// askHere bounds how long this node's own replica is waited for that may answer a query, before the leader is asked.
const askHere = 100 * time.Millisecond

// Read says how new a state a query may be answered from. The zero value is linearizable: from one that has everything that was
// answered before the query was asked. With either bound set, any replica answers that keeps to the bounds.
type Read struct {
	MaxStaleness time.Duration // the state lacks nothing older, as far as the nodes' clocks agree
	MinIndex     uint64        // the state has at least this entry of the log
}

// AsOf is how new a state is that a query was answered from: it has everything up to the entry, and perhaps more.
type AsOf struct {
	Index, Term uint64
	Wall        time.Time // of the entry
}

// Reader reads the machines of the Raft group on this node.
type Reader interface {
	// Query asks a machine. Its errors are NotLeaderError, from a node that cannot answer as asked while the leader could, and
	// ErrNotApplied, when it cannot answer at all or ctx ended first.
	Query(ctx context.Context, machine string, query []byte, read Read) ([]byte, AsOf, error)
}

// Proposer carries commands and queries to the leader, wherever it is, and goes on trying until their context ends. It is
// safe for concurrent use.
type Proposer struct {
	Quorum Quorum
	Reader Reader
	Gossip *Gossip
	Peers  Peers
}

// For returns a Proposal of commands to one machine. With repeat, a command whose outcome is unknown is
// proposed again: only for machines that apply a repeated command once.
func (p *Proposer) For(machine string, repeat bool) *Proposal {
	return &Proposal{proposer: p, machine: machine, repeat: repeat}
}

// Proposal proposes commands to one machine, and asks it.
type Proposal struct {
	proposer *Proposer
	machine  string
	repeat   bool
}

// Propose returns the machine's reply. Its errors are ErrNotApplied, when ctx ended before any leader took
// the command, and ErrUnknown.
func (p *Proposal) Propose(ctx context.Context, command []byte) ([]byte, error) {
	var reply []byte
	e := errand{
		here: func(ctx context.Context) (err error) {
			reply, err = p.proposer.Quorum.Propose(ctx, p.machine, command)
			return err
		},
		there: func(ctx context.Context, to Peer) (err error) {
			reply, err = to.Propose(ctx, p.machine, command)
			return err
		},
		goOn: func(err error) bool { return errors.Is(err, ErrNotApplied) },
	}
	unknown := false
	next := ""
	for {
		err := p.proposer.once(ctx, e, next)
		if err == nil {
			return reply, nil
		}
		if !errors.Is(err, ErrNotApplied) {
			unknown = true
			if !p.repeat {
				return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
			}
		}
		next = leaderHint(err)
		if wait(ctx, proposeAgain) {
			continue
		}
		if unknown { // not %w: the last refusal must not speak for the offer whose outcome is open
			return nil, fmt.Errorf("%w: %v", ErrUnknown, err)
		}
		return nil, fmt.Errorf("%w in time: %w", ErrNotApplied, err)
	}
}

// ProposeAll is Propose for several commands: done is told the reply or error of each, in any order and at once by several
// goroutines, before ProposeAll returns. On the node that leads they go into the log together; what that did not do, and all on
// another node, is proposed one by one.
func (p *Proposal) ProposeAll(ctx context.Context, commands [][]byte, done func(i int, reply []byte, err error)) {
	replies, errs := p.together(ctx, commands)
	var again sync.WaitGroup
	for i, err := range errs {
		switch unknown := err != nil && !errors.Is(err, ErrNotApplied); {
		case err == nil:
			done(i, replies[i], nil)
		case unknown && !p.repeat:
			done(i, nil, fmt.Errorf("%w: %w", ErrUnknown, err))
		default:
			again.Go(func() {
				reply, err := p.Propose(ctx, commands[i])
				if unknown && err != nil { // not %w, as in Propose
					err = fmt.Errorf("%w: %v", ErrUnknown, err)
				}
				done(i, reply, err)
			})
		}
	}
	again.Wait()
}

// together proposes commands on this node, if it leads.
func (p *Proposal) together(ctx context.Context, commands [][]byte) (replies [][]byte, errs []error) {
	if q := p.proposer.Quorum; q.Leading() {
		ctx, cancel := context.WithTimeout(ctx, proposeOnce)
		defer cancel()
		return q.ProposeAll(ctx, p.machine, commands)
	}
	return nil, slices.Repeat([]error{ErrNotApplied}, len(commands))
}

// Query returns the machine's answer: this node's, if its state is new enough for the read, else the leader's. Its error is
// ErrUnreachable, when ctx ended before anybody could answer.
func (p *Proposal) Query(ctx context.Context, query []byte, read Read) ([]byte, AsOf, error) {
	var reply []byte
	var as AsOf
	e := errand{
		here: func(ctx context.Context) (err error) {
			reply, as, err = p.proposer.Reader.Query(ctx, p.machine, query, read)
			return err
		},
		there: func(ctx context.Context, to Peer) (err error) {
			reply, as, err = to.Query(ctx, p.machine, query, read)
			return err
		},
		goOn: func(error) bool { return true }, // it changes nothing, whoever may have got it
	}
	if read != (Read{}) {
		near, cancel := context.WithTimeout(ctx, askHere)
		err := e.here(near)
		cancel()
		if err == nil {
			return reply, as, nil
		}
	}
	next := ""
	for {
		err := p.proposer.once(ctx, e, next)
		if err == nil {
			return reply, as, nil
		}
		next = leaderHint(err)
		if !wait(ctx, proposeAgain) { // not %w: that a command was not applied says nothing of a query
			return nil, AsOf{}, fmt.Errorf("%w: whoever can answer the query: %v", ErrUnreachable, err)
		}
	}
}

// errand is something that the leader is wanted for.
type errand struct {
	here  func(ctx context.Context) error
	there func(ctx context.Context, to Peer) error
	goOn  func(err error) bool // whether another may be asked after this error
}

// once takes an errand to one node: this one if it leads, else the hinted one, else the leader this node
// knows, else the next member in turn.
func (p *Proposer) once(ctx context.Context, e errand, hint string) error {
	ctx, cancel := context.WithTimeout(ctx, proposeOnce)
	defer cancel()
	if p.Quorum.Leading() {
		return e.here(ctx)
	}
	name := hint
	if leader, ok := p.Quorum.Leader(); name == "" && ok {
		name = leader
	}
	self := p.Gossip.Self().Name
	if m, ok := p.Gossip.Find(name); ok && name != self {
		return e.there(ctx, p.Peers.Peer(m.Peer))
	}
	err := error(&NotLeaderError{})
	for _, m := range p.Gossip.Alive() {
		if m.Name == self || !m.Voter {
			continue
		}
		err = e.there(ctx, p.Peers.Peer(m.Peer))
		if err == nil || !e.goOn(err) || leaderHint(err) != "" {
			return err
		}
	}
	return err
}

// wait pauses and says whether ctx still has time.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
