package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

const outcomeInsufficient = "insufficient" // of a debit beyond the balance

// OpenAccount opens an account. For this and the other writes: any node takes it, within ctx's deadline or else
// Config.LedgerDeadline. The key makes a repetition the same write, and the client repeats by itself, once. ErrNoKey,
// ErrUnreachable, ErrInvalid, ErrConflict, ErrTooOld, ErrNotFound and ErrFull mean that nothing was written; ErrUnknown
// that nobody knows: repeat with the same key.
func (k *Client) OpenAccount(ctx context.Context, key string, a Account) (Receipt, error) {
	r := &weirv1.OpenAccountRequest{
		IdempotencyKey: key, Account: a.ID, Plan: a.Plan, UseCredits: a.UseCredits, OverdraftMicros: a.OverdraftMicros,
	}
	for name, value := range a.Labels {
		r.Labels = append(r.Labels, &weirv1.Label{Name: name, Value: value})
	}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.OpenAccount(ctx, r) })
}

// Grant gives credit to an account.
func (k *Client) Grant(ctx context.Context, key, account string, g Grant) (Receipt, error) {
	r := &weirv1.GrantRequest{
		IdempotencyKey: key, Account: account, Grant: g.ID, Kind: g.Kind, AmountMicros: g.AmountMicros,
		Priority: uint32(g.Priority), Effective: stamp(g.Effective), Expires: stamp(g.Expires),
	}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.Grant(ctx, r) })
}

// Debit takes credit from an account, all of it or nothing. Too little credit is a Receipt that is Refused, not an error.
func (k *Client) Debit(ctx context.Context, key, account string, d Debit) (Receipt, error) {
	r := &weirv1.DebitRequest{IdempotencyKey: key, Account: account, AmountMicros: d.AmountMicros, Order: d.Order, Memo: d.Memo}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.Debit(ctx, r) })
}

// Balance returns an account as the ledger has it now (linearizable). ErrNotFound, ErrUnreachable, or another error
// when no node answers.
func (k *Client) Balance(ctx context.Context, account string) (Statement, error) {
	a, err := anywhere(ctx, k, func(ctx context.Context, l *link) (*weirv1.Account, error) {
		return l.ledger.GetAccount(ctx, &weirv1.GetAccountRequest{Account: account})
	})
	if err != nil {
		return Statement{}, fmt.Errorf("balance of %s: %w", account, err)
	}
	s := Statement{
		Account:       Account{ID: a.GetId(), Plan: a.GetPlan(), UseCredits: a.GetUseCredits(), OverdraftMicros: a.GetOverdraftMicros()},
		BalanceMicros: a.GetBalanceMicros(), Grants: make([]GrantLeft, len(a.GetGrants())),
		ByKind: map[string]int64{"included": a.GetIncludedMicros(), "promo": a.GetPromoMicros(), "credit": a.GetCreditMicros()},
		Seq:    a.GetSeq(), Index: a.GetIndex(), Term: a.GetTerm(),
	}
	if len(a.GetLabels()) > 0 {
		s.Labels = make(map[string]string, len(a.GetLabels()))
		for _, l := range a.GetLabels() {
			s.Labels[l.GetName()] = l.GetValue()
		}
	}
	for i, g := range a.GetGrants() {
		s.Grants[i] = GrantLeft{RemainingMicros: g.GetRemainingMicros(), Grant: Grant{
			ID: g.GetId(), Kind: g.GetKind(), AmountMicros: g.GetAmountMicros(), Priority: uint8(min(g.GetPriority(), 255)),
			Effective: instant(g.GetEffective()), Expires: instant(g.GetExpires()),
		}}
	}
	return s, nil
}

func (k *Client) write(ctx context.Context, key string, ask func(context.Context, *link) (*weirv1.Receipt, error)) (Receipt, error) {
	if key == "" {
		return Receipt{}, ErrNoKey
	}
	in, err := anywhere(ctx, k, ask)
	switch {
	case err == nil:
	case final(err), errors.Is(err, ErrUnreachable), errors.Is(err, ErrClosed):
		return Receipt{}, fmt.Errorf("ledger write %s: %w", key, err)
	default:
		return Receipt{}, fmt.Errorf("%w: ledger write %s: %w (repeat it with the same key)", ErrUnknown, key, err)
	}
	out := Receipt{
		Outcome: in.GetOutcome(), Account: in.GetAccount(), Seq: in.GetSeq(), AmountMicros: in.GetAmountMicros(),
		BalanceAfterMicros: in.GetBalanceAfterMicros(), Index: in.GetIndex(), Term: in.GetTerm(),
		Time: instant(in.GetTime()), Replayed: in.GetReplayed(),
	}
	for _, p := range in.GetParts() {
		out.Parts = append(out.Parts, Part{Kind: p.GetKind(), Grant: p.GetGrant(), AmountMicros: p.GetAmountMicros()})
	}
	if out.Outcome == outcomeInsufficient {
		out.Type, out.Title, out.Status = problemOurs+"CREDITS_EXHAUSTED", titleCredits, http.StatusPaymentRequired
	}
	return out, nil
}

// anywhere has any node answer a call to the ledger, which may be sent again.
func anywhere[T any](ctx context.Context, k *Client, ask func(context.Context, *link) (T, error)) (T, error) {
	var none T
	if !k.calls.enter() {
		return none, ErrClosed
	}
	defer k.calls.leave()
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, k.c.LedgerDeadline)
		defer cancel()
	}
	view := k.views.current(ctx)
	if view == nil {
		return none, fmt.Errorf("%w: no view yet", ErrUnreachable)
	}
	c := aside(ctx, view.toAny())
	return walk(ctx, k, &c, func(ctx context.Context, until time.Time, l *link) (T, error) {
		ctx, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		answer, err := ask(ctx, l)
		if err != nil {
			return none, ofStatus(l.address, err)
		}
		return answer, nil
	})
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func instant(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
