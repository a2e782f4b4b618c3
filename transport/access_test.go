package transport

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/policy"
)

// expecting notes which version a put expects.
type expecting struct {
	Policies
	expect int64
}

func (e *expecting) Put(_ context.Context, _ string, _ []byte, expect int64, _ string) (uint64, error) {
	e.expect = expect
	return 9, nil
}

func TestTheExpectedVersionIsNeverTakenForAny(t *testing.T) {
	ask := asking(t)
	for _, c := range []struct {
		in   uint64
		want int64
		code codes.Code
	}{{0, policy.AnyVersion, codes.OK}, {1, 1, codes.OK}, {math.MaxInt64, math.MaxInt64, codes.OK}, {1 << 63, 77, codes.InvalidArgument}, {math.MaxUint64, 77, codes.InvalidArgument}} {
		e := &expecting{expect: 77}
		s := &AdminServer{Policies: e, Timeout: time.Second}
		if _, err := s.PutPolicy(t.Context(), &weirv1.PutPolicyRequest{ExpectVersion: c.in}); status.Code(err) != c.code || e.expect != c.want {
			t.Errorf("%d: expects %d, %v", c.in, e.expect, err)
		}
	}
	for tag, code := range map[string]int{`"3"`: 200, `3`: 200, `*`: 200, ``: 200, `"-1"`: 400, `-5`: 400, `"x"`: 400} {
		s := server(fakeAccess{check: allow})
		s.Policies = &expecting{}
		if res := ask(t, s, http.MethodPut, "/v1/policy", "version: 1", "If-Match", tag); res.StatusCode != code {
			t.Errorf("If-Match %s: %d", tag, res.StatusCode)
		}
	}
}

// refusing is a ledger that does as its receipt says.
type refusing struct {
	Ledger
	receipt ledger.Receipt
}

func (r refusing) Debit(context.Context, ledger.Debit) (ledger.Receipt, error) { return r.receipt, nil }

func TestARefusedDebitIs402AndAReplaySaysSo(t *testing.T) {
	ask := asking(t)
	for _, c := range []struct {
		receipt  ledger.Receipt
		status   int
		replayed string
	}{
		{ledger.Receipt{Outcome: ledger.Done}, 200, ""},
		{ledger.Receipt{Outcome: ledger.Done, Replayed: true}, 200, "true"},
		{ledger.Receipt{Outcome: ledger.Insufficient, Replayed: true}, 402, "true"},
	} {
		s := server(fakeAccess{})
		s.Ledger = refusing{receipt: c.receipt}
		res := ask(t, s, http.MethodPost, "/v1/accounts/a/debits", `{"amount_micros":1}`, "Idempotency-Key", "k")
		if res.StatusCode != c.status || res.Header.Get("Idempotent-Replayed") != c.replayed {
			t.Errorf("%+v: %d, replayed %q", c.receipt, res.StatusCode, res.Header.Get("Idempotent-Replayed"))
		}
	}
}

// An error may carry both words when one offer was refused and another is open: then nothing is sure.
func TestUnknownWinsOverNotApplied(t *testing.T) {
	both := fmt.Errorf("%w: %w", cluster.ErrUnknown, &cluster.NotLeaderError{})
	if k := classify(both); k.word != wordUnknown {
		t.Errorf("%v is %s", both, k.word)
	}
	if got := fromStatus(toStatus(both)); !errors.Is(got, cluster.ErrUnknown) || errors.Is(got, cluster.ErrNotApplied) {
		t.Errorf("over the wire: %v", got)
	}
}

func TestAPriorityThatDoesNotFitIsRefused(t *testing.T) {
	s := &LedgerServer{Timeout: time.Second} // no ledger: it must not get that far
	_, err := s.Grant(t.Context(), &weirv1.GrantRequest{IdempotencyKey: "k", Account: "a", Kind: "promo", AmountMicros: 1, Priority: 256})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("priority 256: %v", err)
	}
}
