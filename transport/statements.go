package transport

import (
	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
)

// What the ledger answers, as messages of the API.

func toReceipt(r ledger.Receipt) *weirv1.Receipt {
	out := &weirv1.Receipt{
		Outcome: r.Outcome.String(), Account: r.Account, Seq: r.Seq, Event: r.Event, AmountMicros: int64(r.Amount),
		BalanceAfterMicros: int64(r.BalanceAfter), ForgivenMicros: int64(r.Forgiven), ExpiredMicros: int64(r.Expired),
		Parts: toParts(r.Parts), Late: r.Late, Index: r.Index, Term: r.Term, Time: toStamp(r.Wall), Replayed: r.Replayed, Attempts: uint32(r.Attempts),
	}
	if tellsHad(&r) {
		for k, c := range r.Had {
			out.Had = append(out.Had, &weirv1.Part{Kind: ledger.Kind(k).String(), AmountMicros: int64(c)})
		}
	}
	if r.Hold != "" {
		out.Hold = &weirv1.HoldState{
			Id: r.Hold, State: r.State.String(), HeldMicros: int64(r.Held), CapturedMicros: int64(r.Captured),
			RefundedMicros: int64(r.Refunded), ExpiresInMs: max(0, r.ExpiresIn.Milliseconds()),
		}
	}
	return out
}

// tellsHad reports whether what there was to take is part of what a receipt tells: when something was looked for.
func tellsHad(r *ledger.Receipt) bool {
	return r.Had != [ledger.KindCount]ledger.Credits{} || r.Outcome == ledger.Insufficient || r.Outcome == ledger.Unwilling
}

func toParts(in []ledger.Part) []*weirv1.Part {
	var out []*weirv1.Part
	for _, p := range in {
		out = append(out, &weirv1.Part{Kind: p.Kind.String(), Grant: p.Grant, AmountMicros: int64(p.Amount)})
	}
	return out
}

func toEntry(e *ledger.Event) *weirv1.Entry {
	return &weirv1.Entry{
		Seq: e.AccountSeq, Event: e.Seq, Movement: e.Movement.String(), IdempotencyKey: e.Key, Memo: e.Memo, Hold: e.Hold, Grant: e.Grant,
		Charge: e.Charge, Postings: toPostings(e.Postings), BalanceAfterMicros: int64(e.BalanceAfter), ForgivenMicros: int64(e.Forgiven),
		WrittenOffMicros: int64(e.WrittenOff), Late: e.Late, Index: e.Index, Term: e.Term, Time: toStamp(e.Wall),
	}
}

func toPostings(in []ledger.Posting) []*weirv1.Posting {
	var out []*weirv1.Posting
	for _, p := range in {
		out = append(out, &weirv1.Posting{Book: p.Book.String(), Grant: p.Grant, AmountMicros: int64(p.Amount)})
	}
	return out
}

func toAccount(a ledger.Account) *weirv1.Account {
	out := &weirv1.Account{
		Id: a.ID, Plan: a.Plan, UseCredits: a.UseCredits, Blocked: a.Blocked, OverdraftMicros: int64(a.Overdraft),
		BalanceMicros: int64(a.Balance), IncludedMicros: int64(a.ByKind[ledger.Included]),
		PromoMicros: int64(a.ByKind[ledger.Promo]), CreditMicros: int64(a.ByKind[ledger.Credit]),
		HeldMicros: int64(a.Books[ledger.Held]), OpenHolds: a.OpenHolds, ForgivenMicros: int64(a.Forgiven), WrittenOffMicros: int64(a.WrittenOff),
		Seq: a.Seq, Event: a.Event, Index: a.AsOf.Index, Term: a.AsOf.Term, Time: toStamp(a.AsOf.Wall),
	}
	for b, c := range a.Books {
		out.Books = append(out.Books, &weirv1.Posting{Book: ledger.Book(b).String(), AmountMicros: int64(c)})
	}
	for _, l := range a.Labels {
		out.Labels = append(out.Labels, &weirv1.Label{Name: l.Name, Value: l.Value})
	}
	for _, g := range a.Grants {
		out.Grants = append(out.Grants, &weirv1.GrantState{
			Id: g.ID, Kind: g.Kind.String(), AmountMicros: int64(g.Amount), RemainingMicros: int64(g.Available), HeldMicros: int64(g.Held),
			Priority: uint32(g.Priority), Effective: toStamp(g.Effective), Expires: toStamp(g.Expires), Expired: g.Expired, Voided: g.Voided,
			AppliesTo: toConditions(g.AppliesTo),
		})
	}
	for _, g := range a.Recurring {
		out.Recurring = append(out.Recurring, &weirv1.RecurringGrant{
			Id: g.ID, Kind: g.Kind.String(), AmountMicros: int64(g.Amount), Priority: uint32(g.Priority), Effective: toStamp(g.Effective),
			Expires: toStamp(g.Expires), AppliesTo: toConditions(g.AppliesTo), Every: g.Every.String(), Zone: g.Zone, RolloverMicros: int64(g.Rollover),
		})
	}
	return out
}

func toConditions(in []ledger.Label) []*weirv1.Attribute {
	var out []*weirv1.Attribute
	for _, l := range in {
		out = append(out, &weirv1.Attribute{Name: l.Name, Value: l.Value})
	}
	return out
}
