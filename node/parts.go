package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/group"
	"github.com/weir-cluster/weir/ledger/journal"
	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/ring"
	"github.com/weir-cluster/weir/transport"
)

// commandMax bounds a command of the log, in bytes: the largest is a policy.
const commandMax = policy.TextMax + 64<<10

// parts is what a node is made of, in the order in which one needs the other.
type parts struct {
	cfg  Config
	boot string
	now  func() time.Time

	port *transport.PeerPort // Raft and peer gRPC
	http net.Listener
	grpc net.Listener

	views   *cluster.Views // machines
	book    *policy.Book
	machine *ledger.Machine
	journal *journal.Journal // of the ledger's events

	group   *group.Group
	gossip  *cluster.Gossip
	links   *transport.Peers
	keeper  *cluster.Keeper
	lease   *cluster.Lease
	lessor  *cluster.Lessor
	reach   *cluster.Reach
	moves   cluster.Moves
	steward *cluster.Steward
	copies  *cluster.Copies
	debits  *cluster.Debits
	cancels *cluster.Cancels

	buckets   *limiter.Store // as home
	shares    *limiter.Store // of what no home decides
	records   *policy.Records
	snapshots *snapshots
	proposer  *cluster.Proposer
	ledger    *ledger.Ledger
	waterfall *policy.Waterfall
	meters    *meters
	sink      sink
	router    *cluster.Router
	audience  transport.Audience

	began    time.Time // when the stages were made
	stopping atomic.Bool
}

// build makes every part and binds every port, so that a port in use is known before anything runs.
func build(cfg Config) (*parts, error) {
	p := &parts{cfg: cfg, boot: rand.Text(), now: cfg.clock()}
	if err := p.listen(); err != nil {
		return nil, errors.Join(err, p.unlisten())
	}
	if err := p.agree(); err != nil {
		return nil, errors.Join(err, p.unlisten())
	}
	p.decide()
	if err := p.openSink(); err != nil {
		return nil, errors.Join(err, p.unlisten())
	}
	return p, nil
}

// listen binds the ports of clients and peers; gossip binds its own.
func (p *parts) listen() error {
	network := p.cfg.network()
	var err error
	if p.port, err = transport.OpenPeerPort(network, p.cfg.PeerAddr, p.cfg.Name, p.lineage); err != nil {
		return fmt.Errorf("%w: is another node running here? choose another --peer-addr", err)
	}
	if p.http, err = network.Listen(p.cfg.HTTPAddr); err != nil {
		return fmt.Errorf("listen for HTTP: %w: choose another --http-addr", err)
	}
	if p.grpc, err = network.Listen(p.cfg.GRPCAddr); err != nil {
		return fmt.Errorf("listen for gRPC: %w: choose another --grpc-addr", err)
	}
	return nil
}

func (p *parts) unlisten() error {
	var all error
	if p.port != nil {
		all = errors.Join(all, p.port.Close())
	}
	for _, l := range []net.Listener{p.http, p.grpc} {
		if l != nil {
			all = errors.Join(all, l.Close())
		}
	}
	return all
}

// agree makes what brings the nodes to one mind: the machines, the Raft group that drives them, gossip, and
// the keeper.
func (p *parts) agree() error {
	log := p.cfg.Logger
	p.buckets = limiter.NewStore(limiter.Config{BucketsMax: p.cfg.BucketsMax})
	p.shares = limiter.NewStore(limiter.Config{BucketsMax: p.cfg.BucketsMax})
	p.views = cluster.NewViews(p.adopt)
	p.book = policy.NewBook(log)
	p.records = policy.NewRecords(policy.RecordsConfig{Policy: p.book.Current, Now: p.now})
	p.links = transport.NewPeers(p.cfg.network(), p.lineage)
	p.snapshots = newSnapshots(snapshotsConfig{
		Disk: p.cfg.snapshots(), Every: p.cfg.SnapshotEvery, Views: p.views, Peers: p.links, Buckets: p.buckets, Records: p.records, Now: p.now, Logger: log,
		Kept: func(part uint16) (uint64, bool) { return p.copies.Kept(part) },
	})
	p.debits = cluster.NewDebits(cluster.DebitsConfig{
		Name: p.cfg.Name, Boot: p.boot, Source: mathrand.Uint64N(1 << 63), Now: p.now, Copies: p.buckets, BucketsMax: p.cfg.BucketsMax,
		Views: p.views, Peers: p.links, Logger: log,
		Begun:  func(part uint16, since uint64) bool { return p.copies.Begun(part, since) },
		Copied: func(part uint16) bool { return p.copies.Copied(part) },
	})
	p.copies = cluster.NewCopies(cluster.CopiesConfig{
		Name: p.cfg.Name, Boot: p.boot, Now: p.now, State: estate{p.buckets, p.records, p.now, p.snapshots}, Peers: p.links, Debits: p.debits,
		Ready: func() { p.lease.Ask() }, Logger: log,
	})
	p.machine = p.credits()

	g := group.DefaultConfig()
	g.Name, g.Network, g.Storage, g.Now, g.Logger = p.cfg.Name, p.port.Raft(), p.cfg.storage(), p.now, log
	g.Address = p.port.Addr().String()
	g.CommandBytes, g.PackBytes = commandMax, 2*commandMax
	g.Resolve = p.resolve
	g.Machines = machines(p.views, p.book, p.machine)
	var err error
	if p.group, err = group.New(g); err != nil {
		return err
	}
	if err := p.openJournal(); err != nil {
		return err
	}
	if err := p.tellable(); err != nil {
		return err
	}
	p.gossip, err = cluster.NewGossip(cluster.GossipConfig{
		Self: p.self(), Label: p.cfg.Cluster, Address: p.cfg.GossipAddr, Advertise: p.cfg.Advertise,
		Lineage: p.lineage(), Version: p.cfg.Version, Seeds: p.cfg.seeds(), Expect: p.cfg.expect(), Network: p.cfg.network(), Now: p.now, Logger: log,
	})
	if err != nil {
		return err
	}
	p.keeper = &cluster.Keeper{Gossip: p.gossip, Views: p.views, Policies: p.book, Peers: p.links, Logger: log}
	p.proposer = &cluster.Proposer{Quorum: quorum{p.group}, Reader: quorum{p.group}, Gossip: p.gossip, Peers: p.links}
	p.lessor = cluster.NewLessor(cluster.LessorConfig{
		Name: p.cfg.Name, Server: p.group.ID(), Times: p.cfg.Lease, Now: p.now, Terms: quorum{p.group}, Views: p.views, Policies: p.book,
		Gossip: p.gossip, Peers: p.links, Gather: 2 * time.Millisecond,
	})
	p.reach = cluster.NewReach(cluster.ReachConfig{Name: p.cfg.Name, Views: p.views, Gossip: p.gossip, Peers: p.links})
	p.lease = cluster.NewLease(cluster.LeaseConfig{
		Name: p.cfg.Name, Boot: p.boot, Server: p.group.ID(), Times: p.cfg.Lease, Now: p.now, Views: p.views, Policies: p.book, Quorum: quorum{p.group},
		Lessor: p.lessor, Gossip: p.gossip, Peers: p.links, Copies: p.copies, Reach: p.reach, Logger: log,
	})
	p.steward = &cluster.Steward{
		Gossip: p.gossip, Views: p.views, Quorum: quorum{p.group}, Voters: quorum{p.group},
		Leases: p.lessor, VotersMax: p.cfg.Voters, Logger: log,
	}
	return nil
}

// tellable returns an error if others could not reach this node at what it would tell them.
func (p *parts) tellable() error {
	for _, a := range []net.Addr{p.port.Addr(), p.http.Addr(), p.grpc.Addr()} {
		host, _, err := net.SplitHostPort(a.String())
		if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() && p.cfg.Advertise == "" {
			return fmt.Errorf("listening on %s: say with --advertise which IP address others reach this node at", a)
		}
	}
	return nil
}

// self is this node as others are told of it.
func (p *parts) self() cluster.Member {
	return cluster.Member{
		Name: p.cfg.Name, Boot: p.boot, Server: p.group.ID(), Zone: p.cfg.Zone, Voter: p.cfg.Voter != "no",
		Weight: p.cfg.Weight, LeaseMS: uint32(p.cfg.Lease.Held().Milliseconds()),
		Peer: p.told(p.port.Addr()), HTTP: p.told(p.http.Addr()), GRPC: p.told(p.grpc.Addr()),
	}
}

// told is an address as others should use it.
func (p *parts) told(bound net.Addr) string {
	host, port, err := net.SplitHostPort(bound.String())
	if err != nil || p.cfg.Advertise == "" {
		return bound.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() && p.cfg.Advertise != host {
		return bound.String() // not reachable under the advertised address
	}
	return net.JoinHostPort(p.cfg.Advertise, port)
}

// lineage is the cluster that this node is of, and its generation, as View.Lineage; empty before it is known. Before there is a
// view it is that of the log it has: a node without one may have moved.
func (p *parts) lineage() string {
	if v := p.views.Current(); v != nil {
		return v.Lineage()
	}
	if p.group.HasState() {
		return p.group.Lineage()
	}
	return ""
}

// resolve finds a voter's peer port: where gossip sees it, else where the view last knew it.
func (p *parts) resolve(name string) (string, error) {
	if m, ok := p.gossip.Find(name); ok {
		return transport.RaftAddress(name, m.Peer), nil
	}
	if v := p.views.Current(); v != nil {
		if i := v.Find(name); i >= 0 {
			return transport.RaftAddress(name, v.Roster[i].Peer), nil
		}
	}
	return "", fmt.Errorf("no address of %s is known", name)
}

// adopt gives this node its part in a new view, before it comes into force.
func (p *parts) adopt(previous, next *cluster.View) {
	p.tellOf(previous, next)
	p.moves.Follow(p.cfg.Name, next, p.now())
	p.copies.Adopt(next)
	p.lease.Ask()
}

// tellOf logs what a new view changes.
func (p *parts) tellOf(previous, next *cluster.View) {
	var in, out []string
	for _, m := range next.Roster {
		was := ring.Absent
		if previous != nil {
			if i := previous.Find(m.Name); i >= 0 {
				was = previous.Roster[i].Standing
			}
		}
		switch {
		case was == ring.Absent && m.Standing != ring.Absent:
			in = append(in, m.Name)
		case was != ring.Absent && m.Standing == ring.Absent:
			out = append(out, m.Name)
		}
	}
	p.cfg.Logger.Info("view", "epoch", next.Epoch, "in", in, "out", out)
}

// decide makes what decides: the ledger's front, the waterfall, the fallback, and the router before them.
func (p *parts) decide() {
	proposal := p.proposer.For(machineLedger, true)
	p.ledger = ledger.NewReading(proposal, reading{proposal})
	purse := policy.Thrifty(p.ledger, policy.ThriftyConfig{Now: p.now})
	p.waterfall = policy.NewWaterfall(policy.WaterfallConfig{
		Policy: p.book.Current, Limits: p.buckets, Hasher: p.hasher, Purse: purse, Now: p.now, Lease: p.lease, Logger: p.cfg.Logger,
		Shares: p.shares, Nodes: func() int { return len(p.roster()) }, Records: p.records,
	})
	fallback := policy.NewFallback(policy.FallbackConfig{
		Policy: p.book.Current, Limits: p.shares, Home: p.buckets, Debits: p.debits, Hasher: p.hasher, Now: p.now,
	})
	p.meters = newMeters(p.cfg.Version, p.gauges())
	p.snapshots.load(p.group.ID(), p.meters.set)
	home := home{
		Trier: policy.Idempotent(p.waterfall, policy.IdempotentConfig{
			Policy: p.book.Current, Now: p.now, Records: p.records, Replicated: p.copies.Replicated,
		}),
		settler: p.waterfall,
	}
	p.cancels = cluster.NewCancels(cluster.CancelsConfig{Now: p.now, Views: p.views, Peers: p.links, Logger: p.cfg.Logger})
	p.router = cluster.NewRouter(cluster.RouterConfig{
		Name: p.cfg.Name, Boot: p.boot, Views: p.views, Keeper: p.keeper, Policy: p.book.Current,
		Peers: meteredPeers{p.links, p.meters, p.now}, Home: metered{home, p.meters, p.now}, Lease: p.lease, Tenant: p.copies,
		Fallback: meteredFallback{fallback, p.meters, p.now}, ForwardTimeout: p.cfg.ForwardTimeout, Cancels: p.cancels, Source: mathrand.Uint64(),
	})
}

// home is what decides as home: the waterfall, behind the memory of idempotency keys.
type home struct {
	policy.Trier
	settler
}

type settler interface {
	Settle(ctx context.Context, s policy.Settlement) (policy.Settled, error)
}

// hasher is keyed with the cluster's secret, which comes with the first view.
func (p *parts) hasher() limiter.Hasher {
	if v := p.views.Current(); v != nil {
		return limiter.NewHasher(v.Secret)
	}
	return limiter.Hasher{}
}

func (p *parts) gauges() gauges {
	return gauges{
		tally: p.copies.Tally, lost: p.lease.Lost, moves: p.moves.Tally,
		unreached: func() float64 { return float64(len(p.reach.Unreached())) },
		epoch:     func() float64 { return float64(p.views.Epoch()) },
		members:   func() float64 { return float64(len(p.gossip.Alive())) },
		buckets:   func() float64 { return float64(p.buckets.Len()) },
		shares:    func() float64 { return float64(p.shares.Len()) },
		bound:     func() float64 { return float64(p.cfg.BucketsMax) },
		books:     p.books(),
		term:      func() float64 { return float64(p.group.Status().Term) },
		lease: func() float64 {
			end, _ := p.lease.Until()
			return max(0, end.Sub(p.now()).Seconds())
		},
		leading: func() float64 {
			if p.group.Leading() {
				return 1
			}
			return 0
		},
	}
}

// library is the book with the log that changes it.
func (p *parts) library() library {
	return library{p.book, p.proposer.For(machinePolicy, true), p.now}
}

// rls is the door that Envoy knocks at.
func (p *parts) rls() *transport.RLSServer {
	return &transport.RLSServer{Access: p.router, Policy: p.book.Current, Now: p.now, Jitter: jitter, Timeout: p.cfg.RequestTimeout}
}

// Topology returns the view as this node sees it now; it makes the parts transport.Views.
func (p *parts) Topology() transport.Topology {
	t := transport.Topology{
		View: p.views.Current(), Node: p.cfg.Name,
		Alive: make(map[string]bool), Voters: make(map[string]bool), Clients: make(map[string]int),
		Epochs: make(map[string]uint64), Versions: make(map[string]string),
	}
	t.Leases = p.leases(t.View)
	t.Epochs[p.cfg.Name] = p.views.Epoch()
	if current := p.book.Current(); current != nil {
		t.PolicyVersion, t.Domains = current.Version(), current.Outlines()
	}
	for _, m := range p.gossip.Alive() {
		t.Alive[m.Name] = true
		t.Voters[m.Name] = m.Votes
		t.Clients[m.Name] = m.Clients
		t.Epochs[m.Name] = max(t.Epochs[m.Name], m.Epoch)
		t.Versions[m.Name] = m.Version
		if m.Leading {
			t.Leader = m.Name
		}
	}
	if leader, known := p.group.Leader(); known {
		t.Leader = leader
	}
	if servers, err := p.group.Servers(); err == nil {
		for _, s := range servers {
			t.Voters[s.Name] = s.Voter
		}
	}
	return t
}

// Audience is who watches the view.
func (p *parts) Audience() *transport.Audience { return &p.audience }

// jitter spreads the times at which refused callers come back.
func jitter() float64 { return mathrand.Float64() }
