package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// WebhookDoor lists and redelivers what the endpoints of a node's webhooks would not take. Its zero value has no webhooks.
type WebhookDoor struct {
	Node    string
	Letters *DeadLetters // nil: none
	Hooks   []*Webhook
}

// lettersBody is a page of the dead letters of a node. The next one is after the last ID of this.
type lettersBody struct {
	Node    string       `json:"node"`
	Letters []DeadLetter `json:"letters"`
}

// lettersPage is how many letters a page has unless the caller says so.
const lettersPage = 100

// List returns letters as DeadLetters.List does; none where no webhook ever was.
func (d WebhookDoor) List(ctx context.Context, after uint64, limit int) ([]DeadLetter, error) {
	if d.Letters == nil {
		return nil, nil
	}
	return d.Letters.List(ctx, after, limit)
}

// Redeliver has the webhook that a letter names send it again, once, and ends the letter if it is taken. It may be called on the
// node that keeps the letter, whichever leads.
func (d WebhookDoor) Redeliver(ctx context.Context, id uint64) (DeadLetter, error) {
	if d.Letters == nil {
		return DeadLetter{}, fmt.Errorf("%w: %d", ErrNoLetter, id)
	}
	l, err := d.Letters.read(id)
	if err != nil {
		return DeadLetter{}, err
	}
	at := slices.IndexFunc(d.Hooks, func(h *Webhook) bool { return h.config.Name == l.Webhook })
	if at < 0 {
		return DeadLetter{}, fmt.Errorf("%w: %d is of the webhook %q, which this node does not have now", ErrNoLetter, id, l.Webhook)
	}
	return l, d.Letters.Redeliver(ctx, id, d.Hooks[at])
}

// forgetCursor answers DELETE /v1/events/cursors/{name}: the journal keeps nothing for that consumer any more.
func (s *HTTPServer) forgetCursor(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if s.Events == nil {
		fail(w, errNoEvents)
		return
	}
	if err := cursorName(name); err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	at, err := s.Events.Cursors.SetCursor(ctx, ledger.SetCursor{Name: name, Remove: true})
	if err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, mediaJSON, cursorBody{name, at})
}

// deadLetters answers GET /v1/webhooks/dead?after=ID&limit=N with the letters that this node keeps.
func (s *HTTPServer) deadLetters(w http.ResponseWriter, r *http.Request) {
	after, err := queryNumber(r, "after", 0)
	limit, wrong := queryNumber(r, "limit", lettersPage)
	if err = errors.Join(err, wrong); err == nil && (limit < 1 || limit > lettersMax) {
		err = fmt.Errorf("%w: limit %d, expected 1 to %d", ledger.ErrInvalid, limit, lettersMax)
	}
	if err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	all, err := s.Webhooks.List(ctx, after, int(limit))
	if err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, mediaJSON, lettersBody{s.Webhooks.Node, append([]DeadLetter{}, all...)})
}

// redeliver answers POST /v1/webhooks/dead/{id}:redeliver with the letter that ended. The endpoint has the webhook's own timeout.
func (s *HTTPServer) redeliver(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil || id == 0 {
		fail(w, fmt.Errorf("%w: the id of a dead letter is a whole number from 1", ledger.ErrInvalid))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), hookTimeoutMax+s.Timeout)
	defer cancel()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // ctx ends it
	l, err := s.Webhooks.Redeliver(ctx, id)
	if err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, mediaJSON, l)
}
