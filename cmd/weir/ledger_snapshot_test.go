package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

const (
	logTrailing = 10_240 // entries that a log keeps behind a snapshot, as ledger/group has it
	logSpare    = 300
	logCallers  = 8 // so few that most debits get an entry of their own
)

// TestAVoterThatMissedMoreThanTheLogHasIsSentASnapshot stops a voter until the others have dropped from their logs what it needs. Its
// journal lacks what the snapshot skipped, and fetches it. Proves L6 and L7 over a restored snapshot.
func TestAVoterThatMissedMoreThanTheLogHasIsSentASnapshot(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.fund(t, 0, "busy", 1_000_000_000)
	leader := c.leader(t)
	behind, other := (leader+1)%3, (leader+2)%3
	if _, err := c.clients[leader].Authorize(c.ctx, "hold", "busy", client.Hold{AmountMicros: 1000, TTLMS: time.Hour.Milliseconds()}); err != nil {
		t.Fatal(err)
	}
	if err := c.nodes[behind].kill(); err != nil {
		t.Fatal(err)
	}
	from := c.replica(t, leader).Index
	began := time.Now()
	debits := c.lengthen(t, leader, from+logTrailing+logSpare)
	c.weir(t, leader, "ledger", "snapshot", filepath.Join(t.TempDir(), "weir.backup")).want(t, exitOK) // which cuts the log
	took := time.Since(began)

	c.again(t, c.nodes[behind])
	back := time.Now()
	events := debits + 3 // an account, a grant, a hold
	c.until(t, "all events in its journal, without a gap", func() bool {
		return c.nodes[behind].gauge(t, "weir_journal_newest") == float64(events) && c.nodes[behind].gauge(t, "weir_journal_missing") == 0
	})
	if oldest := c.nodes[behind].gauge(t, "weir_journal_oldest"); oldest != 1 {
		t.Errorf("its journal begins with event %v", oldest)
	}
	installed := c.nodes[behind].snapshotIndex(t)
	if installed <= from {
		t.Errorf("it was at entry %d, and its newest snapshot is of entry %d: none was sent", from, installed)
	}
	whole := time.Since(back)
	want, got := c.everyEvent(t, other), c.everyEvent(t, behind)
	if len(want) != events || !slices.Equal(got, want) {
		t.Errorf("it tells %d events, the others %d, want the same %d", len(got), len(want), events)
	}
	mine, others := c.replica(t, behind), c.replica(t, other)
	if mine.Digest != others.Digest || mine.Chain != others.Chain || mine.Commands != others.Commands {
		t.Errorf("%+v\nof the voter that was sent a snapshot, want\n%+v", mine, others)
	}
	c.weir(t, behind, "ledger", "verify").want(t, exitOK, "sound")
	endAll(t, c.nodes...)
	for _, p := range c.nodes {
		weir(t, "ledger", "verify", p.dir()).want(t, exitOK, "sound", fmt.Sprintf("of which 1 to %d were replayed", len(want)))
	}
	t.Logf("%d debits in %v, the voter was at entry %d and was sent a snapshot of entry %d; whole again %v after it was ready",
		debits, took.Round(time.Millisecond), from, installed, whole.Round(time.Millisecond))
}

// lengthen debits at a node until the log has come to an index, and says how often.
func (c *cluster) lengthen(t *testing.T, i int, index uint64) int {
	t.Helper()
	to, err := rest.New(rest.Config{Addr: c.nodes[i].http}) // one that does not hold each answer to the promise: they are many
	if err != nil {
		t.Fatal(err)
	}
	var next, entry atomic.Uint64
	var failed atomic.Bool
	var callers sync.WaitGroup
	for range logCallers {
		callers.Go(func() {
			for entry.Load() < index && !failed.Load() {
				r, err := to.Debit(c.ctx, fmt.Sprint("debit-", next.Add(1)), "busy", client.Debit{AmountMicros: 1})
				if err != nil {
					failed.Store(true)
					t.Errorf("debit: %v", err)
					return
				}
				entry.Store(max(entry.Load(), r.Index)) // an older one may win: then one more is made
			}
		})
	}
	callers.Wait()
	return int(next.Load())
}

// replica is what a voter's own replica has.
func (c *cluster) replica(t *testing.T, i int) client.LedgerStatus {
	t.Helper()
	var s client.LedgerStatus
	c.until(t, "the status of "+c.nodes[i].name, func() (told bool) {
		var err error
		s, err = c.clients[i].LedgerStatus(c.ctx, ownReplica())
		return err == nil
	})
	return s
}

// everyEvent returns all events as a node tells them, which may lag behind.
func (c *cluster) everyEvent(t *testing.T, i int) (all []string) {
	t.Helper()
	for q := (rest.EventQuery{Limit: 1000}); ; {
		var page []client.Event
		var next uint64
		c.until(t, fmt.Sprint("events after ", q.After, " at ", c.nodes[i].name), func() (told bool) {
			var err error
			page, next, err = c.clients[i].Events(c.ctx, q)
			return err == nil
		})
		if next == q.After {
			return all
		}
		for _, e := range page {
			all = append(all, string(e.Raw))
		}
		q.After = next
	}
}

// snapshotIndex is up to which entry the newest snapshot in a voter's directory goes, 0 without one.
func (p *process) snapshotIndex(t *testing.T) (newest uint64) {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(p.dir(), "snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all { // term-index-milliseconds
		if parts := strings.Split(s.Name(), "-"); len(parts) == 3 {
			index, err := strconv.ParseUint(parts[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			newest = max(newest, index)
		}
	}
	return newest
}
