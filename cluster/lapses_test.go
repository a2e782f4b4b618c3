package cluster

import (
	"slices"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ring"
)

func (c *tended) hush(names ...string) {
	c.now(func() {
		clear(c.silent)
		for _, name := range names {
			c.silent[name] = true
		}
	})
}

// yields counts how often the leader tried to have another lead.
func (c *tended) yields() (n int) {
	c.now(func() {
		for _, what := range c.group.done {
			if what == "yield" {
				n++
			}
		}
	})
	return n
}

const lapsing = lapseLooks * stewardEvery

func TestAMemberThatIsSeenAndDoesNotAskForItsLeaseIsTakenOut(t *testing.T) {
	tend(t, func(c *tended) {
		c.hush("b")
		c.now(func() { c.unended["b"] = true })
		c.expect("b", lapsing+time.Second, ring.Steady, "its lease may go on")
		c.now(func() { delete(c.unended, "b") })
		c.expect("b", stewardEvery, ring.Absent, "its lease has ended")
		was := c.group.views.Current()
		if homes(was)["b"] > 0 {
			c.t.Errorf("homes %v", homes(was))
		}
		c.expect("b", time.Minute, ring.Absent, "it stays out")
		c.hush()
		c.expect("b", 3*time.Second, ring.Steady, "it asks again")
		c.changed(time.Minute)
		c.fresh()
		c.hush("b")
		time.Sleep(lapsing - 2*stewardEvery)
		c.hush()
		if n := len(c.changed(time.Minute)); n > 0 {
			c.t.Errorf("it did not ask for less than a second: %d views", n)
		}
		if c.yields() > 0 {
			c.t.Error("the leader yields for one")
		}
	}, three()...)
}

func TestANewcomerThatDoesNotAskForALeaseIsNotLetIn(t *testing.T) {
	tend(t, func(c *tended) {
		c.hush("d")
		c.see(sighted("d", "1"))
		c.see(sighted("b", "2"))
		c.expect("b", 10*time.Second, ring.Steady, "a restart that asks")
		if c.group.views.Current().Find("d") >= 0 {
			c.t.Error("d is in the roster")
		}
		c.hush()
		c.expect("d", 3*time.Second, ring.Steady, "it asks")
	}, three()...)
}

func TestALeaderThatMostDoNotAskTakesNobodyOutAndYields(t *testing.T) {
	tend(t, func(c *tended) {
		c.fresh()
		c.hush("b", "c")
		if n := len(c.changed(25 * time.Second)); n > 0 || c.yields() != 3 {
			c.t.Errorf("%d views, it yielded %d times", n, c.yields())
		}
		c.hush()
		c.changed(time.Minute)
		if n := c.yields(); n != 3 {
			c.t.Errorf("all ask, and it yielded %d times", n)
		}
	}, three()...)
	tend(t, func(c *tended) {
		c.fresh()
		c.hush("a", "b")
		if n := len(c.changed(time.Minute)); n > 0 || c.yields() > 0 {
			c.t.Errorf("half do not ask: %d views, it yielded %d times", n, c.yields())
		}
	}, append(three(), sighted("d", "1"))...)
}

func TestALeaderKnowsWhoFlappedWhileAnotherLed(t *testing.T) {
	tend(t, func(c *tended) {
		c.now(func() { c.group.leading = false })
		v := c.group.views.Current()
		for boot := range 3 { // another leader takes it out, and lets it in again
			for _, standing := range []ring.Standing{ring.Absent, ring.Steady} {
				time.Sleep(time.Second)
				next := *v
				next.Epoch, next.Roster = v.Epoch+1, slices.Clone(v.Roster)
				next.Roster[1].Standing = standing
				next.Roster[2].Standing, next.Roster[2].Leaving = standing, boot < 2 // c leaves by itself twice
				if _, err := c.group.views.Learn(&next); err != nil {
					c.t.Fatal(err)
				}
				v = &next
			}
		}
		time.Sleep(time.Second)
		c.now(func() { c.group.leading, c.group.views.applied = true, v })
		c.see(sighted("b", "2"))
		c.see(sighted("c", "2"))
		c.expect("c", 5*time.Second, ring.Steady, "it was lost twice")
		c.expect("b", 0, ring.Absent, "it was lost four times")
		c.expect("b", flapQuiet, ring.Steady, "quiet for long enough")
	}, three()...)
}
