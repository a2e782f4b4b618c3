package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/weir-cluster/weir/api/stream"
	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

const (
	replyBytesMax = 16 << 20 // a packed stream message of explained decisions, or a view of hundreds of members
	pingEvery     = 10 * time.Second
	pingTimeout   = 2 * time.Second
)

// Windows of what a node may send before it is read. Were they not fixed, gRPC would measure the connection with a ping
// behind nearly every message while there are few.
const (
	streamWindow = 1 << 20
	connWindow   = 4 << 20
)

// errUnsent is wrapped by every error after which the request surely did nothing.
var errUnsent = errors.New("not sent")

// link is the way to one node: a connection, made when it is first needed, the stream that all checks share, and a
// breaker.
type link struct {
	address string
	conn    *grpc.ClientConn
	access  weirv1.AccessServiceClient
	ledger  weirv1.LedgerServiceClient
	checks  *stream.Client
	breaker breaker
	stop    context.CancelFunc
}

// ready is connect for half of the time that is left when there is another node to turn to.
func (l *link) ready(ctx context.Context, until time.Time, more bool) error {
	if l.conn.GetState() == connectivity.Ready {
		return nil
	}
	if more {
		until = half(until)
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return l.connect(ctx)
}

// connect waits until the node is connected. One that lately refused is not waited for: gRPC is trying again by itself.
func (l *link) connect(ctx context.Context) error {
	for {
		s := l.conn.GetState()
		switch s {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			return fmt.Errorf("%w: %s refuses connections", errUnsent, l.address)
		case connectivity.Idle:
			l.conn.Connect()
		}
		if !l.conn.WaitForStateChange(ctx, s) {
			return fmt.Errorf("%w: connect to %s: %w", errUnsent, l.address, ctx.Err())
		}
	}
}

// down tells whether asking the node would fail at once.
func (l *link) down() bool { return l.conn.GetState() == connectivity.TransientFailure }

// check sends a check over the stream.
func (l *link) check(ctx context.Context, until time.Time, encoded string) (Decision, error) {
	outcome, err := l.checks.Ask(ctx, encoded, 0, until)
	switch {
	case errors.Is(err, stream.ErrBusy):
		return Decision{}, fmt.Errorf("%w: %s: %w", errUnsent, l.address, err)
	case err != nil:
		return Decision{}, fmt.Errorf("ask %s: %w", l.address, err)
	}
	return readOutcome(l.address, outcome)
}

// half is when half of the time is over that is left until then.
func half(until time.Time) time.Time {
	now := time.Now()
	return now.Add(until.Sub(now) / 2)
}

// links are the ways to all nodes, by address.
type links struct {
	c *Config

	mu      sync.Mutex // guards what follows
	all     map[string]*link
	ended   bool
	streams sync.WaitGroup
}

// link returns the way to an address. It waits for nothing.
func (s *links) link(address string) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.all[address]; l != nil {
		return l, nil
	}
	if s.ended {
		return nil, ErrClosed
	}
	l, err := s.dial(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errUnsent, address, err)
	}
	s.all[address] = l
	return l, nil
}

func (s *links) dial(address string) (*link, error) {
	secure, dial := s.c.TLS, s.c.Dial
	if secure == nil {
		secure = insecure.NewCredentials()
	}
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(secure), grpc.WithContextDialer(dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(replyBytesMax)),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry())
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background()) // ended by close or keep
	l := &link{
		address: address, conn: conn, stop: stop, breaker: breaker{c: s.c.Breaker},
		access: weirv1.NewAccessServiceClient(conn), ledger: weirv1.NewLedgerServiceClient(conn),
	}
	l.checks = stream.NewClient(func(ctx context.Context) (grpc.BidiStreamingClient[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse], error) {
		st, err := l.access.CheckStream(ctx)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUnsent, err)
		}
		return st, nil
	})
	s.streams.Go(func() {
		_ = l.checks.Run(ctx) // ends with ctx and has no other error
		_ = conn.Close()
	})
	return l, nil
}

// keep closes the ways to the addresses that are not wanted.
func (s *links) keep(wanted func(address string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for address, l := range s.all {
		if !wanted(address) {
			l.stop()
			delete(s.all, address)
		}
	}
}

// close closes all ways, and waits for what used them.
func (s *links) close() {
	s.mu.Lock()
	s.ended = true
	for _, l := range s.all {
		l.stop()
	}
	s.mu.Unlock()
	s.streams.Wait()
}
