package cluster

import (
	"context"
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

// gossipNet is memberlist's Transport over a Network.
type gossipNet struct {
	network   Network
	advertise string // host that others are told, empty for the one bound
	packets   net.PacketConn
	streams   net.Listener
	now       func() time.Time

	packetCh chan *memberlist.Packet
	streamCh chan net.Conn
	stop     chan struct{}
	stopOnce sync.Once
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
		packetCh: make(chan *memberlist.Packet, 256), streamCh: make(chan net.Conn), stop: make(chan struct{}),
	}
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
			return // closed by Shutdown
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: g.now()}
		select {
		case g.packetCh <- p:
		case <-g.stop:
			return
		}
	}
}

func (g *gossipNet) acceptStreams() {
	defer g.readers.Done()
	for {
		c, err := g.streams.Accept()
		if err != nil {
			return // closed by Shutdown
		}
		select {
		case g.streamCh <- c:
		case <-g.stop:
			_ = c.Close()
			return
		}
	}
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
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return g.network.Dial(ctx, address)
}

// Shutdown closes both sockets and waits for their readers.
func (g *gossipNet) Shutdown() error {
	g.stopOnce.Do(func() {
		close(g.stop)
		_ = g.packets.Close()
		_ = g.streams.Close()
	})
	g.readers.Wait()
	return nil
}
