package transport

import (
	"context"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
)

// Query has the other node answer a query of a machine.
func (p *Peer) Query(ctx context.Context, machine string, query []byte, read cluster.Read) ([]byte, cluster.AsOf, error) {
	r, err := p.service.Query(ctx, &weirv1.QueryRequest{
		Machine: machine, Query: query, MaxStalenessNs: int64(read.MaxStaleness), MinIndex: read.MinIndex,
	})
	if err != nil {
		return nil, cluster.AsOf{}, fromStatus(err)
	}
	as := cluster.AsOf{Index: r.GetIndex(), Term: r.GetTerm()}
	if wall := r.GetWallNs(); wall != 0 {
		as.Wall = time.Unix(0, wall).UTC()
	}
	return r.GetReply(), as, nil
}

// Query returns why the node cannot be asked.
func (l lost) Query(context.Context, string, []byte, cluster.Read) ([]byte, cluster.AsOf, error) {
	return nil, cluster.AsOf{}, l.err
}

// Query answers from this node's replica of the machine, if it may.
func (s *PeerServer) Query(ctx context.Context, r *weirv1.QueryRequest) (*weirv1.QueryResponse, error) {
	read := cluster.Read{MaxStaleness: time.Duration(r.GetMaxStalenessNs()), MinIndex: r.GetMinIndex()}
	reply, as, err := s.Reader.Query(ctx, r.GetMachine(), r.GetQuery(), read)
	if err != nil {
		return nil, toStatus(err)
	}
	answer := &weirv1.QueryResponse{Reply: reply, Index: as.Index, Term: as.Term}
	if !as.Wall.IsZero() {
		answer.WallNs = as.Wall.UnixNano()
	}
	return answer, nil
}
