package cluster

import (
	"slices"
	"testing"
	"time"
)

// voter is a member that could vote, at an index of the log.
func voter(name, zone string, log uint64) Sighting {
	m := sighted(name, "1")
	m.Zone, m.Log = zone, log
	return m
}

// four are the voters a, b and c, and d, which follows the log as far as there is any.
func four() []Sighting {
	return []Sighting{voter("a", "x", 0), voter("b", "y", 0), voter("c", "z", 0), voter("d", "z", 100)}
}

// did waits and checks what was done to the group since the last call.
func (c *tended) did(after time.Duration, want ...string) {
	c.t.Helper()
	time.Sleep(after)
	c.now(func() {
		if !slices.Equal(c.group.done, want) {
			c.t.Errorf("after %v: %v at %v, want %v", time.Since(c.group.began), c.group.done, c.group.times, want)
		}
		c.group.done, c.group.times = nil, nil
	})
}

func (c *tended) committed(index uint64) { c.now(func() { c.group.committed = index }) }

func TestALostVoterIsReplacedOnceAnotherHasCaughtUp(t *testing.T) {
	tend(t, func(c *tended) {
		c.committed(100)
		c.see(voter("d", "z", 20))
		c.lose("c")
		c.did(lostWait - stewardEvery)
		c.did(2*stewardEvery, "stage d")
		c.did(time.Minute)
		c.see(voter("d", "z", 120)) // it took longer than the log stood still
		c.committed(140)
		c.did(stewardEvery)
		c.did(time.Minute)
		c.see(voter("d", "z", 120))
		c.did(time.Minute)
		c.see(voter("d", "z", 300)) // it reaches 140 late, and what is agreed then at once
		c.did(2*stewardEvery, "add d")
		c.did(voteWait - 2*stewardEvery)
		c.did(2*stewardEvery, "remove c/s")
		c.did(time.Minute)
		c.see(voter("c", "z", 0)) // back, with three others that vote
		c.did(time.Minute)
	}, four()...)
}

func TestTheVoteGoesToTheZoneThatLacksOne(t *testing.T) {
	tend(t, func(c *tended) {
		c.committed(100)
		c.see(voter("e", "w", 100))
		c.see(voter("f", "w", 100))
		c.did(lostWait)
		c.lose("b")
		c.did(lostWait+2*voteWait, "stage e", "add e", "remove b/s")
	}, four()...)
}

func TestAVoterThatComesBackInTimeKeepsItsVote(t *testing.T) {
	tend(t, func(c *tended) {
		c.committed(100)
		c.lose("c")
		time.Sleep(lostWait - time.Second)
		c.see(voter("c", "z", 0))
		c.did(time.Minute)
		c.leave("c")
		time.Sleep(lostWait - time.Second)
		c.see(sighted("c", "2"))
		c.did(time.Minute)
		c.leave("c")
		c.did(lostWait+2*voteWait, "stage d", "add d", "remove c/s")
	}, four()...)
}

func TestNoVoteChangesThatWouldCostTheQuorum(t *testing.T) {
	tend(t, func(c *tended) {
		c.committed(100)
		c.lose("b")
		c.lose("c")
		c.did(lostWait+2*stewardEvery, "stage d", "stage e")
		c.did(time.Minute) // two of four are no majority
		c.see(voter("c", "z", 0))
		c.did(2*voteWait, "add d", "remove e/s", "remove b/s")
	}, append(four(), voter("e", "x", 100))...)
}

func TestNobodyVotesWhoIsNotFitForIt(t *testing.T) {
	for why, d := range map[string]Sighting{
		"it does not want to": {Member: Member{Name: "d", Boot: "1", Server: "d/s"}},
		"it leaves":           withLeaving(voter("d", "z", 100)),
	} {
		tend(t, func(c *tended) {
			c.committed(100)
			c.see(d)
			c.lose("c")
			if c.did(time.Minute); t.Failed() {
				c.t.Error(why)
			}
		}, three()...)
	}
	tend(t, func(c *tended) { // it is new
		c.committed(100)
		c.lose("c")
		time.Sleep(lostWait - time.Second)
		c.see(voter("d", "z", 100))
		c.did(lostWait - stewardEvery)
		c.did(2*stewardEvery, "stage d")
	}, three()...)
}

func TestANewcomerGetsNoVoteBeforeItIsInTheView(t *testing.T) {
	tend(t, func(c *tended) {
		c.committed(100)
		c.now(func() { delete(c.group.servers, "c") })
		c.see(voter("d", "z", 100))
		c.did(joinWait - stewardEvery)
		c.did(5*stewardEvery, "stage d", "add d")
	}, voter("a", "x", 0), voter("b", "y", 0))
}

func TestAFollowerThatIsNotNeededOrLostIsStruckOff(t *testing.T) {
	tend(t, func(c *tended) {
		c.see(voter("d", "z", 0))
		c.lose("c")
		c.did(lostWait+stewardEvery, "stage d")
		c.lose("d")
		c.did(lostWait - stewardEvery)
		c.did(2*stewardEvery, "remove d/s")
		c.see(voter("d", "z", 0))
		c.did(lostWait+stewardEvery, "stage d")
		c.see(voter("c", "z", 0))
		c.did(2*stewardEvery, "remove d/s")
		c.did(time.Minute)
	}, four()...)
}

func TestOneVoterTooManyGoesButNotTheLeader(t *testing.T) {
	tend(t, func(c *tended) {
		c.now(func() { c.group.servers["d"] = "d/s" })
		c.did(voteWait, "remove d/s") // of c and d, which share a zone
		c.did(time.Minute)
	}, four()...)
	tend(t, func(c *tended) {
		c.now(func() { c.group.servers["d"], c.group.staged["e"] = "d/s", "e/s" }) // most are in the zone of a
		c.did(voteWait, "remove d/s", "remove e/s")
	}, voter("a", "x", 0), voter("b", "y", 0), voter("c", "z", 0), voter("d", "w", 0), voter("e", "x", 0))
}

func TestAVoterThatLostItsDiskIsReplacedByItself(t *testing.T) {
	tend(t, func(c *tended) {
		c.committed(100)
		b := voter("b", "y", 100)
		b.Boot, b.Server = "2", "b/new"
		c.see(b)
		c.did(stewardEvery, "remove b/s")
		c.did(stewardEvery, "stage b")
		c.did(voteWait - 3*stewardEvery)
		c.did(4*stewardEvery, "add b")
		c.did(time.Minute)
	}, voter("a", "x", 0), voter("b", "y", 0), voter("c", "z", 0))
}

func TestAGroupGrowsWithoutPause(t *testing.T) {
	tend(t, func(c *tended) {
		c.now(func() { delete(c.group.servers, "b"); delete(c.group.servers, "c") })
		c.committed(100)
		c.did(5*stewardEvery, "stage b", "stage d", "add b", "add d")
		c.did(time.Minute)
	}, voter("a", "x", 0), voter("b", "y", 100), voter("c", "x", 100), voter("d", "z", 100))
}

func TestALeaderThatLeavesChangesNoVotes(t *testing.T) {
	tend(t, func(c *tended) {
		c.now(func() { c.gossip.self.Leaving = true })
		c.lose("c")
		c.did(time.Minute)
	}, four()...)
}

func TestAFollowerTellsHowFarItHasTheLog(t *testing.T) {
	tend(t, func(c *tended) {
		c.committed(7)
		c.now(func() { c.group.leading, c.group.staged["a"] = false, "a/s"; delete(c.group.servers, "a") })
		time.Sleep(2 * stewardEvery)
		if self := c.gossip.Self(); self.Log != 7 || self.Votes {
			t.Errorf("%+v", self)
		}
		c.now(func() { delete(c.group.staged, "a"); c.group.servers["a"] = "a/s" })
		time.Sleep(2 * stewardEvery)
		if self := c.gossip.Self(); self.Log != 0 || !self.Votes {
			t.Errorf("%+v", self)
		}
	}, four()...)
}
