package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// electorate is three voters, of which a leads; it is their terms, and how the others answer.
type electorate struct {
	mu     sync.Mutex
	term   uint64
	leads  bool
	same   map[string]bool          // who is in the leader's term; others do not answer
	takes  map[string]time.Duration // to answer
	rounds int
	epochs map[string]uint64 // that a node goes by when a view is brought to it
}

func (e *electorate) Term() (uint64, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.term, e.leads
}

func (e *electorate) Servers() (map[string]string, error) {
	return map[string]string{"a": "a/s", "b": "b/s", "c": "c/s"}, nil
}

func (e *electorate) Peer(address string) Peer { return elector{e: e, name: address[:1]} }

type elector struct {
	Peer
	e    *electorate
	name string
}

func (p elector) Confirm(_ context.Context, term uint64, server string) (bool, error) {
	p.e.mu.Lock()
	took := p.e.takes[p.name]
	if p.name == "b" {
		p.e.rounds++
	}
	p.e.mu.Unlock()
	time.Sleep(took)
	p.e.mu.Lock()
	defer p.e.mu.Unlock()
	if !p.e.same[p.name] {
		return false, ErrUnreachable
	}
	return term == p.e.term && server == p.name+"/s", nil
}

func (p elector) Adopt(_ context.Context, view []byte) (uint64, error) {
	p.e.mu.Lock()
	defer p.e.mu.Unlock()
	return p.e.epochs[p.name], nil
}

// court is a Lessor of node a with its electorate and the views it knows.
type court struct {
	*Lessor
	t     *testing.T
	e     *electorate
	views *Views
	view  *View
}

// held runs body in a bubble with a cluster of a, b and c that a leads since before the first view.
func held(t *testing.T, body func(*court)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		e := &electorate{term: 1, leads: true, same: map[string]bool{"b": true, "c": true}, takes: map[string]time.Duration{}, epochs: map[string]uint64{}}
		views := NewViews(nil)
		c := &court{t: t, e: e, views: views}
		c.Lessor = NewLessor(LessorConfig{
			Name: "a", Server: "a/s", Times: DefaultLeaseTimes(), Now: time.Now, Terms: e, Views: views,
			Policies: &fakePolicies{revision: 7}, Gossip: known(sighted("a", "1"), sighted("b", "1"), sighted("c", "1")), Peers: e,
		})
		c.Ended("a", "1") // it leads before there is a view
		c.grow(sighted("a", "1"), sighted("b", "1"), sighted("c", "1"))
		body(c)
	})
}

// now has what the voters are and do changed, when no round is under way.
func (c *court) now(change func(e *electorate)) {
	synctest.Wait()
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	change(c.e)
}

// grow has the next view be that of exactly these.
func (c *court) grow(alive ...Sighting) {
	c.t.Helper()
	c.view = grown(c.t, c.view, alive...)
	if _, err := c.views.Learn(c.view); err != nil {
		c.t.Fatal(err)
	}
}

// renew expects a grant of a level; zero is none.
func (c *court) renew(name, boot string, epoch, level, want uint64) {
	c.t.Helper()
	g, err := c.Renew(c.t.Context(), Renewal{Name: name, Boot: boot, Server: name + "/s", Epoch: epoch, Level: level})
	if err != nil || g.Level != want || want > 0 && g.Revision != 7 {
		c.t.Errorf("%s of %s at epoch %d: %+v, %v, want level %d", boot, name, epoch, g, err, want)
	}
}

func (c *court) ended(name, boot string, want bool) {
	c.t.Helper()
	if got := c.Ended(name, boot); got != want {
		c.t.Errorf("the lease of %s of %s ended: %t", boot, name, got)
	}
}

const surely = 2*time.Second + 200*time.Millisecond

func TestALeaseNeedsAMajorityInTheLeadersTerm(t *testing.T) {
	held(t, func(c *court) {
		c.renew("b", "1", 1, 0, 1)
		c.now(func(e *electorate) { e.same["b"] = false })
		c.renew("b", "1", 1, 1, 1) // a and c are enough
		c.now(func(e *electorate) { e.same["c"] = false })
		if g, err := c.Renew(c.t.Context(), Renewal{Name: "b", Boot: "1", Epoch: 1}); !errors.Is(err, ErrUnreachable) || g.Level > 0 {
			c.t.Errorf("the leader is alone: %+v, %v", g, err)
		}
		c.now(func(e *electorate) { e.leads = false })
		if _, err := c.Renew(c.t.Context(), Renewal{Name: "b", Boot: "1", Epoch: 1}); !errors.Is(err, ErrNotApplied) {
			c.t.Errorf("it leads no more: %v", err)
		}
	})
}

func TestARoundThatBeganBeforeARenewalDoesNotConfirmIt(t *testing.T) {
	held(t, func(c *court) {
		c.now(func(e *electorate) { e.takes["b"], e.takes["c"] = 100*time.Millisecond, 100*time.Millisecond })
		var all sync.WaitGroup
		for _, after := range []time.Duration{0, 50, 60, 70} { // the first has a round, the others share the next
			all.Go(func() {
				time.Sleep(after * time.Millisecond)
				began := time.Now()
				c.renew("b", "1", 1, 0, 1)
				if took, want := time.Since(began), (200-after)*time.Millisecond; after > 0 && took != want {
					c.t.Errorf("asked %d ms after a round began: granted after %v, want %v", after, took, want)
				}
			})
		}
		all.Wait()
		c.now(func(e *electorate) {
			if e.rounds != 2 {
				c.t.Errorf("%d rounds", e.rounds)
			}
		})
	})
}

func TestNodesThatRenewTogetherShareARound(t *testing.T) {
	held(t, func(c *court) {
		c.cfg.Gather = 2 * time.Millisecond
		var all sync.WaitGroup
		for after, name := range []string{"a", "b", "c"} {
			all.Go(func() {
				time.Sleep(time.Duration(after) * 900 * time.Microsecond)
				c.renew(name, "1", 1, 0, 1)
			})
		}
		all.Wait()
		c.now(func(e *electorate) {
			if e.rounds != 1 {
				c.t.Errorf("%d rounds", e.rounds)
			}
		})
	})
}

func TestALeaseIsTakenToLastUntilItSurelyEnded(t *testing.T) {
	held(t, func(c *court) {
		c.ended("b", "1", true) // it never had one, and no leader was before
		c.renew("b", "1", 1, 0, 1)
		time.Sleep(time.Second)
		c.renew("b", "1", 1, 1, 1)
		time.Sleep(surely - 1)
		c.ended("b", "1", false)
		time.Sleep(1 * time.Nanosecond)
		c.ended("b", "1", true)
	})
}

func TestAReleasedLeaseHasEnded(t *testing.T) {
	held(t, func(c *court) {
		c.renew("b", "1", 1, 0, 1)
		if _, err := c.Renew(c.t.Context(), Renewal{Name: "b", Boot: "1", Server: "b/s", Epoch: 1, Released: true}); err != nil {
			c.t.Error(err)
		}
		c.ended("b", "1", true)
		c.renew("b", "1", 1, 1, 0) // and comes not back
	})
}

func TestAProcessOnTheSameStorageEndsTheLeaseOfTheOneBefore(t *testing.T) {
	held(t, func(c *court) {
		c.renew("b", "1", 1, 0, 1)
		c.renew("b", "2", 1, 0, 0)
		c.ended("b", "1", true)
		c.renew("c", "1", 1, 0, 1)
		if _, err := c.Renew(c.t.Context(), Renewal{Name: "c", Boot: "2", Server: "c/other", Epoch: 1}); err != nil {
			c.t.Error(err)
		}
		c.ended("c", "1", false) // another disk: the old process may live
	})
}

func TestWhatMovesIsDecidedOnlyWhenItsOldHomeKnows(t *testing.T) {
	held(t, func(c *court) {
		for _, name := range []string{"a", "b", "c"} {
			c.renew(name, "1", 1, 0, 1)
		}
		c.grow(sighted("a", "1"), sighted("b", "1"), sighted("c", "1"), sighted("d", "1"))
		c.renew("d", "1", 2, 0, 1)
		c.renew("a", "1", 2, 1, 1)
		c.renew("c", "1", 2, 1, 1)
		c.renew("b", "1", 1, 1, 0) // behind: no lease before it has caught up
		c.renew("d", "1", 2, 1, 1)
		c.renew("b", "1", 2, 1, 2)
		c.renew("d", "1", 2, 1, 2)
	})
}

func TestTheLeadIsHandedOverOnlyWhenAllHaveTheirLeases(t *testing.T) {
	held(t, func(c *court) {
		settled := func(want bool, when string) {
			if got := c.Settled(); got != want {
				c.t.Errorf("%s: settled %t", when, got)
			}
		}
		settled(false, "nobody asked yet")
		for _, name := range []string{"a", "b", "c"} {
			c.renew(name, "1", 1, 0, 1)
		}
		settled(true, "all have")
		a := sighted("a", "1")
		a.Leaving = true
		c.grow(a, sighted("b", "1"), sighted("c", "1"))
		c.renew("a", "1", 2, 1, 1)
		c.renew("b", "1", 2, 1, 1)
		settled(false, "of the view before")
		c.renew("c", "1", 2, 1, 2)
		settled(false, "b has one of the level before")
		c.renew("b", "1", 2, 1, 2)
		settled(true, "all but who leaves")
		c.now(func(e *electorate) { e.leads = false })
		settled(true, "another leads")
	})
}

func TestALostHomeHoldsNobodyUpForLong(t *testing.T) {
	held(t, func(c *court) {
		c.renew("a", "1", 1, 0, 1)
		c.renew("b", "1", 1, 0, 1)
		c.grow(sighted("a", "1"), sighted("c", "1"))
		c.renew("a", "1", 2, 1, 1)
		time.Sleep(surely - 100*time.Millisecond)
		c.renew("a", "1", 2, 1, 1)
		time.Sleep(60 * time.Millisecond)
		c.renew("a", "1", 2, 1, 2)
	})
}

func TestAViewThatIsBroughtCountsAtOnce(t *testing.T) {
	held(t, func(c *court) {
		for _, name := range []string{"a", "b", "c"} {
			c.renew(name, "1", 1, 0, 1)
		}
		b := sighted("b", "1")
		b.Leaving = true
		c.grow(sighted("a", "1"), b, sighted("c", "1"))
		c.now(func(e *electorate) { e.epochs["b"], e.epochs["c"] = 1, 2 }) // b does not take it
		c.Spread(c.t.Context(), c.view)
		c.renew("c", "1", 2, 1, 1)
		c.now(func(e *electorate) { e.epochs["b"] = 2 })
		go func() {
			time.Sleep(5 * time.Millisecond)
			c.Spread(c.t.Context(), c.view)
		}()
		began := time.Now()
		c.renew("c", "1", 2, 1, 2)
		if took := time.Since(began); took != 5*time.Millisecond {
			c.t.Errorf("granted %v after it was asked for", took)
		}
	})
}

func TestANewLeaderTakesEveryNodeToHoldALease(t *testing.T) {
	held(t, func(c *court) {
		c.grow(sighted("a", "1"), sighted("b", "1"), sighted("c", "1"), sighted("d", "1"))
		c.now(func(e *electorate) { e.term = 2 })
		c.ended("b", "1", false)
		c.renew("a", "1", 2, 0, 1)
		c.renew("c", "1", 2, 2, 2) // an earlier leader had come as far
		c.grow(sighted("a", "1"), sighted("b", "1"), sighted("c", "1"))
		c.renew("a", "1", 3, 2, 2)
		c.renew("b", "1", 3, 2, 2)
		c.renew("c", "1", 3, 2, 2)
		c.renew("a", "1", 3, 2, 2) // d was not heard of
		time.Sleep(surely)
		c.ended("d", "1", true)
		c.renew("a", "1", 3, 2, 3)
	})
}

func TestTheLeaderKnowsHowLongLeasesMayBeHeld(t *testing.T) {
	held(t, func(c *court) {
		left := func(name string, want time.Duration, known bool) {
			c.t.Helper()
			if got, is := c.Left(name, "1"); got != want || is != known {
				c.t.Errorf("%s has %v left, %t, want %v, %t", name, got, is, want, known)
			}
		}
		left("b", 0, false)
		c.renew("b", "1", 1, 0, 1)
		left("b", 2*time.Second, true)
		time.Sleep(1500 * time.Millisecond)
		left("b", 500*time.Millisecond, true)
		time.Sleep(time.Second)
		left("b", 0, true)
		left("c", 0, false)
		c.renew("b", "1", 1, 1, 1)
		if _, err := c.Renew(c.t.Context(), Renewal{Name: "b", Boot: "1", Server: "b/s", Epoch: 1, Level: 1, Released: true}); err != nil {
			c.t.Error(err)
		}
		left("b", 0, true)
		c.now(func(e *electorate) { e.leads = false })
		left("b", 0, false)
	})
}
