package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// Media types of structured CloudEvents.
const (
	mediaCloudEvent  = "application/cloudevents+json"
	mediaCloudEvents = "application/cloudevents-batch+json"
)

// backoffDoublings is how often a wait doubles at most.
const backoffDoublings = 20

// delivery is one request to an endpoint: an event, or several in a batch.
type delivery struct {
	id     string
	media  string
	body   []byte
	oldest time.Time // log time of the oldest event in it
}

func deliveryOf(l DeadLetter) delivery {
	return delivery{id: strconv.FormatUint(l.Seq, 10), media: mediaCloudEvent, body: l.Event}
}

func (h *Webhook) delivery(events []ledger.Event) delivery {
	d := delivery{id: strconv.FormatUint(events[0].Seq, 10), media: mediaCloudEvent, oldest: events[0].Wall}
	if h.config.Batch == 1 {
		d.body = encodeCloudEvent(h.config.Source, &events[0])
		return d
	}
	d.media, d.id = mediaCloudEvents, fmt.Sprintf("%d-%d", events[0].Seq, events[len(events)-1].Seq)
	d.body = []byte{'['}
	for i := range events {
		if i > 0 {
			d.body = append(d.body, ',')
		}
		d.body = append(d.body, encodeCloudEvent(h.config.Source, &events[i])...)
	}
	d.body = append(d.body, ']')
	return d
}

// refusalError is why an endpoint did not take a delivery.
type refusalError struct {
	status int // 0: no answer
	reason string
	wait   time.Duration // that it asked for
}

// Error tells the status and the endpoint's first words.
func (r *refusalError) Error() string {
	if r.status == 0 {
		return "the endpoint did not answer: " + r.reason
	}
	return fmt.Sprintf("the endpoint answered %d: %s", r.status, r.reason)
}

// Unwrap is how the doors know it.
func (r *refusalError) Unwrap() error { return errRefused }

// errRefused: the endpoint of a webhook did not take what it was sent.
var errRefused = errors.New("the endpoint did not take it")

// forGood tells whether the endpoint would refuse it each time: it is about what was sent. What is about the endpoint, such
// as 401 or 404, may be put right.
func (r *refusalError) forGood() bool {
	switch r.status {
	case http.StatusBadRequest, http.StatusGone, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// post tries once. Nil: it was taken.
func (h *Webhook) post(ctx context.Context, d delivery) *refusalError {
	ctx, cancel := context.WithTimeout(ctx, h.config.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.config.URL, bytes.NewReader(d.body))
	if err != nil {
		return &refusalError{reason: err.Error()}
	}
	r.Header.Set("Content-Type", d.media)
	r.Header.Set("User-Agent", "weir")
	sign(r.Header, h.config.Secrets, d.id, h.config.Now(), d.body)
	res, err := h.client.Do(r)
	if err != nil {
		return &refusalError{reason: err.Error()}
	}
	defer res.Body.Close()
	words, _ := io.ReadAll(io.LimitReader(res.Body, reasonBytes)) // the status says enough
	if res.StatusCode/100 == 2 {
		return nil
	}
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
	return &refusalError{res.StatusCode, strings.ToValidUTF8(string(words), "?"), time.Duration(max(seconds, 0)) * time.Second}
}

// deliverAll delivers events in batches and passes each, false when this node leads no more.
func (h *Webhook) deliverAll(ctx context.Context, events []ledger.Event) (done bool, err error) {
	for len(events) > 0 {
		n := min(len(events), h.config.Batch)
		if done, err := h.deliver(ctx, events[:n]); err != nil || !done {
			return false, err
		}
		events = events[n:]
	}
	return true, nil
}

// deliver tries until the events are taken or put aside.
func (h *Webhook) deliver(ctx context.Context, events []ledger.Event) (done bool, err error) {
	for failures := 0; ; {
		if ctx.Err() != nil || !h.config.Leading() {
			return false, ctx.Err()
		}
		d := h.delivery(events)
		refused := h.post(ctx, d)
		if refused == nil {
			h.failing = time.Time{}
			h.delivered(len(events))
			h.passed(events[len(events)-1].Seq)
			return true, nil
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		h.failed(refused.status)
		now := h.config.Now()
		if h.failing.IsZero() {
			h.failing = now
		}
		tooOld := min(now.Sub(d.oldest), now.Sub(h.failing)) > h.config.GiveUp
		if (refused.forGood() || tooOld) && len(events) > 1 {
			return h.apart(ctx, events)
		}
		if refused.forGood() || tooOld {
			return true, h.bury(ctx, &events[0], d, refused)
		}
		failures++
		wait := h.backoff(failures, refused.wait)
		h.config.Logger.Warn("the webhook's endpoint did not take an event", "webhook", h.config.Name, "event", events[0].Seq, "err", refused, "again_in", wait)
		if err := h.pause(ctx, wait); err != nil {
			return false, err
		}
	}
}

// apart delivers the events of a batch one by one, so that only those become letters that must.
func (h *Webhook) apart(ctx context.Context, events []ledger.Event) (done bool, err error) {
	for i := range events {
		if done, err := h.deliver(ctx, events[i:i+1]); err != nil || !done {
			return false, err
		}
	}
	return true, nil
}

// bury puts an event aside.
func (h *Webhook) bury(ctx context.Context, e *ledger.Event, d delivery, why *refusalError) error {
	l := DeadLetter{
		Webhook: h.config.Name, Seq: e.Seq, At: h.config.Now().UTC(), Status: why.status, Reason: why.reason,
		Event: encodeCloudEvent(h.config.Source, e),
	}
	if err := h.config.Letters.put(ctx, l); err != nil {
		return fmt.Errorf("put event %d aside: %w", e.Seq, err)
	}
	h.config.Logger.Error("an event became a dead letter", "webhook", h.config.Name, "event", e.Seq, "delivery", d.id, "err", why)
	if h.config.Meters.Dead != nil {
		h.config.Meters.Dead(1)
	}
	h.passed(e.Seq)
	return nil
}

func (h *Webhook) delivered(n int) {
	if h.config.Meters.Delivered != nil {
		h.config.Meters.Delivered(n)
	}
}

func (h *Webhook) failed(status int) {
	if h.config.Meters.Failed != nil {
		h.config.Meters.Failed(status)
	}
}

// pause waits between two tries, noting the cursor first, and ends early when this node leads no more.
func (h *Webhook) pause(ctx context.Context, wait time.Duration) error {
	if err := h.note(ctx); err != nil && ctx.Err() == nil {
		h.config.Logger.Warn("the webhook's cursor could not be noted", "webhook", h.config.Name, "err", err)
	}
	for ; wait > 0 && ctx.Err() == nil && h.config.Leading(); wait -= leaderEvery {
		rest(ctx, min(wait, leaderEvery))
	}
	return ctx.Err()
}

// backoff is First * 2^(failures-1), at most Longest, of which half is left to chance; or what the endpoint asked for if that is
// longer, at most Longest.
func (h *Webhook) backoff(failures int, asked time.Duration) time.Duration {
	wait := h.config.First
	for range min(failures-1, backoffDoublings) {
		wait = min(2*wait, h.config.Longest)
	}
	wait = wait/2 + time.Duration(h.config.Jitter()*float64(wait/2))
	return min(max(wait, asked), h.config.Longest)
}
