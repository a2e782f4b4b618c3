package client_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
)

// A grant reaches the ledger whole, by whichever node, and an account comes back whole.
func TestGrantAndBalance(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		var got *weirv1.GrantRequest
		for _, f := range r.nodes {
			f.onGrant(func(g *weirv1.GrantRequest) (*weirv1.Receipt, error) {
				got = g
				return &weirv1.Receipt{Outcome: "done", Account: g.GetAccount(), Seq: 2, BalanceAfterMicros: 5}, nil
			})
		}
		k, done := r.open()
		defer done()
		until := time.Now().Add(time.Hour).UTC()
		receipt, err := k.Grant(t.Context(), "key", "acme", client.Grant{ID: "g", Kind: "promo", AmountMicros: 5, Priority: 3, Expires: until})
		if err != nil || receipt.Seq != 2 || receipt.BalanceAfterMicros != 5 || receipt.Refused() {
			t.Errorf("%+v, %v", receipt, err)
		}
		if got.GetIdempotencyKey() != "key" || got.GetAccount() != "acme" || got.GetGrant() != "g" || got.GetKind() != "promo" ||
			got.GetPriority() != 3 || !got.GetExpires().AsTime().Equal(until) || got.GetEffective() != nil {
			t.Errorf("sent %v", got)
		}
		s, err := k.Balance(t.Context(), "acme")
		if err != nil || s.ID != "acme" || s.BalanceMicros != 7 || s.ByKind["promo"] != 7 || s.Labels["tier"] != "gold" {
			t.Errorf("%+v, %v", s, err)
		}
		if s, err := k.AccountAsOf(t.Context(), "acme", client.Read{MaxStaleness: 30 * time.Microsecond, MinIndex: 9}); err != nil || s.HeldMicros != 1 || s.Index != 9 {
			t.Errorf("asked for at most 1 ms and index 9: %+v, %v", s, err)
		}
		if _, err := k.Grant(t.Context(), "", "acme", client.Grant{}); !errors.Is(err, client.ErrNoKey) {
			t.Errorf("%v", err)
		}
		if d, err := k.Debit(t.Context(), "key", "poor", client.Debit{AmountMicros: 1}); err != nil || !d.Refused() || d.Status != 402 {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

// A write whose end is not known is repeated once, elsewhere, with its key; the errors tell what is known.
func TestTheEndsOfALedgerWrite(t *testing.T) {
	for name, row := range map[string]struct {
		first, second error
		want          error
		sent          int64
	}{
		"taken":                  {nil, nil, nil, 1},
		"unknown, then taken":    {refused(codes.Aborted, "UNKNOWN"), nil, nil, 2},
		"unknown twice":          {refused(codes.Aborted, "UNKNOWN"), refused(codes.Aborted, "UNKNOWN"), client.ErrUnknown, 2},
		"not the leader twice":   {refused(codes.FailedPrecondition, "NOT_LEADER"), refused(codes.FailedPrecondition, "NOT_LEADER"), client.ErrUnreachable, 3},
		"not the leader, taken":  {refused(codes.FailedPrecondition, "NOT_LEADER"), nil, nil, 2},
		"unknown, not applied":   {refused(codes.Aborted, "UNKNOWN"), refused(codes.FailedPrecondition, "NOT_LEADER"), client.ErrUnknown, 3},
		"in conflict":            {refused(codes.InvalidArgument, "IDEMPOTENCY_CONFLICT"), nil, client.ErrConflict, 1},
		"invalid":                {refused(codes.InvalidArgument, "INVALID"), nil, client.ErrInvalid, 1},
		"no account":             {refused(codes.NotFound, "NOT_FOUND"), nil, client.ErrNotFound, 1},
		"too old":                {refused(codes.FailedPrecondition, "TOO_OLD"), nil, client.ErrTooOld, 1},
		"full":                   {refused(codes.ResourceExhausted, "FULL"), nil, client.ErrFull, 1},
		"a node without the API": {refused(codes.Unimplemented, ""), nil, nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, 3, func(t *testing.T, r *rig) {
				var sent atomic.Int64
				for _, f := range r.nodes {
					f.onGrant(func(*weirv1.GrantRequest) (*weirv1.Receipt, error) {
						err := row.second
						if sent.Add(1) == 1 {
							err = row.first
						}
						if err != nil {
							return nil, err
						}
						return &weirv1.Receipt{Outcome: "done"}, nil
					})
				}
				k, done := r.open()
				defer done()
				_, err := k.Grant(t.Context(), "key", "acme", client.Grant{Kind: "promo"})
				if !errors.Is(err, row.want) || row.want != client.ErrUnknown && errors.Is(err, client.ErrUnknown) {
					t.Errorf("%v, want %v", err, row.want)
				}
				if sent.Load() != row.sent {
					t.Errorf("sent %d times, want %d", sent.Load(), row.sent)
				}
				if d := r.check(k, "u"); d.Reason != "OK" {
					t.Errorf("the ledger's trouble is no trouble for checks: %+v", d)
				}
			})
		})
	}
}

// Nothing was written when no node was there; nobody knows when it was sent and no answer came.
func TestALedgerThatDoesNotAnswer(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		for _, f := range r.nodes {
			f.onGrant(func(*weirv1.GrantRequest) (*weirv1.Receipt, error) {
				time.Sleep(10 * time.Second)
				return &weirv1.Receipt{}, nil
			})
		}
		k, done := r.open()
		defer done()
		began := time.Now()
		if _, err := k.Grant(t.Context(), "key", "a", client.Grant{}); !errors.Is(err, client.ErrUnknown) || time.Since(began) > 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		for _, f := range r.nodes {
			f.kill()
		}
		time.Sleep(time.Second)
		if _, err := k.Grant(t.Context(), "key", "a", client.Grant{}); !errors.Is(err, client.ErrUnreachable) || errors.Is(err, client.ErrUnknown) {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.Balance(ctx, "a"); !errors.Is(err, client.ErrUnreachable) {
			t.Errorf("%v", err)
		}
	})
}
