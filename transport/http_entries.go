package transport

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// entryBody is one movement of an account.
type entryBody struct {
	Seq      uint64        `json:"seq"`
	Movement string        `json:"movement"`
	Key      string        `json:"idempotency_key,omitempty"`
	Memo     string        `json:"memo,omitempty"`
	Postings []postingBody `json:"postings"`
	Index    uint64        `json:"index"`
	Term     uint64        `json:"term"`
	Time     time.Time     `json:"time"`
}

type postingBody struct {
	Book   string `json:"book"`
	Grant  string `json:"grant,omitempty"`
	Amount int64  `json:"amount_micros"`
}

type entriesBody struct {
	Entries []entryBody `json:"entries"`
}

// entries answers GET /v1/accounts/{id}/entries?after=SEQ&limit=N: the movements of an account, oldest first.
func (s *HTTPServer) entries(w http.ResponseWriter, r *http.Request) {
	after, err := queryNumber(r, "after", 0)
	limit := uint64(0)
	if err == nil {
		limit, err = queryNumber(r, "limit", ledger.EntriesMax)
	}
	if err == nil && (limit < 1 || limit > ledger.EntriesMax) {
		err = fmt.Errorf("%w: limit %d, expected 1 to %d", ledger.ErrInvalid, limit, ledger.EntriesMax)
	}
	if err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	all, err := s.Ledger.Entries(ctx, r.PathValue("id"), after, int(limit))
	if err != nil {
		fail(w, err)
		return
	}
	b := entriesBody{Entries: make([]entryBody, len(all))}
	for i, e := range all {
		b.Entries[i] = entryBody{e.Seq, e.Movement.String(), e.Key, e.Memo, make([]postingBody, len(e.Postings)), e.Index, e.Term, e.Wall}
		for j, p := range e.Postings {
			b.Entries[i].Postings[j] = postingBody{p.Book.String(), p.Grant, int64(p.Amount)}
		}
	}
	write(w, http.StatusOK, mediaJSON, b)
}

// queryNumber reads a whole number of the query, which is fallback when it is not there.
func queryNumber(r *http.Request, name string, fallback uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s=%s: expected a whole number", ledger.ErrInvalid, name, strconv.Quote(text[:min(len(text), 40)]))
	}
	return n, nil
}
