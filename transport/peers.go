package transport

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	"github.com/weir-cluster/weir/api/stream"
	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// peerBytesMax bounds a message between nodes: a packed stream message of the largest checks, or a view.
const peerBytesMax = 16 << 20

// checkWait bounds a check whose caller sets no bound.
const checkWait = time.Minute

// PeerPing is how often an idle connection to a peer is tried, so that one that died unheard is replaced. The
// other side must permit it.
const PeerPing = 10 * time.Second

// Windows of what a sender may send before it is read. Were they not fixed, gRPC would measure the connection with a ping
// behind nearly every message while there are few, each way: that doubles what a lone check costs.
const (
	streamWindow = 1 << 20
	connWindow   = 4 << 20
)

// Windows are the options with which a gRPC server spares itself the pings that measure a connection.
func Windows() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow)}
}

// Peers keeps one connection and one check stream to each other node. It is safe for concurrent use.
type Peers struct {
	network cluster.Network
	cluster func() string

	life context.Context // of what peers run; ended by Run
	end  context.CancelFunc

	mu      sync.Mutex
	peers   map[string]*Peer
	silent  map[string]error // addresses at which nobody answers
	streams sync.WaitGroup
	ended   bool
}

var _ cluster.Peers = (*Peers)(nil)

// NewPeers returns Peers without connections. own returns the cluster that this node is of, empty before it is known.
func NewPeers(network cluster.Network, own func() string) *Peers {
	p := &Peers{network: network, cluster: own, peers: make(map[string]*Peer), silent: make(map[string]error)}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

// Run waits for ctx to end, closes every connection and waits for what used them.
func (p *Peers) Run(ctx context.Context) error {
	<-ctx.Done()
	p.mu.Lock()
	p.ended = true
	for _, peer := range p.peers {
		peer.stop()
	}
	p.mu.Unlock()
	p.end()
	p.streams.Wait()
	return nil
}

// Peer returns the node at an address. It does not wait for a connection.
func (p *Peers) Peer(address string) cluster.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if peer := p.peers[address]; peer != nil {
		return peer
	}
	if err := p.silent[address]; err != nil {
		return lost{err}
	}
	if p.ended {
		return lost{fmt.Errorf("%w: this node is stopping", cluster.ErrUnreachable)}
	}
	peer, err := p.dial(address)
	if err != nil {
		return lost{fmt.Errorf("%w: %s: %w", cluster.ErrUnreachable, address, err)}
	}
	p.peers[address] = peer
	return peer
}

// Forget closes connections to addresses at which no node is any more.
func (p *Peers) Forget(keep func(address string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for address, peer := range p.peers {
		if !keep(address) {
			peer.stop()
			delete(p.peers, address)
		}
	}
	for address := range p.silent {
		if !keep(address) {
			delete(p.silent, address)
		}
	}
}

func (p *Peers) dial(address string) (*Peer, error) {
	options := append(ofCluster(p.cluster),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return p.network.Dial(ctx, address)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: PeerPing, Timeout: 2 * time.Second}),
		grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(peerBytesMax), grpc.MaxCallSendMsgSize(peerBytesMax)),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry())
	conn, err := grpc.NewClient("passthrough:///"+address, options...)
	if err != nil {
		return nil, err
	}
	service := weirv1.NewPeerServiceClient(conn)
	ctx, stop := context.WithCancel(p.life)
	peer := &Peer{
		address: address, service: service, stop: stop, pulse: pulse{begins: make(chan struct{}, 1)},
		checks: stream.NewClient(func(ctx context.Context) (grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse], error) {
			return service.CheckStream(ctx)
		}),
	}
	p.streams.Go(func() {
		_ = peer.checks.Run(ctx) // ends with ctx and has no other error
		_ = conn.Close()
	})
	p.streams.Go(func() {
		if peer.watch(ctx) {
			p.replace(p.life, peer)
		}
	})
	return peer, nil
}

// Peer is another node.
type Peer struct {
	address string
	service weirv1.PeerServiceClient
	checks  *stream.Client
	stop    context.CancelFunc
	pulse   pulse
}

var _ cluster.Peer = (*Peer)(nil)

// Check sends the request over the stream that all checks to this peer share.
func (p *Peer) Check(ctx context.Context, r policy.Request, epoch uint64) (policy.Decision, error) {
	p.pulse.asks()
	o, err := p.ask(ctx, r, epoch)
	p.pulse.hears(err)
	switch {
	case err != nil:
		return policy.Decision{}, fmt.Errorf("%w: %s: %w", cluster.ErrUnreachable, p.address, err)
	case o.GetFault() != nil:
		return policy.Decision{}, fromFault(o.GetFault())
	case o.GetDecision() == nil:
		return policy.Decision{}, fmt.Errorf("%w: %s: an answer without a decision", cluster.ErrUnreachable, p.address)
	}
	return fromDecision(o.GetDecision()), nil
}

// ask sends a check that has an id, and waits for its outcome.
func (p *Peer) ask(ctx context.Context, r policy.Request, epoch uint64) (*weirv1.Outcome, error) {
	encoded, err := proto.Marshal(toRequest(r))
	if err != nil {
		return nil, fmt.Errorf("encode the check: %w", err)
	}
	wait := checkWait
	if deadline, some := ctx.Deadline(); some {
		wait = time.Until(deadline)
	}
	o, done := new(weirv1.Outcome), make(chan error, 1)
	err = p.checks.Post(ctx, &stream.Call{
		Check: string(encoded), Epoch: epoch, Origin: r.ID, Wait: wait, Answer: func(outcome []byte, _ time.Duration, err error) {
			if err == nil {
				err = proto.Unmarshal(outcome, o)
			}
			done <- err
		},
	})
	if err != nil {
		return nil, err
	}
	select {
	case err = <-done:
		return o, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Forward sends the request over the same stream and leaves the answer to whoever receives it.
func (p *Peer) Forward(ctx context.Context, id uint64, encoded string, epoch uint64, wait time.Duration, answer func(cluster.Carried, error)) {
	p.pulse.asks()
	err := p.checks.Post(ctx, &stream.Call{Check: encoded, Epoch: epoch, Origin: id, Wait: wait, Answer: func(outcome []byte, took time.Duration, err error) {
		p.pulse.hears(err)
		var c cluster.Carried
		if err != nil {
			err = fmt.Errorf("%w: %s: %w", cluster.ErrUnreachable, p.address, err)
		} else {
			c, err = readOutcome(outcome)
		}
		c.ID, c.Took = id, took
		answer(c, err)
	}})
	if err != nil {
		p.pulse.hears(err)
		answer(cluster.Carried{ID: id}, fmt.Errorf("%w: %s: %w", cluster.ErrUnreachable, p.address, err))
	}
}

// Settle settles at the other node.
func (p *Peer) Settle(ctx context.Context, s policy.Settlement, epoch uint64) (policy.Settled, error) {
	r, err := p.service.Settle(ctx, &weirv1.PeerSettleRequest{Settle: toSettle(s), Epoch: epoch})
	if err != nil {
		return policy.Settled{}, fromStatus(err)
	}
	return fromSettled(r), nil
}

// Propose has the other node append a command.
func (p *Peer) Propose(ctx context.Context, machine string, command []byte) ([]byte, error) {
	r, err := p.service.Propose(ctx, &weirv1.ProposeRequest{Machine: machine, Command: command})
	if err != nil {
		return nil, fromStatus(err)
	}
	return r.GetReply(), nil
}

// Pull fetches the view and the book if they are newer.
func (p *Peer) Pull(ctx context.Context, have cluster.Having) (cluster.Pulled, error) {
	r, err := p.service.Pull(ctx, &weirv1.PullRequest{Epoch: have.Epoch, Revision: have.Revision, PolicyVersion: have.Policy})
	if err != nil {
		return cluster.Pulled{}, fromStatus(err)
	}
	return cluster.Pulled{View: r.GetView(), Book: r.GetBook()}, nil
}

// lost is a peer that cannot be asked at all.
type lost struct{ err error }

var _ cluster.Peer = lost{}

// Check returns why.
func (l lost) Check(context.Context, policy.Request, uint64) (policy.Decision, error) {
	return policy.Decision{}, l.err
}

// Forward answers why.
func (l lost) Forward(_ context.Context, id uint64, _ string, _ uint64, _ time.Duration, answer func(cluster.Carried, error)) {
	answer(cluster.Carried{ID: id}, l.err)
}

// Settle returns why.
func (l lost) Settle(context.Context, policy.Settlement, uint64) (policy.Settled, error) {
	return policy.Settled{}, l.err
}

// Propose returns why.
func (l lost) Propose(context.Context, string, []byte) ([]byte, error) { return nil, l.err }

// Pull returns why.
func (l lost) Pull(context.Context, cluster.Having) (cluster.Pulled, error) {
	return cluster.Pulled{}, l.err
}
