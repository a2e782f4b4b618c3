package node_test

import (
	"testing"
	"time"
)

// A node that is told to join nobody founds its own cluster, even at an address where another cluster still
// looks for a member it lost.
func TestALoneNodeIsNotDrawnIntoAClusterThatLooksForItsAddress(t *testing.T) {
	simulate(t, 11, 2, func(s *sim) {
		lost := s.nodes[1]
		s.stop(lost)
		was := s.view(s.nodes[0])
		stranger := &simNode{name: "stranger", ip: lost.ip, storage: freshStorage()}
		s.nodes = append(s.nodes, stranger)
		s.startAlone(stranger)
		s.until("the stranger is ready", func() bool {
			select {
			case <-stranger.node.Ready():
				return true
			default:
				return false
			}
		})
		time.Sleep(20 * time.Second) // the others try the address every 3 s
		if v := s.view(stranger); v.Cluster == was.Cluster || len(v.Members) != 1 {
			t.Errorf("the stranger is of cluster %s with %d members, the other cluster is %s", v.Cluster, len(v.Members), was.Cluster)
		}
		if v := s.view(s.nodes[0]); len(v.Members) != 2 || v.Cluster != was.Cluster {
			t.Errorf("the cluster has taken the stranger in: %+v", v.Members)
		}
	})
}
