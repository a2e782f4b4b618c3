package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
)

// slowBooks debits an account named after how long that takes, and refuses the account "none".
type slowBooks struct{ Ledger }

func (slowBooks) Debit(ctx context.Context, d ledger.Debit) (ledger.Receipt, error) {
	if d.Account == "none" {
		return ledger.Receipt{}, ledger.ErrNoAccount
	}
	took, err := time.ParseDuration(d.Account)
	if err != nil {
		return ledger.Receipt{}, err
	}
	select {
	case <-time.After(took):
		return ledger.Receipt{Account: d.Account, Amount: d.Amount}, nil
	case <-ctx.Done():
		return ledger.Receipt{}, ctx.Err()
	}
}

func (b slowBooks) Do(ctx context.Context, writes []ledger.Write, done func(i int, r ledger.Receipt, err error)) {
	var all sync.WaitGroup
	for i, w := range writes {
		all.Go(func() {
			r, err := b.Debit(ctx, *w.(*ledger.Debit))
			done(i, r, err)
		})
	}
	all.Wait()
}

// applying opens a stream of Apply in virtual time.
func applying(t *testing.T, use func(t *testing.T, s weirv1.LedgerService_ApplyClient, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := bufconn.Listen(64 << 10)
		s := grpc.NewServer(Codec())
		closing := make(chan struct{})
		weirv1.RegisterLedgerServiceServer(s, &LedgerServer{Ledger: slowBooks{}, Timeout: 5 * time.Second, Closing: closing})
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		conn, err := grpc.NewClient("passthrough:///books", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		stream, err := weirv1.NewLedgerServiceClient(conn).Apply(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		use(t, stream, func() {
			close(closing)
			s.GracefulStop()
		})
		_ = conn.Close()
		s.GracefulStop()
		<-served
	})
}

func charges(accounts ...string) *weirv1.ApplyRequest {
	r := &weirv1.ApplyRequest{}
	for i, a := range accounts {
		r.Operations = append(r.Operations, &weirv1.Operation{
			Id: uint64(i) + 1, Write: &weirv1.Operation_Debit{Debit: &weirv1.DebitRequest{IdempotencyKey: fmt.Sprint(i), Account: a, AmountMicros: 7}},
		})
	}
	return r
}

// hearAll returns the answers until the stream ends, in words.
func hearAll(t *testing.T, s weirv1.LedgerService_ApplyClient) (words []string) {
	t.Helper()
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return words
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range r.GetAnswers() {
			words = append(words, fmt.Sprintf("%d %s%s", a.GetId(), a.GetReceipt().GetAccount(), a.GetFault().GetWord()))
		}
	}
}

func TestOperationsOfAStreamAreAnsweredAsTheyAreDone(t *testing.T) {
	applying(t, func(t *testing.T, s weirv1.LedgerService_ApplyClient, _ func()) {
		m := charges("300ms", "100ms", "none", "1h", "200ms")
		m.Operations = append(m.Operations, &weirv1.Operation{Id: 6})
		began := time.Now()
		if err := s.Send(m); err != nil {
			t.Fatal(err)
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		got := hearAll(t, s)
		if len(got) == 6 && got[0] > got[1] {
			got[0], got[1] = got[1], got[0] // both at once
		}
		if want := "[3 NOT_FOUND 6 INVALID 2 100ms 5 200ms 1 300ms 4 TIMEOUT]"; fmt.Sprint(got) != want || time.Since(began) != 5*time.Second {
			t.Errorf("after %v: %v, want %s", time.Since(began), got, want)
		}
	})
}

func TestServerThatClosesAnswersWhatIsUnderWay(t *testing.T) {
	applying(t, func(t *testing.T, s weirv1.LedgerService_ApplyClient, stop func()) {
		if err := s.Send(charges("1s", "2s")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		stop()
		if got := fmt.Sprint(hearAll(t, s)); got != "[1 1s 2 2s]" {
			t.Errorf("got %s", got)
		}
	})
}

func TestStreamThatIsFullOfOperationsIsNotReadOn(t *testing.T) {
	applying(t, func(t *testing.T, s weirv1.LedgerService_ApplyClient, _ func()) {
		accounts := make([]string, appliedMax+1)
		for i := range accounts {
			accounts[i] = "1s"
		}
		began := time.Now()
		if err := errors.Join(s.Send(charges(accounts...)), s.CloseSend()); err != nil {
			t.Fatal(err)
		}
		if got := len(hearAll(t, s)); got != len(accounts) || time.Since(began) != 2*time.Second {
			t.Errorf("%d answers after %v, want %d and the last a second later", got, time.Since(began), len(accounts))
		}
	})
}
