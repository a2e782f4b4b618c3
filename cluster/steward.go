package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Quorum is the Raft group as the cluster needs it.
type Quorum interface {
	// Propose appends a command if this node leads. Its errors are ErrNotApplied (or NotLeaderError), or
	// ErrUnknown.
	Propose(ctx context.Context, machine string, command []byte) ([]byte, error)
	// ProposeAll is Propose for several commands at once, each with its own reply or error.
	ProposeAll(ctx context.Context, machine string, commands [][]byte) ([][]byte, []error)
	// Leading says whether this node leads and has applied what earlier leaders committed.
	Leading() bool
	// Leader names the leader, if it is known.
	Leader() (string, bool)
}

// Voters is the membership of the Raft group.
type Voters interface {
	// Founded says whether this node has Raft state, its own or received.
	Founded() bool
	// Found starts a group of the given members, of which this node must be one.
	Found(ctx context.Context, members []Member) error
	// Electorate returns the server ids, by member name, of who votes, and of who follows the log without a vote.
	Electorate() (voters, staged map[string]string, err error)
	// Committed returns how far this node knows the log to be agreed, and has it.
	Committed() uint64
	// Stage has a member follow the log without a vote. Add makes it a voter; Remove strikes a server id off, with or
	// without a vote. Only the leader can.
	Stage(ctx context.Context, server, name string) error
	Add(ctx context.Context, m Member) error
	Remove(ctx context.Context, server string) error
	// Yield has another voter lead. Only the leader can.
	Yield(ctx context.Context) error
}

// Leases is what the steward must know of those that the nodes hold; a *Lessor is one.
type Leases interface {
	// Ended says whether the lease of a process has surely ended.
	Ended(name, boot string) bool
	// Asks says whether a process asks for its lease and may have it.
	Asks(name, boot string) bool
	// Settled says whether everybody has begun what the newest view gives it.
	Settled() bool
	// Ready returns the partitions of the newest view whose next home has copied all.
	Ready() []uint16
	// Behind returns the deputies that do not acknowledge what their homes ship.
	Behind() []link
	// Spread brings a new view to the nodes, and those it names the right to decide by it.
	Spread(ctx context.Context, v *View)
}

// machine is the name under which the views are registered with the Raft group.
const machine = "view"

// Steward does what somebody has to do for the cluster: found it, keep the view in step with who is alive,
// and keep enough voters. Only the leader acts, so any node may run one.
type Steward struct {
	Gossip *Gossip
	Views  *Views
	Quorum Quorum
	Voters Voters
	Leases Leases
	// VotersMax is how many nodes vote; the others only forward.
	VotersMax int
	Logger    *slog.Logger
}

const (
	stewardEvery = 200 * time.Millisecond
	// foundWait is how long a new leader waits for all founders to be seen before the first view leaves out
	// those that are not.
	foundWait  = 5 * time.Second
	actTimeout = 5 * time.Second
	// settleWait is how long after its own start a node takes nobody's silence for absence: its gossip may not have
	// heard of all yet.
	settleWait = 5 * time.Second
	// remindEvery is how often a lasting trouble is logged again.
	remindEvery = 10 * time.Second
)

// office is what a steward remembers while its node leads; the next leader begins with little more than what all nodes saw.
type office struct {
	at       time.Time     // of this look, by the ticker's monotone clock
	up       time.Duration // how long this node runs
	leading  time.Duration // how long it leads
	flaps    flaps         // of the views too that were agreed on while others led
	arrivals arrivals
	lapses   lapses
	yielded  time.Time // when it tried to have another lead
	relief   relief
	pace     pace
	polls    polls
}

// Run acts until ctx ends.
func (s *Steward) Run(ctx context.Context) error {
	tick := time.NewTicker(stewardEvery)
	defer tick.Stop()
	var o office
	var trouble reminder
	for {
		select {
		case o.at = <-tick.C:
		case <-ctx.Done():
			return nil
		}
		o.up += stewardEvery
		err := s.found(ctx)
		s.say()
		o.flaps.follow(s.Views.Current(), s.Gossip.Alive(), o.at)
		if s.Quorum.Leading() {
			o.leading += stewardEvery
			err = errors.Join(err, s.plan(ctx, &o), s.enrol(ctx, &o))
		} else {
			o = office{up: o.up, flaps: o.flaps}
		}
		if ctx.Err() == nil {
			trouble.log(s.Logger, err)
		}
	}
}

// reminder logs a lasting trouble when it begins, and then now and again.
type reminder struct {
	text  string
	quiet time.Duration
}

func (r *reminder) log(to *slog.Logger, err error) {
	r.quiet += stewardEvery
	switch {
	case err == nil:
		r.text = ""
	case err.Error() != r.text || r.quiet >= remindEvery:
		to.Warn("steward", "error", err)
		r.text, r.quiet = err.Error(), 0
	}
}

// say spreads this node's part in the Raft group, for those outside it, and how far it has the log while it has no vote yet.
func (s *Steward) say() {
	leading, founded := s.Quorum.Leading(), s.Voters.Founded()
	voters, staged, err := s.Voters.Electorate()
	s.Gossip.Say(func(m *Sighting) {
		m.Leading, m.Founded, m.Votes, m.Log = leading, founded, err == nil && voters[m.Name] == m.Server, 0
		if err == nil && staged[m.Name] == m.Server {
			m.Log = s.Voters.Committed()
		}
	})
}

// found starts the Raft group once exactly the expected nodes see each other and none has state. The one with
// the lowest name does it. Nodes that only mean to join do not count.
func (s *Steward) found(ctx context.Context) error {
	self := s.Gossip.Self()
	if self.Expect == 0 || s.Voters.Founded() {
		return nil
	}
	var founders []Member
	seen := 0
	for _, m := range s.Gossip.Alive() {
		if m.Founded {
			return nil // there is a cluster to join
		}
		if m.Expect != self.Expect {
			continue
		}
		seen++
		if m.Voter && len(founders) < s.VotersMax {
			founders = append(founders, m.Member)
		}
	}
	if seen != self.Expect {
		return fmt.Errorf("waiting to found the cluster: %d nodes that expect %d are seen; is --join set on all but the first?", seen, self.Expect)
	}
	if len(founders) == 0 {
		return fmt.Errorf("none of the %d expected nodes may vote: start them with --voter auto", self.Expect)
	}
	if founders[0].Name != self.Name {
		return nil
	}
	s.Logger.Info("found the cluster", "nodes", seen, "voters", len(founders))
	return s.Voters.Found(ctx, founders)
}
