package ledger

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Pulse drives what the log needs a push for, from the node that leads: holds end when their time is over, though nobody
// asks, and replicas compare their digests. It may run on every node; those that do not lead do nothing.
type Pulse struct {
	Machine  *Machine
	Proposer Proposer
	Leading  func() bool
	Now      func() time.Time // monotonic
	Every    time.Duration    // between two looks, and so two ticks; 0: 100 ms
	Logger   *slog.Logger

	began    time.Duration // Elapsed of the log when it was last seen to move, and when that was
	seen     time.Time
	compared uint64
}

const (
	pulseEvery = 100 * time.Millisecond
	pulseWait  = 2 * time.Second // for one proposal
)

// Run looks until ctx ends.
func (p *Pulse) Run(ctx context.Context) error {
	every := p.Every
	if every <= 0 {
		every = pulseEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			p.look(ctx)
		}
	}
}

func (p *Pulse) look(ctx context.Context) {
	deadline, elapsed, holds := p.Machine.next()
	if now := p.Now(); elapsed != p.began || p.seen.IsZero() {
		p.began, p.seen = elapsed, now
	}
	if !p.Leading() {
		return
	}
	// The log's clock stands while nothing is written; a tick moves it on.
	if holds && deadline <= elapsed+p.Now().Sub(p.seen) {
		p.propose(ctx, &tick{})
	}
	if count, digest := p.Machine.note(); count > p.compared {
		if p.propose(ctx, &compare{count, digest}) {
			p.compared = count
		}
	}
}

// propose says whether the command was done. One that was not is due again at the next look.
func (p *Pulse) propose(ctx context.Context, c command) bool {
	ctx, cancel := context.WithTimeout(ctx, pulseWait)
	defer cancel()
	_, err := p.Proposer.Propose(ctx, encodeCommand(c))
	if err != nil && !errors.Is(err, context.Canceled) {
		p.Logger.Debug("the ledger's pulse was not taken", "command", c.op().String(), "error", err)
	}
	return err == nil
}

// next returns the soonest deadline of a hold, and how far the log's elapsed time has come.
func (m *Machine) next() (at, elapsed time.Duration, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	first, ok := m.due.first()
	return time.Duration(first.at), m.head.elapsed, ok
}

// note returns the newest digest that replicas can compare.
func (m *Machine) note() (count uint64, digest [32]byte) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.notes.newest()
}
