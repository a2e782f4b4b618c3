package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-cluster/weir/ring"
)

const (
	// joinWait is how long the view waits after the last newcomer was seen, so that nodes that start together come with one
	// view; but no longer than joinWaitMax after the first.
	joinWait    = time.Second
	joinWaitMax = 5 * time.Second
	// paceWait is the least time between views that only go on with planned moves, unless all that moves is ready: every
	// node fetches each view whole.
	paceWait = time.Second
	// moveBatch is how many partitions move at a time: so many copies are made beside the deputies'.
	moveBatch = 256
)

// plan brings the view in step with who is alive, and goes on with planned moves when it is.
func (s *Steward) plan(ctx context.Context, o *office) error {
	last := s.Views.Current()
	alive, deserted := o.lapses.look(last, s.Gossip.Alive(), s.Leases.Asks)
	if deserted && (o.yielded.IsZero() || o.at.Sub(o.yielded) >= yieldEvery) {
		o.yielded = o.at
		return s.yield(ctx)
	}
	if last == nil && len(alive) < s.Gossip.Self().Expect && o.leading < foundWait {
		return nil
	}
	if last != nil && o.up < settleWait && unseen(last, alive) {
		return nil
	}
	o.pace.look(epochOf(last), o.at)
	for _, name := range o.flaps.look(last, alive, s.Leases.Ended, o.at) {
		s.Logger.Warn("member held down until it was seen without interruption", "member", name, "for", flapQuiet)
	}
	e, err := enter(last, alive, s.Leases.Ended, func(name string) bool { return o.flaps.held(name, o.at) })
	if err != nil {
		return err
	}
	if e.returned { // its deputies may have started anew too: planned now, they would follow it with nothing
		return nil
	}
	switch due := o.arrivals.due(e.newcomers, o.at); {
	case e.urgent || due:
	case len(e.newcomers) > 0:
		return nil
	default:
		if done, err := s.relieve(ctx, o, e, last); done || err != nil || e.silent {
			return err
		}
		return s.move(ctx, o, e)
	}
	next, err := s.planned(o, e, last, ring.Moves{Ready: s.Leases.Ready(), Batch: moveBatch})
	if err != nil || next == nil {
		return err
	}
	return s.commit(ctx, next)
}

// yield has another lead: this node is seen, and most do not ask it for their leases.
func (s *Steward) yield(ctx context.Context) error {
	s.Logger.Warn("most members that are seen do not ask this leader for their leases: another is to lead")
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	if err := s.Voters.Yield(ctx); err != nil {
		return fmt.Errorf("have another lead: %w", err)
	}
	return nil
}

// move goes on with planned moves, and begins new ones: only when all have begun what they were given.
func (s *Steward) move(ctx context.Context, o *office, e *entry) error {
	last, known, ready := s.Views.Current(), e.acknowledged(), s.Leases.Ready()
	if !s.Leases.Settled() || last.Epoch != o.pace.epoch || !o.pace.due(last, len(ready), known, o.at) {
		return nil
	}
	next, err := s.planned(o, e, last, ring.Moves{Ready: ready, Batch: moveBatch, Balance: true})
	if err != nil || next == nil {
		return err
	}
	if *next.Table == *last.Table && slices.Equal(next.Roster, last.Roster) {
		o.pace.resting = true
		return nil
	}
	return s.commit(ctx, next)
}

// commit has a view agreed and brings it to the nodes. That another one was agreed meanwhile is no error: who planned plans anew.
func (s *Steward) commit(ctx context.Context, next *View) error {
	if err := s.propose(ctx, next); !errors.Is(err, errStale) {
		return err
	}
	return nil
}

// propose is commit, but tells that another view was agreed meanwhile.
func (s *Steward) propose(ctx context.Context, next *View) error {
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
		return err
	}
	s.Logger.Info("view changed", "epoch", next.Epoch, "roster", len(next.Roster), "moving", next.Table.Moving())
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

// arrivals batches newcomers.
type arrivals struct {
	who         string // that were seen at the last look
	first, last time.Time
}

// due says whether the newcomers, of whom it is told at every look, have waited long enough for others.
func (a *arrivals) due(newcomers []string, at time.Time) bool {
	who := strings.Join(newcomers, " ")
	if who == "" || a.who == "" {
		a.first = at
	}
	if who != a.who {
		a.who, a.last = who, at
	}
	return who != "" && (at.Sub(a.last) >= joinWait || at.Sub(a.first) >= joinWaitMax)
}

// pace keeps views that only go on with planned moves from following each other too fast.
type pace struct {
	epoch   uint64 // of the view at the last look
	since   time.Time
	resting bool // that view needs no moves
}

func (c *pace) look(epoch uint64, at time.Time) {
	if epoch != c.epoch {
		*c = pace{epoch: epoch, since: at}
	}
}

// due says whether there may be something to do, ready partitions being so many, or joining members known.
func (c *pace) due(v *View, ready int, known bool, at time.Time) bool {
	if at.Sub(c.since) < paceWait {
		moving := v.Table.Moving()
		return moving > 0 && ready >= moving
	}
	return known || !c.resting || ready > 0
}
