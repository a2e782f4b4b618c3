package group

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// ask returns the last command that a server knows of, by a read.
func ask(s *server, read Read, timeout time.Duration) (string, As, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	reply, as, err := s.g.Query(ctx, "tape", nil, read)
	return string(reply), as, err
}

// register is what is known of a number that only grows, while it is written and read.
type register struct {
	mu      sync.Mutex
	least   int // that a read which begins now must find: written, or read, and answered
	answers int
	refused map[error]int
	stale   []string
}

func (r *register) floor() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.least
}

func (r *register) read(s *server) {
	least := r.floor()
	text, _, err := ask(s, Read{}, 700*time.Millisecond)
	got, _ := strconv.Atoi(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil && got < least:
		r.stale = append(r.stale, fmt.Sprintf("%s answered %d, known was %d", s.name, got, least))
	case err == nil:
		r.least, r.answers = max(r.least, got), r.answers+1
	case errors.Is(err, ErrNotLeader):
		r.refused[ErrNotLeader]++
	case errors.Is(err, ErrBusy):
		r.refused[ErrBusy]++
	default:
		r.stale = append(r.stale, err.Error())
	}
}

func (r *register) write(c *cluster, number int) {
	for _, s := range c.servers {
		if !s.g.Leading() {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		_, err := s.g.Propose(ctx, "tape", strconv.AppendInt(nil, int64(number), 10))
		cancel()
		if err == nil {
			r.mu.Lock()
			r.least = max(r.least, number)
			r.mu.Unlock()
		}
	}
}

// TestLinearizableReadIsNeverStale reads from all servers at once while leaders are cut off, one way and both, and stopped.
func TestLinearizableReadIsNeverStale(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		r := &register{refused: map[error]int{}}
		stop := make(chan struct{})
		var all sync.WaitGroup
		repeat := func(pause time.Duration, do func(i int)) {
			all.Go(func() {
				for i := 1; ; i++ {
					select {
					case <-stop:
						return
					case <-time.After(pause):
						do(i)
					}
				}
			})
		}
		c.leader()
		repeat(2*time.Millisecond, func(i int) { r.write(c, i) })
		for _, s := range c.servers {
			for range 3 {
				repeat(time.Millisecond, func(int) { r.read(s) })
			}
		}
		for round := range 9 {
			time.Sleep(500 * time.Millisecond)
			old := c.leader()
			switch round % 3 {
			case 0:
				c.net.Pause(old.ip)
			case 1:
				for _, o := range c.others(old) {
					c.net.CutOneWay(o.ip, old.ip)
				}
			case 2:
				for _, o := range c.others(old) {
					c.net.Cut(old.ip, o.ip)
				}
			}
			c.leader(c.others(old)...)
			time.Sleep(300 * time.Millisecond)
			c.net.Resume(old.ip)
			c.net.HealAll()
		}
		time.Sleep(time.Second)
		close(stop)
		all.Wait()
		for _, what := range r.stale {
			t.Error(what)
		}
		if r.answers < 1000 || r.refused[ErrNotLeader] < 1000 || r.least < 500 {
			t.Errorf("%d answers, refused %v, %d written", r.answers, r.refused, r.least)
		}
	})
}

// TestLeaderThatIsDeposedWhileItReadsDoesNotAnswer: what it read may be old when it is asked whether it still leads. (Reading after
// the voters were asked, it would answer.)
func TestLeaderThatIsDeposedWhileItReadsDoesNotAnswer(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		old := c.leader()
		c.propose(old, "first")
		reading, goOn := make(chan struct{}), make(chan struct{})
		old.tape.during = func() {
			close(reading)
			<-goOn
		}
		over := make(chan error)
		var said string
		go func() {
			reply, _, err := ask(old, Read{}, time.Minute)
			said = reply
			over <- err
		}()
		<-reading
		c.net.Pause(old.ip)
		c.propose(c.leader(c.others(old)...), "second")
		c.net.Resume(old.ip)
		close(goOn)
		if err := <-over; !errors.Is(err, ErrNotLeader) {
			t.Errorf("it answered %q, %v", said, err)
		}
		old.tape.during = nil
		c.until("the old leader hears of it", func() bool { return old.tape.count("second") == 1 })
	})
}

// TestReadIsConfirmedOnlyByQuestionsThatWereSentAfterIt: what a voter was asked before, as VerifyLeader counts it, was answered in
// a state of the world that the reader must not go by.
func TestReadIsConfirmedOnlyByQuestionsThatWereSentAfterIt(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		c.propose(leader, "x")
		real := leader.g.rounds.ask
		answer := make(chan struct{})
		defer func() {
			if t.Failed() {
				close(answer)
			}
		}()
		questions := make(chan raft.ServerID, 100)
		leader.g.rounds.ask = func(term uint64, voter raft.Server) (bool, error) {
			same, err := real(term, voter)
			questions <- voter.ID
			<-answer // on its way back
			return same, err
		}
		first, second := make(chan error, 1), make(chan error, 1)
		read := func(over chan error) {
			_, _, err := ask(leader, Read{}, time.Minute)
			over <- err
		}
		asked := func() {
			t.Helper()
			select {
			case <-questions:
			case <-time.After(time.Second):
				t.Fatal("nobody was asked")
			}
		}
		go read(first)
		asked()
		asked()
		go read(second) // shares no question that is under way
		time.Sleep(10 * time.Millisecond)
		answer <- struct{}{}
		if err := <-first; err != nil {
			t.Error(err)
		}
		answer <- struct{}{}
		time.Sleep(10 * time.Millisecond)
		select {
		case err := <-second:
			t.Fatalf("the second read went by the questions of the first: %v", err)
		default:
		}
		asked()
		close(answer)
		if err := <-second; err != nil {
			t.Error(err)
		}
	})
}

func TestReadsAtOnceShareQuestions(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		real := leader.g.rounds.ask
		var asked atomic.Int64
		leader.g.rounds.ask = func(term uint64, voter raft.Server) (bool, error) {
			asked.Add(1)
			return real(term, voter)
		}
		var many sync.WaitGroup
		for range 200 {
			many.Go(func() {
				if _, _, err := ask(leader, Read{}, time.Minute); err != nil {
					t.Error(err)
				}
			})
		}
		many.Wait()
		leader.g.rounds.asking.Wait()
		if n := asked.Load(); n < 1 || n > 50 {
			t.Errorf("200 reads at once had %d questions asked", n)
		}
	})
}

func TestReadWaitsForAMajorityAndNoMore(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		c.propose(leader, "x")
		others := c.others(leader)
		c.net.Cut(leader.ip, others[0].ip)
		if got, as, err := ask(leader, Read{}, 100*time.Millisecond); err != nil || got != "x" || as.Index == 0 || as.Wall.IsZero() {
			t.Errorf("with one voter cut off: %q as of %+v, %v", got, as, err)
		}
		c.net.Cut(leader.ip, others[1].ip)
		if _, _, err := ask(leader, Read{}, 100*time.Millisecond); !errors.Is(err, ErrBusy) {
			t.Errorf("cut off from both: %v", err)
		}
		began := time.Now()
		if _, _, err := ask(leader, Read{}, time.Minute); !errors.Is(err, ErrNotLeader) || time.Since(began) > time.Second {
			t.Errorf("it waited for its deposition %v: %v", time.Since(began), err)
		}
		for _, s := range others {
			if _, _, err := ask(s, Read{}, time.Minute); s.g.Leading() == errors.Is(err, ErrNotLeader) {
				t.Errorf("%s leads: %v, answered %v", s.name, s.g.Leading(), err)
			}
		}
	})
}

func TestStaleReadIsRefusedBeyondItsBound(t *testing.T) {
	var ahead time.Duration
	skewed := func(cfg *Config) {
		cfg.Now = func() time.Time { return time.Now().Add(ahead) }
	}
	bubble(t, 3, skewed, func(t *testing.T, c *cluster) {
		leader := c.leader()
		follower := c.others(leader)[0]
		if _, _, err := ask(follower, Read{MaxStaleness: time.Hour}, time.Second); !errors.Is(err, ErrNotLeader) {
			t.Errorf("before anything was written: %v", err)
		}
		c.propose(leader, "x")
		c.until("x everywhere", func() bool { return follower.tape.count("x") == 1 })
		for _, row := range []struct {
			pause, bound, ahead time.Duration
			fresh               bool
		}{
			{0, time.Second, 0, true},
			{900 * time.Millisecond, time.Second, 0, true},
			{200 * time.Millisecond, time.Second, 0, false},
			{0, 2 * time.Second, 0, true},
			{0, 2 * time.Second, -3 * time.Second, true},   // 1.1 s old, and seen from 1.9 s before
			{0, 2 * time.Second, -10 * time.Second, false}, // a stamp from the future tells nothing
		} {
			time.Sleep(row.pause)
			ahead = row.ahead
			got, _, err := ask(follower, Read{MaxStaleness: row.bound}, time.Second)
			if fresh := err == nil; fresh != row.fresh || fresh && got != "x" || !fresh && !errors.Is(err, ErrNotLeader) {
				t.Errorf("%+v: %q, %v", row, got, err)
			}
			ahead = 0
		}
		if got, _, err := ask(leader, Read{MaxStaleness: time.Millisecond}, time.Second); err != nil || got != "x" {
			t.Errorf("the leader, which can be confirmed: %q, %v", got, err)
		}
	})
}

func TestReadWaitsForTheEntryItNames(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		follower := c.others(leader)[0]
		follower.tape.lag = time.Second
		c.propose(leader, "x")
		index := leader.g.Status().AppliedIndex
		began := time.Now()
		if _, _, err := ask(follower, Read{MinIndex: index}, 200*time.Millisecond); !errors.Is(err, ErrBusy) {
			t.Errorf("before it has come: %v", err)
		}
		got, as, err := ask(follower, Read{MinIndex: index}, time.Minute)
		if err != nil || got != "x" || as.Index < index || time.Since(began) < 900*time.Millisecond {
			t.Errorf("after %v: %q as of %+v, %v", time.Since(began), got, as, err)
		}
		stranger := c.add(nil)
		c.until("it runs", func() bool { return stranger.g.raft.Load() != nil })
		if _, _, err := ask(stranger, Read{MinIndex: index}, time.Minute); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a server that is no member: %v", err)
		}
		if _, _, err := leader.g.Query(t.Context(), "type", nil, Read{}); !errors.Is(err, ErrUnknownMachine) {
			t.Errorf("a machine that nobody has: %v", err)
		}
		leader.stop()
		if err := leader.halt(); err != nil {
			t.Error(err)
		}
		if _, _, err := ask(leader, Read{}, time.Second); !errors.Is(err, ErrStopped) && !errors.Is(err, ErrNotLeader) {
			t.Errorf("after the end: %v", err)
		}
	})
}
