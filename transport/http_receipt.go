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

// receiptBody is a receipt as JSON, with the members of a problem when the ledger refused.
type receiptBody struct {
	Type         string           `json:"type,omitempty"`
	Title        string           `json:"title,omitempty"`
	Status       int              `json:"status,omitempty"`
	Detail       string           `json:"detail,omitempty"`
	Reason       string           `json:"reason,omitempty"`
	Outcome      string           `json:"outcome"`
	Account      string           `json:"account"`
	Seq          uint64           `json:"seq"`
	Event        uint64           `json:"event,omitempty"`
	Amount       int64            `json:"amount_micros"`
	BalanceAfter int64            `json:"balance_after_micros"`
	Forgiven     int64            `json:"forgiven_micros,omitempty"`
	Expired      int64            `json:"expired_micros,omitempty"`
	Parts        []partBody       `json:"parts,omitempty"`
	Had          map[string]int64 `json:"had,omitempty"`
	Hold         *holdBody        `json:"hold,omitempty"`
	Late         bool             `json:"late,omitempty"`
	Index        uint64           `json:"index"`
	Term         uint64           `json:"term"`
	Time         time.Time        `json:"time,omitzero"`
	Replayed     bool             `json:"replayed"`
	Attempts     uint64           `json:"attempts,omitempty"`
}

type partBody struct {
	Kind   string `json:"kind"`
	Grant  string `json:"grant,omitempty"`
	Amount int64  `json:"amount_micros"`
}

type holdBody struct {
	ID        string `json:"id"`
	State     string `json:"state"`
	Held      int64  `json:"held_micros"`
	Captured  int64  `json:"captured_micros"`
	Refunded  int64  `json:"refunded_micros"`
	ExpiresIn int64  `json:"expires_in_ms,omitempty"`
}

func toReceiptBody(r ledger.Receipt) receiptBody {
	b := receiptBody{
		Outcome: r.Outcome.String(), Account: r.Account, Seq: r.Seq, Event: r.Event, Amount: int64(r.Amount), BalanceAfter: int64(r.BalanceAfter),
		Forgiven: int64(r.Forgiven), Expired: int64(r.Expired), Late: r.Late, Index: r.Index, Term: r.Term, Time: r.Wall,
		Replayed: r.Replayed, Attempts: r.Attempts,
	}
	for _, p := range r.Parts {
		b.Parts = append(b.Parts, partBody{p.Kind.String(), p.Grant, int64(p.Amount)})
	}
	if tellsHad(&r) {
		b.Had = make(map[string]int64, len(r.Had))
		for k, c := range r.Had {
			b.Had[ledger.Kind(k).String()] = int64(c)
		}
	}
	if r.Hold != "" {
		b.Hold = &holdBody{r.Hold, r.State.String(), int64(r.Held), int64(r.Captured), int64(r.Refunded), max(0, r.ExpiresIn.Milliseconds())}
	}
	if r.Outcome != ledger.Done {
		no := writeRefused(r.Outcome)
		b.Type, b.Title, b.Status, b.Detail, b.Reason = typeOurs+no.reason, no.title, no.status, no.detail, no.reason
	}
	return b
}

// refusedWrite is what an outcome is over HTTP. The reasons are part of the API.
type refusedWrite struct {
	status        int
	reason, title string
	detail        string // with what to do
}

// writeRefused returns what the ledger's no is over HTTP: 402 for want of credit, 403, 409 where what came before stands against it,
// 410 for what is over, 422 for more than there is of it.
func writeRefused(o ledger.Outcome) refusedWrite {
	switch o {
	case ledger.Insufficient:
		return refusedWrite{http.StatusPaymentRequired, policy.CreditsExhausted.String(), "Credits are used up", "there is too little credit, and nothing was taken; when there is more, use a new key"}
	case ledger.Unwilling:
		return refusedWrite{http.StatusPaymentRequired, "UNWILLING", "The account does not pay with credit", "there is too little without paid credit, which the account does not use (use_credits), and nothing was taken"}
	case ledger.Blocked:
		return refusedWrite{http.StatusForbidden, policy.Blocked.String(), "The account is blocked", "the account is blocked, and nothing was taken"}
	case ledger.Returned:
		return refusedWrite{http.StatusConflict, "RETURNED", "The debit was given back before it came", "the debit was given back before it came, and nothing was taken"}
	case ledger.HoldExists:
		return refusedWrite{http.StatusConflict, "HOLD_EXISTS", "There is a hold with this id", "there is a hold with this id: its id is the key, use a new one"}
	case ledger.HoldReleased:
		return refusedWrite{http.StatusConflict, "HOLD_RELEASED", "The hold was released", "the hold was released, and nothing is held or charged"}
	case ledger.AlreadyCaptured:
		return refusedWrite{http.StatusConflict, "ALREADY_CAPTURED", "The hold was captured to its end", "the hold was captured to its end, and is as it was; what was charged is given back by a refund"}
	case ledger.HoldRefused:
		return refusedWrite{http.StatusConflict, "HOLD_REFUSED", "The hold was refused", "the hold was refused when it was asked for: nothing is held"}
	case ledger.HoldOpen:
		return refusedWrite{http.StatusConflict, "HOLD_OPEN", "The hold is still open", "the hold is still open: capture it with final, or release it, then refund with a new key"}
	case ledger.HoldExpired:
		return refusedWrite{http.StatusGone, "HOLD_EXPIRED", "The hold has ended", "the hold has ended by itself and takes no more"}
	case ledger.ExceedsHold:
		return refusedWrite{http.StatusUnprocessableEntity, "EXCEEDS_HOLD", "It is more than is held", "it is more than is held, and nothing was charged; extend the hold, or let overshoot be cap"}
	case ledger.RefundExceedsCaptured:
		return refusedWrite{http.StatusUnprocessableEntity, "REFUND_EXCEEDS_CAPTURED", "It is more than was charged", "it is more than is left of the charge, and nothing was given back"}
	default: // one that this version has no word for
		return refusedWrite{http.StatusConflict, strings.ToUpper(o.String()), "The ledger refused", "nothing was taken"}
	}
}

// writeLedger reads the key and the body, carries the write out, and answers with its receipt.
func writeLedger[B, C any](s *HTTPServer, w http.ResponseWriter, r *http.Request, b *B,
	do func(Ledger, context.Context, C) (ledger.Receipt, error), of func(key string) (C, error),
) {
	key, err := idempotencyKey(r.Header)
	if err == nil && r.Method != http.MethodDelete {
		err = read(w, r, bodyMax, b)
	}
	if err != nil {
		fail(w, err)
		return
	}
	c, err := of(key)
	if err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	got, err := do(s.Ledger, ctx, c)
	if err != nil {
		fail(w, err)
		return
	}
	out := toReceiptBody(got)
	if got.Replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	if out.Status != 0 {
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
