package group

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	enqueueWait  = time.Second     // for the library to take an order; it does so between two writes of its log
	drainWait    = 5 * time.Second // at the end, for orders that are under way
	barrierPause = 50 * time.Millisecond
	cacheEntries = 512 // kept in memory for followers; at most this many times Config.PackBytes
)

// Group is one server of the group. Its methods may be called from any goroutine; those that change the group
// or ask its members return ErrStopped unless Run runs.
type Group struct {
	cfg     Config
	stores  Stores
	had     bool // state when it was opened
	replica *replica
	fence   *fence
	room    *room
	raft    atomic.Pointer[raft.Raft] // nil until Run has started it
	changes chan struct{}

	queue       chan *proposal
	queuedBytes atomic.Int64
	readyTerm   atomic.Uint64 // the term whose barrier passed while this server led
	rounds      *rounds       // set before raft
	lineage     atomic.Pointer[string]
	backups     chan struct{} // capacity 1: held by who makes a backup

	ending  chan struct{} // no new orders are taken
	stopped chan struct{} // Run is over
	mu      sync.Mutex
	ran     bool
	closed  bool           // with ending
	calls   sync.WaitGroup // orders that the library has not answered yet
}

// New opens the storage and starts nothing. Run must follow: it is what closes the storage, at once if its
// context has ended.
func New(cfg Config) (*Group, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Mono == nil {
		began := cfg.Now()
		cfg.Mono = func() time.Duration { return cfg.Now().Sub(began) }
	}
	stores, err := cfg.Storage.Open()
	if err != nil {
		return nil, fmt.Errorf("open group: %w", err)
	}
	had, err := raft.HasExistingState(stores.Log, stores.Stable, stores.Snapshots)
	if err != nil {
		return nil, fmt.Errorf("read group state: %w", errors.Join(err, stores.Close()))
	}
	of, err := lineage(stores.Stable)
	if err != nil {
		return nil, fmt.Errorf("read group state: %w", errors.Join(err, stores.Close()))
	}
	g := &Group{
		cfg: cfg, stores: stores, had: had, backups: make(chan struct{}, 1),
		changes: make(chan struct{}, 1),
		queue:   make(chan *proposal, cfg.QueueOperations),
		ending:  make(chan struct{}),
		stopped: make(chan struct{}),
	}
	g.lineage.Store(&of)
	g.replica = newReplica(cfg.Machines, g.signal)
	g.fence = &fence{deadline: cfg.WriteDeadline}
	g.room = &room{free: stores.Free, reserve: cfg.Reserve}
	g.room.look()
	return g, nil
}

// Run takes part in the group until ctx ends, then returns nil; or until this replica cannot follow the log,
// then it returns why. It returns when all it started has ended and the storage is closed. A leader hands over
// first, so that the others need no election timeout. Run may be called once.
func (g *Group) Run(ctx context.Context) (err error) {
	g.mu.Lock()
	again := g.ran
	g.ran = true
	g.mu.Unlock()
	if again {
		return errors.New("run group: it has run before")
	}
	defer func() {
		g.refuse()
		close(g.stopped)
		err = errors.Join(err, g.stores.Close())
	}()
	if ctx.Err() != nil {
		return nil
	}
	r, transport, err := g.start()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { g.pack(r) })
	wg.Go(func() { g.watch(r) })
	if g.room.free != nil {
		wg.Go(func() { g.keepRoom(r) })
	}
	err = g.wait(ctx)

	// Nothing new, then what is under way, which a hand-over would leave unknown, and the library unanswered
	// once it is shut down. The streams are closed so that nothing waits for a peer.
	g.refuse()
	wg.Wait()
	g.drain()
	g.handOver(r)
	over := r.Shutdown()
	err = errors.Join(err, transport.Close(), over.Error())
	g.rounds.close()
	return err
}

// start starts the library. From the end of it on, r answers calls.
func (g *Group) start() (*raft.Raft, *raft.NetworkTransport, error) {
	cache, err := raft.NewLogCache(cacheEntries, fencedLog{g.stores.Log, g.fence, g.room})
	if err != nil {
		return nil, nil, fmt.Errorf("start group: %w", err)
	}
	streams, err := g.cfg.listen(g.ID(), g.idOf)
	if err != nil {
		return nil, nil, err
	}
	g.fence.raise = func(up bool) {
		g.cfg.Logger.Warn("the disk of the log", "stalled", up, "deadline", g.cfg.WriteDeadline)
		streams.fence(up)
		g.signal()
	}
	logger := raftLogger(g.cfg.Logger)
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: streams, MaxPool: 3, Timeout: g.cfg.RequestTimeout, Logger: logger,
		MaxRPCsInFlight: 1, // more means pipelines, in which a replication can hang for good (hashicorp/raft #612)
	})
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(g.ID())
	c.HeartbeatTimeout, c.ElectionTimeout = g.cfg.HeartbeatTimeout, g.cfg.ElectionTimeout
	c.LeaderLeaseTimeout, c.CommitTimeout = g.cfg.LeaderLease, g.cfg.CommitTimeout
	c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = g.cfg.SnapshotInterval, g.cfg.SnapshotThreshold, g.cfg.TrailingLogs
	c.MaxAppendEntries = g.cfg.InFlight
	c.ShutdownOnRemove = false // Run decides when it is over
	c.Logger, c.NoLegacyTelemetry = logger, true
	r, err := raft.NewRaft(c, g.replica, cache, fencedVotes{g.stores.Stable, g.fence}, g.stores.Snapshots, transport)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start group: %w", err), g.replica.err(), transport.Close())
	}
	g.rounds = newRounds(r, g.ID(), g.ending, heartbeats(transport, c.LocalID, c.ProtocolVersion))
	// The filter does all there is to do, on the library's goroutine: it hands over and never blocks.
	r.RegisterObserver(raft.NewObserver(nil, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.RaftState:
			g.rounds.wake()
			g.signal()
		case raft.LeaderObservation, raft.PeerObservation:
			g.signal()
		}
		return false
	}))
	g.raft.Store(r)
	g.signal()
	return r, transport, nil
}

// idOf returns the id of the member that is a node's, empty when it has none.
func (g *Group) idOf(name string) string {
	r := g.raft.Load()
	if r == nil {
		return ""
	}
	for _, s := range r.GetConfiguration().Configuration().Servers {
		if string(s.Address) == name {
			return string(s.ID)
		}
	}
	return ""
}

// wait returns when ctx ends or the replica is at fault.
func (g *Group) wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.replica.faulted:
			if err := g.replica.err(); err != nil {
				return fmt.Errorf("follow the log: %w", err)
			}
		}
	}
}

// watch makes a new leader ready: a barrier that passes shows that all of earlier terms was applied here.
func (g *Group) watch(r *raft.Raft) {
	for {
		select {
		case <-g.ending:
			return
		case leads := <-r.LeaderCh():
			for leads && !g.barrier(r) {
				timer := time.NewTimer(barrierPause)
				select {
				case <-g.ending:
					timer.Stop()
					return
				case leads = <-r.LeaderCh():
					timer.Stop()
				case <-timer.C:
				}
			}
			g.signal()
		}
	}
}

// barrier returns false when it is worth trying again.
func (g *Group) barrier(r *raft.Raft) bool {
	term := r.CurrentTerm()
	if r.State() != raft.Leader {
		return true // and word of the next leadership will come
	}
	if err := r.Barrier(enqueueWait).Error(); err != nil {
		return false
	}
	if r.CurrentTerm() == term {
		g.readyTerm.Store(term)
	}
	return true
}

// refuse takes no more orders.
func (g *Group) refuse() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		close(g.ending)
	}
}

// handOver makes another server lead, if this one does and there is one. The library gives up after an
// election timeout.
func (g *Group) handOver(r *raft.Raft) {
	if s := g.Status(); r.State() != raft.Leader || s.Voters < 2 {
		return
	}
	done := make(chan error, 1)
	go func() { done <- r.LeadershipTransfer().Error() }()
	timer := time.NewTimer(drainWait)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			g.cfg.Logger.Warn("leadership was not handed over", "error", err)
		}
	case <-timer.C:
	}
}

// drain waits for answers to orders. It gives up when the disk keeps the library from answering.
func (g *Group) drain() {
	done := make(chan struct{})
	go func() {
		g.calls.Wait()
		close(done)
	}()
	timer := time.NewTimer(drainWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		g.cfg.Logger.Error("orders are left unanswered")
	}
}

// signal tells Changes that there is something to look at.
func (g *Group) signal() {
	select {
	case g.changes <- struct{}{}:
	default:
	}
}
