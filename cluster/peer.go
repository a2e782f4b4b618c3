package cluster

import (
	"context"
	"time"

	"github.com/weir-cluster/weir/policy"
)

// Peer is another node, as this one calls it. It is safe for concurrent use. Its errors are those of the
// other node (policy's sentinels, NotHomeError, NotLeaderError, ErrUnknown) or ErrUnreachable.
type Peer interface {
	// Check has the other node decide as home. epoch is of the view by which this node chose it.
	Check(ctx context.Context, r policy.Request, epoch uint64) (policy.Decision, error)
	// Forward has the other node decide as home, as Check does, and returns at once. encoded is the request as its caller
	// sent it; what is not sent when ctx ends never is. answer is called once, before wait is over or soon after, by whoever
	// has the answer: it must not block, and it may be called before Forward returns. id is the request's, by which Cancel knows it.
	Forward(ctx context.Context, id uint64, encoded string, epoch uint64, wait time.Duration, answer func(Carried, error))
	// Cancel has the other node undo what checks of these ids took, or take no more.
	Cancel(ctx context.Context, ids []uint64) error
	// Settle has the other node settle a reservation that it holds.
	Settle(ctx context.Context, s policy.Settlement, epoch uint64) (policy.Settled, error)
	// Propose has the other node append a command if it leads.
	Propose(ctx context.Context, machine string, command []byte) ([]byte, error)
	// Query has the other node answer a query of a machine, if its state is new enough for the read or it leads.
	Query(ctx context.Context, machine string, query []byte, read Read) ([]byte, AsOf, error)
	// Pull asks for what the other node knows beyond what this one has.
	Pull(ctx context.Context, have Having) (Pulled, error)
	// Renew asks the other node, which should lead, for a lease.
	Renew(ctx context.Context, r Renewal) (Grant, error)
	// Remove has the other node, which should lead, take a member off the roster. Its errors are those of Steward.Remove too.
	Remove(ctx context.Context, name string) error
	// Confirm asks whether the other node is the voter of this server id and still in the term.
	Confirm(ctx context.Context, term uint64, server string) (bool, error)
	// Ping returns nil if the other node is there.
	Ping(ctx context.Context) error
	// Adopt has the other node go by a view, if it is newer, and returns the epoch of the one that it goes by then.
	Adopt(ctx context.Context, view []byte) (epoch uint64, err error)
	// Ship brings the other node the state of partitions, and returns what of it was not received.
	Ship(ctx context.Context, s Shipment) (Receipt, error)
	// Deputise has the other node decide as deputy of a home that this node cannot reach.
	Deputise(ctx context.Context, r policy.Request, epoch uint64) (policy.Decision, error)
	// Report tells the other node what was taken for it.
	Report(ctx context.Context, r Report) error
}

// Carried is a decision as its home encoded it, and what is counted of it.
type Carried struct {
	ID       uint64        // that the check was forwarded with
	Encoded  []byte        // with home and epoch; good only while who is told of it runs
	Took     time.Duration // since it was forwarded; known also when there is no decision
	Verdict  policy.Verdict
	Reason   policy.Reason
	Refusing string // the limit that refused
}

// Having is how far a node's knowledge of the agreed state goes.
type Having struct {
	Epoch    uint64 // of its view
	Revision uint64 // of its book
	Policy   uint64 // version of its policy: older texts are not sent again
}

// Pulled is agreed state that a node lacked. View is empty when there is no newer one, and so is Book.
type Pulled struct {
	View []byte
	Book []byte
}

// Peers finds the Peer at an address (host:port of its peer listener).
type Peers interface {
	Peer(address string) Peer
}
