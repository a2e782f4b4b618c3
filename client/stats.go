package client

import (
	"sync/atomic"

	"google.golang.org/grpc/connectivity"
)

// Stats is what a client has done since New, and how it stands.
type Stats struct {
	Home     uint64 // checks that the home answered straight away
	Other    uint64 // checks that another node answered
	Retried  uint64 // checks that were answered when sent again
	DenyHits uint64 // checks that were refused from memory
	Fallback uint64 // checks that no node answered

	Refreshes     uint64 // times that the view was asked for, beside the watch
	Epoch         uint64 // of the view in use; 0 for none
	PolicyVersion uint64

	Waiting   int    // settlements that wait for a node
	Delivered uint64 // settlements that waited and were taken
	Dropped   uint64 // settlements that waited and that no node would take: they had ended, or contradict an earlier one

	Nodes []NodeStats // that are alive by the view
}

// NodeStats is how a client stands with one node.
type NodeStats struct {
	Address   string // gRPC
	Connected bool
	Health    Health
}

// counts are Stats while they are counted.
type counts struct {
	home, other, retried, denied, fallback atomic.Uint64
}

// Stats returns a copy. The counts are not of one instant.
func (k *Client) Stats() Stats {
	s := Stats{
		Home: k.counts.home.Load(), Other: k.counts.other.Load(), Retried: k.counts.retried.Load(),
		DenyHits: k.counts.denied.Load(), Fallback: k.counts.fallback.Load(), Refreshes: k.views.refreshs.Load(),
	}
	s.Waiting, s.Delivered, s.Dropped = k.settles.stats()
	if r := k.views.now.Load(); r != nil {
		s.Epoch, s.PolicyVersion = r.view.Epoch, r.view.PolicyVersion
		for _, l := range r.alive {
			s.Nodes = append(s.Nodes, NodeStats{l.address, l.conn.GetState() == connectivity.Ready, l.breaker.state()})
		}
	}
	return s
}
