package simnet

import (
	"net"
	"sync"
)

const backlogMax = 128

type listener struct {
	h       *Host
	at      *net.TCPAddr
	backlog []*conn // connected, not yet accepted
	closed  bool
	ready   *sync.Cond
}

func newListener(h *Host, at *net.TCPAddr) *listener {
	return &listener{h: h, at: at, ready: sync.NewCond(&h.n.mu)}
}

// Accept waits for the next stream, or for Close.
func (l *listener) Accept() (net.Conn, error) {
	l.h.n.mu.Lock()
	defer l.h.n.mu.Unlock()
	for (len(l.backlog) == 0 || l.h.paused) && !l.closed {
		l.ready.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.at, Err: net.ErrClosed}
	}
	c := l.backlog[0]
	l.backlog = l.backlog[1:]
	return c, nil
}

// Close frees the port and resets the streams that nobody accepted.
func (l *listener) Close() error {
	l.h.n.mu.Lock()
	defer l.h.n.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.at, Err: net.ErrClosed}
	}
	l.shut()
	return nil
}

// Addr returns a *net.TCPAddr.
func (l *listener) Addr() net.Addr { return l.at }

func (l *listener) shut() {
	l.closed = true
	delete(l.h.listeners, l.at.Port)
	for _, c := range l.backlog {
		c.abort()
	}
	l.backlog = nil
	l.ready.Broadcast()
}
