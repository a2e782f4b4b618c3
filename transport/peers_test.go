package transport

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/chaos/simnet"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// answering is a peer service that answers each check with one outcome, or without one none.
type answering struct {
	weirv1.UnimplementedPeerServiceServer
	outcome *weirv1.Outcome
}

func (a answering) CheckStream(s grpc.BidiStreamingServer[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse]) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		if a.outcome == nil {
			continue
		}
		answer := &weirv1.CheckStreamResponse{}
		for _, c := range m.GetChecks() {
			answer.Outcomes = append(answer.Outcomes, &weirv1.StreamedOutcome{Id: c.GetId(), Outcome: a.outcome})
		}
		if err := s.Send(answer); err != nil {
			return err
		}
	}
}

// connected runs Peers against one peer at 10.0.0.1:1 that answers every check with the outcome.
func connected(t *testing.T, o *weirv1.Outcome, use func(*testing.T, *Peers, context.CancelFunc)) {
	t.Helper()
	connectedBy(t, simnet.New, o, use)
}

func connectedBy(t *testing.T, by func(seed uint64) *simnet.Network, o *weirv1.Outcome, use func(*testing.T, *Peers, context.CancelFunc)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		network := by(1)
		l, err := network.Host("10.0.0.1").Listen("10.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer()
		weirv1.RegisterPeerServiceServer(s, answering{outcome: o})
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		p := NewPeers(network.Host("10.0.0.2"), func() string { return "" })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		use(t, p, func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		})
		cancel()
		s.Stop()
		<-served
		_ = network.Close()
		time.Sleep(time.Minute)
	})
}

func TestAnAnswerWithoutADecisionIsNoDecision(t *testing.T) {
	connected(t, &weirv1.Outcome{}, func(t *testing.T, p *Peers, stop context.CancelFunc) {
		if d, err := p.Peer("10.0.0.1:1").Check(t.Context(), policy.Request{}, 1); !errors.Is(err, cluster.ErrUnreachable) {
			t.Errorf("%+v, %v", d, err)
		}
		stop()
	})
}

func TestAForgottenPeerAnswersAtOnceAndIsDialledAnew(t *testing.T) {
	allow := &weirv1.Outcome{Decision: &weirv1.Decision{Verdict: weirv1.Verdict_VERDICT_ALLOW}}
	connected(t, allow, func(t *testing.T, p *Peers, stop context.CancelFunc) {
		check := func(peer cluster.Peer) error {
			t.Helper()
			began := time.Now()
			_, err := peer.Check(t.Context(), policy.Request{}, 1)
			if took := time.Since(began); took > time.Second {
				t.Errorf("a check took %s", took)
			}
			return err
		}
		first := p.Peer("10.0.0.1:1")
		if err := check(first); err != nil {
			t.Error(err)
		}
		p.Forget(func(string) bool { return true })
		if p.Peer("10.0.0.1:1") != first {
			t.Error("a peer that was to be kept is gone")
		}
		p.Forget(func(string) bool { return false })
		synctest.Wait()
		if err := check(first); !errors.Is(err, cluster.ErrUnreachable) {
			t.Errorf("a forgotten peer: %v", err)
		}
		again := p.Peer("10.0.0.1:1")
		if again == first {
			t.Error("a forgotten peer is kept")
		}
		if err := check(again); err != nil {
			t.Error(err)
		}
		stop()
		if err := check(p.Peer("10.0.0.1:1")); !errors.Is(err, cluster.ErrUnreachable) {
			t.Errorf("after the end: %v", err)
		}
		if err := check(p.Peer("10.0.0.1:2")); !errors.Is(err, cluster.ErrUnreachable) {
			t.Errorf("a new one after the end: %v", err)
		}
	})
}
