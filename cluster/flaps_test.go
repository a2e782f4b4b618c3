package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ring"
)

// expect checks what the view says of a member after a while.
func (c *tended) expect(name string, after time.Duration, want ring.Standing, when string) {
	c.t.Helper()
	c.changed(after)
	if got := c.standing(name); got != want {
		c.t.Errorf("%s: %s is %v, want %v", when, name, got, want)
	}
}

func TestAMemberThatRestartsAgainAndAgainIsHeldDownUntilItWasQuiet(t *testing.T) {
	tend(t, func(c *tended) {
		for boot := 2; boot < 4; boot++ {
			c.see(sighted("b", fmt.Sprint(boot)))
			c.expect("b", 30*time.Second, ring.Steady, "one restart or two")
		}
		c.see(sighted("b", "4"))
		c.expect("b", 10*time.Second, ring.Absent, "the third restart")
		c.see(sighted("b", "5"))
		c.expect("b", flapQuiet-time.Second, ring.Absent, "a restart begins the quiet time anew")
		c.fresh()
		c.expect("b", 4*time.Second, ring.Steady, "quiet for long enough")
		c.see(sighted("b", "6"))
		c.expect("b", 5*time.Second, ring.Absent, "the next restart within the window")
	}, three()...)
}

func TestAMemberThatIsTakenOutAgainAndAgainIsHeldDown(t *testing.T) {
	tend(t, func(c *tended) {
		for range flapMax - 1 {
			c.lose("b")
			c.expect("b", 5*time.Second, ring.Absent, "lost")
			c.see(sighted("b", "1"))
			c.expect("b", 5*time.Second, ring.Steady, "back")
		}
		c.lose("b")
		c.expect("b", 5*time.Second, ring.Absent, "lost")
		c.see(sighted("b", "1"))
		c.expect("b", flapQuiet-time.Second, ring.Absent, "held down")
		c.expect("b", 4*time.Second, ring.Steady, "quiet for long enough")
	}, three()...)
}

func TestSlowRestartsAndLeavesHoldNobodyDown(t *testing.T) {
	tend(t, func(c *tended) {
		for boot := 2; boot < 8; boot++ {
			c.see(sighted("b", fmt.Sprint(boot)))
			c.expect("b", 5*time.Second, ring.Steady, "a restart now and then")
			time.Sleep(flapWindow / 2)
		}
		for boot := 2; boot < 8; boot++ {
			c.leave("c")
			c.expect("c", time.Second, ring.Absent, "it leaves")
			c.lose("c")
			time.Sleep(time.Second)
			c.see(sighted("c", fmt.Sprint(boot)))
			c.expect("c", 2*time.Second, ring.Steady, "a rolling restart")
		}
	}, three()...)
}

func TestAMemberThatIsHeldDownCanLeave(t *testing.T) {
	tend(t, func(c *tended) {
		for boot := 2; boot < 4; boot++ {
			c.see(sighted("b", fmt.Sprint(boot)))
			time.Sleep(5 * time.Second)
		}
		c.leave("b")
		c.expect("b", stewardEvery, ring.Absent, "it leaves with two losses")
		c.see(sighted("b", "9"))
		c.expect("b", 2*time.Second, ring.Steady, "and comes back")
	}, three()...)
}

func TestFlapsAreForgotten(t *testing.T) {
	var f flaps
	at := time.Unix(0, 0)
	v := &View{Epoch: 1}
	for i := range 1000 {
		v.Roster = append(v.Roster, Member{Name: fmt.Sprint("n", i), Boot: "1", Standing: ring.Steady})
	}
	ended := func(string, string) bool { return true }
	look := func(at time.Time) {
		f.follow(v, nil, at)
		f.look(v, nil, ended, at)
		f.follow(v, nil, at)
	}
	look(at)
	look(at.Add(time.Second)) // of the same view: no loss more
	if len(f.of) != 1000 || !f.of["n7"].losses[1].IsZero() {
		t.Errorf("%d records, losses %v", len(f.of), f.of["n7"].losses)
	}
	for i := range v.Roster {
		v.Roster[i].Standing = ring.Absent
	}
	look(at.Add(flapWindow))
	if len(f.of) != 1000 {
		t.Errorf("%d records within the window", len(f.of))
	}
	look(at.Add(flapWindow + time.Second))
	if len(f.of) > 0 {
		t.Errorf("%d records after the window", len(f.of))
	}
	v.Roster[0].Standing = ring.Leaving
	look(at.Add(flapWindow + 2*time.Second))
	if len(f.of) > 0 {
		t.Error("who leaves lost nothing")
	}
	v.Roster[0].Standing = ring.Steady
	look(at.Add(flapWindow + 2*time.Second))
	v.Roster = v.Roster[1:]
	look(at.Add(flapWindow + 3*time.Second))
	if len(f.of) > 0 {
		t.Error("a record of a member that was removed")
	}
}
