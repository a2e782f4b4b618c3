package transport

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/weir-cluster/weir/chaos/simnet"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ledger/journal"
	"github.com/weir-cluster/weir/policy"
)

// voting runs a test against the journals of voters; a nil one is a node that keeps none.
func voting(t *testing.T, test func(t *testing.T, from *PeerEvents), journals ...Events) {
	t.Helper()
	network := simnet.New(1)
	voters := []string{"10.0.0.99:7947"} // nobody is there
	var servers []*grpc.Server
	for i, j := range journals {
		host := "10.0.0." + string(rune('1'+i))
		l, err := network.Host(host).Listen(host + ":7947")
		if err != nil {
			t.Fatal(err)
		}
		g := grpc.NewServer(Codec())
		(&PeerServer{Router: new(cluster.Router), Journal: j, Timeout: time.Second}).Register(g)
		go func() { _ = g.Serve(l) }()
		servers, voters = append(servers, g), append(voters, host+":7947")
	}
	peers := NewPeers(network.Host("10.0.0.50"), unknown)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- peers.Run(ctx) }()
	test(t, peers.Events(func() []string { return voters }))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, g := range servers {
		g.Stop()
	}
}

// A node without a journal serves events from a voter's, as if it were its own.
func TestAnotherNodesJournalIsReadAsOnesOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := ledgerJournal(t)
		happen(t, j, 1, 3000)
		voting(t, func(t *testing.T, from *PeerEvents) {
			oldest, newest, err := from.Range(t.Context())
			if err != nil || oldest != 1 || newest != 3000 {
				t.Errorf("%d to %d, %v", oldest, newest, err)
			}
			w := wish{}
			for w.after < 3000 {
				events, upTo, err := page(t.Context(), from, &w)
				if err != nil || upTo == w.after || len(events) != int(upTo-w.after) {
					t.Fatalf("after %d: %d events up to %d, %v", w.after, len(events), upTo, err)
				}
				w.after = upTo
			}
			begun := time.Now()
			time.AfterFunc(100*time.Second, func() { happen(t, j, 3001, 3001) })
			if err := from.Wait(t.Context(), 3000); err != nil || time.Since(begun) < 100*time.Second || time.Since(begun) > 101*time.Second {
				t.Errorf("waited for %s: %v", time.Since(begun), err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := from.Wait(ctx, 3001); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a wait that ends: %v", err)
			}
		}, nil, j)
	})
}

func TestWhatOneVoterLacksAnotherHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lacking, whole := dropped(t), ledgerJournal(t)
		voting(t, func(t *testing.T, from *PeerEvents) {
			for after, want := range map[uint64]error{0: journal.ErrGone, 100: journal.ErrGap} {
				_, err := from.Scan(t.Context(), after, 10, 1<<20)
				missing := (*journal.MissingError)(nil)
				if !errors.Is(err, want) || !errors.As(err, &missing) || missing.Seq != after+1 || missing.Next == 0 {
					t.Errorf("after %d: %v, want %v", after, err, want)
				}
			}
			happen(t, whole, 1, 200)
			if err := lacking.Mend(t.Context(), from); err != nil || len(lacking.Gaps()) != 0 {
				t.Errorf("gaps %v are left: %v", lacking.Gaps(), err)
			}
			if found, err := from.Scan(t.Context(), 0, 10, 1<<20); err != nil || len(found) != 10 {
				t.Errorf("%d records, %v", len(found), err)
			}
		}, lacking, whole)
		voting(t, func(t *testing.T, from *PeerEvents) {
			if _, _, err := from.Range(t.Context()); !errors.Is(err, policy.ErrUnavailable) {
				t.Errorf("nobody has a journal: %v", err)
			}
		}, nil)
	})
}
