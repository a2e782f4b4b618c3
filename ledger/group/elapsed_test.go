package group

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestElapsedAddsOnlyWhatPassedInATerm(t *testing.T) {
	t.Parallel()
	type step struct {
		term uint64 // of the log
		reading
		want time.Duration // total
	}
	for name, steps := range map[string][]step{
		"one term":                   {{1, reading{1, 100}, 0}, {1, reading{1, 130}, 30}, {1, reading{1, 130}, 30}, {1, reading{1, 150}, 50}},
		"the next leader's clock":    {{1, reading{1, 100}, 0}, {2, reading{2, 9000}, 0}, {2, reading{2, 9005}, 5}, {3, reading{3, 1}, 5}, {3, reading{3, 2}, 6}},
		"the same leader again":      {{1, reading{1, 100}, 0}, {3, reading{3, 500}, 0}, {3, reading{3, 510}, 10}},
		"a clock that goes back":     {{1, reading{1, 100}, 0}, {1, reading{1, 40}, 0}, {1, reading{1, 100}, 0}, {1, reading{1, 101}, 1}},
		"packed in a term before":    {{5, reading{5, 10}, 0}, {7, reading{5, 20}, 0}, {7, reading{7, 300}, 0}, {7, reading{7, 301}, 1}},
		"entries without a reading":  {{1, reading{}, 0}, {1, reading{}, 0}, {2, reading{2, 70}, 0}, {2, reading{2, 72}, 2}},
		"a reading between two none": {{4, reading{4, 10}, 0}, {4, reading{}, 0}, {4, reading{4, 99}, 0}, {4, reading{4, 100}, 1}},
	} {
		var e elapsed
		for i, s := range steps {
			if e.move(s.term, s.reading); e.total != s.want {
				t.Errorf("%s: step %d: %d, want %d", name, i, e.total, s.want)
			}
		}
	}
}

// TestElapsedNeverLeadsRealTime is LEDGER 4.2: while leaders change, are cut off or stopped, and while clocks of the wall jump, no
// two stamps tell of more time than has really passed between them (mutant M2 of LEDGER 5.6).
func TestElapsedNeverLeadsRealTime(t *testing.T) {
	var mu sync.Mutex
	jump, boots := map[string]time.Duration{}, 0
	clocks := func(cfg *Config) {
		name, began, boot := cfg.Name, time.Now(), time.Duration(boots)*1000*time.Hour
		boots++
		cfg.Mono = func() time.Duration { return boot + time.Since(began) } // of each process another
		cfg.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(jump[name])
		}
	}
	bubble(t, 3, clocks, func(t *testing.T, c *cluster) {
		asked := []time.Time{}
		write := func(span time.Duration) {
			for end := time.Now().Add(span); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				for _, s := range c.servers {
					if s.g.Leading() {
						command := strconv.AppendInt(nil, int64(len(asked)), 10)
						asked = append(asked, time.Now())
						go func() { _, _ = s.g.Propose(t.Context(), "tape", command) }()
						time.Sleep(time.Millisecond)
					}
				}
			}
		}
		began := time.Now()
		for round := range 4 {
			write(2 * time.Second)
			old := c.leader()
			mu.Lock()
			jump[old.name] += time.Duration(1-2*(round%2)) * time.Hour
			mu.Unlock()
			write(time.Second)
			if round%2 == 0 {
				c.net.Pause(old.ip)
				write(3 * time.Second)
				c.net.Resume(old.ip)
			} else {
				for _, o := range c.others(old) {
					c.net.Cut(old.ip, o.ip)
				}
				write(3 * time.Second)
				c.net.HealAll()
			}
		}
		write(time.Second)
		c.propose(c.leader(), fmt.Sprint(len(asked)))
		asked = append(asked, time.Now())
		c.until("the last everywhere", func() bool {
			return !slices.ContainsFunc(c.servers, func(s *server) bool { return s.tape.count(fmt.Sprint(len(asked)-1)) == 0 })
		})
		judgeElapsed(t, c, asked, time.Since(began))
	})
}

// judgeElapsed compares stamps with when their commands were proposed, and first applied anywhere.
func judgeElapsed(t *testing.T, c *cluster, asked []time.Time, took time.Duration) {
	t.Helper()
	first := c.servers[0].tape
	terms := map[string]bool{}
	var slack time.Duration // the most that real time was ahead of elapsed time, when an entry before was asked for
	for i, line := range first.lines {
		place, command, _ := strings.Cut(line, " ")
		term, _, _ := strings.Cut(place, "/")
		terms[term] = true
		number, err := strconv.Atoi(command)
		if err != nil {
			t.Fatal(err)
		}
		seen := first.seen[i]
		for _, s := range c.servers[1:] {
			if s.tape.elapsed[i] != first.elapsed[i] {
				t.Fatalf("entry %d: %v on one replica, %v on another", i, first.elapsed[i], s.tape.elapsed[i])
			}
			if s.tape.seen[i].Before(seen) {
				seen = s.tape.seen[i]
			}
		}
		// An entry was packed after it was asked for and before it was seen.
		began := asked[0]
		if ahead := seen.Sub(began) - first.elapsed[i]; i > 0 && ahead < slack {
			t.Errorf("entry %d: elapsed time %v leads real time by %v", i, first.elapsed[i], slack-ahead)
		}
		if ahead := asked[number].Sub(began) - first.elapsed[i]; i == 0 || ahead > slack {
			slack = ahead
		}
	}
	last := first.elapsed[len(first.elapsed)-1]
	if len(terms) < 4 || last < took/2 {
		t.Errorf("%v of %v elapsed, in %d terms", last, took, len(terms))
	}
}

func TestElapsedGoesOnFromASnapshot(t *testing.T) {
	t.Parallel()
	log := func(index, term uint64, mono time.Duration) *raft.Log {
		h := heading{reading{term, mono}, time.Unix(100, 0)}
		return &raft.Log{Index: index, Term: term, Data: appendEntry(nil, h, []operation{{"tape", []byte("x")}})}
	}
	first, second := &tape{}, &tape{}
	p := newReplica(map[string]Machine{"tape": first}, func() {})
	q := newReplica(map[string]Machine{"tape": second}, func() {})
	p.Apply(log(10, 3, 1000))
	p.Apply(log(11, 3, 1007))
	taken, err := p.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Restore(io.NopCloser(bytes.NewReader(stack(t, taken.(*snapshot))))); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*replica{p, q} {
		r.Apply(log(12, 3, 1010))
		r.Apply(log(13, 4, 5))
		r.Apply(log(14, 4, 6))
	}
	if want := []time.Duration{10, 10, 11}; !slices.Equal(first.elapsed[2:], want) || !slices.Equal(second.elapsed, want) {
		t.Errorf("elapsed %v, and %v from the snapshot on; want %v", first.elapsed, second.elapsed, want)
	}
}
