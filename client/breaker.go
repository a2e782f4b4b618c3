package client

import (
	"sync"
	"time"
)

// Health is what a breaker thinks of its node.
type Health uint8

const (
	// Healthy nodes are asked.
	Healthy Health = iota
	// Resting nodes are left alone until the next probe.
	Resting
	// Probing nodes are being tried by one check.
	Probing
)

// String returns the word of the health.
func (h Health) String() string {
	return [...]string{Healthy: "healthy", Resting: "resting", Probing: "probing"}[h]
}

// breaker judges a node by the last span of checks, in two halves that take turns: the newer fills while the older
// fades whole, so a verdict rests on half a span to a whole one. It knows no clock. One that goes backward starts the
// judgement anew, so it can neither keep a node resting nor probe it without end.
type breaker struct {
	c Breaker

	mu     sync.Mutex // guards what follows
	health Health
	since  time.Time // of the newer half, or of the rest's last probe
	newer  tally
	older  tally
}

type tally struct{ all, bad int }

// allow tells whether the node may be asked now. Asking a resting node is a probe, one each pause: so a probe whose
// outcome nobody tells only delays the next.
func (b *breaker) allow(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.health == Healthy {
		return true
	}
	if gone := now.Sub(b.since); gone >= 0 && gone < b.c.Pause {
		return false
	}
	b.health, b.since = Probing, now
	return true
}

// record takes in how a check ended that took so long.
func (b *breaker) record(now time.Time, took time.Duration, failed bool) {
	bad := failed || took >= b.c.Slow
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.health != Healthy {
		// What was asked before the rest may still be answered; a good answer is as good as a probe's.
		b.health = Resting
		if !bad {
			b.health, b.since, b.newer, b.older = Healthy, now, tally{}, tally{}
		}
		return
	}
	switch gone := now.Sub(b.since); {
	case gone < 0 || gone >= b.c.Span:
		b.newer, b.older, b.since = tally{}, tally{}, now
	case gone >= b.c.Span/2:
		b.newer, b.older, b.since = tally{}, b.newer, now
	}
	b.newer.all++
	if !bad {
		return
	}
	b.newer.bad++
	all, worse := b.newer.all+b.older.all, b.newer.bad+b.older.bad
	if all >= b.c.Least && float64(worse) >= b.c.Share*float64(all) {
		b.health, b.since = Resting, now
	}
}

func (b *breaker) state() Health {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.health
}
