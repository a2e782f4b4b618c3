package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// OpenAccount opens an account. For this and the other writes: any node takes it, within ctx's deadline or else
// Config.LedgerDeadline. The key makes a repetition the same write, and the client repeats by itself, once. ErrNoKey,
// ErrUnreachable, ErrInvalid, ErrConflict, ErrTooOld, ErrNotFound and ErrFull mean that nothing was written; ErrUnknown
// that nobody knows: repeat with the same key.
func (k *Client) OpenAccount(ctx context.Context, key string, a Account) (Receipt, error) {
	r := &weirv1.OpenAccountRequest{
		IdempotencyKey: key, Account: a.ID, Plan: a.Plan, UseCredits: a.UseCredits, OverdraftMicros: a.OverdraftMicros,
		Blocked: a.Blocked, Labels: labels(a.Labels),
	}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.OpenAccount(ctx, r) })
}

// UpdateAccount changes what is named of an account.
func (k *Client) UpdateAccount(ctx context.Context, key, account string, a AccountChange) (Receipt, error) {
	r := &weirv1.UpdateAccountRequest{
		IdempotencyKey: key, Account: account, Plan: a.Plan, UseCredits: a.UseCredits, OverdraftMicros: a.OverdraftMicros,
		Blocked: a.Blocked, Memo: a.Memo,
	}
	if a.Labels != nil {
		r.Labels = &weirv1.Labels{Labels: labels(a.Labels)}
	}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.UpdateAccount(ctx, r) })
}

// Grant gives credit to an account.
func (k *Client) Grant(ctx context.Context, key, account string, g Grant) (Receipt, error) {
	r := &weirv1.GrantRequest{
		IdempotencyKey: key, Account: account, Grant: g.ID, Kind: g.Kind, AmountMicros: g.AmountMicros,
		Priority: uint32(g.Priority), Effective: stamp(g.Effective), Expires: stamp(g.Expires),
		Every: g.Every, Zone: g.Zone, RolloverMicros: g.RolloverMicros, AppliesTo: facts(g.AppliesTo),
	}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.Grant(ctx, r) })
}

// VoidGrant takes back what is left of a grant, and ends one that recurs.
func (k *Client) VoidGrant(ctx context.Context, key, account, grant, memo string) (Receipt, error) {
	r := &weirv1.VoidGrantRequest{IdempotencyKey: key, Account: account, Grant: grant, Memo: memo}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.VoidGrant(ctx, r) })
}

// Adjust corrects a balance by hand.
func (k *Client) Adjust(ctx context.Context, key, account string, a Adjustment) (Receipt, error) {
	r := &weirv1.AdjustRequest{IdempotencyKey: key, Account: account, AmountMicros: a.AmountMicros, Kind: a.Kind, Memo: a.Memo}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.Adjust(ctx, r) })
}

// Debit takes credit from an account. What the ledger refuses is a Receipt that is Refused, not an error.
func (k *Client) Debit(ctx context.Context, key, account string, d Debit) (Receipt, error) {
	r := &weirv1.DebitRequest{
		IdempotencyKey: key, Account: account, AmountMicros: d.AmountMicros, Order: d.Order, Memo: d.Memo, Overshoot: d.Overshoot,
		Attributes: facts(d.Attributes),
	}
	return k.write(ctx, key, func(ctx context.Context, l *link) (*weirv1.Receipt, error) { return l.ledger.Debit(ctx, r) })
}

// Balance returns an account as the ledger has it now (linearizable). ErrNotFound, ErrUnreachable, or another error
// when no node answers.
func (k *Client) Balance(ctx context.Context, account string) (Statement, error) {
	return k.AccountAsOf(ctx, account, Read{})
}

// AccountAsOf is Balance as of what r asks for.
func (k *Client) AccountAsOf(ctx context.Context, account string, r Read) (Statement, error) {
	q := &weirv1.GetAccountRequest{Account: account, MinIndex: r.MinIndex}
	if r.MaxStaleness > 0 {
		q.MaxStalenessMs = max(1, r.MaxStaleness.Milliseconds())
	}
	a, err := anywhere(ctx, k, func(ctx context.Context, l *link) (*weirv1.Account, error) { return l.ledger.GetAccount(ctx, q) })
	if err != nil {
		return Statement{}, fmt.Errorf("balance of %s: %w", account, err)
	}
	s := Statement{
		Account: Account{
			ID: a.GetId(), Plan: a.GetPlan(), UseCredits: a.GetUseCredits(), OverdraftMicros: a.GetOverdraftMicros(), Blocked: a.GetBlocked(),
		},
		BalanceMicros: a.GetBalanceMicros(), HeldMicros: a.GetHeldMicros(), OpenHolds: int(a.GetOpenHolds()), ForgivenMicros: a.GetForgivenMicros(),
		WrittenOffMicros: a.GetWrittenOffMicros(), Grants: make([]GrantLeft, len(a.GetGrants())), Books: make(map[string]int64, len(a.GetBooks())),
		ByKind: map[string]int64{"included": a.GetIncludedMicros(), "promo": a.GetPromoMicros(), "credit": a.GetCreditMicros()},
		Seq:    a.GetSeq(), Event: a.GetEvent(), Index: a.GetIndex(), Term: a.GetTerm(), Time: instant(a.GetTime()),
	}
	for _, p := range a.GetBooks() {
		s.Books[p.GetBook()] = p.GetAmountMicros()
	}
	if len(a.GetLabels()) > 0 {
		s.Labels = make(map[string]string, len(a.GetLabels()))
		for _, l := range a.GetLabels() {
			s.Labels[l.GetName()] = l.GetValue()
		}
	}
	for i, g := range a.GetGrants() {
		s.Grants[i] = GrantLeft{RemainingMicros: g.GetRemainingMicros(), HeldMicros: g.GetHeldMicros(), Expired: g.GetExpired(), Voided: g.GetVoided(), Grant: Grant{
			ID: g.GetId(), Kind: g.GetKind(), AmountMicros: g.GetAmountMicros(), Priority: uint8(min(g.GetPriority(), 255)),
			Effective: instant(g.GetEffective()), Expires: instant(g.GetExpires()), AppliesTo: factsOf(g.GetAppliesTo()),
		}}
	}
	for _, g := range a.GetRecurring() {
		s.Recurring = append(s.Recurring, Grant{
			ID: g.GetId(), Kind: g.GetKind(), AmountMicros: g.GetAmountMicros(), Priority: uint8(min(g.GetPriority(), 255)),
			Effective: instant(g.GetEffective()), Expires: instant(g.GetExpires()), AppliesTo: factsOf(g.GetAppliesTo()),
			Every: g.GetEvery(), Zone: g.GetZone(), RolloverMicros: g.GetRolloverMicros(),
		})
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
	return ofReceipt(in), nil
}

func ofReceipt(in *weirv1.Receipt) Receipt {
	out := Receipt{
		Outcome: in.GetOutcome(), Account: in.GetAccount(), Seq: in.GetSeq(), Event: in.GetEvent(), AmountMicros: in.GetAmountMicros(),
		BalanceAfterMicros: in.GetBalanceAfterMicros(), ForgivenMicros: in.GetForgivenMicros(), ExpiredMicros: in.GetExpiredMicros(), Late: in.GetLate(),
		Index: in.GetIndex(), Term: in.GetTerm(), Time: instant(in.GetTime()), Replayed: in.GetReplayed(), Attempts: uint64(in.GetAttempts()),
	}
	for _, p := range in.GetParts() {
		out.Parts = append(out.Parts, Part{Kind: p.GetKind(), Grant: p.GetGrant(), AmountMicros: p.GetAmountMicros()})
	}
	for _, p := range in.GetHad() {
		if out.Had == nil {
			out.Had = make(map[string]int64, len(in.GetHad()))
		}
		out.Had[p.GetKind()] = p.GetAmountMicros()
	}
	if h := in.GetHold(); h != nil {
		out.Hold = &HoldState{
			ID: h.GetId(), State: h.GetState(), HeldMicros: h.GetHeldMicros(), CapturedMicros: h.GetCapturedMicros(),
			RefundedMicros: h.GetRefundedMicros(), ExpiresInMS: h.GetExpiresInMs(),
		}
	}
	if out.Status, out.Reason = outcomeStatus(out.Outcome); out.Status != 0 {
		out.Type, out.Title, out.Detail = problemOurs+out.Reason, "The ledger refused", "outcome "+out.Outcome
	}
	if out.Status == http.StatusPaymentRequired {
		out.Title = titleCredits
	}
	return out
}

// outcomeStatus is what the HTTP doors make of an outcome; 0 for one that is none.
func outcomeStatus(outcome string) (status int, reason string) {
	switch reason = strings.ToUpper(outcome); outcome {
	case "done":
		return 0, ""
	case "insufficient":
		return http.StatusPaymentRequired, "CREDITS_EXHAUSTED"
	case "unwilling":
		return http.StatusPaymentRequired, reason
	case "blocked":
		return http.StatusForbidden, reason
	case "hold_expired":
		return http.StatusGone, reason
	case "exceeds_hold", "refund_exceeds_captured":
		return http.StatusUnprocessableEntity, reason
	default:
		return http.StatusConflict, reason
	}
}

// labels are labels in the order of their names: a repetition has the same contents.
func labels(in map[string]string) []*weirv1.Label {
	var out []*weirv1.Label
	for _, name := range slices.Sorted(maps.Keys(in)) {
		out = append(out, &weirv1.Label{Name: name, Value: in[name]})
	}
	return out
}

// facts are attributes in the order of their names.
func facts(in map[string]string) []*weirv1.Attribute {
	var out []*weirv1.Attribute
	for _, name := range slices.Sorted(maps.Keys(in)) {
		out = append(out, &weirv1.Attribute{Name: name, Value: in[name]})
	}
	return out
}

func factsOf(in []*weirv1.Attribute) map[string]string {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]string, len(in))
	for _, a := range in {
		out[a.GetName()] = a.GetValue()
	}
	return out
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
