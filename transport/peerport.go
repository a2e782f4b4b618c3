package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/weir-cluster/weir/cluster"
)

// raftTag is the first byte of a Raft connection on the peer port. gRPC's begins with the letter P (HTTP/2,
// RFC 9113 §3.4), so one byte tells them apart.
const raftTag = 'R'

// tagTimeout bounds the wait for the first byte of a connection.
const tagTimeout = 5 * time.Second

// acceptAgain is the pause after a connection that could not be taken.
const acceptAgain = 20 * time.Millisecond

// PeerPort shares one listener between Raft and the gRPC of peers.
type PeerPort struct {
	name     string // of this node: Raft connections say whom they are for
	lineage  func() string
	network  cluster.Network
	listener net.Listener
	raft     *half
	grpc     *half
}

// OpenPeerPort binds host:port for the node of a name, at most 255 bytes. Connections are taken once Run runs. lineage returns the
// cluster that this node is of, as View.Lineage does, at most 255 bytes, and empty before it is known.
func OpenPeerPort(network cluster.Network, address, name string, lineage func() string) (*PeerPort, error) {
	l, err := network.Listen(address)
	if err != nil {
		return nil, fmt.Errorf("listen for peers: %w", err)
	}
	p := &PeerPort{name: name, lineage: lineage, network: network, listener: l}
	p.raft, p.grpc = newHalf(l.Addr()), newHalf(l.Addr())
	return p, nil
}

// Addr returns the bound address.
func (p *PeerPort) Addr() net.Addr { return p.listener.Addr() }

// GRPC returns the listener of gRPC connections.
func (p *PeerPort) GRPC() net.Listener { return p.grpc }

// Raft returns Raft's side of the port as a network: its one listener, and dialling with Raft's tag.
func (p *PeerPort) Raft() RaftNetwork { return RaftNetwork{p} }

// Close stops listening.
func (p *PeerPort) Close() error { return p.listener.Close() }

// Run hands connections to their side until ctx ends or the port is closed.
func (p *PeerPort) Run(ctx context.Context) error {
	var sorting sync.WaitGroup
	defer sorting.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer p.raft.end()
	defer p.grpc.end()
	stop := context.AfterFunc(ctx, func() { _ = p.listener.Close() })
	defer stop()
	for {
		c, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil { // out of file descriptors, or the caller is gone: it passes
			pause(ctx, acceptAgain)
			continue
		}
		sorting.Go(func() { p.sort(ctx, c) })
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// sort reads the first byte of a connection and hands it over; one that sends none in time, or before the
// port closes, is closed. The timer is the context's and not the node's clock, which drills may set.
func (p *PeerPort) sort(ctx context.Context, c net.Conn) {
	var tag [1]byte
	ctx, cancel := context.WithTimeout(ctx, tagTimeout)
	defer cancel()
	heard := context.AfterFunc(ctx, func() { _ = c.Close() })
	_, err := io.ReadFull(c, tag[:])
	if err == nil && tag[0] == raftTag {
		err = p.meant(c)
	}
	if err != nil || !heard() {
		_ = c.Close()
		return
	}
	side := p.grpc
	if tag[0] == raftTag {
		side = p.raft
	} else {
		c = &replayed{Conn: c, first: tag[:]}
	}
	select {
	case side.conns <- c:
	case <-side.done:
		_ = c.Close()
	}
}

// meant reads whom a Raft connection is for, and of what lineage it comes. An address may have passed from one node to another, of
// another cluster even, a voter that was given up for lost may come back, and the Raft library takes whatever arrives for
// its own.
func (p *PeerPort) meant(c net.Conn) error {
	name, err := readWord(c)
	if err != nil {
		return err
	}
	lineage, err := readWord(c)
	if err != nil {
		return err
	}
	own := p.lineage()
	if name != p.name || lineage != "" && own != "" && lineage != own {
		return fmt.Errorf("a Raft connection of %q for %q reached %s of %q", lineage, name, p.name, own)
	}
	return nil
}

// readWord reads a text behind its length, one byte.
func readWord(c net.Conn) (string, error) {
	var size [1]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return "", err
	}
	word := make([]byte, size[0])
	_, err := io.ReadFull(c, word)
	return string(word), err
}

// replayed is a connection whose first byte was read ahead.
type replayed struct {
	net.Conn
	first []byte
}

// Read returns the byte read ahead, then the rest.
func (r *replayed) Read(b []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(b, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(b)
}

// half is one side's listener.
type half struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHalf(addr net.Addr) *half {
	return &half{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (h *half) end() { h.once.Do(func() { close(h.done) }) }

// Accept waits for this side's next connection.
func (h *half) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close ends this side; the other goes on.
func (h *half) Close() error {
	h.end()
	return nil
}

// Addr returns the shared address.
func (h *half) Addr() net.Addr { return h.addr }

// RaftNetwork is the peer port as Raft sees it.
type RaftNetwork struct{ port *PeerPort }

// Listen returns Raft's side of the port, whatever the address.
func (n RaftNetwork) Listen(string) (net.Listener, error) { return n.port.raft, nil }

// RaftAddress is what Dial takes: a node's name and its peer port.
func RaftAddress(name, address string) string { return name + "@" + address }

// Dial opens a Raft connection to a RaftAddress, and says whom it is for and of what lineage it comes.
func (n RaftNetwork) Dial(ctx context.Context, address string) (net.Conn, error) {
	name, address, ok := strings.Cut(address, "@")
	lineage := n.port.lineage()
	if !ok || len(name) > 255 || len(lineage) > 255 {
		return nil, fmt.Errorf("dial %q of %q: not a name and an address", name, lineage)
	}
	c, err := n.port.network.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetWriteDeadline(deadline)
	}
	greeting := append([]byte{raftTag, byte(len(name))}, name...)
	if _, err := c.Write(append(append(greeting, byte(len(lineage))), lineage...)); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("greet %s: %w", address, err)
	}
	_ = c.SetWriteDeadline(time.Time{})
	return c, nil
}
