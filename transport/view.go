package transport

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

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
	Clients       map[string]int  // that watch the view, by member name, as gossip last told
	Epochs        map[string]uint64
	Versions      map[string]string
	Leases        map[string]time.Duration // how long each member may still decide as home, by name; only of whom this node knows
	Domains       []policy.Outline
}

// Views tells who owns what.
type Views interface {
	Topology() Topology
	// Audience is who watches; it is told when the epoch or the policy has changed.
	Audience() *Audience
}

// GetView returns who owns what.
func (s *AccessServer) GetView(context.Context, *weirv1.GetViewRequest) (*weirv1.View, error) {
	t := s.Views.Topology()
	if t.View == nil {
		return nil, toStatus(fmt.Errorf("%w: this node knows no view yet", policy.ErrUnavailable))
	}
	return toView(t), nil
}

// WatchView sends the view now and whenever its epoch or the policy changes. A client whose reading lags gets the
// newest next, not each one. It ends with UNAVAILABLE when the node stops.
func (s *AccessServer) WatchView(_ *weirv1.WatchViewRequest, to grpc.ServerStreamingServer[weirv1.View]) error {
	defer s.Views.Audience().Join()()
	for sent := (mark{}); ; {
		news, more := s.Views.Audience().News()
		t := s.Views.Topology()
		if is := t.mark(); is != sent {
			if err := to.Send(toView(t)); err != nil {
				return err
			}
			sent = is
		}
		if !more {
			return toStatus(fmt.Errorf("%w: this node is stopping, watch another", policy.ErrUnavailable))
		}
		select {
		case <-news:
		case <-to.Context().Done():
			return toStatus(to.Context().Err())
		}
	}
}

// mark tells one view that a client acts on from another.
type mark struct{ epoch, policy uint64 }

func (t Topology) mark() mark {
	if t.View == nil {
		return mark{}
	}
	return mark{t.View.Epoch, t.PolicyVersion}
}

// hashName is the published hash of partitions; ring has the test vectors.
const hashName = "xxhash64"

func toView(t Topology) *weirv1.View {
	v := &weirv1.View{
		Epoch: t.View.Epoch, Cluster: t.View.Cluster, Leader: t.Leader, Node: t.Node,
		PolicyVersion: t.PolicyVersion, Hash: hashName, Partitions: uint32(len(t.View.Table.Homes)),
	}
	arriving := make(map[uint16]uint32)
	for _, next := range t.View.Table.Nexts {
		arriving[next]++
	}
	for i, m := range t.View.Roster {
		a := &weirv1.Member{
			Name: m.Name, Boot: m.Boot, Http: m.HTTP, Grpc: m.GRPC, Peer: m.Peer, Zone: m.Zone,
			Standing: m.Standing.String(), Alive: t.Alive[m.Name], Voter: t.Voters[m.Name],
			Clients: uint32(t.Clients[m.Name]), Weight: uint32(max(m.Weight, 1)), Joining: m.Joining,
			Arriving: arriving[uint16(i)], Epoch: t.Epochs[m.Name], Version: t.Versions[m.Name],
		}
		if left, known := t.Leases[m.Name]; known {
			a.LeaseLeftMs = proto.Uint32(uint32(left.Milliseconds()))
		}
		v.Members = append(v.Members, a)
	}
	for _, d := range t.Domains {
		v.Domains = append(v.Domains, &weirv1.Domain{Name: d.Name, Account: d.Account, Fallback: fallbackOf(d.Fallback)})
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

// fallbackOf is a fallback as a policy writes it.
func fallbackOf(word string) weirv1.Fallback {
	switch word {
	case "share":
		return weirv1.Fallback_FALLBACK_SHARE
	case "open":
		return weirv1.Fallback_FALLBACK_OPEN
	case "closed":
		return weirv1.Fallback_FALLBACK_CLOSED
	default:
		return weirv1.Fallback_FALLBACK_UNSPECIFIED
	}
}
