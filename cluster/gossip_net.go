package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Network is how a node reaches others: the seam where tests and drills put faults.
type Network interface {
	Listen(address string) (net.Listener, error)
	ListenPacket(address string) (net.PacketConn, error)
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// packetMax is the largest datagram that is read; memberlist sends at most 1,400 bytes by default.
const packetMax = 65536

// readAgain is the pause after an error of a socket.
const readAgain = 20 * time.Millisecond

// gossipNet is memberlist's Transport over a Network.
type gossipNet struct {
	network   Network
	advertise string // host that others are told, empty for the one bound
	packets   net.PacketConn
	streams   net.Listener
	now       func() time.Time

	packetCh chan *memberlist.Packet
	streamCh chan net.Conn
	ctx      context.Context // ended by Shutdown: dials must not outlast it
	cancel   context.CancelFunc
	readers  sync.WaitGroup
}

var _ memberlist.Transport = (*gossipNet)(nil)

// openGossipNet binds address for packets and for streams, on the same port, and starts reading.
func openGossipNet(network Network, address, advertise string, now func() time.Time) (*gossipNet, error) {
	streams, err := network.Listen(address)
	if err != nil {
		return nil, fmt.Errorf("listen for gossip: %w", err)
	}
	packets, err := network.ListenPacket(streams.Addr().String())
	if err != nil {
		_ = streams.Close()
		return nil, fmt.Errorf("listen for gossip: %w", err)
	}
	g := &gossipNet{
		network: network, advertise: advertise, packets: packets, streams: streams, now: now,
		packetCh: make(chan *memberlist.Packet, 256), streamCh: make(chan net.Conn),
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.readers.Add(2)
	go g.readPackets()
	go g.acceptStreams()
	return g, nil
}

func (g *gossipNet) readPackets() {
	defer g.readers.Done()
	buf := make([]byte, packetMax)
	for {
		n, from, err := g.packets.ReadFrom(buf)
		if err != nil {
			if g.over(err) {
				return
			}
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: g.now()}
		select {
		case g.packetCh <- p:
		case <-g.ctx.Done():
			return
		}
	}
}

func (g *gossipNet) acceptStreams() {
	defer g.readers.Done()
	for {
		c, err := g.streams.Accept()
		if err != nil {
			if g.over(err) {
				return
			}
			continue
		}
		select {
		case g.streamCh <- c:
		case <-g.ctx.Done():
			_ = c.Close()
			return
		}
	}
}

// over says whether a socket's error is its end. Others pass (no file descriptor is free, a peer reset), after
// a pause, so that a lasting one does not spin.
func (g *gossipNet) over(err error) bool {
	return errors.Is(err, net.ErrClosed) || !wait(g.ctx, readAgain)
}

// FinalAdvertiseAddr tells memberlist what to announce: the given host, else the bound one.
func (g *gossipNet) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	bound, port, err := splitPort(g.streams.Addr().String())
	if err != nil {
		return nil, 0, err
	}
	host := g.advertise
	if host == "" {
		host = bound
	}
	ip := net.ParseIP(host)
	if ip == nil || ip.IsUnspecified() {
		return nil, 0, fmt.Errorf("gossip listens on %s: say with --advertise which IP address others reach this node at", bound)
	}
	return ip, port, nil
}

func splitPort(address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(text)
	return host, port, err
}

// WriteTo sends one datagram.
func (g *gossipNet) WriteTo(b []byte, address string) (time.Time, error) {
	host, port, err := splitPort(address)
	if err != nil {
		return time.Time{}, err
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return time.Time{}, fmt.Errorf("gossip to %s: not an IP address", address)
	}
	_, err = g.packets.WriteTo(b, &net.UDPAddr{IP: ip, Port: port})
	return g.now(), err
}

// PacketCh is where memberlist reads datagrams.
func (g *gossipNet) PacketCh() <-chan *memberlist.Packet { return g.packetCh }

// StreamCh is where memberlist takes connections.
func (g *gossipNet) StreamCh() <-chan net.Conn { return g.streamCh }

// DialTimeout opens a stream for push/pull and fallback probes.
func (g *gossipNet) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(g.ctx, timeout)
	defer cancel()
	return g.network.Dial(ctx, address)
}

// Shutdown closes both sockets and waits for their readers.
func (g *gossipNet) Shutdown() error {
	g.cancel()
	_ = g.packets.Close() // a second time is an error that says nothing
	_ = g.streams.Close()
	g.readers.Wait()
	return nil
}
