package transport

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/chaos/simnet"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/policy"
)

// naming answers a check with the id that it came with.
func naming(q *policy.Request, _ uint64, d *policy.Decision) (bool, error) {
	*d = policy.Decision{Verdict: policy.Allow, Message: fmt.Sprint("id ", q.ID)}
	return true, nil
}

// betweenNodes runs Peers against a node that names checks, and notes what it is to undo.
func betweenNodes(t *testing.T, use func(t *testing.T, p cluster.Peer, undone func() []uint64)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		var mu sync.Mutex
		var ids []uint64
		network := simnet.New(1)
		l, err := network.Host("10.0.0.1").Listen("10.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer(Codec())
		k := &desk{try: naming, timeout: time.Minute}
		d := weirv1.PeerService_ServiceDesc
		d.Streams = slices.Clone(d.Streams)
		k.streams(&d)
		s.RegisterService(&d, &PeerServer{Undo: func(id uint64) {
			mu.Lock()
			defer mu.Unlock()
			ids = append(ids, id)
		}})
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		p := NewPeers(network.Host("10.0.0.2"), func() string { return "" })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		use(t, p.Peer("10.0.0.1:1"), func() []uint64 {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(ids)
		})
		cancel()
		<-done
		s.Stop()
		<-served
		_ = network.Close()
		time.Sleep(time.Minute)
	})
}

func TestACheckKeepsItsIDBetweenNodes(t *testing.T) {
	betweenNodes(t, func(t *testing.T, p cluster.Peer, undone func() []uint64) {
		q := policy.Request{Domain: "d", ID: 1 << 63}
		if d, err := p.Check(t.Context(), q, 3); err != nil || d.Message != fmt.Sprint("id ", uint64(1<<63)) {
			t.Errorf("checked: %+v, %v", d, err)
		}
		p.Forward(t.Context(), 7, string(encoded(t, of("d"))), 3, time.Second, func(c cluster.Carried, err error) {
			if err != nil || c.ID != 7 || !strings.Contains(string(c.Encoded), "id 7") {
				t.Errorf("forwarded: %+v, %v", c, err)
			}
		})
		synctest.Wait()
		if err := p.Cancel(t.Context(), []uint64{7, 9}); err != nil || !slices.Equal(undone(), []uint64{7, 9}) {
			t.Errorf("cancelled %v: %v", undone(), err)
		}
		if err := p.Cancel(t.Context(), make([]uint64, policy.BatchMax+1)); err == nil || len(undone()) != 2 {
			t.Errorf("too many at once: %v", err)
		}
	})
}

// namingDoor names checks.
type namingDoor struct{ judged }

func (namingDoor) Try(q *policy.Request, d *policy.Decision) (bool, error) { return naming(q, 0, d) }

func TestAClientNamesNoChecks(t *testing.T) {
	knocking(t, namingDoor{}, func(t *testing.T, c weirv1.AccessServiceClient) {
		s, err := c.CheckStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m := streamed(of("d"))
		m.Checks[0].Origin = 7
		if err := s.Send(m); err != nil {
			t.Fatal(err)
		}
		r, err := s.Recv()
		if err != nil || heard(r.GetOutcomes()[0].GetOutcome()) != "id 0" {
			t.Errorf("%v, %v", r, err)
		}
		_ = s.CloseSend()
	})
}
