package policy

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// IdempotentConfig is what Idempotent works with. Policy and Now are needed.
type IdempotentConfig struct {
	Policy func() *Policy
	Now    func() time.Time
	Keep   time.Duration // default 10 min: how long a decision is remembered
	// KeysMax bounds the keys, default 100,000. At the bound the decision that was made first is forgotten; when all
	// are still being decided, a further key gets ErrUnavailable.
	KeysMax int
}

// Idempotent returns a Trier that answers a repeated check with the first decision and asks next only once. A key
// counts within its domain and account; a check without one, and a PEEK, go straight to next. While the first is being
// decided its repetitions wait for it. The same key with another cost, mode or other attributes is ErrConflict. An
// error is not remembered. A remembered decision is shared: callers must not change its slices.
//
// It remembers in memory, on one node: across a crash of the home the ledger alone remembers.
func Idempotent(next Trier, c IdempotentConfig) Trier {
	if c.Keep <= 0 {
		c.Keep = 10 * time.Minute
	}
	if c.KeysMax <= 0 {
		c.KeysMax = 100_000
	}
	return &idempotent{next: next, c: c, byKey: map[checkKey]*first{}, decided: list.New()}
}

type idempotent struct {
	next Trier
	c    IdempotentConfig

	mu      sync.Mutex // guards what follows
	byKey   map[checkKey]*first
	decided *list.List // of *first, in the order of their decisions
}

type checkKey struct{ domain, account, key string }

// first is the first check with a key. Once done is closed, decision and err are set and never change.
type first struct {
	key      checkKey
	contents [sha256.Size]byte
	done     chan struct{}
	decision Decision
	err      error
	until    time.Time
}

// Check decides, or waits for the first check with the key and answers the same.
func (i *idempotent) Check(ctx context.Context, r Request) (Decision, error) {
	if !keyed(&r) {
		return i.next.Check(ctx, r)
	}
	for {
		f, mine, err := i.join(&r)
		if err != nil {
			return Decision{}, err
		}
		if mine {
			i.decide(f, func() (Decision, error) { return i.next.Check(ctx, r) })
			return f.decision, f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return Decision{}, fmt.Errorf("wait for the first check with this key: %w", ctx.Err())
		}
		if f.err == nil {
			return f.decision, nil
		}
	}
}

// Try decides what next can at once, and answers what is decided already. A repetition of what is still being decided
// would have to wait.
func (i *idempotent) Try(r *Request, d *Decision) (decided bool, err error) {
	if !keyed(r) {
		return i.next.Try(r, d)
	}
	f, mine, err := i.join(r)
	if err != nil {
		return true, err
	}
	if mine {
		i.decide(f, func() (Decision, error) {
			var own Decision
			if decided, err = i.next.Try(r, &own); !decided {
				return own, errWaits
			}
			return own, err
		})
		if !decided || err != nil {
			return decided, err
		}
	} else if !f.answered() {
		return false, nil
	}
	d.copy(&f.decision)
	return true, nil
}

// answered reports whether the first check is decided.
func (f *first) answered() bool {
	select {
	case <-f.done:
		return f.err == nil
	default:
		return false
	}
}

// copy writes a remembered decision over d, which keeps its own slices.
func (d *Decision) copy(from *Decision) {
	limits, sources := append(d.Limits[:0], from.Limits...), append(d.Sources[:0], from.Sources...)
	*d = *from
	d.Limits, d.Sources = limits, sources
}

// keyed reports whether a request is remembered.
func keyed(r *Request) bool { return r.IdempotencyKey != "" && r.Mode != Peek }

// join returns the first check with the request's key; mine when that is the caller's.
func (i *idempotent) join(r *Request) (f *first, mine bool, err error) {
	p := i.c.Policy()
	if p == nil {
		return nil, false, fmt.Errorf("%w: this node has no policy yet", ErrUnavailable)
	}
	if err := p.Validate(*r); err != nil {
		return nil, false, err
	}
	a, err := p.Account(*r)
	if err != nil {
		return nil, false, err
	}
	key, contents := checkKey{a.Domain, strings.Clone(a.ID), strings.Clone(r.IdempotencyKey)}, fingerprint(r)
	now := i.c.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	for e := i.decided.Front(); e != nil && !now.Before(e.Value.(*first).until); e = i.decided.Front() {
		i.forget(e)
	}
	if f = i.byKey[key]; f != nil {
		if f.contents != contents {
			return nil, false, fmt.Errorf("%w: %q", ErrConflict, short(key.key))
		}
		return f, false, nil
	}
	if len(i.byKey) >= i.c.KeysMax {
		if i.decided.Len() == 0 {
			return nil, false, fmt.Errorf("%w: %d checks with an idempotency key are being decided", ErrUnavailable, len(i.byKey))
		}
		i.forget(i.decided.Front())
	}
	f = &first{key: key, contents: contents, done: make(chan struct{})}
	i.byKey[key] = f
	return f, true, nil
}

func (i *idempotent) forget(e *list.Element) {
	delete(i.byKey, e.Value.(*first).key)
	i.decided.Remove(e)
}

// decide has the first check decided, and tells those who wait for it.
func (i *idempotent) decide(f *first, next func() (Decision, error)) {
	f.err = ErrUnavailable // should next panic, nobody waits for ever
	defer func() {
		i.mu.Lock()
		if f.err == nil && f.decision.Reason != LedgerUnavailable { // whether that was paid for, the ledger tells who asks again
			f.until = i.c.Now().Add(i.c.Keep)
			i.decided.PushBack(f)
		} else {
			delete(i.byKey, f.key)
		}
		i.mu.Unlock()
		close(f.done)
	}()
	f.decision, f.err = next()
}

// fingerprint tells requests apart by what they ask for, whatever the order of attributes and costs.
func fingerprint(r *Request) [sha256.Size]byte {
	attributes := slices.SortedFunc(slices.Values(r.Attributes), func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) })
	costs := slices.SortedFunc(slices.Values(r.Cost), func(a, b Cost) int { return strings.Compare(a.Meter, b.Meter) })
	b := []byte{byte(r.Mode), byte(len(attributes))}
	for _, a := range attributes {
		b = framed(framed(b, a.Name), a.Value)
	}
	b = framed(b, fmt.Sprint(r.Charge, r.Refund, r.Override != nil))
	if o := r.Override; o != nil {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, o.Count), uint64(o.Window))
	}
	for _, c := range costs {
		b = binary.BigEndian.AppendUint64(framed(b, c.Meter), uint64(c.Amount))
	}
	return sha256.Sum256(b)
}
