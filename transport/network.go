package transport

import (
	"context"
	"net"
	"time"

	"github.com/weir-cluster/weir/cluster"
)

// Network is the real network of the machine.
type Network struct{}

var _ cluster.Network = Network{}

// keepAlive finds a dead peer by itself: a connection stuck in retransmission back-off after a cut must not
// be waited for.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}
}

// Listen accepts TCP connections on host:port.
func (Network) Listen(address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive()}
	return lc.Listen(context.Background(), "tcp", address)
}

// ListenPacket receives UDP datagrams on host:port.
func (Network) ListenPacket(address string) (net.PacketConn, error) {
	return net.ListenPacket("udp", address)
}

// Dial opens a TCP connection to host:port.
func (Network) Dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive()}
	return d.DialContext(ctx, "tcp", address)
}
