package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/ring"
)

const (
	lastShare = 16                   // of the time to answer, the part kept back for an answer without the cluster
	sendsMax  = 2                    // at most one retry of what was sent
	hurry     = 5 * time.Millisecond // a node that has less to answer, and fails, is not to blame
)

// Check asks for a decision, within ctx's deadline or else Config.Deadline and MaxWaitMS. It goes to the home of the
// account; if that is down, to its deputy or another node. When nobody answers, the policy's fallback decides here, and
// Decision.Fallback says so. What was sent is sent again, once, only with an IdempotencyKey or as a PEEK.
//
// An error means that nothing was decided: ErrInvalid and ErrConflict for the request itself, ErrClosed, or ctx was
// canceled; that ctx's deadline has passed is no error.
func (k *Client) Check(ctx context.Context, q CheckRequest) (Decision, error) {
	if !k.calls.enter() {
		return Decision{}, ErrClosed
	}
	defer k.calls.leave()
	if err := q.validate(); err != nil {
		return Decision{}, err
	}
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return Decision{}, fmt.Errorf("check: %w", err)
	}
	r := q.onWire()
	shape := k.shaper.shape(r)
	if d, ok := k.denials.find(k.c.Now(), shape, r, k.views.now.Load()); ok {
		k.counts.denied.Add(1)
		return d, nil
	}
	within, cancel := k.within(ctx, &q)
	defer cancel()
	view := k.views.current(within)
	account := accountOf(view, &q)
	before := k.denials.mark(q.Domain, account)
	d, err := k.ask(within, view, account, &q, r)
	switch {
	case err == nil:
		now := k.c.Now()
		k.spare.remember(shape, d)
		k.denials.add(now, shape, before, r, d)
		return ofDecision(d), nil
	case final(err):
		return Decision{}, err
	case errors.Is(ctx.Err(), context.Canceled):
		return Decision{}, fmt.Errorf("check: %w", ctx.Err())
	}
	k.counts.fallback.Add(1)
	return k.spare.decide(k.c.Now(), k.shaper, &question{shape, r, account, view, err}), nil
}

// within bounds a check, and keeps a little time back.
func (k *Client) within(ctx context.Context, q *CheckRequest) (context.Context, context.CancelFunc) {
	left := k.c.Deadline + time.Duration(q.MaxWaitMS)*time.Millisecond
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	return context.WithTimeout(ctx, left-left/lastShare)
}

func accountOf(r *routes, q *CheckRequest) string {
	if r == nil {
		return ""
	}
	return r.account(q)
}

// ask has a node decide.
func (k *Client) ask(ctx context.Context, view *routes, account string, q *CheckRequest, r *weirv1.CheckRequest) (*weirv1.Decision, error) {
	if view == nil {
		return nil, fmt.Errorf("%w: no view yet", ErrUnreachable)
	}
	var w way
	if account == "" || k.c.Route == RouteAny {
		w = view.toAny()
	} else {
		w = view.toHome(ring.Partition(q.Domain, account))
	}
	call := call{way: &w, repeatable: q.IdempotencyKey != "" || q.Mode == Peek, patient: q.MaxWaitMS > 0}
	d, err := walk(ctx, k, &call, func(ctx context.Context, l *link) (*weirv1.Decision, error) { return l.check(ctx, r) })
	if err != nil {
		return nil, err
	}
	switch {
	case call.sends > 1:
		k.counts.retried.Add(1)
	case w.direct && call.from == w.nodes[0]:
		k.counts.home.Add(1)
	default:
		k.counts.other.Add(1)
	}
	k.views.learn(view, call.from, d)
	return d, nil
}

// call is one request, whichever node it goes to.
type call struct {
	way        *way
	repeatable bool // sending it twice does no more than sending it once
	patient    bool // a slow answer may be meant
	aside      bool // it is no check: no breaker is asked or told, for how it ends may be another node's or the ledger's doing

	from  *link // who answered last
	sends int   // that may have had an effect
}

// walk asks one node after the other until one answers. It goes on to the next while the request surely did nothing, and
// once after that if it may be repeated: the first then has half of the time. Nodes that are down or left alone by their
// breaker are passed over.
func walk[T any](ctx context.Context, k *Client, c *call, ask func(context.Context, *link) (T, error)) (T, error) {
	var none T
	var failed error
	for i, l := range c.way.nodes[:c.way.n] {
		if l.down() || !c.aside && !l.breaker.allow(k.c.Now()) {
			continue
		}
		answer, sent, err := turn(ctx, k, c, l, i+1 < c.way.n, ask)
		if sent {
			c.sends++
		}
		c.from = l
		if err == nil || final(err) {
			return answer, err
		}
		failed = errors.Join(failed, err)
		if ctx.Err() != nil || sent && (!c.repeatable || c.sends >= sendsMax) {
			return none, failed
		}
	}
	if failed == nil {
		return none, fmt.Errorf("%w: every node is down", ErrUnreachable)
	}
	if c.sends == 0 {
		return none, fmt.Errorf("%w: %w", ErrUnreachable, failed)
	}
	return none, failed
}

// turn asks one node and tells its breaker how that went.
func turn[T any](ctx context.Context, k *Client, c *call, l *link, more bool, ask func(context.Context, *link) (T, error)) (answer T, sent bool, err error) {
	began := k.c.Now()
	deadline, ok := ctx.Deadline()
	hurried := ok && time.Until(deadline) < min(hurry, k.c.Deadline/2)
	if err = l.ready(ctx, more); err == nil {
		tctx := ctx
		if more && c.repeatable && c.sends == 0 {
			var cancel context.CancelFunc
			tctx, cancel = half(ctx)
			defer cancel()
		}
		answer, err = ask(tctx, l)
	}
	sent = !errors.Is(err, errUnsent)
	if c.aside || errors.Is(ctx.Err(), context.Canceled) { // who gave up says nothing about the node
		return answer, sent, err
	}
	now := k.c.Now()
	took := now.Sub(began)
	if c.patient && err == nil {
		took = 0
	}
	failed := err != nil && !final(err)
	if failed && hurried { // nor does who left it no time
		return answer, sent, err
	}
	l.breaker.record(now, took, failed)
	if failed && l.breaker.state() != Healthy {
		k.views.leave(l)
	}
	return answer, sent, err
}

// final tells whether an error is an answer, the same from every node.
func final(err error) bool {
	var f *fault
	return errors.As(err, &f) && f.sentinel != nil
}
