package group

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// stalling is a storage whose writes to the log can be made to wait.
type stalling struct {
	Storage
	mu      sync.Mutex
	blocked chan struct{} // nil: writes go through
	waited  int
}

func (s *stalling) Open() (Stores, error) {
	all, err := s.Storage.Open()
	all.Log = stallingLog{all.Log, s}
	return all, err
}

func (s *stalling) stall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocked = make(chan struct{})
}

func (s *stalling) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.blocked)
	s.blocked = nil
}

type stallingLog struct {
	raft.LogStore
	s *stalling
}

func (l stallingLog) StoreLogs(e []*raft.Log) error {
	l.s.mu.Lock()
	blocked := l.s.blocked
	if blocked != nil {
		l.s.waited++
	}
	l.s.mu.Unlock()
	if blocked != nil {
		<-blocked
	}
	return l.LogStore.StoreLogs(e)
}

func TestALeaderWhoseDiskStallsIsReplaced(t *testing.T) {
	var disks []*stalling
	bubble(t, 3, func(c *Config) {
		s := &stalling{Storage: c.Storage}
		disks = append(disks, s)
		c.Storage = s
	}, func(t *testing.T, c *cluster) {
		old := c.leader()
		var b books
		b.open(c, 4)
		time.Sleep(500 * time.Millisecond)
		disk := disks[old.name[1]-'1']
		began := time.Now()
		disk.stall()
		next := c.leader(c.others(old)...)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the next leader took %v", took)
		}
		if !old.g.Stalled() || old.g.Leading() || next.g.Stalled() || disk.waited == 0 {
			t.Errorf("stalled %t, leading %t; the next: %t; %d writes waited", old.g.Stalled(), old.g.Leading(), next.g.Stalled(), disk.waited)
		}
		time.Sleep(30*time.Second - time.Since(began))
		disk.end()
		c.until("the old leader is back", func() bool { return !old.g.Stalled() && old.g.Status().Term == next.g.Status().Term })
		b.close()
		b.odd = slices.DeleteFunc(b.odd, func(err error) bool { return errors.Is(err, ErrBusy) }) // before the deadline
		b.judge(t, c)
		if len(b.by[Applied]) < 1000 {
			t.Errorf("only %d commands were applied in 30 s of which the group was without a leader for some", len(b.by[Applied]))
		}
	})
}

func TestAWriteThatReturnsInTimeRaisesNoFence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var raised []bool
		f := &fence{deadline: time.Second, raise: func(up bool) { raised = append(raised, up) }}
		take := func(d time.Duration) func() error {
			return func() error {
				time.Sleep(d)
				return nil
			}
		}
		if err := f.write(take(time.Second - 1)); err != nil || f.up() || len(raised) > 0 {
			t.Errorf("just in time: %v, up %t, raised %v", err, f.up(), raised)
		}
		var all sync.WaitGroup
		for _, d := range []time.Duration{3 * time.Second, 5 * time.Second} {
			all.Go(func() { _ = f.write(take(d)) })
		}
		time.Sleep(4 * time.Second)
		if !f.up() {
			t.Error("a write is four seconds old")
		}
		all.Wait()
		if f.up() || len(raised) != 2 || !raised[0] || raised[1] {
			t.Errorf("at the end: up %t, raised %v", f.up(), raised)
		}
	})
}
