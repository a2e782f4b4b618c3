package cluster

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/ring"
)

// asks has a node ask for its lease and says whether it got one.
func (c *court) asks(r Renewal) bool {
	c.t.Helper()
	r.Boot, r.Server, r.Epoch = "1", r.Name+"/s", c.view.Epoch
	g, err := c.Renew(c.t.Context(), r)
	if err != nil {
		c.t.Errorf("%s: %v", r.Name, err)
	}
	return g.Level > 0
}

func TestEachLeaseIsTakenToHoldForAsLongAsItsNodeSays(t *testing.T) {
	long := Renewal{Name: "b", Duration: 5 * time.Second, Margin: 300 * time.Millisecond}
	held(t, func(c *court) {
		c.asks(long)
		c.asks(Renewal{Name: "c", Duration: time.Second, Margin: 100 * time.Millisecond})
		if left, _ := c.Left("b", "1"); left != long.Duration {
			c.t.Errorf("b has %v left", left)
		}
		time.Sleep(surely)
		c.ended("c", "1", true)
		c.ended("b", "1", false)
		time.Sleep(5300*time.Millisecond - surely - 1)
		c.ended("b", "1", false)
		time.Sleep(time.Nanosecond)
		c.ended("b", "1", true)
	})
	held(t, func(c *court) { // whoever leads next knows it from the view
		b := sighted("b", "1")
		b.LeaseMS = 5300
		c.grow(sighted("a", "1"), b, sighted("c", "1"))
		c.now(func(e *electorate) { e.term = 2 })
		began := time.Now()
		c.asks(Renewal{Name: "a"})
		time.Sleep(surely)
		c.ended("c", "1", true)
		c.ended("b", "1", false)
		c.ended("b", "2", false)   // who is not in the roster may have a lease like any who is
		c.renew("a", "1", 2, 1, 1) // its view is not known to all who may hold one
		time.Sleep(time.Until(began.Add(5300*time.Millisecond - 1)))
		c.ended("b", "1", false)
		time.Sleep(time.Nanosecond)
		c.ended("b", "1", true)
		c.renew("a", "1", 2, 1, 2)
	})
}

// direct brings renewals to a lessor, unless it is cut off.
type direct struct {
	court *court
	cut   bool
}

func (d *direct) Peer(string) Peer { return directly{way: d} }

type directly struct {
	Peer
	way *direct
}

func (p directly) Renew(ctx context.Context, r Renewal) (Grant, error) {
	if p.way.cut {
		return Grant{}, ErrUnreachable
	}
	return p.way.court.Renew(ctx, r)
}

// While nodes are restarted with other times, one after the other, some have the old ones.
func TestOtherLeaseTimesMakeNoTwoHomes(t *testing.T) {
	for _, times := range []LeaseTimes{
		{Duration: 1800 * time.Millisecond, Renewal: 300 * time.Millisecond, Margin: 100 * time.Millisecond},
		DefaultLeaseTimes(),
		{Duration: 7 * time.Second, Renewal: time.Second, Margin: 400 * time.Millisecond},
	} {
		held(t, func(c *court) {
			b := sighted("b", "1")
			b.LeaseMS = uint32(times.Held().Milliseconds())
			c.grow(sighted("a", "1"), b, sighted("c", "1"))
			way := &direct{court: c}
			copies := NewCopies(CopiesConfig{Name: "b", Boot: "1", Now: time.Now, State: newShelf(), Peers: way})
			views := NewViews(func(_, next *View) { copies.Adopt(next) })
			lease := NewLease(LeaseConfig{
				Name: "b", Boot: "1", Server: "b/s", Times: times, Now: time.Now, Views: views, Policies: &fakePolicies{revision: 7},
				Quorum: fakeQuorum{"a"}, Gossip: known(sighted("a", "1"), sighted("b", "1")), Peers: way, Copies: copies,
			})
			if _, err := views.Learn(c.view); err != nil {
				c.t.Fatal(err)
			}
			c.now(func(e *electorate) { e.leads = true })
			mine := uint16(slices.Index(c.view.Table.Homes[:], uint16(c.view.Find("b"))))
			for term := uint64(1); term < 4; term++ { // the first leader granted it, the others only know the view
				c.now(func(e *electorate) { e.term = term })
				way.cut = false
				lease.renew(c.t.Context())
				if term == 1 {
					c.asks(Renewal{Name: "a"})
					c.asks(Renewal{Name: "c"})
					lease.renew(c.t.Context())
				}
				if !lease.Holds(mine) {
					c.t.Fatalf("%+v: no lease in term %d", times, term)
				}
				way.cut = true
				c.now(func(e *electorate) { e.term = term + 10 }) // another leader, which b never asks
				var both, gone time.Duration
				for at := time.Duration(0); at < 10*time.Second; at += 10 * time.Millisecond {
					ended := c.Ended("b", "1")
					if ended && lease.Holds(mine) {
						both = at
					}
					if ended && gone == 0 {
						gone = at
					}
					time.Sleep(10 * time.Millisecond)
				}
				if both > 0 || gone == 0 {
					c.t.Errorf("%+v: it decides %v after it was cut off, when another may be home; that may be so after %v", times, both, gone)
				}
			}
		})
	}
}

func TestALeaseLongerThanAnyLeaderWaitsForIsRefused(t *testing.T) {
	held(t, func(c *court) {
		for _, r := range []struct {
			duration time.Duration
			released bool
			good     bool
		}{
			{0, false, true},
			{DefaultLeaseTimes().Duration, false, true},
			{leaseMax, false, true},
			{leaseMax + 1, false, false},
			{leaseMax + 1, true, true},
		} {
			_, err := c.Renew(c.t.Context(), Renewal{Name: "b", Boot: "1", Server: "b/s", Epoch: 1, Duration: r.duration, Released: r.released})
			if (err == nil) != r.good || err != nil && !errors.Is(err, policy.ErrInvalid) {
				c.t.Errorf("%+v: %v", r, err)
			}
		}
	})
}

func TestANodeThatHearsNoAnswersGetsNoLeases(t *testing.T) {
	held(t, func(c *court) {
		ask := func(heard uint64, want bool) {
			c.t.Helper()
			if got := c.asks(Renewal{Name: "b", Heard: heard}); got != want {
				c.t.Errorf("it has heard %d answers: granted %t", heard-1, got)
			}
			time.Sleep(300 * time.Millisecond)
		}
		for heard := range uint64(10) {
			ask(heard+1, true)
		}
		for range deafMax {
			ask(11, true)
		}
		for range 6 {
			ask(11, false)
		}
		c.ended("b", "1", false)
		ask(11, false)
		c.ended("b", "1", true) // what it asks does not prolong what it may hold
		if c.Asks("b", "1") {
			c.t.Error("it may be given something")
		}
		ask(12, true)
		c.ended("b", "1", false)
		if !c.Asks("b", "1") {
			c.t.Error("it hears again, and may be given nothing")
		}
		for range 2 * deafMax {
			ask(0, true) // it does not count answers
		}
	})
}

// forum is a court of more, in which each may say whom it does not reach, and all ask every 300 ms for a while.
type forum struct {
	*court
	lacks   map[string][]string
	granted map[string]bool // at the last renewal
}

func (f *forum) run(forTime time.Duration) {
	f.t.Helper()
	for began := time.Now(); time.Since(began) < forTime; time.Sleep(300 * time.Millisecond) {
		for _, m := range f.view.Roster {
			f.granted[m.Name] = f.asks(Renewal{Name: m.Name, Unreached: f.lacks[m.Name]})
		}
	}
}

// refused checks who gets no leases.
func (f *forum) refused(when string, want ...string) {
	f.t.Helper()
	var got []string
	for name, granted := range f.granted {
		if !granted {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		f.t.Errorf("%s: no leases for %v, want %v", when, got, want)
	}
}

func inForum(t *testing.T, members int, body func(f *forum)) {
	t.Helper()
	held(t, func(c *court) {
		c.t.Helper()
		var all []Sighting
		for _, name := range "abcdefg"[:members] {
			all = append(all, sighted(string(name), "1"))
		}
		c.grow(all...)
		f := &forum{court: c, lacks: make(map[string][]string), granted: make(map[string]bool)}
		f.run(time.Second)
		f.refused("all is well")
		body(f)
	})
}

func TestANodeThatMostDoNotReachGetsNoLeases(t *testing.T) {
	inForum(t, 5, func(f *forum) {
		f.lacks["b"], f.lacks["c"] = []string{"e"}, []string{"e"}
		f.run(10 * time.Second)
		f.refused("half of the others do not reach it")
		f.lacks["d"] = []string{"e"}
		f.run(unreachedWait - 300*time.Millisecond)
		f.refused("most have not for less than three seconds")
		f.run(600 * time.Millisecond)
		f.refused("most have not for three seconds", "e")
		f.run(surely)
		f.ended("e", "1", true)
		f.run(time.Minute)
		f.refused("it stays so", "e")
		if f.Asks("e", "1") {
			f.t.Error("it may be given something")
		}
		f.lacks["d"], f.lacks["c"] = nil, nil
		f.run(300 * time.Millisecond)
		f.refused("most reach it again")
		f.ended("e", "1", false)
	})
}

func TestNobodyIsShutOutByThoseWhoAreThemselves(t *testing.T) {
	inForum(t, 5, func(f *forum) { // each cannot reach the other; only one of them is out of reach for the rest
		f.lacks["b"], f.lacks["c"], f.lacks["d"] = []string{"e"}, []string{"e"}, []string{"e"}
		f.lacks["e"] = []string{"b", "c", "d"}
		f.run(time.Minute)
		f.refused("e is cut off", "e")
	})
	inForum(t, 5, func(f *forum) { // a reaches all, the others only who is on their side
		f.lacks["b"], f.lacks["c"] = []string{"d", "e"}, []string{"d", "e"}
		f.lacks["d"], f.lacks["e"] = []string{"b", "c"}, []string{"b", "c"}
		f.run(time.Minute)
		f.refused("nobody is out of reach for most")
	})
	inForum(t, 7, func(f *forum) {
		out := []string{"f", "g"}
		f.lacks["b"], f.lacks["c"], f.lacks["d"], f.lacks["e"] = out, out, out, out
		f.run(10 * time.Second)
		f.refused("two are cut off", out...)
		f.lacks["f"], f.lacks["g"] = []string{"b"}, []string{"b"}
		f.lacks["c"], f.lacks["d"] = append(out, "b"), append(out, "b")
		f.run(10 * time.Second)
		f.refused("half of those who hold leases, and the two, do not reach b", out...)
	})
}

func TestOnlyAMinorityIsShutOutAndNeverTheLeader(t *testing.T) {
	inForum(t, 5, func(f *forum) {
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			for _, other := range []string{"a", "b", "c", "d", "e"} {
				if name != other {
					f.lacks[name] = append(f.lacks[name], other)
				}
			}
		}
		f.run(time.Minute)
		out := 0
		for _, granted := range f.granted {
			if !granted {
				out++
			}
		}
		if out != 2 || !f.granted["a"] {
			f.t.Errorf("%d of 5 are shut out, the leader is granted %t", out, f.granted["a"])
		}
	})
	inForum(t, 5, func(f *forum) {
		f.lacks["b"], f.lacks["c"], f.lacks["d"], f.lacks["e"] = []string{"a"}, []string{"a"}, []string{"a"}, []string{"a"}
		f.run(time.Minute)
		f.refused("all ask the leader, and say that they do not reach it")
	})
}

func TestWhoWatchesIsWhomTheWatchedFind(t *testing.T) {
	for members := 1; members < 300; members++ {
		watched := make([]int, members)
		for self := range members {
			others := watches(members, self)
			if len(others) > watchMax || members <= watchMax+1 && len(others) != members-1 || slices.Contains(others, self) {
				t.Fatalf("%d of %d watches %v", self, members, others)
			}
			for _, other := range others {
				watched[other]++
				if !slices.Contains(watchers(members, other), self) {
					t.Fatalf("%d of %d watches %d, whose watchers are %v", self, members, other, watchers(members, other))
				}
			}
		}
		for i, n := range watched {
			if n != len(watchers(members, i)) {
				t.Fatalf("%d of %d is watched by %d, and knows of %v", i, members, n, watchers(members, i))
			}
		}
	}
}

// pinged is peers that answer a ping or do not.
type pinged struct{ lost map[string]bool }

func (p pinged) Peer(address string) Peer { return ping{lost: p.lost[address]} }

type ping struct {
	Peer
	lost bool
}

func (p ping) Ping(ctx context.Context) error {
	if p.lost {
		<-ctx.Done()
		return ErrUnreachable
	}
	return nil
}

func TestANodeTellsWhomItDoesNotReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		views := NewViews(nil)
		peers := pinged{map[string]bool{"b:7947": true, "d:7947": true, "e:7947": true}}
		gossip := known(sighted("a", "1"), sighted("b", "1"), sighted("c", "1"), sighted("d", "1"))
		r := NewReach(ReachConfig{Name: "a", Views: views, Gossip: gossip, Peers: peers})
		look := func(want ...string) {
			t.Helper()
			began := time.Now()
			r.look(t.Context())
			if got := r.Unreached(); !slices.Equal(got, want) || time.Since(began) > watchWait {
				t.Errorf("after %v it does not reach %v, want %v", time.Since(began), got, want)
			}
		}
		look()
		first := grown(t, nil, sighted("a", "1"), sighted("b", "1"), sighted("c", "1"), sighted("d", "1"), sighted("e", "1"), sighted("f", "1"))
		for _, gone := range []string{"d", "e"} { // d is out of the view and there, e is gone for good
			first.Roster[first.Find(gone)].Standing = ring.Absent
		}
		if _, err := views.Learn(first); err != nil {
			t.Fatal(err)
		}
		look()
		look("b", "d")
		peers.lost["b:7947"] = false
		look("d")
		peers.lost["c:7947"], peers.lost["f:7947"] = true, true
		look("d")
		look("c", "d", "f")
	})
}
