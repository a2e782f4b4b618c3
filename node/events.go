package node

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
	"github.com/weir-cluster/weir/transport"
)

// mendEvery is how often a voter looks whether its journal has a gap, as it has after it was sent a snapshot.
const mendEvery = 5 * time.Second

// journal is where the events are kept; empty: in memory.
func (c Config) journal() string {
	if c.Ephemeral || c.Storage != nil {
		return ""
	}
	return filepath.Join(c.DataDir, "journal")
}

// events is what the doors of events of this node share.
func (p *parts) events(closing <-chan struct{}) *transport.EventDoor {
	return &transport.EventDoor{
		Events: shelf{p, p.links.Events(p.voters)}, Cursors: p.ledger, Source: "/weir/" + p.cfg.Cluster,
		Patience: p.cfg.RequestTimeout, Closing: closing,
	}
}

// voters returns where the journals of the other voters are, the leader's first: it has the newest events.
func (p *parts) voters() []string {
	var all []string
	for _, m := range p.gossip.Alive() {
		switch {
		case !m.Votes || m.Name == p.cfg.Name:
		case m.Leading:
			all = slices.Insert(all, 0, m.Peer)
		default:
			all = append(all, m.Peer)
		}
	}
	return all
}

// votes says whether this node follows the log, so that its own journal goes on. One that was replaced while it was cut off still
// believes that it votes, but it hears no leader.
func (p *parts) votes() bool {
	voters, _, err := p.group.Electorate()
	_, led := p.group.Leader()
	return err == nil && led && voters[p.cfg.Name] == p.group.ID()
}

// shelf is where this node reads events: in its own journal if it votes, else in that of a voter.
type shelf struct {
	*parts
	others transport.Events
}

var _ transport.Events = shelf{}

func (s shelf) from() transport.Events {
	if s.votes() {
		return s.journal
	}
	return s.others
}

// Scan is (*journal.Journal).Scan.
func (s shelf) Scan(ctx context.Context, after uint64, records, size int) ([][]byte, error) {
	return s.from().Scan(ctx, after, records, size)
}

// Wait is (*journal.Journal).Wait.
func (s shelf) Wait(ctx context.Context, after uint64) error { return s.from().Wait(ctx, after) }

// Range is (*journal.Journal).Range.
func (s shelf) Range(ctx context.Context) (oldest, newest uint64, err error) {
	return s.from().Range(ctx)
}

// keepJournal writes the journal out, fetches from other voters what this one lacks, and closes it.
func (p *parts) keepJournal(ctx context.Context) error {
	mended := make(chan struct{})
	go func() {
		defer close(mended)
		p.look(ctx, mendEvery, func() bool {
			if err := p.mend(ctx); err != nil && ctx.Err() == nil {
				p.cfg.Logger.Warn("the journal of the ledger lacks events that no voter could give yet", "error", err)
			}
			return false
		})
	}()
	err := p.journal.Run(ctx)
	<-mended
	return errors.Join(err, p.journal.Close())
}

// mend fetches what the journal lacks at its end, and then what it lacks between. An event is in the journal before it is in the
// state: if the state has more, it is that of a snapshot.
func (p *parts) mend(ctx context.Context) error {
	state, _ := p.machine.Events()
	if state <= p.journal.Newest() && len(p.journal.Gaps()) == 0 || !p.votes() {
		return nil
	}
	others := p.links.Events(p.voters)
	if err := p.journal.Extend(ctx, others, state); err != nil {
		return err
	}
	return p.journal.Mend(ctx, others)
}

// pulse is what drives the ledger by time, from the node that leads.
func (p *parts) pulse() *ledger.Pulse {
	return &ledger.Pulse{
		Machine: p.machine, Proposer: p.proposer.For(machineLedger, false), Leading: p.group.Leading, Now: p.now, Logger: p.cfg.Logger,
	}
}

// books are the metrics of the ledger on a voter, by their names.
func (p *parts) books() map[string]func() float64 {
	of := func(value func(s journal.Stats) float64) func() float64 {
		return func() float64 { return value(p.journal.Stats()) }
	}
	return map[string]func() float64{
		"weir_ledger_accounts": func() float64 { return float64(p.machine.Accounts()) },
		"weir_ledger_keys":     func() float64 { return float64(p.machine.Keys()) },
		"weir_ledger_disk_full": func() float64 {
			if p.group.Full() {
				return 1
			}
			return 0
		},
		"weir_ledger_open_holds": func() float64 { open, _ := p.machine.Holds(); return float64(open) },

		"weir_journal_newest":        of(func(s journal.Stats) float64 { return float64(s.Newest) }),
		"weir_journal_oldest":        of(func(s journal.Stats) float64 { return float64(s.Oldest) }),
		"weir_journal_bytes":         of(func(s journal.Stats) float64 { return float64(s.Bytes) }),
		"weir_journal_missing":       of(func(s journal.Stats) float64 { return float64(s.Missing) }),
		"weir_journal_damaged_total": of(func(s journal.Stats) float64 { return float64(s.Damaged) }),
		"weir_journal_forced_total":  of(func(s journal.Stats) float64 { return float64(s.Forced) }),
	}
}
