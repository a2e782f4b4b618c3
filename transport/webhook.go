package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// WebhookConfig says where events go and how. Start from DefaultWebhook.
type WebhookConfig struct {
	Name string // of its cursor, its letters and its metrics
	URL  string // https, or http with AllowHTTP; without a user
	// AllowHTTP lets events travel unencrypted: they are signed, and anybody on the way can read them.
	AllowHTTP bool
	Secrets   [][]byte // each signs; 1 to 4
	// Accounts and Movements narrow down what is sent; empty: everything.
	Accounts  []string
	Movements []string
	// Batch is how many events are sent at once, as a batch of CloudEvents; 1 sends each alone.
	Batch int
	// Timeout bounds one try.
	Timeout time.Duration
	// First is the wait after the first failure; it doubles up to Longest.
	First, Longest time.Duration
	// GiveUp is when an event is put aside: it is older, it fails, and the endpoint has taken nothing from this node for so long.
	GiveUp time.Duration

	// Source is that of EventDoor.
	Source  string
	Events  Events
	Cursors Cursors
	Letters *DeadLetters
	// Leading tells whether this node delivers now. Should two do so for a moment, some events come twice.
	Leading func() bool
	Now     func() time.Time
	// Jitter returns a number in [0, 1) that spreads the waits.
	Jitter func() float64
	Client *http.Client
	Logger *slog.Logger
	Meters WebhookMeters
}

// WebhookMeters hear what a webhook does. Each may be nil.
type WebhookMeters struct {
	Delivered func(events int)    // taken by the endpoint
	Failed    func(status int)    // tries that failed; 0: without an answer
	Dead      func(events int)    // put aside
	Lost      func(events uint64) // no longer kept when their turn came
	Seq       func(seq uint64)    // every event up to it is dealt with
}

// DefaultWebhook sends events one by one, waits up to five minutes between tries, and puts aside what fails for three days. What
// is known only to a running node is missing: Source and what follows it.
func DefaultWebhook() WebhookConfig {
	return WebhookConfig{
		Batch: 1, Timeout: 15 * time.Second, First: 500 * time.Millisecond, Longest: 5 * time.Minute, GiveUp: 72 * time.Hour,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate checks all but what is known only to a running node.
func (c WebhookConfig) Validate() error {
	switch {
	case cursorName(c.cursor()) != nil || c.Name == "":
		return fmt.Errorf("%w: a webhook's name of %d bytes, expected 1 to %d", ledger.ErrInvalid, len(c.Name), ledger.CursorMax-len(cursorPrefix))
	case c.checkURL() != nil:
		return fmt.Errorf("%w: webhook %q: %w", ledger.ErrInvalid, c.Name, c.checkURL())
	case len(c.Secrets) < 1 || len(c.Secrets) > secretsMax:
		return fmt.Errorf("%w: webhook %q: %d secrets, expected 1 to %d", ledger.ErrInvalid, c.Name, len(c.Secrets), secretsMax)
	case c.Batch < 1 || c.Batch > eventsRead:
		return fmt.Errorf("%w: webhook %q: a batch of %d, expected 1 to %d", ledger.ErrInvalid, c.Name, c.Batch, eventsRead)
	case len(c.Accounts) > hookAccountsMax:
		return fmt.Errorf("%w: webhook %q: %d accounts, at most %d", ledger.ErrInvalid, c.Name, len(c.Accounts), hookAccountsMax)
	case slices.ContainsFunc(c.Accounts, func(id string) bool { return id == "" || len(id) > ledger.AccountMax }):
		return fmt.Errorf("%w: webhook %q: an account's id has 1 to %d bytes", ledger.ErrInvalid, c.Name, ledger.AccountMax)
	case c.Timeout > hookTimeoutMax:
		return fmt.Errorf("%w: webhook %q: a timeout of %s, at most %s", ledger.ErrInvalid, c.Name, c.Timeout, hookTimeoutMax)
	case c.Timeout <= 0 || c.First <= 0 || c.Longest < c.First || c.GiveUp <= 0:
		return fmt.Errorf("%w: webhook %q: its times must be positive, and the longest wait no shorter than the first", ledger.ErrInvalid, c.Name)
	}
	for _, m := range c.Movements {
		if _, err := ledger.ParseMovement(m); err != nil {
			return fmt.Errorf("webhook %q: %w", c.Name, err)
		}
	}
	return nil
}

// checkURL says what is wrong with the URL, without its words: there may be a password among them.
func (c WebhookConfig) checkURL() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("its URL must be https://HOST and what follows")
	case u.User != nil:
		return errors.New("its URL has a user: deliveries are signed instead")
	case u.Scheme == "http" && !c.AllowHTTP:
		return errors.New("its URL is http, so that anybody on the way can read the events: use https, or allow it")
	}
	return nil
}

// complete says whether what only a running node knows is there.
func (c WebhookConfig) complete() error {
	switch {
	case c.Events == nil || c.Cursors == nil || c.Letters == nil || c.Leading == nil || c.Now == nil || c.Jitter == nil || c.Client == nil || c.Logger == nil:
		return fmt.Errorf("%w: webhook %q: a part of it is missing", ledger.ErrInvalid, c.Name)
	}
	return nil
}

// cursor is the name under which it is remembered how far the webhook is.
func (c WebhookConfig) cursor() string { return WebhookCursor(c.Name) }

// WebhookCursor is the name of the cursor of a webhook.
func WebhookCursor(name string) string { return cursorPrefix + name }

const cursorPrefix = "webhook/"

// Bounds of a webhook: how many accounts it may name, and its timeout, so that a redelivery ends within that of the HTTP server.
const (
	hookAccountsMax = 256
	hookTimeoutMax  = 20 * time.Second
)

// Webhook posts the ledger's events to an endpoint, in their order and at least once: the next one is sent when the one before
// was taken (2xx) or put aside. What the endpoint refuses for good (400, 410, 413, 415, 422), and what has failed for too long,
// becomes a dead letter; after any other failure it waits and tries again.
type Webhook struct {
	config WebhookConfig
	client http.Client
	wish   wish

	noted   uint64 // where its cursor is
	notedAt time.Time
	failing time.Time // since when the endpoint has taken nothing; zero: it took the last
}

// How often the cursor is noted while events flow and how long that may take, how often a node that does not lead looks again, and
// how long it waits at most before it reads events or the cursor again when that went wrong.
const (
	noteEvery   = time.Second
	noteWithin  = 3 * time.Second
	leaderEvery = time.Second
	troubleMax  = 10 * time.Second
)

// NewWebhook returns a webhook that does nothing until Run.
func NewWebhook(c WebhookConfig) (*Webhook, error) {
	if err := errors.Join(c.Validate(), c.complete()); err != nil {
		return nil, err
	}
	h := &Webhook{config: c, client: *c.Client, wish: wish{accounts: c.Accounts, movements: c.Movements}}
	h.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // signed for this URL only
	return h, nil
}

// Run delivers while this node leads, until ctx ends.
func (h *Webhook) Run(ctx context.Context) error {
	for failures := 0; ctx.Err() == nil; {
		if !h.config.Leading() {
			rest(ctx, leaderEvery)
			continue
		}
		err := h.lead(ctx)
		if err == nil || ctx.Err() != nil {
			failures = 0
			continue
		}
		failures++
		h.config.Logger.Warn("the webhook cannot go on for now", "webhook", h.config.Name, "err", err)
		rest(ctx, min(h.backoff(failures, 0), troubleMax))
	}
	return nil
}

// lead delivers from the cursor on until this node leads no more, which is no error.
func (h *Webhook) lead(ctx context.Context) error {
	at, err := cursorAt(ctx, h.config.Cursors, h.config.cursor())
	if err != nil {
		return err
	}
	h.wish.after, h.noted, h.notedAt = at, at, h.config.Now()
	for ctx.Err() == nil && h.config.Leading() {
		wanted, upTo, err := page(ctx, h.config.Events, &h.wish)
		if oldest, gone := oldestOf(err); gone && oldest > h.wish.after+1 {
			h.lose(oldest)
			continue
		}
		if err != nil {
			return errors.Join(err, h.note(ctx))
		}
		if upTo == h.wish.after {
			err := waitEvents(ctx, h.config.Events, upTo, leaderEvery)
			if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil { // nothing happens: so this is not noted often
				err = h.note(ctx)
			}
			if err != nil {
				return errors.Join(err, h.note(context.WithoutCancel(ctx)))
			}
			continue
		}
		if done, err := h.deliverAll(ctx, wanted); err != nil || !done {
			return errors.Join(err, h.note(ctx))
		}
		h.passed(upTo)
		if h.config.Now().Sub(h.notedAt) >= noteEvery {
			if err := h.note(ctx); err != nil {
				return err
			}
		}
	}
	return h.note(context.WithoutCancel(ctx))
}

// lose goes on at the oldest event there is. A webhook that is new begins there and has lost nothing.
func (h *Webhook) lose(oldest uint64) {
	if h.wish.after == 0 {
		h.passed(oldest - 1)
		return
	}
	lost := oldest - 1 - h.wish.after
	h.config.Logger.Error("events were dropped from the journal before the webhook had delivered them", "webhook", h.config.Name, "after", h.wish.after, "events", lost)
	if h.config.Meters.Lost != nil {
		h.config.Meters.Lost(lost)
	}
	h.passed(oldest - 1)
}

func (h *Webhook) passed(seq uint64) {
	h.wish.after = seq
	if h.config.Meters.Seq != nil {
		h.config.Meters.Seq(seq)
	}
}

// note makes durable how far the webhook is. Behind it nothing is sent again.
func (h *Webhook) note(ctx context.Context) error {
	if h.noted == h.wish.after {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, noteWithin)
	defer cancel()
	if _, err := h.config.Cursors.SetCursor(ctx, ledger.SetCursor{Name: h.config.cursor(), Seq: h.wish.after}); err != nil {
		return fmt.Errorf("note cursor: %w", err)
	}
	h.noted, h.notedAt = h.wish.after, h.config.Now()
	return nil
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
