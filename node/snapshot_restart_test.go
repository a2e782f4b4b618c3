package node_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-cluster/weir/node"
)

// fenced is a directory of snapshots that a killed process reaches no more.
type fenced struct {
	node.Snapshots
	dead *atomic.Bool
}

// Save fails after the kill.
func (f fenced) Save(write func(io.Writer) error) error {
	if f.dead.Load() {
		return errors.New("killed")
	}
	return f.Snapshots.Save(write)
}

// onDisk runs body over a node alone with snapshots in a directory, which it may kill and start again.
func onDisk(t *testing.T, seed uint64, body func(s *sim, m *simNode, kill, again func())) {
	t.Helper()
	dir, dead := t.TempDir(), new(atomic.Bool)
	equip := func(m *simNode) { m.snapshots = fenced{node.SnapshotsIn(dir), dead} }
	simulateWith(t, seed, 1, equip, func(s *sim) {
		m := s.nodes[0]
		kill := func() {
			s.t.Helper()
			dead.Store(true)
			s.crash(m)
			<-m.done
			s.crashed = nil
		}
		again := func() {
			s.t.Helper()
			dead = new(atomic.Bool)
			equip(m)
			s.start(m, 1)
			<-m.node.Ready()
		}
		body(s, m, kill, again)
	})
}

// users are some.
func (s *sim) users() (users []string) {
	for i := range 12 {
		users = append(users, fmt.Sprint("user-", i))
	}
	return users
}

// admitted asks until a user is refused, at most that often, and returns how often not.
func (s *sim) admitted(user, kind string) (n int) {
	s.t.Helper()
	for range 12 {
		a := s.check(s.nodes[0], fmt.Sprintf(`{"domain":"d","attributes":{"user":%q,"kind":%q}}`, user, kind))
		if a.Verdict != "ALLOW" {
			break
		}
		n++
	}
	return n
}

// A node alone is killed, and started again a while later: it goes on where it was.
func TestLimitsAndRecordsOutlastTheKillOfANode(t *testing.T) {
	onDisk(t, 41, func(s *sim, m *simNode, kill, again func()) {
		for i, user := range s.users() {
			for range i % 8 {
				s.check(m, fmt.Sprintf(`{"domain":"d","attributes":{"user":%q}}`, user))
			}
			s.check(m, fmt.Sprintf(`{"domain":"d","attributes":{"user":%q,"kind":"spill"}}`, user))
		}
		keyed := `{"domain":"d","attributes":{"user":"keyed"},"idempotency_key":"once"}`
		first := s.check(m, keyed)
		held := s.check(m, `{"domain":"d","attributes":{"user":"held"},"mode":"RESERVE"}`)
		time.Sleep(10 * time.Second)
		for range 2 {
			kill()
			time.Sleep(time.Minute) // 2 an hour: not yet one more
			again()
			time.Sleep(2 * time.Second) // the next snapshot
		}
		for i, user := range s.users() {
			spill := min(1, 9-i%8)
			if got := s.admitted(user, "spill"); got != spill {
				t.Errorf("%s is admitted %d times by its bucket, which had %d left", user, got, spill)
			}
			if got, want := s.admitted(user, "window"), 9-i%8-spill; got != want {
				t.Errorf("%s is admitted %d times more within its window, want %d", user, got, want)
			}
		}
		if a := s.check(m, keyed); a.ID != first.ID || a.ID == "" {
			t.Errorf("a repeated check is %+v, was %+v", a, first)
		}
		var settled answer
		if status := s.call(m, "POST", "/v1/settle", fmt.Sprintf(`{"reservation":%q,"final":true}`, held.Reservation), &settled); status != http.StatusOK {
			t.Errorf("settle answers %d, %+v", status, settled)
		}
	})
}

// A graceful stop writes everything, right after the last answer.
func TestAGracefulStopForgetsNothing(t *testing.T) {
	onDisk(t, 42, func(s *sim, m *simNode, _, again func()) {
		s.check(m, spillBody)
		for range 3 {
			s.check(m, `{"domain":"d","attributes":{"user":"u"}}`)
		}
		s.stop(m)
		again()
		if got := s.admitted("u", "spill"); got != 1 {
			t.Errorf("the bucket admits %d, had 1", got)
		}
		if got := s.admitted("u", "window"); got != 5 { // both kinds count
			t.Errorf("the window admits %d, had 5", got)
		}
	})
}
