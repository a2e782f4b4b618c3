package group

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
	wall     time.Time
	consumed atomic.Uint64 // index of the last entry the machines have seen
	changed  func()        // the configuration changed

	mu      sync.Mutex
	fault   error         // why this replica cannot follow the log any further
	faulted chan struct{} // signalled with fault
}

var _ raft.ConfigurationStore = (*replica)(nil)

func newReplica(machines map[string]Machine, changed func()) *replica {
	return &replica{
		machines: machines,
		names:    slices.Sorted(maps.Keys(machines)),
		changed:  changed,
		faulted:  make(chan struct{}, 1),
	}
}

// Apply returns a []reply, one for each operation, or nil when the replica is at fault. Then it skips all
// that follows: a guess would make it differ from the others.
func (p *replica) Apply(l *raft.Log) interface{} {
	if p.err() != nil {
		return nil
	}
	wall, operations, err := readEntry(l.Data)
	if err != nil {
		p.fail(fmt.Errorf("apply entry %d: %w", l.Index, err))
		return nil
	}
	if wall.After(p.wall) {
		p.wall = wall
	}
	at := Stamp{Term: l.Term, Index: l.Index, Wall: p.wall}
	replies := make([]reply, len(operations))
	for i, o := range operations {
		if m := p.machines[o.machine]; m != nil {
			replies[i].body = m.Apply(at, o.command)
		} else {
			replies[i].err = fmt.Errorf("apply to %q: %w", o.machine, ErrUnknownMachine)
		}
	}
	p.consumed.Store(l.Index)
	return replies
}

// StoreConfiguration sees each committed configuration.
func (p *replica) StoreConfiguration(index uint64, _ raft.Configuration) {
	p.consumed.Store(index)
	p.changed()
}

// Snapshot takes the state of all machines at one index.
func (p *replica) Snapshot() (raft.FSMSnapshot, error) {
	if err := p.err(); err != nil {
		return nil, fmt.Errorf("take snapshot: %w", err)
	}
	s := &snapshot{index: p.consumed.Load(), wall: p.wall}
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
	p.wall = s.wall
	p.consumed.Store(s.index)
	p.fail(nil)
	p.changed()
	return nil
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
