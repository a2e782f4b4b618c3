package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ledger/group"
	"github.com/weir-cluster/weir/transport"
)

// roster removes members through whichever node leads.
type roster struct{ *parts }

var _ transport.Roster = roster{}

const (
	removeAgain = 50 * time.Millisecond // before the leader is looked for again
	removeOnce  = 2 * time.Second       // bounds one try, so that a leader that hangs does not use up the caller's time
)

// Remove takes a member that is gone for good off the roster.
func (r roster) Remove(ctx context.Context, name string) error {
	var err error
	poll(ctx, removeAgain, func() bool {
		err = r.once(ctx, name, leaderOf(err))
		return !errors.Is(err, cluster.ErrNotApplied) && !errors.Is(err, cluster.ErrUnreachable)
	})
	return err
}

// once asks one node: this one if it leads, else the hinted one, else who leads as far as this node knows.
func (r roster) once(ctx context.Context, name, hint string) error {
	ctx, cancel := context.WithTimeout(ctx, removeOnce)
	defer cancel()
	if r.group.Leading() {
		return r.steward.Remove(ctx, name)
	}
	if leader := r.Topology().Leader; hint == "" {
		hint = leader
	}
	m, seen := r.gossip.Find(hint)
	if !seen || m.Name == r.cfg.Name {
		return fmt.Errorf("remove member %s: %w", name, &cluster.NotLeaderError{})
	}
	return r.links.Peer(m.Peer).Remove(ctx, name)
}

func leaderOf(err error) string {
	if hint := (*cluster.NotLeaderError)(nil); errors.As(err, &hint) {
		return hint.Leader
	}
	return ""
}

// leases is how long each member of a view may still decide as home: this node knows its own lease, and the others' while it leads.
func (p *parts) leases(v *cluster.View) map[string]time.Duration {
	left := make(map[string]time.Duration)
	if v == nil {
		return left
	}
	for _, m := range v.Roster {
		if d, known := p.lessor.Left(m.Name, m.Boot); known {
			left[m.Name] = d
		}
	}
	end, _ := p.lease.Until()
	left[p.cfg.Name] = max(0, end.Sub(p.now()))
	return left
}

// remember keeps whose log this node has beside the log, so that it knows at its next start, before a leader says what of it is
// agreed.
func (p *parts) remember(ctx context.Context) error {
	p.look(ctx, lookEvery, func() bool {
		if v := p.views.Current(); v != nil {
			if err := p.group.SetLineage(v.Lineage()); err != nil {
				p.cfg.Logger.Warn("remember the cluster", "error", err)
			}
		}
		return false
	})
	return nil
}

// backups makes backups of the ledger and the policy.
type backups struct{ *parts }

var _ transport.Backups = backups{}

// Backup writes one if this node leads. The view is not in it: it is of the nodes there are, not of what they agreed.
func (b backups) Backup(ctx context.Context, w io.Writer) error {
	l := group.Label{Program: b.cfg.Version, Taken: b.now().UTC(), Epoch: b.views.Epoch()}
	if v := b.views.Current(); v != nil {
		l.Cluster = v.Cluster
	}
	err := b.group.Backup(ctx, w, l, func(machine string) bool { return machine != machineView })
	switch {
	case errors.Is(err, group.ErrNotLeader):
		leader, _ := b.group.Leader()
		return &cluster.NotLeaderError{Leader: leader}
	case errors.Is(err, group.ErrBusy), errors.Is(err, group.ErrStopped):
		return fmt.Errorf("%w: %w", cluster.ErrNotApplied, err)
	}
	return err
}
