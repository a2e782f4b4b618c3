package client

import (
	"context"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// Authorize sets credit aside, to be captured or released. The key is the id of the hold. What the ledger refuses, of this and of
// the writes below, is a Receipt that is Refused, not an error.
func (k *Client) Authorize(ctx context.Context, key, account string, h Hold) (Receipt, error) {
	r := &weirv1.AuthorizeRequest{
		IdempotencyKey: key, Account: account, AmountMicros: h.AmountMicros, TtlMs: h.TTLMS, Partial: h.Partial, Order: h.Order,
		Attributes: facts(h.Attributes), OnExpire: h.OnExpire, Late: h.Late, Memo: h.Memo,
	}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.Authorize(ctx, r) })
}

// Extend holds more, or longer. ErrNotFound: there is no such hold, or not yet.
func (k *Client) Extend(ctx context.Context, key, hold string, e Extension) (Receipt, error) {
	r := &weirv1.ExtendRequest{IdempotencyKey: key, Hold: hold, AmountMicros: e.AmountMicros, TtlMs: e.TTLMS, Memo: e.Memo}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.Extend(ctx, r) })
}

// Capture charges a hold. ErrNotFound: there is no such hold, or not yet: repeat it with the same key.
func (k *Client) Capture(ctx context.Context, key, hold string, a Capture) (Receipt, error) {
	r := &weirv1.CaptureRequest{
		IdempotencyKey: key, Hold: hold, AmountMicros: a.AmountMicros, Final: a.Final, Overshoot: a.Overshoot, Memo: a.Memo,
	}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.Capture(ctx, r) })
}

// Release gives back what is left of a hold. One that overtakes its Authorize wins.
func (k *Client) Release(ctx context.Context, key, hold, memo string) (Receipt, error) {
	r := &weirv1.ReleaseRequest{IdempotencyKey: key, Hold: hold, Memo: memo}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.Release(ctx, r) })
}

// Refund gives back what a charge took: charge is the key of a debit or the id of a hold. ErrNotFound: there is none, or not yet.
func (k *Client) Refund(ctx context.Context, key, charge string, a Refund) (Receipt, error) {
	r := &weirv1.RefundRequest{IdempotencyKey: key, Charge: charge, AmountMicros: a.AmountMicros, Memo: a.Memo}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.Refund(ctx, r) })
}
