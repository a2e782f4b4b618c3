package transport

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/policy"
)

type openBody struct {
	ID         string            `json:"id"`
	Plan       string            `json:"plan"`
	Labels     map[string]string `json:"labels"`
	UseCredits bool              `json:"use_credits"`
	Overdraft  int64             `json:"overdraft_micros"`
}

type grantRequest struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"`
	Amount    int64     `json:"amount_micros"`
	Priority  uint8     `json:"priority"`
	Effective time.Time `json:"effective"`
	Expires   time.Time `json:"expires"`
}

type debitRequest struct {
	Amount int64    `json:"amount_micros"`
	Order  []string `json:"order"`
	Memo   string   `json:"memo"`
}

// receiptBody is a receipt as JSON, with the members of a problem when the ledger refused.
type receiptBody struct {
	Type         string     `json:"type,omitempty"`
	Title        string     `json:"title,omitempty"`
	Status       int        `json:"status,omitempty"`
	Detail       string     `json:"detail,omitempty"`
	Outcome      string     `json:"outcome"`
	Account      string     `json:"account"`
	Seq          uint64     `json:"seq"`
	Amount       int64      `json:"amount_micros"`
	BalanceAfter int64      `json:"balance_after_micros"`
	Parts        []partBody `json:"parts,omitempty"`
	Index        uint64     `json:"index"`
	Term         uint64     `json:"term"`
	Time         time.Time  `json:"time,omitzero"`
	Replayed     bool       `json:"replayed"`
}

type partBody struct {
	Kind   string `json:"kind"`
	Grant  string `json:"grant,omitempty"`
	Amount int64  `json:"amount_micros"`
}

type accountBody struct {
	ID         string            `json:"id"`
	Plan       string            `json:"plan"`
	Labels     map[string]string `json:"labels,omitempty"`
	UseCredits bool              `json:"use_credits"`
	Overdraft  int64             `json:"overdraft_micros"`
	Balance    int64             `json:"balance_micros"`
	ByKind     map[string]int64  `json:"by_kind"`
	Grants     []grantBody       `json:"grants"`
	Seq        uint64            `json:"seq"`
	Index      uint64            `json:"index"`
	Term       uint64            `json:"term"`
}

type grantBody struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"`
	Amount    int64     `json:"amount_micros"`
	Remaining int64     `json:"remaining_micros"`
	Priority  uint8     `json:"priority"`
	Effective time.Time `json:"effective,omitzero"`
	Expires   time.Time `json:"expires,omitzero"`
}

// open answers POST /v1/accounts.
func (s *HTTPServer) open(w http.ResponseWriter, r *http.Request) {
	var b openBody
	writeLedger(s, w, r, &b, func(ctx context.Context, key string) (ledger.Receipt, error) {
		return s.Ledger.Open(ctx, ledger.OpenAccount{
			Key: key, Account: b.ID, Plan: b.Plan, UseCredits: b.UseCredits, Overdraft: ledger.Credits(b.Overdraft),
			Labels: sorted(b.Labels, func(n, v string) ledger.Label { return ledger.Label{Name: n, Value: v} }),
		})
	})
}

// grant answers POST /v1/accounts/{id}/grants.
func (s *HTTPServer) grant(w http.ResponseWriter, r *http.Request) {
	var b grantRequest
	writeLedger(s, w, r, &b, func(ctx context.Context, key string) (ledger.Receipt, error) {
		kind, err := ledger.ParseKind(b.Kind)
		if err != nil {
			return ledger.Receipt{}, fmt.Errorf("%w: kind: %w", ledger.ErrInvalid, err)
		}
		return s.Ledger.Grant(ctx, ledger.Grant{
			Key: key, Account: r.PathValue("id"), Grant: b.ID, Kind: kind, Amount: ledger.Credits(b.Amount),
			Priority: b.Priority, Effective: b.Effective, Expires: b.Expires,
		})
	})
}

// debit answers POST /v1/accounts/{id}/debits: 402 when there is too little.
func (s *HTTPServer) debit(w http.ResponseWriter, r *http.Request) {
	var b debitRequest
	writeLedger(s, w, r, &b, func(ctx context.Context, key string) (ledger.Receipt, error) {
		order, err := kindOrder(b.Order)
		if err != nil {
			return ledger.Receipt{}, err
		}
		return s.Ledger.Debit(ctx, ledger.Debit{
			Key: key, Account: r.PathValue("id"), Amount: ledger.Credits(b.Amount), Order: order, Memo: b.Memo,
		})
	})
}

// writeLedger reads the key and the body, carries the write out, and answers with its receipt.
func writeLedger[T any](s *HTTPServer, w http.ResponseWriter, r *http.Request, b *T, do func(context.Context, string) (ledger.Receipt, error)) {
	key, err := idempotencyKey(r.Header)
	if err == nil {
		err = read(w, r, bodyMax, b)
	}
	if err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	got, err := do(ctx, key)
	if err != nil {
		fail(w, err)
		return
	}
	out := toReceiptBody(got)
	if got.Replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	if got.Outcome != ledger.Done {
		out.Type, out.Title, out.Status = typeOurs+"CREDITS_EXHAUSTED", "The ledger refused", http.StatusPaymentRequired
		out.Detail = "outcome " + got.Outcome.String() + ": nothing was taken"
		write(w, out.Status, mediaProblem, out)
		return
	}
	write(w, http.StatusOK, mediaJSON, out)
}

// idempotencyKey reads the header of draft-ietf-httpapi-idempotency-key-header: a quoted string, or bare as
// most send it.
func idempotencyKey(h http.Header) (string, error) {
	key := strings.TrimSpace(h.Get("Idempotency-Key"))
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		key = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(key[1 : len(key)-1])
	}
	switch {
	case key == "":
		return "", fmt.Errorf("%w: a ledger write needs an Idempotency-Key header", policy.ErrInvalid)
	case len(key) > policy.KeyMax:
		return "", fmt.Errorf("%w: an Idempotency-Key of %d bytes, at most %d", policy.ErrInvalid, len(key), policy.KeyMax)
	}
	return key, nil
}

func toReceiptBody(r ledger.Receipt) receiptBody {
	b := receiptBody{
		Outcome: r.Outcome.String(), Account: r.Account, Seq: r.Seq, Amount: int64(r.Amount),
		BalanceAfter: int64(r.BalanceAfter), Index: r.Index, Term: r.Term, Time: r.Wall, Replayed: r.Replayed,
	}
	for _, p := range r.Parts {
		b.Parts = append(b.Parts, partBody{p.Kind.String(), p.Grant, int64(p.Amount)})
	}
	return b
}

// account answers GET /v1/accounts/{id}.
func (s *HTTPServer) account(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	a, err := s.Ledger.Account(ctx, r.PathValue("id"))
	if err != nil {
		fail(w, err)
		return
	}
	b := accountBody{
		ID: a.ID, Plan: a.Plan, UseCredits: a.UseCredits, Overdraft: int64(a.Overdraft), Balance: int64(a.Balance),
		Seq: a.Seq, Index: a.AsOf.Index, Term: a.AsOf.Term, Labels: make(map[string]string), Grants: make([]grantBody, len(a.Grants)),
		ByKind: map[string]int64{
			"included": int64(a.ByKind[ledger.Included]), "promo": int64(a.ByKind[ledger.Promo]),
			"credit": int64(a.ByKind[ledger.Credit]),
		},
	}
	for _, l := range a.Labels {
		b.Labels[l.Name] = l.Value
	}
	for i, g := range a.Grants {
		b.Grants[i] = grantBody{g.ID, g.Kind.String(), int64(g.Amount), int64(g.Available), g.Priority, g.Effective, g.Expires}
	}
	write(w, http.StatusOK, mediaJSON, b)
}
