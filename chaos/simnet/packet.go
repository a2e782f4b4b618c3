package simnet

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	packetsMax     = 1024 // that wait to be read
	packetBytesMax = 65507
)

// packetConn is a UDP-like socket.
type packetConn struct {
	h      *Host
	at     *net.UDPAddr
	queue  []packet
	closed bool
	readBy deadline
	ready  *sync.Cond
}

type packet struct {
	bytes []byte
	from  *net.UDPAddr
	sent  time.Time
}

func newPacketConn(h *Host, at *net.UDPAddr) *packetConn {
	return &packetConn{h: h, at: at, ready: sync.NewCond(&h.n.mu)}
}

// ReadFrom waits for a packet, for Close, or for the deadline. What does not fit into p is lost.
func (b *packetConn) ReadFrom(p []byte) (int, net.Addr, error) {
	b.h.n.mu.Lock()
	defer b.h.n.mu.Unlock()
	for {
		switch {
		case b.closed:
			return 0, nil, b.error("read", nil, net.ErrClosed)
		case b.readBy.expired:
			return 0, nil, b.error("read", nil, os.ErrDeadlineExceeded)
		case len(b.queue) > 0 && !b.h.paused:
			first := b.queue[0]
			b.queue = b.queue[1:]
			return copy(p, first.bytes), first.from, nil
		}
		b.ready.Wait()
	}
}

// WriteTo sends a packet and never blocks. That it was lost is no error.
func (b *packetConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	to, err := b.h.resolve(addr.String())
	if err != nil {
		return 0, b.error("write", addr, err)
	}
	b.h.n.mu.Lock()
	defer b.h.n.mu.Unlock()
	switch {
	case b.closed:
		return 0, b.error("write", addr, net.ErrClosed)
	case len(p) > packetBytesMax:
		return 0, b.error("write", addr, os.NewSyscallError("sendto", syscall.EMSGSIZE))
	}
	b.h.n.send(packet{bytes: slices.Clone(p), from: b.at}, b.h.ip, to)
	return len(p), nil
}

// send lets the link decide how often, and when, p arrives.
func (n *Network) send(p packet, from string, to netip.AddrPort) {
	l := n.link(from, to.Addr().String())
	l.tally(func(s *Stats) { s.PacketsSent++ })
	lost, doubled, overtaken := l.chance(l.faults().Loss), l.chance(l.faults().Duplication), l.chance(l.faults().Reordering)
	copies := 1
	switch {
	case l.stopped() || lost:
		l.tally(func(s *Stats) { s.PacketsDropped++ })
		return
	case doubled:
		l.tally(func(s *Stats) { s.PacketsDuplicated++ })
		copies = 2
	}
	p.sent = time.Now()
	late := time.Duration(0)
	if overtaken {
		late = l.setback()
	}
	for range copies {
		time.AfterFunc(late+l.delay(), func() { n.arrive(p, l, to) })
	}
}

func (n *Network) arrive(p packet, l *link, to netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var b *packetConn
	if h := n.hosts[to.Addr().String()]; h != nil {
		b = h.boxes[int(to.Port())]
	}
	if l.cut || b == nil || len(b.queue) == packetsMax {
		l.tally(func(s *Stats) { s.PacketsDropped++ })
		return
	}
	if p.sent.Before(l.newest) {
		l.tally(func(s *Stats) { s.PacketsReordered++ })
	} else {
		l.newest = p.sent
	}
	b.queue = append(b.queue, p)
	b.ready.Broadcast()
}

// Close frees the port. Packets that nobody read are lost.
func (b *packetConn) Close() error {
	b.h.n.mu.Lock()
	defer b.h.n.mu.Unlock()
	if b.closed {
		return b.error("close", nil, net.ErrClosed)
	}
	b.shut()
	return nil
}

// LocalAddr returns a *net.UDPAddr.
func (b *packetConn) LocalAddr() net.Addr { return b.at }

// SetDeadline is SetReadDeadline, since a write never waits.
func (b *packetConn) SetDeadline(t time.Time) error { return b.SetReadDeadline(t) }

// SetReadDeadline ends reads at t with os.ErrDeadlineExceeded, also those that wait already.
func (b *packetConn) SetReadDeadline(t time.Time) error {
	b.h.n.mu.Lock()
	defer b.h.n.mu.Unlock()
	if b.closed {
		return b.error("set read deadline", nil, net.ErrClosed)
	}
	b.readBy.set(t, b.ready)
	return nil
}

// SetWriteDeadline has nothing to do: a write never waits.
func (b *packetConn) SetWriteDeadline(time.Time) error { return nil }

func (b *packetConn) shut() {
	b.closed = true
	b.queue = nil
	b.readBy.stop()
	delete(b.h.boxes, b.at.Port)
	b.ready.Broadcast()
}

func (b *packetConn) error(op string, addr net.Addr, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: b.at, Addr: addr, Err: err}
}
