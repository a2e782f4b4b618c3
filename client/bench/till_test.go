package bench

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// paper is a ledger that notes keys and refuses one debit in ten.
type paper struct {
	weirv1.UnimplementedLedgerServiceServer
	mu   sync.Mutex
	keys map[string]bool
	most int // operations in a message
}

func (p *paper) Apply(s grpc.BidiStreamingServer[weirv1.ApplyRequest, weirv1.ApplyResponse]) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return nil
		}
		r := &weirv1.ApplyResponse{}
		p.mu.Lock()
		p.most = max(p.most, len(m.GetOperations()))
		for _, o := range m.GetOperations() {
			a := &weirv1.Applied{Id: o.GetId(), Outcome: &weirv1.Applied_Receipt{Receipt: &weirv1.Receipt{Outcome: "done"}}}
			if d := o.GetDebit(); d != nil {
				p.keys[d.GetIdempotencyKey()] = true
				if o.GetId()%10 == 0 {
					a.Outcome = &weirv1.Applied_Fault{Fault: &weirv1.Fault{Word: "FULL"}}
				}
			}
			r.Answers = append(r.Answers, a)
		}
		p.mu.Unlock()
		if err := s.Send(r); err != nil {
			return err
		}
	}
}

func TestDebitsAreCountedOnceEachWithAKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, batch := range []int{1, 50} {
		synctest.Test(t, func(t *testing.T) {
			p := &paper{keys: map[string]bool{}}
			sum := debited(t, p, batch)
			if sum.decisions != 1800 || sum.errors["FULL"] != 200 || len(p.keys) != 2000 || p.most > operationsMax {
				t.Errorf("batches of %d: %d done, errors %v, %d keys, %d in a message", batch, sum.decisions, sum.errors, len(p.keys), p.most)
			}
		})
	}
}

// debited has 20 callers debit 100 times each, and returns what they counted.
func debited(t *testing.T, p *paper, batch int) (sum tally) {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	weirv1.RegisterLedgerServiceServer(s, p)
	go func() { _ = s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///paper", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	b, err := openTill(t.Context(), conn, batch)
	if err != nil {
		t.Fatal(err)
	}
	tallies := make([]tally, 20)
	var all sync.WaitGroup
	for i := range tallies {
		all.Go(func() {
			call, err := b.caller(t.Context(), i)
			for range 100 / batch {
				err = errors.Join(err, call(t.Context(), &tallies[i]))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	b.stop()
	_ = conn.Close()
	s.Stop()
	for i := range tallies {
		sum.add(&tallies[i])
	}
	return sum
}
