package node_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// watch opens a stream of views and returns what receives the next.
func (s *sim) watch(conn *grpc.ClientConn) func() (*weirv1.View, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute) // a change that is never told fails then
	s.t.Cleanup(cancel)
	stream, err := weirv1.NewAccessServiceClient(conn).WatchView(ctx, &weirv1.WatchViewRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	return stream.Recv
}

// clients returns how many clients of a member another node knows of.
func (s *sim) clients(asked, of *simNode) int {
	s.t.Helper()
	conn := s.dial(asked)
	defer func() { _ = conn.Close() }()
	v, err := weirv1.NewAccessServiceClient(conn).GetView(s.t.Context(), &weirv1.GetViewRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range v.GetMembers() {
		if m.GetName() == of.name {
			return int(m.GetClients())
		}
	}
	s.t.Fatalf("%s is not in the view", of.name)
	return 0
}

func TestWhoWatchesIsToldOfEachChange(t *testing.T) {
	simulate(t, 41, 3, func(s *sim) {
		conn := s.dial(s.nodes[2])
		defer func() { _ = conn.Close() }()
		next := s.watch(conn)
		v, err := next()
		if err != nil || len(v.GetDomains()) != 1 || v.GetDomains()[0].GetName() != "d" ||
			!slices.Equal(v.GetDomains()[0].GetAccount(), []string{"user"}) || v.GetDomains()[0].GetFallback() != weirv1.Fallback_FALLBACK_SHARE {
			t.Fatalf("first view: %v, %v", v.GetDomains(), err)
		}

		changed := strings.Replace(simPolicy, "limit: 10,", "limit: 11, fallback: open,", 1)
		var put answer
		if status := s.call(s.nodes[0], "PUT", "/v1/policy", changed, &put); status != http.StatusOK {
			t.Fatalf("policy: %d %s", status, put.Detail)
		}
		p, err := next()
		if err != nil || p.GetPolicyVersion() <= v.GetPolicyVersion() || p.GetDomains()[0].GetFallback() != weirv1.Fallback_FALLBACK_UNSPECIFIED {
			t.Errorf("after a change of the policy: version %d then %d, %v, %v", v.GetPolicyVersion(), p.GetPolicyVersion(), p.GetDomains(), err)
		}

		s.stop(s.nodes[0])
		w, err := next()
		if err != nil || w.GetEpoch() <= p.GetEpoch() {
			t.Errorf("after a node left: epoch %d then %d, %v", p.GetEpoch(), w.GetEpoch(), err)
		}
	})
}

func TestClientsAreCountedOnEveryNode(t *testing.T) {
	simulate(t, 42, 3, func(s *sim) {
		first, second := s.dial(s.nodes[1]), s.dial(s.nodes[1])
		defer func() { _ = second.Close() }()
		for _, conn := range []*grpc.ClientConn{first, second} {
			if _, err := s.watch(conn)(); err != nil {
				t.Fatal(err)
			}
		}
		s.until("another node counts both", func() bool { return s.clients(s.nodes[2], s.nodes[1]) == 2 })
		_ = first.Close()
		s.until("another node counts the one that is left", func() bool { return s.clients(s.nodes[2], s.nodes[1]) == 1 })
	})
}

func TestAStoppingNodeSendsWatchersAway(t *testing.T) {
	simulate(t, 43, 3, func(s *sim) {
		conn := s.dial(s.nodes[1])
		defer func() { _ = conn.Close() }()
		next := s.watch(conn)
		if _, err := next(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			for {
				if _, err := next(); err != nil {
					ended <- err
					return
				}
			}
		}()
		began := time.Now()
		s.stop(s.nodes[1])
		if err := <-ended; status.Code(err) != codes.Unavailable {
			t.Errorf("the stream ended with %v", err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the node waited %v for who watches", took)
		}
	})
}
