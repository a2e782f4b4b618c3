package node_test

import (
	"testing"
	"time"

	"github.com/weir-cluster/weir/node"
	"github.com/weir-cluster/weir/ring"
)

func TestMovesAndWhoIsOutOfReachAreSeenFromOutside(t *testing.T) {
	simulate(t, 31, 3, func(s *sim) {
		joined := s.join(func(*node.Config) {})
		all := append([]*simNode{joined}, s.nodes[:3]...)
		s.until("four nodes have equal parts", func() bool { return s.even(all[1], all) })
		time.Sleep(time.Second)
		text := s.text(joined, "/metrics")
		done, took := metric(t, text, "weir_moves_total"), metric(t, text, "weir_moves_seconds_total")
		if done < ring.Partitions/4-1 || done > ring.Partitions/4+1 || took <= 0 || took > 30*done {
			t.Errorf("%v moves took %v s together", done, took)
		}
		s.network.Cut(joined.ip, all[1].ip)
		s.until("it tells that it does not reach one", func() bool { return metric(t, s.text(joined, "/metrics"), "weir_unreached_members") == 1 })
		s.network.HealAll()
		s.until("it reaches all", func() bool { return metric(t, s.text(joined, "/metrics"), "weir_unreached_members") == 0 })
	})
}
