package group

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// streamsMax bounds the open streams of peers, several times what a hundred voters use. More are closed at once.
const streamsMax = 1024

// layer carries the Raft library's streams over Config.Network. Its addresses are names of nodes.
type layer struct {
	net.Listener
	name    string
	network Network
	resolve func(name string) (string, error)
	alive   context.Context // ends dials
	end     context.CancelFunc

	mu       sync.Mutex
	open     map[*stream]struct{}
	closed   bool
	fenced   bool
	handlers sync.WaitGroup // accepted streams that the library has not closed yet
}

var _ raft.StreamLayer = (*layer)(nil)

func (c Config) listen() (*layer, error) {
	l, err := c.Network.Listen(c.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for peers at %s: %w", c.Address, err)
	}
	alive, end := context.WithCancel(context.Background())
	return &layer{
		Listener: l, name: c.Name, network: c.Network, resolve: c.Resolve, alive: alive, end: end, open: map[*stream]struct{}{},
	}, nil
}

// Dial opens a stream to the node of that name, where it is now.
func (l *layer) Dial(name raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	l.mu.Lock()
	fenced := l.fenced
	l.mu.Unlock()
	if fenced {
		return nil, fmt.Errorf("dial node %s: %w: this server's own disk has not answered in time", name, net.ErrClosed)
	}
	address, err := l.resolve(string(name))
	if err != nil {
		return nil, fmt.Errorf("find node %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(l.alive, timeout)
	defer cancel()
	c, err := l.network.Dial(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("dial node %s: %w", name, err)
	}
	return l.add(c, func() {})
}

// Accept returns the next stream of a peer.
func (l *layer) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.handlers.Add(1)
		s, err := l.add(c, l.handlers.Done)
		if err == nil {
			return s, nil
		}
		l.handlers.Done()
	}
}

// Close ends all streams and waits until the library has let go of those it had accepted.
func (l *layer) Close() error {
	l.end()
	err := l.Listener.Close()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cut()
	l.handlers.Wait()
	return err
}

// cut ends all streams.
func (l *layer) cut() {
	l.mu.Lock()
	var open []*stream
	for s := range l.open {
		open = append(open, s)
	}
	l.mu.Unlock()
	for _, s := range open {
		_ = s.Conn.Close() // its user notices, and closes it again
	}
}

// fence has no stream open while it is up.
func (l *layer) fence(up bool) {
	l.mu.Lock()
	l.fenced = up
	l.mu.Unlock()
	if up {
		l.cut()
	}
}

// Addr returns the name of this node.
func (l *layer) Addr() net.Addr { return nodeName(l.name) }

// add keeps c until it is closed. When there is no room, it closes c.
func (l *layer) add(c net.Conn, done func()) (net.Conn, error) {
	s := &stream{Conn: c, of: l, done: done}
	l.mu.Lock()
	refused := l.closed || l.fenced || len(l.open) >= streamsMax
	if !refused {
		l.open[s] = struct{}{}
	}
	l.mu.Unlock()
	if refused {
		_ = c.Close() // nothing was sent on it
		return nil, net.ErrClosed
	}
	return s, nil
}

type stream struct {
	net.Conn
	of   *layer
	done func()
	once sync.Once
}

// Close ends the stream; later calls do nothing.
func (s *stream) Close() error {
	var err error
	s.once.Do(func() {
		s.of.mu.Lock()
		delete(s.of.open, s)
		s.of.mu.Unlock()
		err = s.Conn.Close()
		s.done()
	})
	return err
}

// nodeName is the address of a server: who it is, not where.
type nodeName string

// Network returns "node".
func (nodeName) Network() string { return "node" }

// String returns the name.
func (n nodeName) String() string { return string(n) }
