package transport

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/weir-cluster/weir/api/stream"
	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
)

// PeerServer answers other nodes of the cluster.
type PeerServer struct {
	weirv1.UnimplementedPeerServiceServer

	Router *cluster.Router
	Keeper *cluster.Keeper
	Quorum cluster.Quorum
	// Timeout bounds a check that carries none.
	Timeout time.Duration
}

// Register adds the service to a gRPC server on the peer port.
func (s *PeerServer) Register(g *grpc.Server) { weirv1.RegisterPeerServiceServer(g, s) }

// CheckStream decides as home.
func (s *PeerServer) CheckStream(st grpc.BidiStreamingServer[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse]) error {
	return stream.Serve(st, func(ctx context.Context, c *weirv1.StreamedCheck) *weirv1.Outcome {
		ctx, cancel := early(ctx)
		defer cancel()
		d, err := s.Router.Decide(ctx, fromRequest(c.GetCheck()), c.GetEpoch())
		if err != nil {
			return &weirv1.Outcome{Fault: toFault(err)}
		}
		return &weirv1.Outcome{Decision: toDecision(d)}
	}, s.Timeout)
}

// early leaves an eighth of the time for the way back, so that "could not ask the ledger in time" reaches
// the caller as a decision instead of as silence.
func early(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, time.Until(deadline)*7/8)
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
