package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

// pipes is a listener in memory, so that HTTP runs in virtual time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hosting serves a handler over pipes until the test ends, and returns a client that reaches nothing else.
func hosting(t *testing.T, h http.Handler) *http.Client {
	t.Helper()
	p := newPipes()
	s := &http.Server{Handler: h}
	var served sync.WaitGroup
	served.Go(func() { _ = s.Serve(p) })
	dialer := &http.Transport{DialContext: p.dial}
	t.Cleanup(func() {
		dialer.CloseIdleConnections()
		_ = s.Close()
		served.Wait()
	})
	return &http.Client{Transport: dialer}
}

// desks remembers cursors, and can be told to fail.
type desks struct {
	mu   sync.Mutex
	at   map[string]uint64
	sets int
	fail bool
}

func (d *desks) Status(context.Context, ledger.Read) (ledger.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := ledger.Status{Cursors: []ledger.Cursor{{Name: "another", Seq: 3}}}
	for name, seq := range d.at {
		s.Cursors = append(s.Cursors, ledger.Cursor{Name: name, Seq: seq})
	}
	return s, nil
}

func (d *desks) SetCursor(_ context.Context, s ledger.SetCursor) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail {
		return 0, errors.New("no quorum")
	}
	if d.at == nil {
		d.at = make(map[string]uint64)
	}
	if s.Remove {
		delete(d.at, s.Name)
		return s.Seq, nil
	}
	if !s.Rewind {
		s.Seq = max(s.Seq, d.at[s.Name])
	}
	d.at[s.Name] = s.Seq
	d.sets++
	return s.Seq, nil
}

// ledgerJournal returns a journal that runs until the test ends.
func ledgerJournal(t *testing.T) *journal.Journal {
	t.Helper()
	c := journal.DefaultConfig()
	c.SegmentBytes, c.RetainBytes, c.Now = 4096, 4<<20, time.Now
	j := journal.NewMemory(c)
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = j.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		run.Wait()
		_ = j.Close()
	})
	return j
}

// change is event seq: of one of three accounts, and a grant, a debit or an opening.
func change(seq uint64) ledger.Event {
	movements := []ledger.Movement{ledger.Opening, ledger.Granting, ledger.Debiting}
	e := ledger.Event{
		Seq: seq, Account: fmt.Sprintf("acct%d", seq%3), AccountSeq: seq/3 + 1, Movement: movements[seq%3], Key: fmt.Sprintf("key-%d", seq),
		Postings:     []ledger.Posting{{Book: ledger.Issued, Amount: -5}, {Book: ledger.Available, Grant: "g", Amount: 5}},
		BalanceAfter: ledger.Credits(seq), Index: 10 + seq, Term: 2, Wall: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(seq)),
	}
	if e.Movement == ledger.Opening {
		e.Attributes = &ledger.Attributes{Plan: "pro", Labels: []ledger.Label{{Name: "team", Value: "a"}}}
	}
	return e
}

// happen appends events first to last.
func happen(t *testing.T, j *journal.Journal, first, last uint64) {
	t.Helper()
	for seq := first; seq <= last; seq++ {
		e := change(seq)
		if err := j.Append(seq, e.Encode()); err != nil {
			t.Fatal(err)
		}
	}
}

func eventDoor(j Events) *EventDoor {
	return &EventDoor{Events: j, Cursors: &desks{}, Source: "/weir/test", Patience: 30 * time.Second}
}
