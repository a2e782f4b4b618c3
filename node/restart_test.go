package node_test

import (
	"strings"
	"sync"
	"testing"
	"time"
)

const spillBody = `{"domain":"d","attributes":{"user":"u","kind":"spill"}}`

// A node alone has nobody to hand over to, and a restart of it must not be a way to a second burst.
func TestARestartOfANodeAloneGivesNoSecondBurst(t *testing.T) {
	simulate(t, 11, 1, func(s *sim) {
		m := s.nodes[0]
		for i := range 3 {
			if a := s.check(m, spillBody); (a.Verdict == "ALLOW") != (i < 2) {
				t.Errorf("check %d of a burst of 2: %+v", i+1, a)
			}
		}
		began := time.Now()
		s.stop(m)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the stop took %s", took)
		}
		s.start(m, 1)
		<-m.node.Ready()
		if a := s.check(m, spillBody); a.Verdict != "DENY" || a.Epoch < 2 {
			t.Errorf("after the restart: %+v", a)
		}
		time.Sleep(31 * time.Minute) // 2 an hour
		if a := s.check(m, spillBody); a.Verdict != "ALLOW" {
			t.Errorf("what was earned since: %+v", a)
		}
	})
}

func TestAllNodesStopAtOnceAndComeBack(t *testing.T) {
	for _, n := range []int{2, 3} {
		simulate(t, 12, n, func(s *sim) {
			began := time.Now()
			var stops sync.WaitGroup
			for _, m := range s.nodes {
				stops.Go(func() { s.stop(m) })
			}
			stops.Wait()
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("%d nodes: the stop took %s", n, took)
			}
			for _, m := range s.nodes {
				s.start(m, n)
			}
			for _, m := range s.nodes {
				<-m.node.Ready()
			}
			s.until("they decide as one again", func() bool {
				a, b := s.check(s.nodes[0], spillBody), s.check(s.nodes[n-1], spillBody)
				return a.Home == b.Home && a.Epoch == b.Epoch && !strings.HasPrefix(a.Reason+b.Reason, "FALLBACK_")
			})
		})
	}
}

func TestOneOfTwoLeavesQuickly(t *testing.T) {
	simulate(t, 13, 2, func(s *sim) {
		began := time.Now()
		s.stop(s.nodes[1])
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the stop took %s: the hand-over was waited for in vain", took)
		}
	})
}
