package cluster

import (
	"context"

	"github.com/weir-cluster/weir/policy"
)

// Peer is another node, as this one calls it. It is safe for concurrent use. Its errors are those of the
// other node (policy's sentinels, NotHomeError, NotLeaderError, ErrUnknown) or ErrUnreachable.
type Peer interface {
	// Check has the other node decide as home. epoch is of the view by which this node chose it.
	Check(ctx context.Context, r policy.Request, epoch uint64) (policy.Decision, error)
	// Settle has the other node settle a reservation that it holds.
	Settle(ctx context.Context, s policy.Settlement, epoch uint64) (policy.Settled, error)
	// Propose has the other node append a command if it leads.
	Propose(ctx context.Context, machine string, command []byte) ([]byte, error)
	// Pull asks for what the other node knows beyond the given epoch and policy version.
	Pull(ctx context.Context, epoch, policyVersion uint64) (Pulled, error)
}

// Pulled is agreed state that a node lacked. View is empty when there is no newer one, and so is Policy.
type Pulled struct {
	View          []byte
	PolicyVersion uint64
	Policy        []byte
}

// Peers finds the Peer at an address (host:port of its peer listener).
type Peers interface {
	Peer(address string) Peer
}
