package transport

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
)

// Ledger keeps accounts of credit; *ledger.Ledger is one.
type Ledger interface {
	Open(ctx context.Context, o ledger.OpenAccount) (ledger.Receipt, error)
	Grant(ctx context.Context, g ledger.Grant) (ledger.Receipt, error)
	Debit(ctx context.Context, d ledger.Debit) (ledger.Receipt, error)
	Account(ctx context.Context, id string) (ledger.Account, error)
	Entries(ctx context.Context, account string, after uint64, limit int) ([]ledger.Entry, error)
}

// LedgerServer is weir.v1.LedgerService.
type LedgerServer struct {
	weirv1.UnimplementedLedgerServiceServer

	Ledger Ledger
	// Timeout bounds a call whose caller set no deadline.
	Timeout time.Duration
}

// OpenAccount opens an account.
func (s *LedgerServer) OpenAccount(ctx context.Context, r *weirv1.OpenAccountRequest) (*weirv1.Receipt, error) {
	o := ledger.OpenAccount{
		Key: r.GetIdempotencyKey(), Account: r.GetAccount(), Plan: r.GetPlan(),
		UseCredits: r.GetUseCredits(), Overdraft: ledger.Credits(r.GetOverdraftMicros()),
	}
	for _, l := range r.GetLabels() {
		o.Labels = append(o.Labels, ledger.Label{Name: l.GetName(), Value: l.GetValue()})
	}
	slices.SortFunc(o.Labels, func(a, b ledger.Label) int { return strings.Compare(a.Name, b.Name) })
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	return receipt(s.Ledger.Open(ctx, o))
}

// Grant adds credit to an account.
func (s *LedgerServer) Grant(ctx context.Context, r *weirv1.GrantRequest) (*weirv1.Receipt, error) {
	kind, err := ledger.ParseKind(r.GetKind())
	if err != nil {
		return nil, toStatus(fmt.Errorf("%w: kind: %w", ledger.ErrInvalid, err))
	}
	if r.GetPriority() > 255 {
		return nil, toStatus(fmt.Errorf("%w: priority %d, at most 255", ledger.ErrInvalid, r.GetPriority()))
	}
	g := ledger.Grant{
		Key: r.GetIdempotencyKey(), Account: r.GetAccount(), Grant: r.GetGrant(), Kind: kind,
		Amount: ledger.Credits(r.GetAmountMicros()), Priority: uint8(r.GetPriority()),
		Effective: fromStamp(r.GetEffective()), Expires: fromStamp(r.GetExpires()),
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	return receipt(s.Ledger.Grant(ctx, g))
}

// Debit takes credit from an account, all of it or none.
func (s *LedgerServer) Debit(ctx context.Context, r *weirv1.DebitRequest) (*weirv1.Receipt, error) {
	order, err := kindOrder(r.GetOrder())
	if err != nil {
		return nil, toStatus(err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	return receipt(s.Ledger.Debit(ctx, ledger.Debit{
		Key: r.GetIdempotencyKey(), Account: r.GetAccount(), Order: order,
		Amount: ledger.Credits(r.GetAmountMicros()), Memo: r.GetMemo(),
	}))
}

// kindOrder reads the kinds that pay, in order; none means all in the ledger's usual order.
func kindOrder(words []string) ([]ledger.Kind, error) {
	order := make([]ledger.Kind, 0, len(words))
	for _, w := range words {
		k, err := ledger.ParseKind(w)
		if err != nil {
			return nil, fmt.Errorf("%w: order: %w", ledger.ErrInvalid, err)
		}
		order = append(order, k)
	}
	return order, nil
}

// GetAccount reads an account linearizably.
func (s *LedgerServer) GetAccount(ctx context.Context, r *weirv1.GetAccountRequest) (*weirv1.Account, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	a, err := s.Ledger.Account(ctx, r.GetAccount())
	if err != nil {
		return nil, toStatus(err)
	}
	return toAccount(a), nil
}

// ListEntries lists the movements of an account.
func (s *LedgerServer) ListEntries(ctx context.Context, r *weirv1.ListEntriesRequest) (*weirv1.ListEntriesResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	limit := int(r.GetLimit())
	if limit == 0 {
		limit = ledger.EntriesMax
	}
	all, err := s.Ledger.Entries(ctx, r.GetAccount(), r.GetAfter(), limit)
	if err != nil {
		return nil, toStatus(err)
	}
	out := &weirv1.ListEntriesResponse{Entries: make([]*weirv1.Entry, len(all))}
	for i, e := range all {
		out.Entries[i] = toEntry(e)
	}
	return out, nil
}

func toEntry(e ledger.Entry) *weirv1.Entry {
	out := &weirv1.Entry{
		Seq: e.Seq, Movement: e.Movement.String(), IdempotencyKey: e.Key, Memo: e.Memo,
		Index: e.Index, Term: e.Term, Time: toStamp(e.Wall),
	}
	for _, p := range e.Postings {
		out.Postings = append(out.Postings, &weirv1.Posting{Book: p.Book.String(), Grant: p.Grant, AmountMicros: int64(p.Amount)})
	}
	return out
}

func receipt(r ledger.Receipt, err error) (*weirv1.Receipt, error) {
	if err != nil {
		return nil, toStatus(err)
	}
	out := &weirv1.Receipt{
		Outcome: r.Outcome.String(), Account: r.Account, Seq: r.Seq, AmountMicros: int64(r.Amount),
		BalanceAfterMicros: int64(r.BalanceAfter), Index: r.Index, Term: r.Term, Time: toStamp(r.Wall), Replayed: r.Replayed,
	}
	for _, p := range r.Parts {
		out.Parts = append(out.Parts, &weirv1.Part{Kind: p.Kind.String(), Grant: p.Grant, AmountMicros: int64(p.Amount)})
	}
	return out, nil
}

func toAccount(a ledger.Account) *weirv1.Account {
	out := &weirv1.Account{
		Id: a.ID, Plan: a.Plan, UseCredits: a.UseCredits, OverdraftMicros: int64(a.Overdraft),
		BalanceMicros: int64(a.Balance), IncludedMicros: int64(a.ByKind[ledger.Included]),
		PromoMicros: int64(a.ByKind[ledger.Promo]), CreditMicros: int64(a.ByKind[ledger.Credit]),
		Seq: a.Seq, Index: a.AsOf.Index, Term: a.AsOf.Term,
	}
	for _, l := range a.Labels {
		out.Labels = append(out.Labels, &weirv1.Label{Name: l.Name, Value: l.Value})
	}
	for _, g := range a.Grants {
		out.Grants = append(out.Grants, &weirv1.GrantState{
			Id: g.ID, Kind: g.Kind.String(), AmountMicros: int64(g.Amount), RemainingMicros: int64(g.Available),
			Priority: uint32(g.Priority), Effective: toStamp(g.Effective), Expires: toStamp(g.Expires),
		})
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
