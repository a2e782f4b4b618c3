package client

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	r, err := k.shaper.encode(&q)
	if err != nil {
		return Decision{}, err
	}
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return Decision{}, fmt.Errorf("check: %w", err)
	}
	if d, ok := k.denials.find(k.c.Now, &r, k.views.now.Load()); ok {
		k.counts.denied.Add(1)
		return d, nil
	}
	now := time.Now()
	until := k.until(ctx, now, q.MaxWaitMS)
	view := k.views.until(ctx, until)
	account := accountOf(view, &q)
	partition := ring.Partition(q.Domain, account)
	before := k.denials.mark(account, partition)
	c := call{at: now, until: until, repeatable: q.IdempotencyKey != "" || q.Mode == Peek, patient: q.MaxWaitMS > 0}
	if view != nil && (account == "" || k.c.Route == RouteAny) {
		c.way = view.toAny()
	} else if view != nil {
		c.way = view.toHome(partition)
	}
	d, err := k.ask(ctx, view, &c, r.encoded)
	switch {
	case err == nil:
		k.spare.remember(r.shape, &d)
		k.denials.add(k.c.Now, before, &r, &d)
		return d, nil
	case final(err):
		return Decision{}, err
	case errors.Is(ctx.Err(), context.Canceled):
		return Decision{}, fmt.Errorf("check: %w", ctx.Err())
	}
	k.counts.fallback.Add(1)
	return k.spare.decide(k.c.Now(), k.shaper, &question{&r, account, view, err}), nil
}

// until is when a check must be answered that may wait so long; a little time is kept back.
func (k *Client) until(ctx context.Context, now time.Time, waitMS int64) time.Time {
	left := k.c.Deadline + time.Duration(waitMS)*time.Millisecond
	if deadline, ok := ctx.Deadline(); ok {
		left = deadline.Sub(now)
	}
	return now.Add(left - left/lastShare)
}

// within is ctx with the deadline of a check.
func (k *Client) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithDeadline(ctx, k.until(ctx, time.Now(), 0))
}

func accountOf(r *routes, q *CheckRequest) string {
	if r == nil {
		return ""
	}
	return r.account(q)
}

// ask has a node decide.
func (k *Client) ask(ctx context.Context, view *routes, c *call, encoded string) (Decision, error) {
	if view == nil {
		return Decision{}, fmt.Errorf("%w: no view yet", ErrUnreachable)
	}
	d, err := walk(ctx, k, c, func(ctx context.Context, until time.Time, l *link) (Decision, error) {
		return l.check(ctx, until, encoded)
	})
	if err != nil {
		return Decision{}, err
	}
	switch {
	case c.sends > 1:
		k.counts.retried.Add(1)
	case c.way.direct && c.from == c.way.nodes[0]:
		k.counts.home.Add(1)
	default:
		k.counts.other.Add(1)
	}
	k.views.learn(view, c.from, &d)
	return d, nil
}

// call is one request, whichever node it goes to.
type call struct {
	way        way
	at         time.Time // when the next node is turned to
	until      time.Time // when it must be answered
	repeatable bool      // sending it twice does no more than sending it once
	patient    bool      // a slow answer may be meant
	aside      bool      // it is no check: no breaker is asked or told, for how it ends may be another node's or the ledger's doing

	from  *link // who answered last
	sends int   // that may have had an effect
}

// aside is a call that is no check and may be sent twice. ctx has a deadline.
func aside(ctx context.Context, w way) call {
	until, _ := ctx.Deadline()
	return call{way: w, at: time.Now(), until: until, repeatable: true, aside: true}
}

// errand asks one node. It has until then, which is no later than ctx's deadline.
type errand[T any] func(ctx context.Context, until time.Time, l *link) (T, error)

// walk asks one node after the other until one answers. It goes on to the next while the request surely did nothing, and
// once after that if it may be repeated: the first then has half of the time. Nodes that are down or left alone by their
// breaker are passed over.
func walk[T any](ctx context.Context, k *Client, c *call, ask errand[T]) (T, error) {
	var none T
	var failed error
	for i, l := range c.way.nodes[:c.way.n] {
		began := k.c.Now()
		if l.down() || !c.aside && !l.breaker.allow(began) {
			continue
		}
		answer, sent, err := turn(ctx, k, c, l, began, i+1 < c.way.n, ask)
		if sent {
			c.sends++
		}
		c.from = l
		if err == nil || final(err) {
			return answer, err
		}
		failed = errors.Join(failed, err)
		c.at = time.Now()
		if ctx.Err() != nil || !c.at.Before(c.until) || sent && (!c.repeatable || c.sends >= sendsMax) {
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
func turn[T any](ctx context.Context, k *Client, c *call, l *link, began time.Time, more bool, ask errand[T]) (answer T, sent bool, err error) {
	hurried := c.until.Sub(c.at) < min(hurry, k.c.Deadline/2)
	if err = l.ready(ctx, c.until, more); err == nil {
		until := c.until
		if more && c.repeatable && c.sends == 0 {
			until = half(until)
		}
		answer, err = ask(ctx, until, l)
	}
	sent = !errors.Is(err, errUnsent)
	if c.aside || err != nil && errors.Is(ctx.Err(), context.Canceled) { // who gave up says nothing about the node
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
