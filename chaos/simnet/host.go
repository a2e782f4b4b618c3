package simnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
)

const (
	ephemeralMin = 49152
	portMax      = 65535
)

// Host is one machine of the network. Its methods fit the seams where the node meets its network. An address
// is "ip:port"; its own IP may be written as none, as 0.0.0.0, or as a loopback address. Errors are those of
// package net: *net.OpError around a syscall number, net.ErrClosed or os.ErrDeadlineExceeded.
type Host struct {
	n         *Network
	ip        string
	up        bool // false for ever once it crashed
	paused    bool
	listeners map[int]*listener
	boxes     map[int]*packetConn
	conns     []*conn // in the order they were made: a crash meets them in it
	port      int     // where the search for a free port goes on
}

// Listen opens a TCP-like listener. Port 0 takes a free one. At most 128 streams wait for Accept; dials
// beyond that are refused.
func (h *Host) Listen(address string) (net.Listener, error) {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	at, err := h.bind(address, func(port int) bool { return h.listeners[port] != nil })
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	l := newListener(h, net.TCPAddrFromAddrPort(at))
	h.listeners[l.at.Port] = l
	return l, nil
}

// ListenPacket opens a UDP-like socket. Port 0 takes a free one. At most 1,024 packets wait to be read; more
// are dropped.
func (h *Host) ListenPacket(address string) (net.PacketConn, error) {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	at, err := h.bind(address, func(port int) bool { return h.boxes[port] != nil })
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "udp", Err: err}
	}
	b := newPacketConn(h, net.UDPAddrFromAddrPort(at))
	h.boxes[b.at.Port] = b
	return b, nil
}

// Dial opens a stream, which takes a round trip. While the link is cut either way it waits for Heal, until
// ctx ends. It is refused where nobody listens, also on a host that crashed or never was.
func (h *Host) Dial(ctx context.Context, address string) (net.Conn, error) {
	to, err := h.resolve(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	defer context.AfterFunc(ctx, h.n.wake)()
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	c, err := h.connect(ctx, to)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	return c, nil
}

// connect makes the round trip and the stream. It gives up the lock while it sleeps.
func (h *Host) connect(ctx context.Context, to netip.AddrPort) (*conn, error) {
	out, back := h.n.link(h.ip, to.Addr().String()), h.n.link(to.Addr().String(), h.ip)
	blocked := func() bool { return out.stopped() || back.cut } // a paused host still answers a dial
	for hung, passed := false, false; !passed; passed = !blocked() {
		for ctx.Err() == nil && h.up && blocked() {
			if !hung {
				hung = true
				out.tally(func(s *Stats) { s.DialsHung++ })
			}
			h.n.changed.Wait()
		}
		trip := out.delay() + back.delay()
		h.n.mu.Unlock()
		sleep(ctx, trip)
		h.n.mu.Lock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !h.up {
			return nil, net.ErrClosed
		}
	}
	l := h.n.listener(to)
	if l == nil || len(l.backlog) == backlogMax {
		out.tally(func(s *Stats) { s.DialsRefused++ })
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	local := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(h.ip), uint16(h.free(func(int) bool { return false }))))
	near, far := join(h, l.h, local, l.at)
	l.backlog = append(l.backlog, far)
	l.ready.Broadcast()
	return near, nil
}

func (n *Network) listener(at netip.AddrPort) *listener {
	if h := n.hosts[at.Addr().String()]; h != nil {
		return h.listeners[int(at.Port())]
	}
	return nil
}

// bind returns the address to listen at, or why not.
func (h *Host) bind(address string, taken func(port int) bool) (netip.AddrPort, error) {
	at, err := h.resolve(address)
	port := int(at.Port())
	switch {
	case err != nil:
		return at, err
	case !h.up:
		return at, net.ErrClosed
	case at.Addr().String() != h.ip:
		return at, os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)
	case port == 0:
		port = h.free(taken)
	}
	if taken(port) || port == 0 {
		return at, os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	return netip.AddrPortFrom(at.Addr(), uint16(port)), nil
}

// free returns the next port that nothing has taken, or 0 when all are.
func (h *Host) free(taken func(port int) bool) int {
	for range portMax - ephemeralMin + 1 {
		port := h.port
		h.port++
		if h.port > portMax {
			h.port = ephemeralMin
		}
		if !taken(port) {
			return port
		}
	}
	return 0
}

// resolve reads an address as this host sees it.
func (h *Host) resolve(address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read address: %w", err)
	}
	if host == "" || host == "localhost" {
		host = h.ip
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read address: %w", err)
	}
	if ip.IsUnspecified() || ip.IsLoopback() {
		ip = netip.MustParseAddr(h.ip)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read port of %s: %w", address, err)
	}
	return netip.AddrPortFrom(ip, uint16(number)), nil
}
