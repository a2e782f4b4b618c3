// Package simnet is a network in memory whose links can be cut, slowed, and made to lose or double packets.
// It hides how bytes travel between hosts of one process, in real time as well as in the virtual time of
// testing/synctest: it waits only on timers and condition variables, and never while it holds its lock.
package simnet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Network joins hosts by links, one for each direction between two of them. Links exist by themselves; a new
// one delays by 100 µs to 1 ms, about as a LAN does, and has no fault. All methods may be called from any
// goroutine and none blocks. Hosts are named by their IP address everywhere.
type Network struct {
	seed uint64

	mu      sync.Mutex // guards all below, and every host, link, flow, conn, listener and packetConn
	hosts   map[string]*Host
	links   map[path]*link
	usual   Faults // of links that have none of their own
	stats   Stats
	changed *sync.Cond // a cut, a heal or a crash: dials wait for it
}

// Stats counts what the network, or one link of it, did since New. They prove that a fault bit.
type Stats struct {
	PacketsSent       uint64 // handed to WriteTo
	PacketsDropped    uint64 // by a cut, by loss, at a full queue, or for want of a receiver
	PacketsDuplicated uint64
	PacketsReordered  uint64 // that arrived after one sent later over the same link
	Writes            uint64 // to streams, and their ends
	BytesStalled      uint64 // stream bytes that a cut or a pause made wait, each counted once a cut
	DialsRefused      uint64
	DialsHung         uint64 // dials that met a cut, whether or not they got through in the end
	StreamsReset      uint64 // resets that reached a stream's end
}

// New returns a network without hosts. Each link draws its delays and losses from a random stream of its own,
// made of seed and the link's two names, so that traffic on one link does not change the draws of another.
func New(seed uint64) *Network {
	n := &Network{
		seed:  seed,
		hosts: map[string]*Host{},
		links: map[path]*link{},
		usual: Faults{DelayMin: 100 * time.Microsecond, DelayMax: time.Millisecond},
	}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// Host returns the host with this IP address, such as "10.0.0.1", which is made when it is new or has
// crashed: a host that comes back is another value, and what is left of the old one can do nothing any more.
// It panics when ip is not an IP address.
func (n *Network) Host(ip string) *Host {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		panic(fmt.Sprintf("simnet: host %q: %v", ip, err))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	ip = address.String()
	h := n.hosts[ip]
	if h == nil {
		h = &Host{n: n, ip: ip, up: true, listeners: map[int]*listener{}, boxes: map[int]*packetConn{}, port: ephemeralMin}
		n.hosts[ip] = h
	}
	return h
}

// Crash ends the host at ip as a killed process ends: all it has open is closed, bytes it had not yet got
// through are lost, the streams of its peers are reset, and later dials to it are refused. Host brings it back, not
// paused. It returns how many listeners, sockets and streams were open.
func (n *Network) Crash(ip string) (open int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[ip]
	if h == nil {
		return 0
	}
	open = len(h.listeners) + len(h.boxes) + len(h.conns)
	if h.paused {
		n.hold(ip, false)
	}
	n.crash(h)
	return open
}

// Close crashes every host. What was open returns errors from then on, so that all who wait come free.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		n.crash(h)
	}
	return nil
}

// Stats returns the counters as they are now.
func (n *Network) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

func (n *Network) crash(h *Host) {
	delete(n.hosts, h.ip)
	h.up = false
	for _, l := range h.listeners {
		l.shut()
	}
	for _, b := range h.boxes {
		b.shut()
	}
	for _, c := range slices.Clone(h.conns) {
		c.abort()
	}
	n.changed.Broadcast()
}

// wake lets those that wait for a route look at their context again.
func (n *Network) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changed.Broadcast()
}

// sleep waits for d, or less when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
