package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
	"github.com/weir-cluster/weir/transport"
)

// Webhook says where the ledger's events are posted. The node that leads the Raft group posts them, so all nodes should have the
// same webhooks; how far each is, is kept in the ledger under its name. A zero that is no choice stands for the default.
type Webhook struct {
	Name      string   // unique; another name begins anew, with the oldest event there is
	URL       string   // https
	AllowHTTP bool     // the URL may be http
	Secrets   []string // whsec_ and base64, as Standard Webhooks has it; each of them signs
	Accounts  []string // only theirs; empty: all
	Types     []string // only these movements; empty: all
	Batch     int      // events sent at once, 1 to 256; by default 1

	Timeout time.Duration // of a try; by default 15 s
	Longest time.Duration // between two tries; by default 5 min
	GiveUp  time.Duration // after so long what fails is put aside; by default 3 days
}

// webhooksMax bounds the webhooks of a node.
const webhooksMax = 16

// Bounds of the dead letters that a node keeps. Beyond them the oldest go.
const (
	lettersSegment = 4 << 20 // bytes
	lettersBytes   = 64 << 20
	lettersFor     = 90 * 24 * time.Hour
)

// checkWebhooks returns what is wrong with them.
func (c Config) checkWebhooks() error {
	if len(c.Webhooks) > webhooksMax {
		return fmt.Errorf("%d webhooks, at most %d", len(c.Webhooks), webhooksMax)
	}
	var wrong []error
	names := make(map[string]bool)
	for _, w := range c.Webhooks {
		if names[w.Name] {
			wrong = append(wrong, fmt.Errorf("two webhooks are named %q", w.Name))
		}
		names[w.Name] = true
		if t, err := w.settings(); err != nil {
			wrong = append(wrong, err)
		} else if err := t.Validate(); err != nil {
			wrong = append(wrong, err)
		}
	}
	return errors.Join(wrong...)
}

// settings is the webhook in transport's words, without what only a running node knows.
func (w Webhook) settings() (transport.WebhookConfig, error) {
	c := transport.DefaultWebhook()
	c.Name, c.URL, c.AllowHTTP, c.Accounts, c.Movements = w.Name, w.URL, w.AllowHTTP, w.Accounts, w.Types
	c.Batch, c.Timeout, c.Longest, c.GiveUp = cmp.Or(w.Batch, c.Batch), cmp.Or(w.Timeout, c.Timeout), cmp.Or(w.Longest, c.Longest), cmp.Or(w.GiveUp, c.GiveUp)
	c.First = min(c.First, max(c.Longest, 1))
	for i, text := range w.Secrets {
		secret, err := transport.ParseSecret(text)
		if err != nil {
			return c, fmt.Errorf("webhook %q: secret %d: %w", w.Name, i+1, err)
		}
		c.Secrets = append(c.Secrets, secret)
	}
	return c, nil
}

// sink is the webhooks of a node, and what their endpoints would not take. The zero value has neither.
type sink struct {
	kept    *journal.Journal // of dead letters
	letters *transport.DeadLetters
	hooks   []*transport.Webhook
	wires   *http.Transport
}

// openSink opens what a node has of webhooks. Letters of webhooks that it once had are there still.
func (p *parts) openSink() error {
	dir := filepath.Join(p.cfg.DataDir, "webhooks")
	inMemory := p.cfg.journal() == ""
	_, err := os.Stat(dir)
	if len(p.cfg.Webhooks) == 0 && (inMemory || errors.Is(err, os.ErrNotExist)) {
		return nil
	}
	c := journal.DefaultConfig()
	c.SegmentBytes, c.RetainBytes, c.RetainFor, c.Now, c.Logger = lettersSegment, lettersBytes, lettersFor, p.now, p.cfg.Logger
	if inMemory {
		p.sink.kept = journal.NewMemory(c)
	} else if p.sink.kept, err = journal.Open(dir, c); err != nil {
		return fmt.Errorf("open dead letters: %w", err)
	}
	p.sink.letters = transport.NewDeadLetters(p.sink.kept)
	network := p.cfg.network()
	p.sink.wires = &http.Transport{
		DialContext:         func(ctx context.Context, _, address string) (net.Conn, error) { return network.Dial(ctx, address) },
		TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 2, ForceAttemptHTTP2: true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	for _, w := range p.cfg.Webhooks {
		hook, err := p.hook(w)
		if err != nil {
			return errors.Join(err, p.sink.kept.Close())
		}
		p.sink.hooks = append(p.sink.hooks, hook)
	}
	return nil
}

// hook makes a webhook and its metrics.
func (p *parts) hook(w Webhook) (*transport.Webhook, error) {
	c, err := w.settings()
	if err != nil {
		return nil, err
	}
	door := p.events(nil)
	c.Source, c.Events, c.Cursors, c.Letters = door.Source, door.Events, door.Cursors, p.sink.letters
	c.Leading, c.Now, c.Jitter, c.Client, c.Logger = p.group.Leading, p.now, mathrand.Float64, &http.Client{Transport: p.sink.wires}, p.cfg.Logger
	named := func(metric string) string { return fmt.Sprintf("%s{webhook=%q}", metric, w.Name) }
	set, seq := p.meters.set, new(atomic.Uint64)
	delivered, failed := set.NewCounter(named("weir_webhook_delivered_total")), set.NewCounter(named("weir_webhook_failed_total"))
	dead, lost := set.NewCounter(named("weir_webhook_dead_total")), set.NewCounter(named("weir_webhook_lost_total"))
	set.NewGauge(named("weir_webhook_lag_events"), func() float64 { return p.lagOf(w.Name, seq.Load()) })
	c.Meters = transport.WebhookMeters{
		Delivered: delivered.Add, Failed: func(int) { failed.Inc() }, Dead: dead.Add,
		Lost: func(n uint64) { lost.AddInt64(int64(n)) }, Seq: seq.Store,
	}
	return transport.NewWebhook(c)
}

// lagOf is how many events a webhook has not dealt with, as this voter knows it; 0 on a node that does not vote. The cursor is up to
// a second old, so it may be told how far the webhook is here.
func (p *parts) lagOf(name string, here uint64) float64 {
	if !p.votes() {
		return 0
	}
	all, err := ledger.NewReading(nil, replica{p.machine}).Status(context.Background(), ledger.Read{})
	if err != nil {
		return 0
	}
	for _, c := range all.Cursors {
		if c.Name == transport.WebhookCursor(name) {
			here = max(here, c.Seq)
		}
	}
	return float64(all.Events - min(here, all.Events))
}

// replica answers what this node's own machine knows.
type replica struct{ *ledger.Machine }

// Query asks it.
func (r replica) Query(_ context.Context, query []byte, _ ledger.Read) ([]byte, error) {
	return r.Machine.Query(query), nil
}

// webhookDoor is what the HTTP door knows of webhooks.
func (p *parts) webhookDoor() transport.WebhookDoor {
	return transport.WebhookDoor{Node: p.cfg.Name, Letters: p.sink.letters, Hooks: p.sink.hooks}
}

// keepLetters writes the dead letters out, and closes their journal.
func (p *parts) keepLetters(ctx context.Context) error {
	if p.sink.kept == nil {
		return nil
	}
	err := p.sink.kept.Run(ctx)
	return errors.Join(err, p.sink.kept.Close())
}

// post runs the webhooks until ctx ends.
func (p *parts) post(ctx context.Context) error {
	var all errgroup.Group
	for _, h := range p.sink.hooks {
		all.Go(func() error { return h.Run(ctx) })
	}
	err := all.Wait()
	if p.sink.wires != nil {
		p.sink.wires.CloseIdleConnections()
	}
	return err
}
