package policy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

// IdempotentConfig is what Idempotent works with. Policy and Now are needed.
type IdempotentConfig struct {
	Policy  func() *Policy
	Now     func() time.Time
	Keep    time.Duration // default 10 min: how long a decision is remembered
	Records *Records      // where decisions are kept; by default its own
	// Replicated, if not nil, is asked after a first decision was kept and before it is answered: it waits until the deputy of
	// the partition has it too, where there is one, and reports false if that does not happen in time. The decision then says
	// that it is Unreplicated. It is called without a lock held.
	Replicated func(ctx context.Context, partition uint16) bool
}

// Idempotent returns a Trier that answers a repeated check with the first decision and asks next only once. A key
// counts within its domain and account; a check without one, and a PEEK, go straight to next. While the first is being
// decided its repetitions wait for it. The same key with another cost, mode or other attributes is ErrConflict. An
// error is not remembered. A remembered decision is shared: callers must not change its slices.
//
// It remembers in Records, which can follow an account to its next home; beyond them the ledger alone remembers.
func Idempotent(next Trier, c IdempotentConfig) Trier {
	if c.Keep <= 0 {
		c.Keep = 10 * time.Minute
	}
	if c.Records == nil {
		c.Records = NewRecords(RecordsConfig{Policy: c.Policy, Now: c.Now})
	}
	return &idempotent{next: next, c: c}
}

type idempotent struct {
	next Trier
	c    IdempotentConfig
}

type checkKey struct{ domain, account, key string }

// first is the first check with a key. Once done is closed, decision and err are set and never change.
type first struct {
	note          // guarded by Records.mu
	place     int // in Records.soonest, from 1; 0 while it is not decided; guarded by the same
	partition uint16
	key       checkKey
	contents  [sha256.Size]byte
	done      chan struct{}
	decision  Decision
	err       error
}

// Check decides, or waits for the first check with the key and answers the same.
func (i *idempotent) Check(ctx context.Context, r Request) (Decision, error) {
	if !keyed(&r) {
		return i.next.Check(ctx, r)
	}
	for {
		f, mine, err := i.join(&r, true)
		if err != nil {
			return Decision{}, err
		}
		if mine {
			i.decide(ctx, f, func() (Decision, error) { return i.next.Check(ctx, r) })
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
// would have to wait, and so would a first check that a deputy must know of.
func (i *idempotent) Try(r *Request, d *Decision) (decided bool, err error) {
	if !keyed(r) {
		return i.next.Try(r, d)
	}
	f, mine, err := i.join(r, i.c.Replicated == nil)
	if err != nil {
		return true, err
	}
	if mine {
		i.decide(context.Background(), f, func() (Decision, error) {
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

// answered reports whether the first check, if there is one, is decided.
func (f *first) answered() bool {
	if f == nil {
		return false
	}
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

// join returns the first check with the request's key. If there is none, it makes the caller's the first, which then is
// mine, or returns nil if the caller does not want to begin.
func (i *idempotent) join(r *Request, begin bool) (f *first, mine bool, err error) {
	p := i.c.Policy()
	if p == nil {
		return nil, false, fmt.Errorf("%w: this node has no policy yet", ErrUnavailable)
	}
	if err := p.Validate(*r); err != nil {
		return nil, false, err
	}
	a, err := p.Locate(r)
	if err != nil {
		return nil, false, err
	}
	key, contents := checkKey{a.Domain, strings.Clone(a.ID), strings.Clone(r.IdempotencyKey)}, fingerprint(r)
	f, mine, err = i.c.Records.join(a.Partition, key, contents, i.c.Now(), begin)
	if f != nil && f.contents != contents {
		return nil, false, fmt.Errorf("%w: %q", ErrConflict, short(key.key))
	}
	return f, mine, err
}

// join returns the check that came first with a key; a new one, which is the caller's, if there is none and it is to begin.
func (rs *Records) join(p uint16, key checkKey, contents [sha256.Size]byte, now time.Time, begin bool) (f *first, mine bool, err error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.lapse(now)
	if f = rs.shelves[p].firsts[key]; f != nil || !begin {
		return f, false, nil
	}
	if rs.keys >= rs.c.KeysMax {
		last := rs.soonest.front()
		if last == nil {
			return nil, false, fmt.Errorf("%w: %d checks with an idempotency key are being decided", ErrUnavailable, rs.keys)
		}
		rs.forget(last)
	}
	f = &first{partition: p, key: key, contents: contents, done: make(chan struct{})}
	rs.add(f)
	return f, true, nil
}

// lapse forgets the decisions that were remembered for long enough.
func (rs *Records) lapse(now time.Time) {
	for f := rs.soonest.front(); f != nil && !now.Before(f.until); f = rs.soonest.front() {
		rs.forget(f)
	}
}

// remember keeps a first check that is decided, until then.
func (rs *Records) remember(f *first, until time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	f.until = until
	rs.soonest.push(f)
	rs.note(f.partition, f)
}

// disown forgets a first check whose decision does not count.
func (rs *Records) disown(f *first) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.forget(f)
}

// unreplicated has a first decision say that the deputy does not have it.
func (rs *Records) unreplicated(f *first) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	f.decision.Unreplicated = true
}

// decide has the first check decided, and tells those who wait for it.
func (i *idempotent) decide(ctx context.Context, f *first, next func() (Decision, error)) {
	kept := false
	defer func() { // should next panic, nobody waits for ever
		if !kept {
			i.c.Records.disown(f)
		}
		close(f.done)
	}()
	f.err = ErrUnavailable
	f.decision, f.err = next()
	if f.err != nil || f.decision.Reason == LedgerUnavailable { // whether that was paid for, the ledger tells who asks again
		return
	}
	i.c.Records.remember(f, i.c.Now().Add(i.c.Keep))
	if kept = true; i.c.Replicated != nil && !i.c.Replicated(ctx, f.partition) {
		i.c.Records.unreplicated(f)
	}
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
