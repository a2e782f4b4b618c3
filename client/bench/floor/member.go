package floor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"
)

// Member is one of those that gossip and vote with each other. All addresses are host:port.
type Member struct{ Name, Gossip, Raft string }

// joinEvery is how often those are tried that gossip does not show.
const joinEvery = 500 * time.Millisecond

// Idle gossips and votes with the others as a node of Weir does, with its timing, and does nothing else until
// ctx ends. members are all of them and the first is this one. Raft's log is in memory. It serves /readyz and
// /metrics on httpAddr.
func Idle(ctx context.Context, httpAddr string, members []Member) (err error) {
	if len(members) == 0 {
		return errors.New("no members: name at least this one")
	}
	ml, err := memberlist.Create(gossip(members[0]))
	if err != nil {
		return fmt.Errorf("start gossip: %w", err)
	}
	defer func() { err = errors.Join(err, ml.Shutdown()) }()
	r, stop, err := vote(members)
	if err != nil {
		return err
	}
	defer stop()
	if !join(ctx, ml, r, members) {
		return nil
	}
	return status(ctx, httpAddr)
}

// gossip is the profile of cluster.Gossip.
func gossip(self Member) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	host, port, _ := net.SplitHostPort(self.Gossip)
	n, _ := strconv.Atoi(port) // Create says what is wrong with an address
	c.Name, c.BindAddr, c.BindPort, c.AdvertisePort = self.Name, host, n, n
	c.ProbeInterval, c.ProbeTimeout, c.SuspicionMult = 500*time.Millisecond, 200*time.Millisecond, 3
	c.TCPTimeout, c.DeadNodeReclaimTime = 2*time.Second, 30*time.Second
	c.Logger = log.New(io.Discard, "", 0)
	return c
}

// voting is the timing of ledger/group.
func voting(self Member) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(self.Name)
	c.HeartbeatTimeout, c.ElectionTimeout = 500*time.Millisecond, 500*time.Millisecond
	c.LeaderLeaseTimeout, c.CommitTimeout = 250*time.Millisecond, 50*time.Millisecond
	c.Logger, c.NoLegacyTelemetry = hclog.NewNullLogger(), true
	return c
}

// vote starts a Raft group of the members with an empty machine.
func vote(members []Member) (*raft.Raft, func(), error) {
	transport, err := raft.NewTCPTransport(members[0].Raft, nil, len(members), 2*time.Second, io.Discard)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for raft: %w", err)
	}
	store := raft.NewInmemStore()
	r, err := raft.NewRaft(voting(members[0]), &raft.MockFSM{}, store, store, raft.NewDiscardSnapshotStore(), transport)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start raft: %w", err), transport.Close())
	}
	var all raft.Configuration
	for _, m := range members {
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(m.Name), Address: raft.ServerAddress(m.Raft)})
	}
	stop := func() {
		_ = r.Shutdown().Error()
		_ = transport.Close()
	}
	if err := r.BootstrapCluster(all).Error(); err != nil {
		stop()
		return nil, nil, fmt.Errorf("found the raft group: %w", err)
	}
	return r, stop, nil
}

// join returns once every member is seen and one of them leads, with true, or when ctx ends.
func join(ctx context.Context, ml *memberlist.Memberlist, r *raft.Raft, members []Member) bool {
	again := time.NewTicker(joinEvery)
	defer again.Stop()
	for {
		if ml.NumMembers() < len(members) {
			for _, m := range members[1:] {
				_, _ = ml.Join([]string{m.Gossip}) // it may not be there yet
			}
		}
		if _, leader := r.LeaderWithID(); leader != "" && ml.NumMembers() >= len(members) {
			return true
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return false
		}
	}
}
