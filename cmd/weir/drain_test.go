package main

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// A stop that can hand nothing over ends all the same: the only other node hangs, so that no view is agreed on and no copy is
// acknowledged. It is bound by --drain-timeout and by what the doors, gossip and the group give those they wait for.
func TestAStopThatCanHandNothingOverEndsInTime(t *testing.T) {
	t.Parallel()
	const drain, grace = time.Second, 8 * time.Second
	c := startCluster(t, 2, "--drain-timeout", drain.String())
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		c.check(t, 0, user)
	}
	other, stopped := c.nodes[0], c.nodes[1]
	if err := other.send(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := stopped.send(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-stopped.ended:
	case <-time.After(drain + grace):
		t.Errorf("it still runs %v after it was asked to stop", drain+grace)
		if err := stopped.kill(); err != nil {
			t.Error(err)
		}
	}
	took, text := time.Since(began), stopped.logTail()
	t.Logf("it ended after %v", took)
	if took < drain || stopped.failure != nil || !strings.Contains(text, "stopping without a hand-over") {
		t.Errorf("it ended after %v with %v, and logged:\n%s", took, stopped.failure, text)
	}
	if err := other.send(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// Lease times are changed by a rolling restart: meanwhile some nodes have the old ones.
func TestLeaseTimesAreChangedNodeByNode(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	for i, p := range c.nodes {
		if err := p.terminate(); err != nil {
			t.Fatal(err)
		}
		p.args = append(p.args, "--lease-duration", "4s", "--lease-margin", "300ms")
		c.again(t, p)
		c.until(t, p.name+" has a lease of four seconds", func() bool {
			m := c.member(t, i, p.name)
			return m.State() == "steady" && m.LeaseLeftMS != nil && *m.LeaseLeftMS > 3000
		})
		leader := c.leader(t)
		c.until(t, "the leader takes each lease to hold for as long as its node says", func() bool {
			m := c.member(t, leader, p.name)
			return m.LeaseLeftMS != nil && *m.LeaseLeftMS > 3000
		})
	}
}
