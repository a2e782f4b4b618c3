package transport

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
)

// What the API's requests are to the ledger, whichever door they came through. The ledger itself judges the amounts.

func openOf(r *weirv1.OpenAccountRequest) ledger.OpenAccount {
	return ledger.OpenAccount{
		Key: r.GetIdempotencyKey(), Account: r.GetAccount(), Plan: r.GetPlan(), Labels: labelsOf(r.GetLabels()),
		UseCredits: r.GetUseCredits(), Overdraft: ledger.Credits(r.GetOverdraftMicros()), Blocked: r.GetBlocked(),
	}
}

func updateOf(r *weirv1.UpdateAccountRequest) ledger.UpdateAccount {
	return ledger.UpdateAccount{
		Key: r.GetIdempotencyKey(), Account: r.GetAccount(), Plan: r.Plan, Relabel: r.Labels != nil, Labels: labelsOf(r.GetLabels().GetLabels()),
		UseCredits: r.UseCredits, Overdraft: (*ledger.Credits)(r.OverdraftMicros), Blocked: r.Blocked, Memo: r.GetMemo(),
	}
}

func grantOf(r *weirv1.GrantRequest) (ledger.Grant, error) {
	g := ledger.Grant{
		Key: r.GetIdempotencyKey(), Account: r.GetAccount(), Grant: r.GetGrant(),
		Amount: ledger.Credits(r.GetAmountMicros()), Priority: uint8(r.GetPriority()),
		Effective: fromStamp(r.GetEffective()), Expires: fromStamp(r.GetExpires()),
		AppliesTo: conditionsOf(r.GetAppliesTo()), Zone: r.GetZone(), Rollover: ledger.Credits(r.GetRolloverMicros()),
	}
	if r.GetPriority() > 255 {
		return g, fmt.Errorf("%w: priority %d, at most 255", ledger.ErrInvalid, r.GetPriority())
	}
	var err error
	if g.Kind, err = ledger.ParseKind(r.GetKind()); err != nil {
		return g, fmt.Errorf("kind: %w", err)
	}
	if g.Every, err = ledger.ParseEvery(r.GetEvery()); err != nil {
		return g, fmt.Errorf("every: %w", err)
	}
	return g, nil
}

func voidOf(r *weirv1.VoidGrantRequest) ledger.VoidGrant {
	return ledger.VoidGrant{Key: r.GetIdempotencyKey(), Account: r.GetAccount(), Grant: r.GetGrant(), Memo: r.GetMemo()}
}

func debitOf(r *weirv1.DebitRequest) (ledger.Debit, error) {
	d := ledger.Debit{
		Key: r.GetIdempotencyKey(), Account: r.GetAccount(), Amount: ledger.Credits(r.GetAmountMicros()), Memo: r.GetMemo(),
		Attributes: conditionsOf(r.GetAttributes()),
	}
	var err error
	if d.Overshoot, err = ledger.ParseOvershoot(r.GetOvershoot()); err != nil {
		return d, fmt.Errorf("overshoot: %w", err)
	}
	d.Order, err = kindOrder(r.GetOrder())
	return d, err
}

func authorizeOf(r *weirv1.AuthorizeRequest) (ledger.Authorize, error) {
	a := ledger.Authorize{
		Key: r.GetIdempotencyKey(), Account: r.GetAccount(), Amount: ledger.Credits(r.GetAmountMicros()), TTL: millis(r.GetTtlMs()),
		Partial: r.GetPartial(), Attributes: conditionsOf(r.GetAttributes()), Memo: r.GetMemo(),
	}
	var err error
	if a.OnExpire, err = ledger.ParseOnExpire(r.GetOnExpire()); err != nil {
		return a, fmt.Errorf("on_expire: %w", err)
	}
	if a.Late, err = ledger.ParseLate(r.GetLate()); err != nil {
		return a, fmt.Errorf("late: %w", err)
	}
	a.Order, err = kindOrder(r.GetOrder())
	return a, err
}

func extendOf(r *weirv1.ExtendRequest) ledger.Extend {
	return ledger.Extend{Key: r.GetIdempotencyKey(), Hold: r.GetHold(), Amount: ledger.Credits(r.GetAmountMicros()), TTL: millis(r.GetTtlMs()), Memo: r.GetMemo()}
}

func captureOf(r *weirv1.CaptureRequest) (ledger.Capture, error) {
	c := ledger.Capture{Key: r.GetIdempotencyKey(), Hold: r.GetHold(), Amount: ledger.Credits(r.GetAmountMicros()), Final: r.GetFinal(), Memo: r.GetMemo()}
	var err error
	if c.Overshoot, err = ledger.ParseOvershoot(r.GetOvershoot()); err != nil {
		return c, fmt.Errorf("overshoot: %w", err)
	}
	return c, nil
}

func releaseOf(r *weirv1.ReleaseRequest) ledger.Release {
	return ledger.Release{Key: r.GetIdempotencyKey(), Hold: r.GetHold(), Memo: r.GetMemo()}
}

func refundOf(r *weirv1.RefundRequest) ledger.Refund {
	return ledger.Refund{Key: r.GetIdempotencyKey(), Charge: r.GetCharge(), Amount: ledger.Credits(r.GetAmountMicros()), Memo: r.GetMemo()}
}

func adjustOf(r *weirv1.AdjustRequest) (ledger.Adjust, error) {
	a := ledger.Adjust{Key: r.GetIdempotencyKey(), Account: r.GetAccount(), Amount: ledger.Credits(r.GetAmountMicros()), Memo: r.GetMemo()}
	var err error
	if a.Kind, err = ledger.ParseKind(r.GetKind()); err != nil {
		return a, fmt.Errorf("kind: %w", err)
	}
	return a, nil
}

// kindOrder reads the kinds that pay, in order; none means all in the ledger's usual order.
func kindOrder(words []string) ([]ledger.Kind, error) {
	order := make([]ledger.Kind, 0, len(words))
	for _, w := range words {
		k, err := ledger.ParseKind(w)
		if err != nil {
			return nil, fmt.Errorf("order: %w", err)
		}
		order = append(order, k)
	}
	return order, nil
}

func labelsOf(in []*weirv1.Label) []ledger.Label {
	var out []ledger.Label
	for _, l := range in {
		out = append(out, ledger.Label{Name: l.GetName(), Value: l.GetValue()})
	}
	return out
}

// conditionsOf are attributes as the ledger compares them.
func conditionsOf(in []*weirv1.Attribute) []ledger.Label {
	var out []ledger.Label
	for _, a := range in {
		out = append(out, ledger.Label{Name: a.GetName(), Value: a.GetValue()})
	}
	return out
}

func toStamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func fromStamp(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
