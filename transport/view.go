package transport

import (
	"context"
	"fmt"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// Topology is a view as this node sees it now.
type Topology struct {
	View          *cluster.View // nil before the first
	Node          string        // that answers
	Leader        string        // empty when unknown
	PolicyVersion uint64
	Alive         map[string]bool // by member name, as gossip sees it
	Voters        map[string]bool // by member name; nil on nodes outside the Raft group
}

// Views tells who owns what.
type Views interface{ Topology() Topology }

// GetView returns who owns what.
func (s *AccessServer) GetView(context.Context, *weirv1.GetViewRequest) (*weirv1.View, error) {
	t := s.Views.Topology()
	if t.View == nil {
		return nil, toStatus(fmt.Errorf("%w: this node knows no view yet", policy.ErrUnavailable))
	}
	return toView(t), nil
}

// hashName is the published hash of partitions; ring has the test vectors.
const hashName = "xxhash64"

func toView(t Topology) *weirv1.View {
	v := &weirv1.View{
		Epoch: t.View.Epoch, Cluster: t.View.Cluster, Leader: t.Leader, Node: t.Node,
		PolicyVersion: t.PolicyVersion, Hash: hashName, Partitions: uint32(len(t.View.Table.Homes)),
	}
	for _, m := range t.View.Roster {
		v.Members = append(v.Members, &weirv1.Member{
			Name: m.Name, Boot: m.Boot, Http: m.HTTP, Grpc: m.GRPC, Peer: m.Peer, Zone: m.Zone,
			Standing: m.Standing.String(), Alive: t.Alive[m.Name], Voter: t.Voters[m.Name],
		})
	}
	v.Homes = widen(t.View.Table.Homes[:])
	v.Deputies = widen(t.View.Table.Deputies[:])
	return v
}

func widen(in []uint16) []uint32 {
	out := make([]uint32, len(in))
	for i, x := range in {
		out[i] = uint32(x)
	}
	return out
}
