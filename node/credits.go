package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

// credits makes the ledger's state machine.
func (p *parts) credits() *ledger.Machine {
	c := ledger.DefaultConfig()
	c.Journal = outbox{p}
	return ledger.NewMachine(c)
}

const memorySegment = 4 << 20 // of a journal in memory, in bytes

// openJournal opens the journal of the ledger's events, once the data directory is this process's alone.
func (p *parts) openJournal() (err error) {
	c := journal.DefaultConfig()
	c.Now, c.Logger, c.Floor = p.now, p.cfg.Logger, p.machine.Floor
	if dir := p.cfg.journal(); dir != "" {
		p.journal, err = journal.Open(dir, c)
		return err
	}
	c.SegmentBytes, c.RetainBytes, c.RetainFor = memorySegment, 16*memorySegment, 24*time.Hour
	p.journal = journal.NewMemory(c)
	return nil
}

// outbox is the journal in the ledger's words.
type outbox struct{ *parts }

// Append is (*journal.Journal).Append.
func (o outbox) Append(seq uint64, event []byte) error { return o.journal.Append(seq, event) }

// Sync is (*journal.Journal).Sync.
func (o outbox) Sync() error { return o.journal.Sync() }

// Read says that an event is gone, whether it was dropped or never came here.
func (o outbox) Read(seq uint64) ([]byte, error) {
	event, err := o.journal.Read(seq)
	if errors.Is(err, journal.ErrGone) || errors.Is(err, journal.ErrGap) {
		return nil, fmt.Errorf("%w: %w", ledger.ErrGone, err)
	}
	return event, err
}

// reading asks the ledger's machine, here or at the leader.
type reading struct{ *cluster.Proposal }

// Query drops as of when the answer is: it says so itself.
func (r reading) Query(ctx context.Context, query []byte, read ledger.Read) ([]byte, error) {
	reply, _, err := r.Proposal.Query(ctx, query, cluster.Read(read))
	return reply, err
}
