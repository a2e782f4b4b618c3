package node

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/group"
	"github.com/weir-cluster/weir/policy"
)

// The machines of the Raft group.
const (
	machineView   = "view"
	machinePolicy = "policy"
	machineLedger = "ledger"
)

// machines are what the Raft group drives.
func machines(views pure, book *policy.Book, credits *ledger.Machine) map[string]group.Machine {
	return map[string]group.Machine{
		machineView:   unstamped{pure: views},
		machinePolicy: bookMachine{Book: book},
		machineLedger: ledgerMachine{Machine: credits},
	}
}

// pure is a machine that needs to know nothing of the log but the order of its commands.
type pure interface {
	Apply(command []byte) []byte
	Snapshot() (func(io.Writer) error, error)
	Restore(r io.Reader) error
}

// local is the part of a machine that has no queries: each node reads its own copy.
type local struct{}

// Query has no answer.
func (local) Query([]byte) []byte { return nil }

// unstamped makes a pure machine one of the group.
type unstamped struct {
	pure
	local
}

// Apply drops the stamp.
func (u unstamped) Apply(_ group.Stamp, command []byte) ([]byte, error) {
	return u.pure.Apply(command), nil
}

// bookMachine makes the book of policies one of the group.
type bookMachine struct {
	*policy.Book
	local
}

// Apply passes the log's time on: what has ended gives room by it.
func (m bookMachine) Apply(at group.Stamp, command []byte) ([]byte, error) {
	return m.Book.Apply(at.Wall, command), nil
}

// ledgerMachine makes the ledger's state machine one of the group.
type ledgerMachine struct{ *ledger.Machine }

// Apply passes the stamp on: it is the ledger's only clock.
func (m ledgerMachine) Apply(at group.Stamp, command []byte) ([]byte, error) {
	return m.Machine.Apply(ledger.Stamp(at), command)
}

// quorum is the Raft group as the cluster sees it.
type quorum struct{ *group.Group }

var (
	_ cluster.Quorum = quorum{}
	_ cluster.Voters = quorum{}
	_ cluster.Reader = quorum{}
	_ ledger.Packer  = (*cluster.Proposal)(nil)
)

// Propose appends a command if this node leads, and says in the cluster's words what came of it.
func (q quorum) Propose(ctx context.Context, machine string, command []byte) ([]byte, error) {
	reply, err := q.Group.Propose(ctx, machine, command)
	return reply, q.said(err)
}

// ProposeAll is Propose for several commands at once.
func (q quorum) ProposeAll(ctx context.Context, machine string, commands [][]byte) ([][]byte, []error) {
	replies, errs := q.Group.ProposeAll(ctx, machine, commands)
	for i := range errs {
		errs[i] = q.said(errs[i])
	}
	return replies, errs
}

// Query asks a machine of this node, and says in the cluster's words why there is no answer.
func (q quorum) Query(ctx context.Context, machine string, query []byte, read cluster.Read) ([]byte, cluster.AsOf, error) {
	reply, as, err := q.Group.Query(ctx, machine, query, group.Read(read))
	return reply, cluster.AsOf(as), q.said(err)
}

// said is an error of the group in the cluster's words.
func (q quorum) said(err error) error {
	switch outcome := group.OutcomeOf(err); {
	case outcome == group.Applied:
		return nil
	case outcome == group.Unknown:
		return fmt.Errorf("%w: %w", cluster.ErrUnknown, err)
	case errors.Is(err, group.ErrNotLeader):
		leader, _ := q.Leader()
		return &cluster.NotLeaderError{Leader: leader}
	default:
		return fmt.Errorf("%w: %w", cluster.ErrNotApplied, err)
	}
}

// Founded says whether this node has Raft state.
func (q quorum) Founded() bool { return q.HasState() }

// Found starts the group.
func (q quorum) Found(ctx context.Context, members []cluster.Member) error {
	servers := make([]group.Server, len(members))
	for i, m := range members {
		servers[i] = group.Server{ID: m.Server, Name: m.Name, Voter: true}
	}
	return q.Bootstrap(ctx, servers)
}

// Servers returns the ids of the voters by member name.
func (q quorum) Servers() (map[string]string, error) {
	voters, _, err := q.Electorate()
	return voters, err
}

// Add makes a member a voter.
func (q quorum) Add(ctx context.Context, m cluster.Member) error {
	return q.AddServer(ctx, group.Server{ID: m.Server, Name: m.Name, Voter: true})
}

// Remove ends the vote of a server.
func (q quorum) Remove(ctx context.Context, server string) error { return q.RemoveServer(ctx, server) }
