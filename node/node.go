package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"
)

// Node is one node. Everything it knows about others it learns while Run runs.
type Node struct {
	cfg   Config
	ready chan struct{}
	parts atomic.Pointer[parts] // set while Run runs
}

// New returns a node that is silent until Run. The error says what is wrong with the configuration.
func New(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("node configuration: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Logger = cfg.Logger.With("node", cfg.Name)
	return &Node{cfg: cfg, ready: make(chan struct{})}, nil
}

// Run runs the node until ctx ends, then stops it gracefully: it hands over what it is home of, goes on
// answering meanwhile, and takes at most the drain timeout. It may be called once. An error means that the
// node could not start, or that a part of it failed.
func (n *Node) Run(ctx context.Context) error {
	p, err := build(n.cfg)
	if err != nil {
		return err
	}
	n.parts.Store(p)
	r := start(p.stages(n.ready))
	err = r.wait(ctx)
	if err == nil {
		n.cfg.Logger.Info("stopping")
		p.drain()
	}
	return errors.Join(err, r.stop())
}

// Ready is closed once the node can decide: it is in the view, and there is a policy.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// HTTPAddr returns the bound address of the HTTP API, once the node is Ready.
func (n *Node) HTTPAddr() string { return n.address(func(p *parts) net.Listener { return p.http }) }

// GRPCAddr returns the bound address of the gRPC API, once the node is Ready.
func (n *Node) GRPCAddr() string { return n.address(func(p *parts) net.Listener { return p.grpc }) }

func (n *Node) address(of func(*parts) net.Listener) string {
	if p := n.parts.Load(); p != nil {
		return of(p).Addr().String()
	}
	return ""
}

// poll calls done every so often until it says true or ctx ends, and says which.
func poll(ctx context.Context, every time.Duration, done func() bool) bool {
	t := time.NewTicker(every)
	defer t.Stop()
	for !done() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
