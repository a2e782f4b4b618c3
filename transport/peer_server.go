package transport

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
)

// PeerServer answers other nodes of the cluster.
type PeerServer struct {
	weirv1.UnimplementedPeerServiceServer // of which CheckStream is never called: Register has another

	Router *cluster.Router
	Keeper *cluster.Keeper
	Quorum cluster.Quorum
	Reader cluster.Reader
	Lessor *cluster.Lessor
	Copies *cluster.Copies
	Roster Roster
	// Undo undoes what a check with an id took, or will have taken.
	Undo func(id uint64)
	// Journal is this node's journal of the ledger; nil: it keeps none.
	Journal Events
	// Timeout bounds a check that carries none.
	Timeout time.Duration
	// Closing is as in AccessServer.
	Closing <-chan struct{}
}

// Register adds the service to a gRPC server on the peer port, which needs the Codec option.
func (s *PeerServer) Register(g *grpc.Server) {
	k := &desk{try: s.Router.TryHere, check: s.Router.Decide, timeout: s.Timeout, closing: s.Closing}
	d := weirv1.PeerService_ServiceDesc
	d.Streams = slices.Clone(d.Streams)
	k.streams(&d)
	g.RegisterService(&d, s)
}

// Settle settles a reservation that this node holds.
func (s *PeerServer) Settle(ctx context.Context, r *weirv1.PeerSettleRequest) (*weirv1.SettleResponse, error) {
	done, err := s.Router.SettleHere(ctx, fromSettle(r.GetSettle()), r.GetEpoch())
	if err != nil {
		return nil, toStatus(err)
	}
	return toSettled(done), nil
}

// Propose appends a command if this node leads.
func (s *PeerServer) Propose(ctx context.Context, r *weirv1.ProposeRequest) (*weirv1.ProposeResponse, error) {
	reply, err := s.Quorum.Propose(ctx, r.GetMachine(), r.GetCommand())
	if err != nil {
		return nil, toStatus(err)
	}
	return &weirv1.ProposeResponse{Reply: reply}, nil
}

// Pull returns the agreed state that the caller lacks.
func (s *PeerServer) Pull(_ context.Context, r *weirv1.PullRequest) (*weirv1.PullResponse, error) {
	p := s.Keeper.Serve(cluster.Having{Epoch: r.GetEpoch(), Revision: r.GetRevision(), Policy: r.GetPolicyVersion()})
	return &weirv1.PullResponse{View: p.View, Book: p.Book}, nil
}
