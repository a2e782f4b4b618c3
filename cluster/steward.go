package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weir-cluster/weir/ring"
)

// Quorum is the Raft group as the cluster needs it.
type Quorum interface {
	// Propose appends a command if this node leads. Its errors are ErrNotApplied (or NotLeaderError), or
	// ErrUnknown.
	Propose(ctx context.Context, machine string, command []byte) ([]byte, error)
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
	// Servers returns the ids of the present voters, by member name.
	Servers() (map[string]string, error)
	// Add makes a member a voter; Remove ends the vote of a server id. Only the leader can.
	Add(ctx context.Context, m Member) error
	Remove(ctx context.Context, server string) error
}

// Leases is what the steward must know of those that the nodes hold; a *Lessor is one.
type Leases interface {
	// Ended says whether the lease of a process has surely ended.
	Ended(name, boot string) bool
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

// Run acts until ctx ends.
func (s *Steward) Run(ctx context.Context) error {
	tick := time.NewTicker(stewardEvery)
	defer tick.Stop()
	var up, leading time.Duration
	var trouble reminder
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		up += stewardEvery
		err := s.found(ctx)
		s.say()
		if s.Quorum.Leading() {
			leading += stewardEvery
			err = errors.Join(err, s.plan(ctx, up, leading), s.enrol(ctx))
		} else {
			leading = 0
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

// say spreads this node's part in the Raft group, for those outside it.
func (s *Steward) say() {
	leading, founded := s.Quorum.Leading(), s.Voters.Founded()
	servers, err := s.Voters.Servers()
	s.Gossip.Say(func(m *Sighting) {
		_, votes := servers[m.Name]
		m.Leading, m.Founded, m.Votes = leading, founded, votes && err == nil
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

// plan brings the view in step with who is alive. up is how long this node runs, leading how long it leads.
func (s *Steward) plan(ctx context.Context, up, leading time.Duration) error {
	alive := s.Gossip.Alive()
	last := s.Views.Current()
	if last == nil && len(alive) < s.Gossip.Self().Expect && leading < foundWait {
		return nil
	}
	if last != nil && up < settleWait && unseen(last, alive) {
		return nil
	}
	next, err := nextView(last, alive, s.Leases.Ended)
	if err != nil || next == nil {
		return err
	}
	command, err := encodeChange(next.Epoch-1, next)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	reply, err := s.Quorum.Propose(ctx, machine, command)
	if err != nil {
		return err
	}
	if err := changeReply(reply); err != nil {
		if errors.Is(err, errStale) {
			return nil // planned anew at the next tick
		}
		return err
	}
	s.Logger.Info("view changed", "epoch", next.Epoch, "roster", len(next.Roster), "alive", len(alive))
	s.Leases.Spread(ctx, next)
	return nil
}

// unseen says whether a member that serves is not among those alive.
func unseen(v *View, alive []Sighting) bool {
	seen := make(map[string]bool, len(alive))
	for _, m := range alive {
		seen[m.Name] = true
	}
	for _, m := range v.Roster {
		if m.Standing != ring.Absent && !seen[m.Name] {
			return true
		}
	}
	return false
}

// nextView returns the view that fits who is alive, or nil when last does. ended says whether a process's lease has surely
// ended: what it was home of goes to others only then, or when it leaves by itself.
func nextView(last *View, alive []Sighting, ended func(name, boot string) bool) (*View, error) {
	next, roster, changed, err := enter(last, alive, ended)
	if err != nil || !changed {
		return nil, err
	}
	var table *ring.Table
	if last != nil {
		table = last.Table
	}
	if next.Table, err = ring.Plan(table, roster, next.Epoch); err != nil {
		return nil, fmt.Errorf("plan the owner table: %w", err)
	}
	return next, nil
}

// enter returns the next view without its table, the roster as the planner wants it, and whether anything
// is new. Nobody is ever struck off the roster here: absence is a standing.
func enter(last *View, alive []Sighting, ended func(name, boot string) bool) (*View, []ring.Member, bool, error) {
	next := &View{Epoch: 1}
	if last != nil {
		next = &View{Epoch: last.Epoch + 1, Cluster: last.Cluster, Secret: last.Secret, Roster: append([]Member(nil), last.Roster...)}
	} else {
		if _, err := rand.Read(next.Secret[:]); err != nil {
			return nil, nil, false, fmt.Errorf("draw the cluster's secret: %w", err)
		}
		next.Cluster = rand.Text()
	}
	changed := last == nil
	seen := make(map[string]Sighting, len(alive))
	serving := 0
	for _, m := range alive {
		seen[m.Name] = m
		if next.Find(m.Name) < 0 {
			next.Roster = append(next.Roster, Member{Name: m.Name})
		}
		if !m.Leaving {
			serving++
		}
	}
	roster := make([]ring.Member, len(next.Roster))
	for i, was := range next.Roster {
		now := was
		now.Standing = ring.Absent
		m, ok := seen[was.Name]
		if ok {
			now = m.Member
		}
		if ok && !m.Leaving {
			now.Standing = ring.Steady
		}
		if was.Standing == ring.Steady && (!ok || m.Boot != was.Boot) && !ended(was.Name, was.Boot) {
			now = was // it may decide still
		}
		roster[i] = ring.Member{Name: now.Name, Zone: now.Zone, Standing: now.Standing}
		if now.Standing == ring.Steady && (was.Standing == ring.Absent || was.Boot != now.Boot) {
			roster[i].Standing = ring.Joined // it brings no state
		}
		changed = changed || now != was
		next.Roster[i] = now
	}
	return next, roster, changed && serving > 0, nil // when everybody leaves nobody could take over
}

// enrol keeps the number of voters, one change at a time.
func (s *Steward) enrol(ctx context.Context) error {
	servers, err := s.Voters.Servers()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	for _, m := range s.Gossip.Alive() {
		id, votes := servers[m.Name]
		switch {
		case m.Leaving || !m.Voter || (votes && id == m.Server):
		case votes: // the node lost its disk and came back as a new server
			s.Logger.Info("voter replaced", "member", m.Name, "server", m.Server)
			return s.Voters.Remove(ctx, id)
		case len(servers) < s.VotersMax:
			s.Logger.Info("voter added", "member", m.Name, "server", m.Server)
			return s.Voters.Add(ctx, m.Member)
		}
	}
	return nil
}
