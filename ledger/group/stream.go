package group

import (
	"context"
	"fmt"
	"io"
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
	id      string                   // of this server
	idOf    func(name string) string // of a member; empty when it is none
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

func (c Config) listen(id string, idOf func(name string) string) (*layer, error) {
	l, err := c.Network.Listen(c.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for peers at %s: %w", c.Address, err)
	}
	alive, end := context.WithCancel(context.Background())
	return &layer{
		Listener: l, name: c.Name, id: id, idOf: idOf, network: c.Network, resolve: c.Resolve, alive: alive, end: end, open: map[*stream]struct{}{},
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
	id := l.idOf(string(name))
	if id == "" {
		return nil, fmt.Errorf("dial node %s: it is no member", name)
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
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetWriteDeadline(deadline)
	}
	if _, err := c.Write(append([]byte{byte(len(id))}, id...)); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("greet node %s: %w", name, err)
	}
	_ = c.SetWriteDeadline(time.Time{})
	return l.add(c, "", func() {})
}

// Accept returns the next stream of a peer.
func (l *layer) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.handlers.Add(1)
		s, err := l.add(c, l.id, l.handlers.Done)
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

// add keeps c until it is closed. When there is no room, it closes c. What is read from it begins with the server id that is
// meant, unless meant is empty.
func (l *layer) add(c net.Conn, meant string, done func()) (net.Conn, error) {
	s := &stream{Conn: c, of: l, meant: meant, done: done}
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

// stream is a connection between servers. Who opens it says first which server it is for: one whose disk was replaced has the same
// name, but neither the votes nor the log that the group counts on, and the Raft library does not ask.
type stream struct {
	net.Conn
	of    *layer
	meant string // must be said before anything else is read; one goroutine reads
	done  func()
	once  sync.Once
}

// Read returns what follows the greeting.
func (s *stream) Read(b []byte) (int, error) {
	if s.meant != "" {
		said := make([]byte, 1+len(s.meant))
		if _, err := io.ReadFull(s.Conn, said); err != nil {
			return 0, err
		}
		if int(said[0]) != len(s.meant) || string(said[1:]) != s.meant {
			return 0, fmt.Errorf("a stream for another server reached %s", s.meant)
		}
		s.meant = ""
	}
	return s.Conn.Read(b)
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
