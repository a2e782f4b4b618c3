package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/weir-cluster/weir/client"
)

// ForgetCursor forgets how far a consumer of the events is, so that the journal keeps none for it, and returns where it was.
// It may be repeated: then that is 0.
func (c *Client) ForgetCursor(ctx context.Context, name string) (client.EventCursor, error) {
	a, err := c.send(ctx, call{method: http.MethodDelete, path: "/v1/events/cursors/" + url.PathEscape(name), repeatable: true})
	if err != nil {
		return client.EventCursor{}, err
	}
	if !a.ok() {
		return client.EventCursor{}, a.problem()
	}
	return decode[client.EventCursor](a)
}

// DeadLetters are events that webhooks' endpoints would not take, of those that a node keeps.
type DeadLetters struct {
	Node    string       `json:"node"`
	Letters []DeadLetter `json:"letters"` // oldest first
}

// DeadLetter is an event that an endpoint would not take. Node and ID name it.
type DeadLetter struct {
	ID      uint64          `json:"id"`
	Webhook string          `json:"webhook"`
	Seq     uint64          `json:"seq"` // of the event
	At      time.Time       `json:"at"`  // when it was put aside
	Status  int             `json:"status,omitempty"`
	Reason  string          `json:"reason"`          // the first words of the endpoint's answer
	Event   json.RawMessage `json:"event,omitempty"` // the CloudEvent, as it was sent
}

// DeadLetters lists up to limit (1 to 1,000) dead letters that the node keeps which answers, beyond the one with the ID after.
// Each node has its own: ask each by a client of its address.
func (c *Client) DeadLetters(ctx context.Context, after uint64, limit int) (DeadLetters, error) {
	return look[DeadLetters](ctx, c, fmt.Sprintf("/v1/webhooks/dead?after=%d&limit=%d", after, limit))
}

// Redeliver has the node send a dead letter that it keeps again, once, and end it if the endpoint takes it. A Problem of status 502
// says that it did not; allow a node half a minute for it.
func (c *Client) Redeliver(ctx context.Context, id uint64) (DeadLetter, error) {
	a, err := c.send(ctx, call{method: http.MethodPost, path: fmt.Sprintf("/v1/webhooks/dead/%d:redeliver", id), repeatable: true})
	if err != nil {
		return DeadLetter{}, err
	}
	if !a.ok() {
		return DeadLetter{}, a.problem()
	}
	return decode[DeadLetter](a)
}
