package group

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestOperationForAnUnknownMachineFailsAlone(t *testing.T) {
	bubble(t, 1, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		var wg sync.WaitGroup
		for _, machine := range []string{"tape", "nobody", "tape", "", strings.Repeat("m", 33)} {
			wg.Go(func() {
				_, err := leader.g.Propose(t.Context(), machine, []byte("x"))
				if (machine == "tape") != (err == nil) || err != nil && (!errors.Is(err, ErrUnknownMachine) || OutcomeOf(err) != NotApplied) {
					t.Errorf("%s: %v", machine, err)
				}
			})
		}
		wg.Wait()
		c.agree(2)
	})
}

func TestOnlyARunningLeaderTakesProposals(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		g, err := New(func() Config { cfg := leader.cfg; cfg.Storage = Memory(); return cfg }())
		if err != nil {
			t.Fatal(err)
		}
		if g.Leading() || g.Status().State != "Stopped" {
			t.Errorf("before Run: %+v", g.Status())
		}
		if _, known := g.Leader(); known {
			t.Error("a leader is known before Run")
		}
		refused := func(name string, g *Group, command []byte, want error) {
			if _, err := g.Propose(t.Context(), "tape", command); !errors.Is(err, want) || OutcomeOf(err) != NotApplied {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
		refused("before Run", g, nil, ErrStopped)
		refused("follower", c.others(leader)[0].g, nil, ErrNotLeader)
		refused("too large", leader.g, make([]byte, leader.cfg.CommandBytes+1), ErrTooLarge)
		if _, err := leader.g.Propose(t.Context(), "tape", make([]byte, leader.cfg.CommandBytes)); err != nil {
			t.Errorf("the largest command: %v", err)
		}
		if err := g.AddServer(t.Context(), Server{ID: "x/y", Name: "x"}); !errors.Is(err, ErrStopped) {
			t.Errorf("add a server before Run: %v", err)
		}
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.Run(over); err != nil {
			t.Errorf("run: %v", err)
		}
		if err := g.Run(t.Context()); err == nil {
			t.Error("a group ran twice")
		}
	})
}

func TestFullQueueIsBusyAndWhoWaitsInItKnowsItWasNotApplied(t *testing.T) {
	narrow := func(cfg *Config) {
		cfg.InFlight, cfg.QueueOperations, cfg.CommandBytes, cfg.QueueBytes, cfg.PackOperations = 1, 2, 10, 16, 1
	}
	bubble(t, 1, narrow, func(t *testing.T, c *cluster) {
		leader := c.leader()
		leader.tape.lag = time.Second
		got := map[string]error{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		propose := func(command string, wait time.Duration) {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				defer cancel()
				_, err := leader.g.Propose(ctx, "tape", []byte(command))
				mu.Lock()
				defer mu.Unlock()
				got[command] = err
			})
			time.Sleep(10 * time.Millisecond)
		}
		propose("submitted", 500*time.Millisecond)
		propose("next", time.Minute)              // off the queue, but not packed: it waits for the slot
		propose("given up", 500*time.Millisecond) // 12 bytes of 16 wait
		propose("five.", time.Minute)             // 17 would be too many bytes
		propose("two", time.Minute)               // 15, and two operations in the queue
		propose("0", time.Minute)                 // too many operations
		wg.Wait()
		for command, want := range map[string]Outcome{
			"submitted": Unknown, "next": Applied, "given up": NotApplied, "five.": NotApplied, "two": Applied, "0": NotApplied,
		} {
			if OutcomeOf(got[command]) != want || want == NotApplied && !errors.Is(got[command], ErrBusy) {
				t.Errorf("%s: %v, want %v", command, got[command], want)
			}
		}
		if want := []string{"submitted", "next", "two"}; len(leader.tape.played()) != 3 || leader.tape.count("two") != 1 || leader.tape.count("submitted") != 1 {
			t.Errorf("played %q, want %q", leader.tape.played(), want)
		}
		if queued := leader.g.queuedBytes.Load(); queued != 0 {
			t.Errorf("%d bytes count as queued at the end", queued)
		}
	})
}

// TestCommandsProposedTogetherEachHaveTheirOutcome ends a call of several when some are in the log, some wait, and some were never taken.
func TestCommandsProposedTogetherEachHaveTheirOutcome(t *testing.T) {
	narrow := func(cfg *Config) {
		cfg.InFlight, cfg.QueueOperations, cfg.CommandBytes, cfg.PackOperations = 1, 2, 10, 1
	}
	bubble(t, 1, narrow, func(t *testing.T, c *cluster) {
		leader := c.leader()
		all := func(wait time.Duration, commands ...string) (outcomes []Outcome) {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			bytes := make([][]byte, len(commands))
			for i := range commands {
				bytes[i] = []byte(commands[i])
			}
			replies, errs := leader.g.ProposeAll(ctx, "tape", bytes)
			for i, err := range errs {
				if outcomes = append(outcomes, OutcomeOf(err)); (err == nil) != (replies[i] != nil) {
					t.Errorf("%s: reply %q and error %v", commands[i], replies[i], err)
				}
			}
			return outcomes
		}
		if got := all(time.Second); got != nil {
			t.Errorf("nothing: %v", got)
		}
		if got, want := all(time.Second, "one", "much too large", "two"), []Outcome{Applied, NotApplied, Applied}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		leader.tape.lag = time.Second
		var wg sync.WaitGroup
		wg.Go(func() {
			if got, want := all(500*time.Millisecond, "submitted"), []Outcome{Unknown}; !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
		time.Sleep(10 * time.Millisecond)
		wg.Go(func() { // the first is off the queue and waits for its turn, two wait in the queue, one has no room
			if got, want := all(1500*time.Millisecond, "a", "b", "c", "d"), []Outcome{Unknown, NotApplied, NotApplied, NotApplied}; !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
		wg.Wait()
		time.Sleep(5 * time.Second)
		if got := leader.tape.played(); len(got) != 4 || leader.tape.count("submitted") != 1 || leader.tape.count("a") != 1 {
			t.Errorf("played %q, want one, two, submitted and a", got)
		}
		if queued := leader.g.queuedBytes.Load(); queued != 0 {
			t.Errorf("%d bytes count as queued at the end", queued)
		}
	})
}

func TestEntriesKeepToTheirBounds(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	cfg.PackOperations, cfg.PackBytes = 3, 200
	g := &Group{cfg: cfg, queue: make(chan *proposal, 100)}
	var first *proposal
	for i := range 8 {
		p := &proposal{operation: operation{"tape", make([]byte, 10+i/6*150)}} // the last two are large
		if i == 4 {
			p.giveUp()
		}
		if first == nil {
			first = p
			continue
		}
		g.queue <- p
	}
	var sizes []int
	for first != nil {
		var batch []*proposal
		batch, first = g.gather(first)
		sizes = append(sizes, len(batch))
		if first == nil && len(g.queue) > 0 {
			first = <-g.queue
		}
	}
	if len(sizes) != 4 || sizes[0] != 3 || sizes[1] != 2 || sizes[2] != 1 || sizes[3] != 1 {
		t.Errorf("entries of %v operations, want 3, 2 (one was given up), 1, 1", sizes)
	}
}

func TestProposalsUnderWayAreAnsweredWhenTheGroupStops(t *testing.T) {
	narrow := func(cfg *Config) { cfg.InFlight, cfg.PackOperations = 4, 1 }
	bubble(t, 1, narrow, func(t *testing.T, c *cluster) {
		leader := c.leader()
		leader.tape.lag = time.Second
		var wg sync.WaitGroup
		outcomes := map[Outcome]int{}
		var mu sync.Mutex
		for range 8 {
			wg.Go(func() {
				_, err := leader.g.Propose(context.Background(), "tape", []byte("x"))
				mu.Lock()
				defer mu.Unlock()
				outcomes[OutcomeOf(err)]++
			})
		}
		time.Sleep(500 * time.Millisecond)
		if err := leader.halt(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if applied := len(leader.tape.played()); applied != 4 || outcomes[Applied] != 4 || outcomes[NotApplied] != 4 {
			t.Errorf("told %v, applied %d; want the 4 that were in flight", outcomes, applied)
		}
	})
}

func TestEntryOfANewerVersionStopsTheReplica(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		entry []byte
		want  error
	}{
		{"newer", []byte{entryVersion + 1, 1, 2, 3}, errEntryNewer},
		{"malformed", []byte{entryVersion, 1, 2, 3}, errEntryBad},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, 1, nil, func(t *testing.T, c *cluster) {
				leader := c.leader()
				c.propose(leader, "before")
				r := leader.g.raft.Load()
				answers := []raft.ApplyFuture{r.Apply(row.entry, 0), r.Apply(appendEntry(nil, heading{wall: time.Now()}, []operation{{"tape", nil}}), 0)}
				for _, answer := range answers {
					if err := answer.Error(); err != nil || answer.Response() != nil {
						t.Errorf("applied with %v, %v", answer.Response(), err)
					}
				}
				if err := <-leader.over; !errors.Is(err, row.want) || !strings.Contains(err.Error(), "entry 5") {
					t.Errorf("run returned %v", err)
				}
				leader.over <- nil
				if got := leader.tape.played(); len(got) != 1 {
					t.Errorf("played %q", got)
				}
			})
		})
	}
}
