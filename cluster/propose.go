package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// proposeAgain is the pause before a proposal is offered again: about how long a follower needs to hear of a
// new leader.
const proposeAgain = 20 * time.Millisecond

// proposeOnce bounds one offer, so that a leader that hangs does not use up the caller's time.
const proposeOnce = time.Second

// Proposer carries commands to the leader, wherever it is, and goes on trying until its context ends. It is
// safe for concurrent use.
type Proposer struct {
	Quorum Quorum
	Gossip *Gossip
	Peers  Peers
}

// For returns a Proposal of commands to one machine. With repeat, a command whose outcome is unknown is
// proposed again: only for machines that apply a repeated command once.
func (p *Proposer) For(machine string, repeat bool) *Proposal {
	return &Proposal{proposer: p, machine: machine, repeat: repeat}
}

// Proposal proposes commands to one machine.
type Proposal struct {
	proposer *Proposer
	machine  string
	repeat   bool
}

// Propose returns the machine's reply. Its errors are ErrNotApplied, when ctx ended before any leader took
// the command, and ErrUnknown.
func (p *Proposal) Propose(ctx context.Context, command []byte) ([]byte, error) {
	unknown := false
	next := ""
	for {
		reply, err := p.proposer.once(ctx, p.machine, command, next)
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

// once offers the command to one node: this one if it leads, else the hinted one, else the leader this node
// knows, else the next member in turn.
func (p *Proposer) once(ctx context.Context, machine string, command []byte, hint string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeOnce)
	defer cancel()
	if p.Quorum.Leading() {
		return p.Quorum.Propose(ctx, machine, command)
	}
	name := hint
	if leader, ok := p.Quorum.Leader(); name == "" && ok {
		name = leader
	}
	self := p.Gossip.Self().Name
	if m, ok := p.Gossip.Find(name); ok && name != self {
		return p.Peers.Peer(m.Peer).Propose(ctx, machine, command)
	}
	err := error(&NotLeaderError{})
	for _, m := range p.Gossip.Alive() {
		if m.Name == self || !m.Voter {
			continue
		}
		var reply []byte
		reply, err = p.Peers.Peer(m.Peer).Propose(ctx, machine, command)
		if err == nil || !errors.Is(err, ErrNotApplied) {
			return reply, err
		}
		if leaderHint(err) != "" {
			return nil, err
		}
	}
	return nil, err
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
