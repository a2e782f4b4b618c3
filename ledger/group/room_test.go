package group

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// filling is a storage that says how much room it has.
type filling struct {
	Storage
	left atomic.Int64
}

func (s *filling) Open() (Stores, error) {
	all, err := s.Storage.Open()
	all.Free = func() (uint64, error) {
		if left := s.left.Load(); left >= 0 {
			return uint64(left), nil
		}
		return 0, errors.New("it does not say")
	}
	return all, err
}

// fillable runs f with a cluster whose disks can be filled.
func fillable(t *testing.T, f func(t *testing.T, c *cluster, disk func(*server) *filling)) {
	var disks []*filling
	bubble(t, 3, func(c *Config) {
		s := &filling{Storage: c.Storage}
		s.left.Store(1 << 30)
		disks = append(disks, s)
		c.Storage = s
	}, func(t *testing.T, c *cluster) {
		f(t, c, func(s *server) *filling { return disks[s.name[1]-'1'] })
	})
}

func propose(s *server, command string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := s.g.Propose(ctx, "tape", []byte(command))
	return err
}

func TestALeaderWithoutRoomHandsOverAndCatchesUpWhenItHasSome(t *testing.T) {
	fillable(t, func(t *testing.T, c *cluster, disk func(*server) *filling) {
		old := c.leader()
		disk(old).left.Store(int64(DefaultConfig().Reserve) - 1)
		next := c.leader(c.others(old)...)
		if !old.g.Full() || next.g.Full() {
			t.Errorf("full: %t, the next leader %t", old.g.Full(), next.g.Full())
		}
		for i := range 20 {
			if err := propose(next, fmt.Sprint("during-", i)); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(5 * time.Second)
		if n := old.tape.count("during-0"); n != 0 || !next.g.Leading() {
			t.Errorf("the server without room applied a command %d times; the leader leads %t", n, next.g.Leading())
		}
		disk(old).left.Store(int64(DefaultConfig().Reserve))
		c.until("it has caught up", func() bool { return old.tape.count("during-19") == 1 && !old.g.Full() })
	})
}

func TestWithoutRoomAnywhereCommandsAreRefusedAndSomebodyLeads(t *testing.T) {
	fillable(t, func(t *testing.T, c *cluster, disk func(*server) *filling) {
		for _, s := range c.servers {
			disk(s).left.Store(0)
		}
		time.Sleep(time.Second)
		led, refused := 0, 0
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			for _, s := range c.servers {
				if !s.g.Leading() {
					continue
				}
				led++
				if err := propose(s, "none"); errors.Is(err, ErrNoRoom) && OutcomeOf(err) == NotApplied {
					refused++
				}
			}
		}
		t.Logf("of 600 moments somebody led at %d and refused at %d", led, refused)
		if led < 550 || refused < 540 {
			t.Errorf("of 600 moments somebody led at %d and refused at %d", led, refused)
		}
		for _, s := range c.servers {
			disk(s).left.Store(-1) // unknown is enough
		}
		c.until("commands are taken", func() bool { return propose(c.leader(), "again") == nil })
		for _, s := range c.servers {
			if s.tape.count("none") > 0 {
				t.Errorf("%s applied what was refused", s.name)
			}
		}
	})
}
