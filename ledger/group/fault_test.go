package group

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var errDiffers = errors.New("the digests differ")

// TestMachineThatFailsStopsItsReplicaAndNoOther: a follower's, and a leader's, after which the others elect one.
func TestMachineThatFailsStopsItsReplicaAndNoOther(t *testing.T) {
	for _, leads := range []bool{false, true} {
		t.Run(map[bool]string{false: "follower", true: "leader"}[leads], func(t *testing.T) {
			bubble(t, 3, nil, func(t *testing.T, c *cluster) {
				leader := c.leader()
				broken := c.others(leader)[0]
				if leads {
					broken = leader
				}
				broken.tape.fail = func(command string) error {
					if command == "poison" {
						return errDiffers
					}
					return nil
				}
				c.propose(leader, "before")
				_, err := leader.g.Propose(t.Context(), "tape", []byte("poison"))
				if leads && (!errors.Is(err, ErrUnknown) || OutcomeOf(err) != Unknown) || !leads && err != nil {
					t.Errorf("the proposer was told %v", err)
				}
				select {
				case err = <-broken.over:
					broken.over <- nil
				case <-time.After(time.Minute):
					t.Fatal("it runs on")
				}
				if !errors.Is(err, errDiffers) || !strings.Contains(err.Error(), "operation 0, of tape") {
					t.Errorf("run returned %v", err)
				}
				if _, _, err := ask(broken, Read{}, time.Second); err == nil {
					t.Error("it answers still")
				}
				others := c.others(broken)
				c.propose(c.leader(others...), "after")
				for _, s := range others {
					c.until("the others go on", func() bool { return s.tape.count("after") == 1 && s.tape.count("poison") == 1 })
				}
				if broken.tape.count("after") != 0 {
					t.Error("it applied more")
				}
			})
		})
	}
}
