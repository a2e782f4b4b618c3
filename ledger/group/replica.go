package group

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// reply is what became of one operation of an entry.
type reply struct {
	body []byte
	err  error
}

// replica hands the log to the machines. The Raft library calls it from one goroutine at a time.
type replica struct {
	machines map[string]Machine
	names    []string // sorted
	elapsed  elapsed
	changed  func() // the configuration changed

	newest atomic.Pointer[As]            // what the machines have seen at least
	grows  atomic.Pointer[chan struct{}] // closed when newest is replaced; nil unless somebody waits

	mu      sync.Mutex
	fault   error         // why this replica cannot follow the log any further
	faulted chan struct{} // signalled with fault
}

var _ raft.ConfigurationStore = (*replica)(nil)

func newReplica(machines map[string]Machine, changed func()) *replica {
	p := &replica{
		machines: machines,
		names:    slices.Sorted(maps.Keys(machines)),
		changed:  changed,
		faulted:  make(chan struct{}, 1),
	}
	p.newest.Store(&As{})
	return p
}

// Apply returns a []reply, one for each operation, or nil when the replica is at fault. Then it skips all
// that follows: a guess would make it differ from the others.
func (p *replica) Apply(l *raft.Log) interface{} {
	if p.err() != nil {
		return nil
	}
	replies, err := p.apply(l)
	if err != nil {
		p.fail(fmt.Errorf("apply entry %d: %w", l.Index, err))
		return nil
	}
	return replies
}

func (p *replica) apply(l *raft.Log) ([]reply, error) {
	h, operations, err := readEntry(l.Data)
	if err != nil {
		return nil, err
	}
	p.elapsed.move(l.Term, h.reading)
	at := Stamp{Term: l.Term, Index: l.Index, Wall: p.newest.Load().Wall, Elapsed: p.elapsed.total}
	if h.wall.After(at.Wall) {
		at.Wall = h.wall
	}
	replies := make([]reply, len(operations))
	for i, o := range operations {
		m := p.machines[o.machine]
		if m == nil {
			replies[i].err = fmt.Errorf("apply to %q: %w", o.machine, ErrUnknownMachine)
			continue
		}
		if replies[i].body, err = m.Apply(at, o.command); err != nil {
			return nil, fmt.Errorf("operation %d, of %s: %w", i, o.machine, err)
		}
	}
	p.grow(As{at.Index, at.Term, at.Wall})
	return replies, nil
}

// StoreConfiguration sees each committed configuration.
func (p *replica) StoreConfiguration(index uint64, _ raft.Configuration) {
	as := *p.newest.Load()
	as.Index = index
	p.grow(as)
	p.changed()
}

// grow says how far the machines have come.
func (p *replica) grow(as As) {
	p.newest.Store(&as)
	if c := p.grows.Swap(nil); c != nil {
		close(*c)
	}
}

// growth returns a channel that is closed when the machines have come further than they have by now.
func (p *replica) growth() <-chan struct{} {
	fresh := make(chan struct{})
	for {
		if c := p.grows.Load(); c != nil {
			return *c
		}
		if p.grows.CompareAndSwap(nil, &fresh) {
			return fresh
		}
	}
}

// Snapshot takes the state of all machines at one index.
func (p *replica) Snapshot() (raft.FSMSnapshot, error) {
	if err := p.err(); err != nil {
		return nil, fmt.Errorf("take snapshot: %w", err)
	}
	s := &snapshot{head: head{As: *p.newest.Load(), elapsed: p.elapsed}}
	for _, name := range p.names {
		write, err := p.machines[name].Snapshot()
		if err != nil {
			return nil, fmt.Errorf("take snapshot of %s: %w", name, err)
		}
		s.sections = append(s.sections, section{name, write})
	}
	return s, nil
}

// Restore replaces the state of all machines. When it fails they are undefined and the replica is at fault,
// until another Restore succeeds: a server that starts tries its older snapshots too.
func (p *replica) Restore(from io.ReadCloser) error { // the library closes from
	s, err := readSnapshot(from, func(name string, r io.Reader) error {
		m := p.machines[name]
		if m == nil {
			return ErrUnknownMachine
		}
		return m.Restore(r)
	})
	if err == nil && s.machines != len(p.machines) {
		err = fmt.Errorf("it holds %d machines, not %d", s.machines, len(p.machines))
	}
	if err != nil {
		err = fmt.Errorf("restore snapshot: %w", err)
		p.fail(err)
		return err
	}
	p.begin(s)
	p.fail(nil)
	p.changed()
	return nil
}

// begin goes on from where a snapshot was taken.
func (p *replica) begin(h head) {
	p.elapsed = h.elapsed
	p.grow(h.As)
}

func (p *replica) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = err
	select {
	case p.faulted <- struct{}{}:
	default:
	}
}

// err returns why the replica is at fault, or nil.
func (p *replica) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault
}
