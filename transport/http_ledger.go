package transport

import (
	"context"
	"fmt"
	"net/http"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ledger"
)

type openBody struct {
	ID         string            `json:"id"`
	Plan       string            `json:"plan"`
	Labels     map[string]string `json:"labels"`
	UseCredits bool              `json:"use_credits"`
	Overdraft  int64             `json:"overdraft_micros"`
	Blocked    bool              `json:"blocked"`
}

// updateBody has what is to change; nil stays.
type updateBody struct {
	Plan       *string            `json:"plan"`
	Labels     *map[string]string `json:"labels"`
	UseCredits *bool              `json:"use_credits"`
	Overdraft  *int64             `json:"overdraft_micros"`
	Blocked    *bool              `json:"blocked"`
	Memo       string             `json:"memo"`
}

type grantRequest struct {
	ID        string            `json:"id"`
	Kind      string            `json:"kind"`
	Amount    int64             `json:"amount_micros"`
	Priority  uint8             `json:"priority"`
	Effective time.Time         `json:"effective"`
	Expires   time.Time         `json:"expires"`
	Every     string            `json:"every"`
	Zone      string            `json:"zone"`
	Rollover  int64             `json:"rollover_micros"`
	AppliesTo map[string]string `json:"applies_to"`
}

type debitRequest struct {
	Amount     int64             `json:"amount_micros"`
	Order      []string          `json:"order"`
	Memo       string            `json:"memo"`
	Overshoot  string            `json:"overshoot"`
	Attributes map[string]string `json:"attributes"`
}

type adjustRequest struct {
	Amount int64  `json:"amount_micros"`
	Kind   string `json:"kind"`
	Memo   string `json:"memo"`
}

func wireLabel(name, value string) *weirv1.Label { return &weirv1.Label{Name: name, Value: value} }

func wireAttribute(name, value string) *weirv1.Attribute {
	return &weirv1.Attribute{Name: name, Value: value}
}

// open answers POST /v1/accounts.
func (s *HTTPServer) open(w http.ResponseWriter, r *http.Request) {
	var b openBody
	writeLedger(s, w, r, &b, Ledger.Open, func(key string) (ledger.OpenAccount, error) {
		return openOf(&weirv1.OpenAccountRequest{
			IdempotencyKey: key, Account: b.ID, Plan: b.Plan, UseCredits: b.UseCredits, OverdraftMicros: b.Overdraft, Blocked: b.Blocked,
			Labels: sorted(b.Labels, wireLabel),
		}), nil
	})
}

// update answers PATCH /v1/accounts/{id}.
func (s *HTTPServer) update(w http.ResponseWriter, r *http.Request) {
	var b updateBody
	writeLedger(s, w, r, &b, Ledger.Update, func(key string) (ledger.UpdateAccount, error) {
		if b == (updateBody{Memo: b.Memo}) {
			return ledger.UpdateAccount{}, fmt.Errorf("%w: nothing to change: name plan, labels, use_credits, overdraft_micros or blocked", ledger.ErrInvalid)
		}
		q := &weirv1.UpdateAccountRequest{
			IdempotencyKey: key, Account: r.PathValue("id"), Plan: b.Plan, UseCredits: b.UseCredits, OverdraftMicros: b.Overdraft, Blocked: b.Blocked,
			Memo: b.Memo,
		}
		if b.Labels != nil {
			q.Labels = &weirv1.Labels{Labels: sorted(*b.Labels, wireLabel)}
		}
		return updateOf(q), nil
	})
}

// grant answers POST /v1/accounts/{id}/grants.
func (s *HTTPServer) grant(w http.ResponseWriter, r *http.Request) {
	var b grantRequest
	writeLedger(s, w, r, &b, Ledger.Grant, func(key string) (ledger.Grant, error) {
		return grantOf(&weirv1.GrantRequest{
			IdempotencyKey: key, Account: r.PathValue("id"), Grant: b.ID, Kind: b.Kind, AmountMicros: b.Amount, Priority: uint32(b.Priority),
			Effective: toStamp(b.Effective), Expires: toStamp(b.Expires), Every: b.Every, Zone: b.Zone, RolloverMicros: b.Rollover,
			AppliesTo: sorted(b.AppliesTo, wireAttribute),
		})
	})
}

// voidGrant answers DELETE /v1/grants/{id}?account=A.
func (s *HTTPServer) voidGrant(w http.ResponseWriter, r *http.Request) {
	writeLedger(s, w, r, &struct{}{}, Ledger.Void, func(key string) (ledger.VoidGrant, error) {
		q := r.URL.Query()
		if !q.Has("account") {
			return ledger.VoidGrant{}, fmt.Errorf("%w: whose grant it is must be in the query: ?account=", ledger.ErrInvalid)
		}
		return ledger.VoidGrant{Key: key, Account: q.Get("account"), Grant: r.PathValue("id"), Memo: q.Get("memo")}, nil
	})
}

// debit answers POST /v1/accounts/{id}/debits.
func (s *HTTPServer) debit(w http.ResponseWriter, r *http.Request) {
	var b debitRequest
	writeLedger(s, w, r, &b, Ledger.Debit, func(key string) (ledger.Debit, error) {
		return debitOf(&weirv1.DebitRequest{
			IdempotencyKey: key, Account: r.PathValue("id"), AmountMicros: b.Amount, Order: b.Order, Memo: b.Memo, Overshoot: b.Overshoot,
			Attributes: sorted(b.Attributes, wireAttribute),
		})
	})
}

// adjust answers POST /v1/accounts/{id}/adjustments.
func (s *HTTPServer) adjust(w http.ResponseWriter, r *http.Request) {
	var b adjustRequest
	writeLedger(s, w, r, &b, Ledger.Adjust, func(key string) (ledger.Adjust, error) {
		return adjustOf(&weirv1.AdjustRequest{IdempotencyKey: key, Account: r.PathValue("id"), AmountMicros: b.Amount, Kind: b.Kind, Memo: b.Memo})
	})
}

type accountBody struct {
	ID         string            `json:"id"`
	Plan       string            `json:"plan"`
	Labels     map[string]string `json:"labels,omitempty"`
	UseCredits bool              `json:"use_credits"`
	Overdraft  int64             `json:"overdraft_micros"`
	Blocked    bool              `json:"blocked"`
	Balance    int64             `json:"balance_micros"`
	Held       int64             `json:"held_micros"`
	ByKind     map[string]int64  `json:"by_kind"`
	Books      map[string]int64  `json:"books"`
	Forgiven   int64             `json:"forgiven_micros"`
	WrittenOff int64             `json:"written_off_micros"`
	OpenHolds  uint64            `json:"open_holds"`
	Grants     []grantBody       `json:"grants"`
	Recurring  []termBody        `json:"recurring,omitempty"`
	Seq        uint64            `json:"seq"`
	Event      uint64            `json:"event,omitempty"`
	Index      uint64            `json:"index"`
	Term       uint64            `json:"term"`
	Time       time.Time         `json:"time"`
}

// termBody is a grant as it was given.
type termBody struct {
	ID        string            `json:"id"`
	Kind      string            `json:"kind"`
	Amount    int64             `json:"amount_micros"`
	Priority  uint8             `json:"priority"`
	Effective time.Time         `json:"effective,omitzero"`
	Expires   time.Time         `json:"expires,omitzero"`
	Every     string            `json:"every,omitempty"`
	Zone      string            `json:"zone,omitempty"`
	Rollover  int64             `json:"rollover_micros,omitempty"`
	AppliesTo map[string]string `json:"applies_to,omitempty"`
}

// grantBody is a grant and what is left of it.
type grantBody struct {
	termBody
	Remaining int64 `json:"remaining_micros"`
	Held      int64 `json:"held_micros,omitempty"`
	Expired   bool  `json:"expired,omitempty"`
	Voided    bool  `json:"voided,omitempty"`
}

// account answers GET /v1/accounts/{id}?consistency=C&max_staleness_ms=N&min_index=N.
func (s *HTTPServer) account(w http.ResponseWriter, r *http.Request) {
	q, err := readOf(r)
	if err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	a, err := s.Ledger.AccountAs(ctx, r.PathValue("id"), q)
	if err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, mediaJSON, toAccountBody(a))
}

// readOf reads how old an answer may be.
func readOf(r *http.Request) (ledger.Read, error) {
	q := ledger.Read{}
	values, err := onlyNames(r, "consistency", "max_staleness_ms", "min_index")
	if err != nil {
		return q, err
	}
	stale, err := queryNumber(r, "max_staleness_ms", 0)
	if err != nil {
		return q, err
	}
	if q.MinIndex, err = queryNumber(r, "min_index", 0); err != nil {
		return q, err
	}
	q.MaxStaleness = millis(int64(min(stale, uint64(millisMax))))
	switch word := values.Get("consistency"); {
	case word != "" && word != "linearizable" && word != "bounded":
		return q, fmt.Errorf("%w: consistency %.32q, expected linearizable or bounded", ledger.ErrInvalid, word)
	case (word == "bounded") != (stale > 0):
		return q, fmt.Errorf("%w: consistency=bounded and max_staleness_ms, from 1, go together", ledger.ErrInvalid)
	}
	return q, nil
}

func toAccountBody(a ledger.Account) accountBody {
	b := accountBody{
		ID: a.ID, Plan: a.Plan, Labels: pairsOf(a.Labels), UseCredits: a.UseCredits, Overdraft: int64(a.Overdraft), Blocked: a.Blocked,
		Balance: int64(a.Balance), Held: int64(a.Books[ledger.Held]), Books: make(map[string]int64, len(a.Books)),
		Forgiven: int64(a.Forgiven), WrittenOff: int64(a.WrittenOff), OpenHolds: a.OpenHolds, Grants: make([]grantBody, len(a.Grants)),
		Seq: a.Seq, Event: a.Event, Index: a.AsOf.Index, Term: a.AsOf.Term, Time: a.AsOf.Wall,
		ByKind: map[string]int64{
			"included": int64(a.ByKind[ledger.Included]), "promo": int64(a.ByKind[ledger.Promo]),
			"credit": int64(a.ByKind[ledger.Credit]),
		},
	}
	for book, c := range a.Books {
		b.Books[ledger.Book(book).String()] = int64(c)
	}
	for i, g := range a.Grants {
		b.Grants[i] = grantBody{
			termBody{ID: g.ID, Kind: g.Kind.String(), Amount: int64(g.Amount), Priority: g.Priority, Effective: g.Effective, Expires: g.Expires, AppliesTo: pairsOf(g.AppliesTo)},
			int64(g.Available), int64(g.Held), g.Expired, g.Voided,
		}
	}
	for _, g := range a.Recurring {
		b.Recurring = append(b.Recurring, termBody{
			g.ID, g.Kind.String(), int64(g.Amount), g.Priority, g.Effective, g.Expires, g.Every.String(), g.Zone, int64(g.Rollover), pairsOf(g.AppliesTo),
		})
	}
	return b
}

func pairsOf(in []ledger.Label) map[string]string {
	out := make(map[string]string, len(in))
	for _, l := range in {
		out[l.Name] = l.Value
	}
	return out
}
