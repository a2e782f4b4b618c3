package transport

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// entryBody is one movement of an account.
type entryBody struct {
	Seq          uint64        `json:"seq"`
	Event        uint64        `json:"event"`
	Movement     string        `json:"movement"`
	Key          string        `json:"idempotency_key,omitempty"`
	Memo         string        `json:"memo,omitempty"`
	Hold         string        `json:"hold,omitempty"`
	Grant        string        `json:"grant,omitempty"`
	Charge       string        `json:"charge,omitempty"`
	Postings     []postingBody `json:"postings"`
	BalanceAfter int64         `json:"balance_after_micros"`
	Forgiven     int64         `json:"forgiven_micros,omitempty"`
	WrittenOff   int64         `json:"written_off_micros,omitempty"`
	Late         bool          `json:"late,omitempty"`
	Index        uint64        `json:"index"`
	Term         uint64        `json:"term"`
	Time         time.Time     `json:"time"`
}

type postingBody struct {
	Book   string `json:"book"`
	Grant  string `json:"grant,omitempty"`
	Amount int64  `json:"amount_micros"`
}

type entriesBody struct {
	Entries []entryBody `json:"entries"`
	Next    string      `json:"next,omitempty"`
}

func toEntryBody(e *ledger.Event) entryBody {
	b := entryBody{
		Seq: e.AccountSeq, Event: e.Seq, Movement: e.Movement.String(), Key: e.Key, Memo: e.Memo, Hold: e.Hold, Grant: e.Grant, Charge: e.Charge,
		Postings: make([]postingBody, len(e.Postings)), BalanceAfter: int64(e.BalanceAfter), Forgiven: int64(e.Forgiven),
		WrittenOff: int64(e.WrittenOff), Late: e.Late, Index: e.Index, Term: e.Term, Time: e.Wall,
	}
	for i, p := range e.Postings {
		b.Postings[i] = postingBody{p.Book.String(), p.Grant, int64(p.Amount)}
	}
	return b
}

// entries answers GET /v1/accounts/{id}/entries?order=oldest|newest&after=SEQ&cursor=C&limit=N.
func (s *HTTPServer) entries(w http.ResponseWriter, r *http.Request) {
	q, err := pageAsked(r)
	if err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	p, err := s.Ledger.Page(ctx, q, ledger.Read{})
	if err != nil {
		fail(w, err)
		return
	}
	b := entriesBody{Entries: make([]entryBody, len(p.Events)), Next: nextOf(&q, &p)}
	for i := range p.Events {
		b.Entries[i] = toEntryBody(&p.Events[i])
	}
	write(w, http.StatusOK, mediaJSON, b)
}

// pageAsked reads which page of the movements is asked for.
func pageAsked(r *http.Request) (ledger.PageQuery, error) {
	values, err := onlyNames(r, "order", "after", "cursor", "limit")
	if err != nil {
		return ledger.PageQuery{}, err
	}
	after, err := queryNumber(r, "after", 0)
	if err != nil {
		return ledger.PageQuery{}, err
	}
	limit, err := queryNumber(r, "limit", ledger.EntriesMax)
	if err == nil && (limit < 1 || limit > ledger.EntriesMax) {
		err = fmt.Errorf("%w: limit %d, expected 1 to %d", ledger.ErrInvalid, limit, ledger.EntriesMax)
	}
	if err != nil {
		return ledger.PageQuery{}, err
	}
	order := values.Get("order")
	if order != "" && order != "oldest" && order != "newest" {
		return ledger.PageQuery{}, fmt.Errorf("%w: order %.32q, expected oldest or newest", ledger.ErrInvalid, order)
	}
	return pageOf(r.PathValue("id"), after, order == "newest", values.Get("cursor"), int(limit))
}

// The first letter of a cursor tells the order of its pages. What follows is, oldest first, the seq of the last entry, else
// what the ledger gave.
const (
	cursorOldest = "o"
	cursorNewest = "n"
)

// pageOf is the query for a page of an account's movements. A cursor has the order and the place of the page before.
func pageOf(account string, after uint64, newest bool, cursor string, limit int) (ledger.PageQuery, error) {
	q := ledger.PageQuery{Account: account, Limit: limit, Oldest: !newest, After: after}
	place, goesUp := strings.CutPrefix(cursor, cursorOldest)
	before, goesDown := strings.CutPrefix(cursor, cursorNewest)
	switch {
	case newest && after != 0:
		return q, fmt.Errorf("%w: after lists oldest first, not newest", ledger.ErrInvalid)
	case cursor != "" && (newest || after != 0):
		return q, fmt.Errorf("%w: a cursor has the order and the place, neither order nor after goes with it", ledger.ErrInvalid)
	case goesUp:
		var err error
		if q.After, err = strconv.ParseUint(place, 10, 64); err != nil {
			return q, fmt.Errorf("%w: %.64q is no cursor", ledger.ErrInvalid, cursor)
		}
	case goesDown && before != "":
		q.Oldest, q.Before = false, before
	case cursor != "":
		return q, fmt.Errorf("%w: %.64q is no cursor", ledger.ErrInvalid, cursor)
	}
	return q, nil
}

// nextOf is the cursor behind a page, empty when nothing can follow. Oldest first, the last page is an empty one.
func nextOf(q *ledger.PageQuery, p *ledger.Page) string {
	switch {
	case q.Oldest && len(p.Events) > 0:
		return cursorOldest + strconv.FormatUint(p.Events[len(p.Events)-1].AccountSeq, 10)
	case p.Next != "":
		return cursorNewest + p.Next
	default:
		return ""
	}
}

// onlyNames returns the query, or an error that tells what it has that the route does not know.
func onlyNames(r *http.Request, names ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%w: the query: %w", ledger.ErrInvalid, err)
	}
	for name, given := range values {
		if !slices.Contains(names, name) || len(given) > 1 {
			return nil, fmt.Errorf("%w: the query has %.64q, expected each of %v at most once", ledger.ErrInvalid, name, names)
		}
	}
	return values, nil
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
