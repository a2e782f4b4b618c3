package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/ring"
	"github.com/weir-cluster/weir/transport"
)

const (
	peerBytesMax = 16 << 20        // a packed stream message of the largest checks, or a view
	clientBytes  = 4 << 20         // a batch of 1,000 checks
	closeTimeout = 2 * time.Second // of calls in progress when a door closes
	peerTimeout  = 250 * time.Millisecond
	streamsMax   = 1024 // of one client's connection
	// lingerTime is how long a node that has handed over still forwards what comes, until those who ask have heard that others
	// are home.
	lingerTime = 500 * time.Millisecond
	// lookEvery is how often a node looks after itself: as the keeper and the steward do.
	lookEvery = 200 * time.Millisecond
)

// stages lists what runs, each after what it needs; they are stopped in reverse, for these reasons:
//
//	the doors first, so that no new work arrives and what arrived is answered;
//	then what acts for the cluster, so that a stopping node plans nothing;
//	then what this node has is written to its disk, since nothing changes it any more;
//	then gossip, whose goodbye has the others route around this node at once;
//	then Raft, after a hand-over of the lead if it has it;
//	and the peer connections and the port last, since everything above uses them.
func (p *parts) stages(ready chan struct{}) []stage {
	p.began = time.Now()
	closing := make(chan struct{})
	api, healthy := p.apiServer(closing)
	return []stage{
		{"peer port", p.port.Run},
		{"peer connections", p.links.Run},
		{"old connections", p.forget},
		{"peer service", func(ctx context.Context) error {
			return serveGRPC(ctx, p.peerServer(ctx.Done()), p.port.GRPC(), peerTimeout)
		}},
		{"journal", p.keepJournal},
		{"dead letters", p.keepLetters},
		{"raft", p.group.Run},
		{"lineage", p.remember},
		{"gossip", func(ctx context.Context) error { return p.gossip.Run(ctx, p.roster) }},
		{"book", p.book.Run},
		{"keeper", p.keeper.Run},
		{"ledger", p.pulse().Run},
		{"webhooks", p.post},
		{"snapshots", p.snapshots.Run},
		{"copies", p.copies.Run},
		{"debits", p.debits.Run},
		{"cancels", p.cancels.Run},
		{"steward", p.steward.Run},
		{"reach", p.reach.Run},
		{"lease", p.lease.Run},
		{"waterfall", p.waterfall.Run},
		{"policy", p.seed},
		{"grpc", func(ctx context.Context) error {
			defer context.AfterFunc(ctx, func() { close(closing) })()
			return serveGRPC(ctx, api, p.grpc, closeTimeout)
		}},
		{"http", func(ctx context.Context) error { return p.serveHTTP(ctx, closing) }},
		{"readiness", func(ctx context.Context) error { return p.watch(ctx, ready, healthy) }},
	}
}

// roster is whom gossip looks for while it does not see them.
func (p *parts) roster() []cluster.Member {
	if v := p.views.Current(); v != nil {
		return v.Roster
	}
	return nil
}

// seed gives the cluster this node's policy if it has none.
func (p *parts) seed(ctx context.Context) error {
	if len(p.cfg.Policy) == 0 {
		return nil
	}
	if _, err := policy.Parse(p.cfg.PolicyName, p.cfg.Policy); err != nil {
		return err
	}
	poll(ctx, 50*time.Millisecond, func() bool {
		if version, text := p.book.Document(); version > 0 {
			if string(text) != string(p.cfg.Policy) {
				p.cfg.Logger.Warn("the cluster has another policy: this node's file is not used; apply it to change that",
					"file", p.cfg.PolicyName, "version", version)
			}
			return true
		}
		try, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := p.library().Put(try, p.cfg.PolicyName, p.cfg.Policy, policy.NoVersion, "")
		return err == nil || errors.Is(err, policy.ErrVersionConflict)
	})
	return nil
}

// forget closes the connections to addresses that no known member has any more.
func (p *parts) forget(ctx context.Context) error {
	p.look(ctx, 5*lookEvery, func() bool {
		known := make(map[string]bool)
		for _, m := range p.roster() {
			known[m.Peer] = true
		}
		for _, m := range p.gossip.Alive() {
			known[m.Peer] = true
		}
		p.links.Forget(func(address string) bool { return known[address] })
		return false
	})
	return nil
}

// notReady returns why this node should get no traffic. The trouble of others is not among the reasons.
func (p *parts) notReady() error {
	v := p.views.Current()
	switch {
	case p.stopping.Load():
		return errors.New("stopping")
	case p.group.Stalled():
		return errors.New("the disk has not finished a write of the log in time: this node stays out of the Raft group until it has")
	case v == nil:
		return fmt.Errorf("no view yet: waiting for the cluster to form, %d of %d nodes seen", len(p.gossip.Alive()), max(1, p.cfg.expect()))
	case p.book.Current() == nil:
		return errors.New("no policy yet: start a node with --policy FILE, or run `weir policy apply FILE`")
	}
	if err := p.book.Err(); err != nil {
		return fmt.Errorf("this node cannot read the agreed policy, is it older than the others? %w", err)
	}
	if i := v.Find(p.cfg.Name); i < 0 || v.Roster[i].Boot != p.boot {
		return errors.New("not in the view yet")
	}
	return nil
}

// concern returns what an operator should look after, though this node does its work: decides, and asks other voters for credit. When
// the disks of all voters are full, no node should be without traffic for it.
func (p *parts) concern() string {
	if p.group.Full() {
		return "the disk is nearly full: this node's log takes no credit writes until there is room; the other voters go on without it"
	}
	return ""
}

// watch closes ready at the first moment this node can decide, and then keeps the gRPC health in step, those who watch the
// view, and what the cluster knows of how many they are.
func (p *parts) watch(ctx context.Context, ready chan struct{}, healthy *health.Server) error {
	if !poll(ctx, 20*time.Millisecond, func() bool { return p.notReady() == nil && p.lease.Whole() }) {
		return nil
	}
	p.cfg.Logger.Info("ready", "http", p.http.Addr().String(), "grpc", p.grpc.Addr().String(), "epoch", p.views.Epoch())
	tellHealth(healthy, true)
	close(ready)
	was, epoch, version := true, uint64(0), uint64(0)
	p.look(ctx, lookEvery, func() bool {
		if is := p.notReady() == nil; is != was {
			tellHealth(healthy, is)
			was = is
		}
		if current := p.book.Current(); current != nil && (p.views.Epoch() != epoch || current.Version() != version) {
			epoch, version = p.views.Epoch(), current.Version()
			p.audience.Tell()
		}
		clients := p.audience.Count()
		p.gossip.Say(func(s *cluster.Sighting) { s.Clients = clients })
		return false
	})
	return nil
}

// look is poll in step with the other looks and with the tickers that began with the node: what an idle node costs is the
// moments at which it wakes up, more than what it does then.
func (p *parts) look(ctx context.Context, every time.Duration, done func() bool) bool {
	step := time.NewTimer(every - time.Since(p.began)%every)
	defer step.Stop()
	select {
	case <-step.C:
		return poll(ctx, every, done)
	case <-ctx.Done():
		return false
	}
}

func tellHealth(healthy *health.Server, ready bool) {
	status := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if ready {
		status = grpc_health_v1.HealthCheckResponse_SERVING
	}
	for _, service := range healthServices() {
		healthy.SetServingStatus(service, status)
	}
}

// healthServices are the names under which health is told.
func healthServices() []string {
	return []string{
		"", weirv1.AccessService_ServiceDesc.ServiceName, weirv1.LedgerService_ServiceDesc.ServiceName,
		rlsv3.RateLimitService_ServiceDesc.ServiceName,
	}
}

// drain hands over what this node is home of: it asks to be left out of the view and goes on deciding until
// it is, or until the timeout. Alone, or when all leave, there is nobody to hand over to.
func (p *parts) drain() {
	p.stopping.Store(true)
	p.gossip.Say(func(s *cluster.Sighting) { s.Leaving = true })
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.DrainTimeout)
	defer cancel()
	drained := poll(ctx, 20*time.Millisecond, func() bool {
		v := p.views.Current()
		i := -1
		if v != nil {
			i = v.Find(p.cfg.Name)
		}
		if i < 0 || v.Roster[i].Boot != p.boot || v.Roster[i].Leaving && v.Roster[i].Standing == ring.Absent {
			return p.copies.HandedOver() && p.lessor.Settled()
		}
		return !p.others()
	})
	if !drained {
		p.cfg.Logger.Warn("stopping without a hand-over: the view did not change in time", "timeout", p.cfg.DrainTimeout)
	} else if p.others() {
		linger := time.NewTimer(lingerTime)
		defer linger.Stop()
		select {
		case <-linger.C:
		case <-ctx.Done():
		}
	}
	p.audience.Dismiss()
}

// others says whether another node is there that stays.
func (p *parts) others() bool {
	return slices.ContainsFunc(p.gossip.Alive(), func(m cluster.Sighting) bool { return !m.Leaving && m.Name != p.cfg.Name })
}

func (p *parts) peerServer(closing <-chan struct{}) *grpc.Server {
	s := grpc.NewServer(append(append(transport.SameCluster(p.lineage), transport.Windows()...), transport.Codec(),
		grpc.MaxRecvMsgSize(peerBytesMax), grpc.MaxSendMsgSize(peerBytesMax),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: transport.PeerPing / 2}))...)
	service := &transport.PeerServer{Router: p.router, Keeper: p.keeper, Quorum: quorum{p.group}, Reader: quorum{p.group}, Lessor: p.lessor, Copies: p.copies, Roster: p.steward, Undo: p.waterfall.Cancel, Journal: p.journal, Timeout: p.cfg.RequestTimeout, Closing: closing}
	service.Register(s)
	return s
}

func (p *parts) apiServer(closing <-chan struct{}) (*grpc.Server, *health.Server) {
	s := grpc.NewServer(append(transport.Windows(), transport.Codec(), grpc.MaxRecvMsgSize(clientBytes), grpc.MaxConcurrentStreams(streamsMax),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: transport.PeerPing / 2}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: transport.PeerPing}))...)
	access := &transport.AccessServer{Access: p.router, Views: p, Timeout: p.cfg.RequestTimeout, Closing: closing}
	access.Register(s)
	weirv1.RegisterLedgerServiceServer(s, &transport.LedgerServer{Ledger: p.ledger, Events: p.events(closing), Timeout: p.cfg.RequestTimeout, Closing: closing})
	weirv1.RegisterAdminServiceServer(s, &transport.AdminServer{Policies: p.library(), Timeout: p.cfg.RequestTimeout})
	rlsv3.RegisterRateLimitServiceServer(s, p.rls())
	h := health.NewServer()
	for _, service := range healthServices() {
		h.SetServingStatus(service, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	}
	grpc_health_v1.RegisterHealthServer(s, h)
	reflection.Register(s)
	return s, h
}

// serveGRPC serves until ctx ends, then lets calls in progress finish, briefly: a stream never ends by itself.
func serveGRPC(ctx context.Context, s *grpc.Server, l net.Listener, timeout time.Duration) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		cut := time.AfterFunc(timeout, s.Stop)
		defer cut.Stop()
		s.GracefulStop()
	})
	err := s.Serve(l)
	if !stop() {
		<-stopped
		return nil
	}
	return err
}

func (p *parts) serveHTTP(ctx context.Context, closing <-chan struct{}) error {
	api := &transport.HTTPServer{
		Access: p.router, Ledger: p.ledger, Policies: p.library(), Versions: p.library(), Beside: p.library(),
		Policy: p.book.Current, JSON: p.rls().JSON, Views: p, Roster: roster{p}, Backups: backups{p}, Headers: p.headerStyle,
		Events: p.events(closing), Webhooks: p.webhookDoor(), Journal: p.journal.Stats, Now: p.now,
		Ready: p.notReady, Concern: p.concern, Metrics: p.meters.write, Jitter: jitter, Timeout: p.cfg.RequestTimeout,
	}
	s := &http.Server{
		Handler: api.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			_ = s.Close()
		}
	})
	err := s.Serve(p.http)
	if !stop() {
		<-stopped
		return nil
	}
	return err
}

// headerStyle returns how a domain tells limits in headers.
func (p *parts) headerStyle(domain string) string {
	if current := p.book.Current(); current != nil {
		if d, err := current.Domain(domain); err == nil {
			return d.Headers()
		}
	}
	return "ietf"
}
