package simnet

import (
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// windowBytesMax bounds what one direction of a stream holds, on its way or not yet read. Then Write blocks.
const windowBytesMax = 1 << 20

// conn is one end of a stream.
type conn struct {
	h             *Host
	local, remote *net.TCPAddr
	in, out       *flow
	closed        bool
	reset         bool // the peer's reset arrived: writes fail, and reads after what had arrived before
	answered      bool // this end, being closed, has told its peer so by a reset
	readBy        deadline
	writeBy       deadline
	ready         *sync.Cond // anything a Read or Write of this end waits for
}

// join makes a stream between two hosts and returns its ends.
func join(a, b *Host, at, to *net.TCPAddr) (near, far *conn) {
	near = &conn{h: a, local: at, remote: to, ready: sync.NewCond(&a.n.mu)}
	far = &conn{h: b, local: to, remote: at, ready: sync.NewCond(&a.n.mu)}
	near.out = newFlow(a.n.link(a.ip, b.ip), near, far)
	far.out = newFlow(a.n.link(b.ip, a.ip), far, near)
	near.in, far.in = far.out, near.out
	a.conns = append(a.conns, near)
	b.conns = append(b.conns, far)
	return near, far
}

// Read waits for bytes, for the end of the stream, or for the deadline.
func (c *conn) Read(p []byte) (int, error) {
	c.h.n.mu.Lock()
	defer c.h.n.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.error("read", net.ErrClosed)
		case c.readBy.expired:
			return 0, c.error("read", os.ErrDeadlineExceeded)
		case len(p) == 0:
			return 0, nil
		case c.h.paused:
		case c.in.arrived.Len() > 0:
			count, _ := c.in.arrived.Read(p) // a buffer that is not empty gives no error
			c.in.from.ready.Broadcast()
			return count, nil
		case c.in.end == io.EOF:
			return 0, io.EOF
		case c.in.end != nil:
			return 0, c.error("read", c.in.end)
		}
		c.ready.Wait()
	}
}

// Write waits for room in the window, or for the deadline. It returns before the bytes have arrived.
func (c *conn) Write(p []byte) (int, error) {
	c.h.n.mu.Lock()
	defer c.h.n.mu.Unlock()
	written := 0
	for {
		room := windowBytesMax - c.out.load()
		switch {
		case c.closed:
			return written, c.error("write", net.ErrClosed)
		case c.writeBy.expired:
			return written, c.error("write", os.ErrDeadlineExceeded)
		case c.reset && c.h.paused: // a read cannot fail now either: on one that writes alone fail gRPC opens streams without end
		case c.reset:
			return written, c.error("write", os.NewSyscallError("write", syscall.ECONNRESET))
		case written == len(p):
			return written, nil
		case room > 0:
			part := p[written:min(len(p), written+room)]
			written += len(part)
			c.out.send(segment{bytes: slices.Clone(part)})
			continue
		}
		c.ready.Wait()
	}
}

// Close sends the end of the stream behind what was written. Who still writes to a closed end is reset.
func (c *conn) Close() error {
	c.h.n.mu.Lock()
	defer c.h.n.mu.Unlock()
	if c.closed {
		return c.error("close", net.ErrClosed)
	}
	unread := c.in.arrived.Len() > 0
	c.shut()
	c.out.send(segment{end: io.EOF})
	if unread {
		c.refuse()
	}
	return nil
}

// LocalAddr returns a *net.TCPAddr.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns a *net.TCPAddr.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines; the zero time sets none.
func (c *conn) SetDeadline(t time.Time) error {
	return c.deadlines("set deadline", t, &c.readBy, &c.writeBy)
}

// SetReadDeadline ends Reads at t with os.ErrDeadlineExceeded, also those that wait already.
func (c *conn) SetReadDeadline(t time.Time) error {
	return c.deadlines("set read deadline", t, &c.readBy)
}

// SetWriteDeadline ends Writes at t with os.ErrDeadlineExceeded, also those that wait already.
func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.deadlines("set write deadline", t, &c.writeBy)
}

func (c *conn) deadlines(op string, t time.Time, of ...*deadline) error {
	c.h.n.mu.Lock()
	defer c.h.n.mu.Unlock()
	if c.closed {
		return c.error(op, net.ErrClosed)
	}
	for _, d := range of {
		d.set(t, c.ready)
	}
	return nil
}

// abort closes as a crash does: nothing more of this end gets through but the reset.
func (c *conn) abort() {
	if c.closed {
		return
	}
	c.shut()
	c.out.drop()
	c.refuse()
}

// refuse tells the peer, once, that nobody reads here any more.
func (c *conn) refuse() {
	if !c.answered {
		c.answered = true
		c.out.send(segment{end: os.NewSyscallError("read", syscall.ECONNRESET)})
	}
}

func (c *conn) shut() {
	c.closed = true
	c.readBy.stop()
	c.writeBy.stop()
	c.in.arrived.Reset()
	if i := slices.Index(c.h.conns, c); i >= 0 {
		c.h.conns = slices.Delete(c.h.conns, i, i+1)
	}
	c.ready.Broadcast()
}

func (c *conn) error(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}
