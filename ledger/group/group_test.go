package group

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestProposalsShareEntriesAndEachGetsItsOwnReply(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		before := leader.g.Status().LastIndex
		const operations = 2000
		var wg sync.WaitGroup
		for i := range operations {
			wg.Go(func() {
				command := fmt.Sprintf("command-%d", i)
				reply, err := leader.g.Propose(t.Context(), "tape", []byte(command))
				if err != nil {
					t.Errorf("%s: %v", command, err)
				}
				if _, echoed, _ := strings.Cut(string(reply), ":"); echoed != command {
					t.Errorf("%s got the reply %q", command, reply)
				}
			})
		}
		wg.Wait()
		if entries := leader.g.Status().LastIndex - before; entries > operations/20 || entries < operations/256 {
			t.Errorf("%d operations took %d entries", operations, entries)
		}
		c.agree(operations)
		if !slices.IsSortedFunc(leader.tape.walls, time.Time.Compare) || leader.tape.walls[0].IsZero() {
			t.Error("wall stamps go back")
		}
	})
}

// books notes what goroutines were told that propose to every server, leader or not.
type books struct {
	mu    sync.Mutex
	by    map[Outcome][]string
	odd   []error
	stop  chan struct{}
	group sync.WaitGroup
	round int
}

// open starts proposers for each server, which go on until close.
func (b *books) open(c *cluster, proposers int) {
	b.stop, b.round = make(chan struct{}), b.round+1
	for _, s := range c.servers {
		for p := range proposers {
			b.group.Go(func() { b.propose(c, s, fmt.Sprintf("%s-%d-%d", s.name, b.round, p)) })
		}
	}
}

func (b *books) close() {
	close(b.stop)
	b.group.Wait()
}

func (b *books) propose(c *cluster, s *server, prefix string) {
	for i := 0; ; i++ {
		select {
		case <-b.stop:
			return
		case <-time.After(3 * time.Millisecond):
		}
		command := fmt.Sprintf("%s-%d", prefix, i)
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		_, err := s.g.Propose(ctx, "tape", []byte(command))
		cancel()
		b.mu.Lock()
		if b.by == nil {
			b.by = map[Outcome][]string{}
		}
		b.by[OutcomeOf(err)] = append(b.by[OutcomeOf(err)], command)
		if err != nil && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrStopped) {
			b.odd = append(b.odd, err)
		}
		b.mu.Unlock()
	}
}

// judge compares what was told with what every machine played.
func (b *books) judge(t *testing.T, c *cluster) {
	t.Helper()
	c.propose(c.leader(), "last")
	c.until("the same everywhere", func() bool {
		want := c.servers[0].tape.played()
		for _, s := range c.servers {
			if s.tape.count("last") != 1 || !slices.Equal(want, s.tape.played()) {
				return false
			}
		}
		return true
	})
	times := map[string]int{}
	for _, line := range c.servers[0].tape.played() {
		_, command, _ := strings.Cut(line, " ")
		times[command]++
	}
	for outcome, commands := range b.by {
		for _, command := range commands {
			n := times[command]
			if outcome == Applied && n != 1 || outcome == NotApplied && n != 0 || outcome == Unknown && n > 1 {
				t.Errorf("%s was told %v and applied %d times", command, outcome, n)
			}
		}
	}
	for _, err := range b.odd {
		t.Errorf("unexpected error: %v", err)
	}
}

func TestLeaderCutOffNeverLies(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		old := c.leader()
		var b books
		b.open(c, 4)
		time.Sleep(200 * time.Millisecond)
		cut := time.Now()
		for _, o := range c.others(old) {
			c.net.Cut(old.ip, o.ip)
		}
		next := c.leader(c.others(old)...)
		if took := time.Since(cut); took > 5*time.Second {
			t.Errorf("the next leader took %v", took)
		}
		c.until("the old leader steps down", func() bool { return !old.g.Leading() })
		if old.g.Status().Term >= next.g.Status().Term {
			t.Errorf("the next leader has no later term: %+v, %+v", old.g.Status(), next.g.Status())
		}
		time.Sleep(time.Second)
		c.net.HealAll()
		time.Sleep(time.Second)
		b.close()
		b.judge(t, c)
		if len(b.by[Unknown]) == 0 || len(b.by[NotApplied]) == 0 || len(b.by[Applied]) < 100 {
			t.Errorf("the cut did not bite: %d applied, %d not, %d unknown", len(b.by[Applied]), len(b.by[NotApplied]), len(b.by[Unknown]))
		}
		if got := c.net.Stats().BytesStalled; got == 0 {
			t.Error("no byte was stalled")
		}
	})
}

func TestCrashOfEachLeaderLosesNothingAcknowledged(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		var b books
		for range 3 {
			leader := c.leader()
			b.open(c, 2)
			time.Sleep(100 * time.Millisecond)
			c.net.Crash(leader.ip)
			if err := leader.halt(); err != nil {
				t.Errorf("run: %v", err)
			}
			c.leader(c.others(leader)...)
			b.close()
			c.run(leader)
		}
		b.judge(t, c)
		if len(b.by[Applied]) < 60 {
			t.Errorf("only %d commands were applied", len(b.by[Applied]))
		}
	})
}

func TestRestartReplaysTheLog(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		for i := range 20 {
			c.propose(c.leader(), fmt.Sprintf("before-%d", i))
		}
		want := c.agree(20)
		for _, s := range c.servers {
			if err := s.halt(); err != nil {
				t.Errorf("run: %v", err)
			}
		}
		for _, s := range c.servers {
			id := s.g.ID()
			c.run(s)
			if !s.g.HasState() || s.g.ID() != id {
				t.Errorf("%s came back as %s, with state: %t", id, s.g.ID(), s.g.HasState())
			}
		}
		leader := c.leader()
		if err := leader.g.Bootstrap(t.Context(), []Server{{ID: leader.g.ID(), Name: leader.name, Voter: true}}); OutcomeOf(err) != NotApplied {
			t.Errorf("second bootstrap: %v", err)
		}
		if got := leader.tape.played(); !slices.Equal(got, want) {
			t.Errorf("a ready leader has played %d commands again, want %d", len(got), len(want))
		}
		c.agree(20)
	})
}

func TestSnapshotReachesAServerThatJoinsLate(t *testing.T) {
	small := func(cfg *Config) {
		cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs, cfg.trailingLogsFew = 20*time.Millisecond, 16, 4, true
	}
	bubble(t, 3, small, func(t *testing.T, c *cluster) {
		leader := c.leader()
		for i := range 100 {
			c.propose(leader, fmt.Sprintf("early-%d", i))
		}
		time.Sleep(time.Second)
		late := c.add(small)
		if err := leader.g.AddServer(t.Context(), Server{ID: late.g.ID(), Name: late.name, Voter: true}); err != nil {
			t.Fatal(err)
		}
		c.propose(leader, "after")
		c.agree(101)
		if late.tape.restored != 1 || leader.tape.restored != 0 {
			t.Errorf("restored %d times late, %d times on the leader", late.tape.restored, leader.tape.restored)
		}
		if got := leader.g.Status(); got.Voters != 4 || late.g.Status().AppliedIndex < 100 {
			t.Errorf("status %+v, %+v", got, late.g.Status())
		}

		if err := late.halt(); err != nil { // and a restart begins from its snapshot
			t.Error(err)
		}
		c.run(late)
		c.propose(c.leader(), "at last")
		c.agree(102)
		if late.tape.restored != 1 {
			t.Errorf("restored %d times at the restart, want 1", late.tape.restored)
		}
	})
}

func TestServersAreAddedAndRemoved(t *testing.T) {
	bubble(t, 2, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		third := c.add(nil)
		if third.g.HasState() {
			t.Error("a new server has state")
		}
		if third.g.Committed() != 0 {
			t.Errorf("a new server has %d entries", third.g.Committed())
		}
		if err := leader.g.Stage(t.Context(), third.g.ID(), third.name); err != nil {
			t.Fatal(err)
		}
		c.propose(leader, "x")
		c.agree(1)
		c.until("it knows what is agreed", func() bool { return third.g.Committed() == leader.g.Committed() && leader.g.Committed() > 2 })
		if voters, staged, err := third.g.Electorate(); err != nil || len(voters) != 2 || voters[leader.name] != leader.g.ID() ||
			!maps.Equal(staged, map[string]string{"n3": third.g.ID()}) {
			t.Errorf("voters %v, staged %v, %v", voters, staged, err)
		}
		servers, err := third.g.Servers()
		if err != nil || len(servers) != 3 || servers[2] != (Server{ID: third.g.ID(), Name: "n3"}) {
			t.Errorf("servers %+v, %v", servers, err)
		}
		if err := third.g.AddServer(t.Context(), servers[0]); OutcomeOf(err) != NotApplied || !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower added a server: %v", err)
		}
		if name, known := third.g.Leader(); !known || name != leader.name {
			t.Errorf("leader %q, %t, want %s", name, known, leader.name)
		}
		if err := leader.g.AddServer(t.Context(), Server{ID: third.g.ID(), Name: third.name, Voter: true}); err != nil {
			t.Fatal(err)
		}
		if err := leader.g.Stage(t.Context(), third.g.ID(), third.name); err != nil {
			t.Error(err) // and it keeps its vote
		}
		if got := leader.g.Status(); got.Voters != 3 || got.Servers != 3 || got.State != "Leader" {
			t.Errorf("status %+v", got)
		}
		if err := leader.g.RemoveServer(t.Context(), leader.g.ID()); err != nil {
			t.Fatal(err)
		}
		next := c.leader(c.others(leader)...)
		if servers, err := next.g.Servers(); err != nil || len(servers) != 2 {
			t.Errorf("servers %+v, %v", servers, err)
		}
	})
}

func TestStoppingLeaderHandsOver(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		old := c.leader()
		others := c.others(old)
		for len(others[0].g.Changes()) > 0 {
			<-others[0].g.Changes()
		}
		began := time.Now()
		if err := old.halt(); err != nil {
			t.Error(err)
		}
		<-others[0].g.Changes()
		c.leader(others...)
		if took := time.Since(began); took > 250*time.Millisecond {
			t.Errorf("the next leader took %v, longer than without an election timeout", took)
		}
		if _, err := old.g.Propose(t.Context(), "tape", nil); !errors.Is(err, ErrStopped) || OutcomeOf(err) != NotApplied {
			t.Errorf("propose to what stopped: %v", err)
		}
	})
}

func TestLeadingWaitsForTheMachinesToCatchUp(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		old := c.leader()
		for _, s := range c.others(old) {
			s.tape.lag = 500 * time.Millisecond
		}
		for i := range 10 {
			c.propose(old, fmt.Sprint(i))
		}
		c.net.Crash(old.ip)
		next := func() *server {
			for _, s := range c.others(old) {
				if s.g.Status().State == "Leader" {
					return s
				}
			}
			return nil
		}
		c.until("an election", func() bool { return next() != nil })
		if s := next(); s.g.Leading() || len(s.tape.played()) == 10 {
			t.Errorf("leading at once: %t, with %d commands played: the test shows nothing", s.g.Leading(), len(s.tape.played()))
		}
		if leader := c.leader(c.others(old)...); len(leader.tape.played()) != 10 {
			t.Errorf("leading with %d of 10 commands applied", len(leader.tape.played()))
		}
	})
}
