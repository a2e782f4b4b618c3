package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ring"
)

// tended is a steward of node a, which leads, in virtual time, with what it sees and did.
type tended struct {
	*Steward
	t      *testing.T
	gossip *Gossip
	group  *fakeGroup

	mu      sync.Mutex
	unended map[string]bool // whose lease goes on
	silent  map[string]bool // who does not ask for its lease, or may not have it
	behind  []link          // deputies that their homes call so
	settled bool
	ready   func(v *View) []uint16 // what homes say that the next home has
	views   []*View                // agreed on, and when
	times   []time.Duration
	began   time.Time
}

func (c *tended) Ended(name, _ string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.unended[name]
}

func (c *tended) Asks(name, _ string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.silent[name]
}

func (c *tended) Settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settled
}

func (c *tended) Ready() []uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.group.views.Current(); v != nil {
		return c.ready(v)
	}
	return nil
}

func (c *tended) Behind() []link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.behind
}

// Spread notes a view; all that are seen go by it at once.
func (c *tended) Spread(_ context.Context, v *View) {
	c.mu.Lock()
	c.views, c.times = append(c.views, v), append(c.times, time.Since(c.began))
	c.mu.Unlock()
	c.gossip.mu.Lock()
	defer c.gossip.mu.Unlock()
	for name, m := range c.gossip.alive {
		m.Epoch = v.Epoch
		c.gossip.alive[name] = m
	}
}

// tend runs body beside the steward, after the first view of these.
func tend(t *testing.T, body func(c *tended), alive ...Sighting) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		group := &fakeGroup{leading: true, state: true, servers: map[string]string{"a": "a/s", "b": "b/s", "c": "c/s"}}
		c := &tended{t: t, gossip: known(alive...), group: group, unended: make(map[string]bool), silent: make(map[string]bool), settled: true, ready: all, began: time.Now()}
		c.Steward = group.steward(c.gossip, c)
		ctx, cancel := context.WithCancel(t.Context())
		var over sync.WaitGroup
		defer over.Wait()
		defer cancel()
		over.Go(func() { _ = c.Run(ctx) })
		time.Sleep(settleWait + time.Second)
		c.fresh()
		body(c)
	})
}

// all is everything that moves.
func all(v *View) (ready []uint16) {
	for p, next := range v.Table.Nexts {
		if next != ring.None {
			ready = append(ready, uint16(p))
		}
	}
	return ready
}

// now changes what the steward sees, or looks at what it did, when it is not at it.
func (c *tended) now(change func()) {
	synctest.Wait()
	c.gossip.mu.Lock()
	defer c.gossip.mu.Unlock()
	c.group.mu.Lock()
	defer c.group.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *tended) see(m Sighting) { c.now(func() { c.gossip.alive[m.Name] = m }) }
func (c *tended) lose(nm string) { c.now(func() { delete(c.gossip.alive, nm) }) }
func (c *tended) leave(nm string) {
	c.now(func() { c.gossip.alive[nm] = withLeaving(c.gossip.alive[nm]) })
}

// fresh forgets the views so far.
func (c *tended) fresh() { c.now(func() { c.views, c.times, c.began = nil, nil, time.Now() }) }

// changed waits and returns the views that were agreed on meanwhile.
func (c *tended) changed(after time.Duration) (views []*View) {
	time.Sleep(after)
	c.now(func() { views = c.views })
	return views
}

// voters returns the server ids of who votes.
func (c *tended) voters() (servers map[string]string) {
	c.now(func() { servers = maps.Clone(c.group.servers) })
	return servers
}

func (c *tended) standing(name string) ring.Standing {
	v := c.group.views.Current()
	if i := v.Find(name); i >= 0 {
		return v.Roster[i].Standing
	}
	return ring.Absent
}

func three() []Sighting {
	return []Sighting{sighted("a", "1"), sighted("b", "1"), sighted("c", "1")}
}

func TestAJoinComesToRestInFewViewsAndNoneFollows(t *testing.T) {
	tend(t, func(c *tended) {
		c.see(sighted("d", "1"))
		views := c.changed(30 * time.Second)
		last := views[len(views)-1]
		if n := homes(last); n["d"] < 900 || last.Table.Moving() > 0 {
			c.t.Errorf("homes %v, %d partitions move", n, last.Table.Moving())
		}
		if last.Roster[3].Joining {
			c.t.Error("all know of it, and it is still joining")
		}
		if len(views) > 8 { // the join, four batches of 256 for 1,024, deputies beside them, and a last one
			c.t.Errorf("%d views, at %v", len(views), c.times)
		}
		c.fresh()
		if more := c.changed(time.Minute); len(more) > 0 {
			c.t.Errorf("%d more views", len(more))
		}
	}, three()...)
}

func TestNewcomersComeTogetherButDoNotWaitForEver(t *testing.T) {
	tend(t, func(c *tended) {
		c.now(func() { c.settled = false })
		for _, name := range []string{"d", "e", "f"} {
			c.see(sighted(name, "1"))
			time.Sleep(800 * time.Millisecond)
		}
		if views := c.changed(time.Second); len(views) != 1 || len(views[0].Roster) != 6 {
			c.t.Fatalf("three newcomers: %d views", len(views))
		}
		c.fresh()
		for i := range 20 {
			c.see(sighted(string(rune('g'+i)), "1"))
			time.Sleep(500 * time.Millisecond)
		}
		if n := len(c.changed(0)); n < 1 || n > 2 || c.times[0] > joinWaitMax+stewardEvery {
			c.t.Errorf("twenty newcomers in ten seconds: views at %v", c.times)
		}
	}, three()...)
}

func TestALeaveAndACrashDoNotWait(t *testing.T) {
	tend(t, func(c *tended) {
		c.see(sighted("d", "1"))
		c.lose("b")
		if views := c.changed(stewardEvery); len(views) != 1 || homes(views[0])["b"] != 0 {
			c.t.Fatalf("%d views after a crash", len(views))
		}
		c.now(func() { c.settled = false })
		c.leave("c")
		if views := c.changed(stewardEvery); len(views) != 2 || homes(views[1])["c"] != 0 {
			c.t.Fatalf("%d views after a leave", len(views))
		}
	}, three()...)
}

func TestNothingMovesWhileSomebodyMayBeLostOrHasNotBegun(t *testing.T) {
	tend(t, func(c *tended) {
		c.now(func() { c.unended["b"], c.settled = true, false })
		c.see(sighted("d", "1"))
		time.Sleep(5 * time.Second)
		c.fresh()
		if n := len(c.changed(10 * time.Second)); n > 0 {
			c.t.Errorf("%d views, and not all have begun", n)
		}
		c.lose("b")
		c.now(func() { c.settled = true })
		if n := len(c.changed(10 * time.Second)); n > 0 {
			c.t.Errorf("%d views, and b may be lost", n)
		}
		c.see(sighted("b", "1"))
		if n := len(c.changed(10 * time.Second)); n < 2 {
			c.t.Errorf("%d views when b is back", n)
		}
	}, three()...)
}

func TestMovesThatAreNotReadyCostNoViews(t *testing.T) {
	tend(t, func(c *tended) {
		c.now(func() { c.ready = func(*View) []uint16 { return nil } })
		c.see(sighted("d", "1"))
		time.Sleep(20 * time.Second)
		c.fresh()
		if n, v := len(c.changed(time.Minute)), c.group.views.Current(); n > 0 || v.Table.Moving() != moveBatch || homes(v)["d"] > 0 {
			c.t.Errorf("%d views, %d partitions move, d is home of %d", n, v.Table.Moving(), homes(v)["d"])
		}
		c.now(func() { c.ready = func(v *View) []uint16 { return all(v)[:10] } })
		c.changed(3 * time.Second)
		for i, at := range c.times {
			if i > 0 && at-c.times[i-1] < paceWait {
				c.t.Errorf("views at %v, and not everything was ready", c.times)
			}
		}
		if n := homes(c.group.views.Current())["d"]; n != 10*len(c.views) || n == 0 {
			c.t.Errorf("d is home of %d after %d views", n, len(c.views))
		}
	}, three()...)
}

func TestAJoinerIsCountedOnceTheWholeRosterKnows(t *testing.T) {
	tend(t, func(c *tended) {
		c.lose("c")
		c.changed(10 * time.Second)
		c.see(sighted("d", "1"))
		c.changed(30 * time.Second)
		if v := c.group.views.Current(); !v.Roster[3].Joining {
			c.t.Error("c, which is on the roster and not seen, counts with the share of three nodes")
		}
		c.see(sighted("c", "2"))
		c.changed(30 * time.Second)
		if v := c.group.views.Current(); v.Roster[3].Joining || slices.ContainsFunc(v.Roster, func(m Member) bool { return m.Joining }) {
			c.t.Errorf("all have heard of it: %+v", v.Roster)
		}
	}, three()...)
}

func TestAMemberThatIsGoneForGoodIsRemoved(t *testing.T) {
	tend(t, func(c *tended) {
		c.lose("b")
		c.changed(30 * time.Second)
		was := c.group.views.Current()
		if err := c.Remove(c.t.Context(), "b"); err != nil {
			c.t.Fatal(err)
		}
		v := c.group.views.Current()
		if len(v.Roster) != 2 || v.Epoch != was.Epoch+1 || v.Cluster != was.Cluster || v.Secret != was.Secret || c.voters()["b"] != "" {
			c.t.Errorf("roster %+v, voters %v", v.Roster, c.voters())
		}
		for p := range uint16(ring.Partitions) {
			home, _ := was.Home(p)
			is, _ := v.Home(p)
			deputy, _ := was.Deputy(p)
			deputyNow, _ := v.Deputy(p)
			if home != is || deputy != deputyNow || was.Table.Since[p] != v.Table.Since[p] {
				c.t.Fatalf("partition %d: %s and %s, then %s and %s", p, home.Name, deputy.Name, is.Name, deputyNow.Name)
			}
		}
	}, three()...)
}

func TestRemovingAMemberThatIsNeededIsRefused(t *testing.T) {
	tend(t, func(c *tended) {
		refused := func(name string, want error, why string) {
			c.t.Helper()
			servers := c.voters()
			if err := c.Remove(c.t.Context(), name); !errors.Is(err, want) || !strings.Contains(err.Error(), why) || !maps.Equal(servers, c.voters()) {
				c.t.Errorf("%s: %v, want %v; voters %v", name, err, want, c.voters())
			}
		}
		refused("x", ErrNoMember, "not in the roster")
		refused("b", ErrPresent, "is running")
		c.now(func() { c.unended["b"] = true })
		c.lose("b")
		refused("b", ErrPresent, "may still decide")
		c.now(func() { delete(c.unended, "b") })
		c.changed(time.Second)
		c.see(sighted("b", "2"))
		refused("b", ErrPresent, "is running")
		c.lose("b")
		c.lose("c")
		c.changed(time.Second)
		refused("b", ErrPresent, "only 1 of 2 voters")
		c.now(func() { c.group.leading = false })
		refused("b", ErrNotApplied, "ask b")
	}, three()...)
}
