package transport

import (
	"context"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
)

// Ledger keeps accounts of credit; *ledger.Ledger is one.
type Ledger interface {
	Open(ctx context.Context, o ledger.OpenAccount) (ledger.Receipt, error)
	Update(ctx context.Context, u ledger.UpdateAccount) (ledger.Receipt, error)
	Grant(ctx context.Context, g ledger.Grant) (ledger.Receipt, error)
	Void(ctx context.Context, v ledger.VoidGrant) (ledger.Receipt, error)
	Debit(ctx context.Context, d ledger.Debit) (ledger.Receipt, error)
	Authorize(ctx context.Context, a ledger.Authorize) (ledger.Receipt, error)
	Extend(ctx context.Context, e ledger.Extend) (ledger.Receipt, error)
	Capture(ctx context.Context, c ledger.Capture) (ledger.Receipt, error)
	Release(ctx context.Context, r ledger.Release) (ledger.Receipt, error)
	Refund(ctx context.Context, r ledger.Refund) (ledger.Receipt, error)
	Adjust(ctx context.Context, a ledger.Adjust) (ledger.Receipt, error)
	Do(ctx context.Context, writes []ledger.Write, done func(i int, r ledger.Receipt, err error))
	AccountAs(ctx context.Context, id string, r ledger.Read) (ledger.Account, error)
	Page(ctx context.Context, q ledger.PageQuery, r ledger.Read) (ledger.Page, error)
	Status(ctx context.Context, r ledger.Read) (ledger.Status, error)
}

// LedgerServer is weir.v1.LedgerService.
type LedgerServer struct {
	weirv1.UnimplementedLedgerServiceServer

	Ledger Ledger
	// Events is where events are read; nil: this node serves none.
	Events *EventDoor
	// Timeout bounds a call whose caller set no deadline.
	Timeout time.Duration
	// Closing is as in AccessServer, for streams of Apply.
	Closing <-chan struct{}
}

// booked carries out a write that was read from a request.
func booked[C any](ctx context.Context, s *LedgerServer, c C, err error, do func(Ledger, context.Context, C) (ledger.Receipt, error)) (*weirv1.Receipt, error) {
	if err != nil {
		return nil, toStatus(err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	r, err := do(s.Ledger, ctx, c)
	if err != nil {
		return nil, toStatus(err)
	}
	return toReceipt(r), nil
}

// OpenAccount opens an account.
func (s *LedgerServer) OpenAccount(ctx context.Context, r *weirv1.OpenAccountRequest) (*weirv1.Receipt, error) {
	return booked(ctx, s, openOf(r), nil, Ledger.Open)
}

// UpdateAccount changes what is named of an account.
func (s *LedgerServer) UpdateAccount(ctx context.Context, r *weirv1.UpdateAccountRequest) (*weirv1.Receipt, error) {
	return booked(ctx, s, updateOf(r), nil, Ledger.Update)
}

// Grant adds credit to an account.
func (s *LedgerServer) Grant(ctx context.Context, r *weirv1.GrantRequest) (*weirv1.Receipt, error) {
	g, err := grantOf(r)
	return booked(ctx, s, g, err, Ledger.Grant)
}

// VoidGrant takes back what is left of a grant.
func (s *LedgerServer) VoidGrant(ctx context.Context, r *weirv1.VoidGrantRequest) (*weirv1.Receipt, error) {
	return booked(ctx, s, voidOf(r), nil, Ledger.Void)
}

// Debit takes credit from an account.
func (s *LedgerServer) Debit(ctx context.Context, r *weirv1.DebitRequest) (*weirv1.Receipt, error) {
	d, err := debitOf(r)
	return booked(ctx, s, d, err, Ledger.Debit)
}

// Authorize sets credit aside.
func (s *LedgerServer) Authorize(ctx context.Context, r *weirv1.AuthorizeRequest) (*weirv1.Receipt, error) {
	a, err := authorizeOf(r)
	return booked(ctx, s, a, err, Ledger.Authorize)
}

// Extend holds more, or longer.
func (s *LedgerServer) Extend(ctx context.Context, r *weirv1.ExtendRequest) (*weirv1.Receipt, error) {
	return booked(ctx, s, extendOf(r), nil, Ledger.Extend)
}

// Capture charges a hold.
func (s *LedgerServer) Capture(ctx context.Context, r *weirv1.CaptureRequest) (*weirv1.Receipt, error) {
	c, err := captureOf(r)
	return booked(ctx, s, c, err, Ledger.Capture)
}

// Release gives back what is left of a hold.
func (s *LedgerServer) Release(ctx context.Context, r *weirv1.ReleaseRequest) (*weirv1.Receipt, error) {
	return booked(ctx, s, releaseOf(r), nil, Ledger.Release)
}

// Refund gives back what was charged.
func (s *LedgerServer) Refund(ctx context.Context, r *weirv1.RefundRequest) (*weirv1.Receipt, error) {
	return booked(ctx, s, refundOf(r), nil, Ledger.Refund)
}

// Adjust corrects a balance.
func (s *LedgerServer) Adjust(ctx context.Context, r *weirv1.AdjustRequest) (*weirv1.Receipt, error) {
	a, err := adjustOf(r)
	return booked(ctx, s, a, err, Ledger.Adjust)
}

// GetAccount reads an account.
func (s *LedgerServer) GetAccount(ctx context.Context, r *weirv1.GetAccountRequest) (*weirv1.Account, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	a, err := s.Ledger.AccountAs(ctx, r.GetAccount(), ledger.Read{MaxStaleness: max(0, millis(r.GetMaxStalenessMs())), MinIndex: r.GetMinIndex()})
	if err != nil {
		return nil, toStatus(err)
	}
	return toAccount(a), nil
}

// ListEntries lists the movements of an account.
func (s *LedgerServer) ListEntries(ctx context.Context, r *weirv1.ListEntriesRequest) (*weirv1.ListEntriesResponse, error) {
	limit := int(r.GetLimit())
	if limit == 0 {
		limit = ledger.EntriesMax
	}
	q, err := pageOf(r.GetAccount(), r.GetAfter(), r.GetNewestFirst(), r.GetCursor(), limit)
	if err != nil {
		return nil, toStatus(err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	p, err := s.Ledger.Page(ctx, q, ledger.Read{})
	if err != nil {
		return nil, toStatus(err)
	}
	out := &weirv1.ListEntriesResponse{Entries: make([]*weirv1.Entry, len(p.Events)), Next: nextOf(&q, &p)}
	for i := range p.Events {
		out.Entries[i] = toEntry(&p.Events[i])
	}
	return out, nil
}
