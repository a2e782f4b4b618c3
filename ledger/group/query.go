package group

import (
	"context"
	"fmt"
	"time"
)

// Read says how new a state a query may be answered from. The zero value is linearizable: from one that has everything that was
// answered before the query was asked. With either bound set, any replica answers that keeps to the bounds.
type Read struct {
	// MaxStaleness: the state lacks nothing that is older, as far as the clocks of the leader and of this server agree. The log
	// tells the time, so a group in which nothing is written grows stale.
	MaxStaleness time.Duration
	MinIndex     uint64 // the state has at least this entry: with the index of a receipt, callers read what they wrote
}

// As is how new a state is that a query was answered from: it has everything up to the entry, and perhaps more.
type As struct {
	Index, Term uint64
	Wall        time.Time // of the entry's stamp
}

// Query asks a machine. It may wait: for an entry that has not come yet, and for a majority of the voters to confirm that
// this server leads. Its errors are ErrNotLeader, from a server that cannot answer as asked while the leader could, ErrBusy
// when ctx ended first, ErrUnknownMachine and ErrStopped.
func (g *Group) Query(ctx context.Context, machine string, query []byte, read Read) ([]byte, As, error) {
	body, as, err := g.query(ctx, machine, query, read)
	if err != nil {
		return nil, As{}, fmt.Errorf("query %s: %w", machine, err)
	}
	return body, as, nil
}

func (g *Group) query(ctx context.Context, machine string, query []byte, read Read) ([]byte, As, error) {
	m := g.replica.machines[machine]
	switch {
	case g.raft.Load() == nil:
		return nil, As{}, ErrStopped
	case m == nil:
		return nil, As{}, ErrUnknownMachine
	}
	if err := g.reach(ctx, read.MinIndex); err != nil {
		return nil, As{}, err
	}
	term, leading := g.Term()
	if !leading && read == (Read{}) {
		return nil, As{}, ErrNotLeader
	}
	// What is known of the state is taken before the state, and whether it is new enough is asked after: a process that was
	// stopped between the two must not answer from what it had.
	as := *g.replica.newest.Load()
	body := m.Query(query)
	switch {
	case read.MaxStaleness > 0 && !g.within(as, read.MaxStaleness), read == Read{}:
		if !leading {
			return nil, As{}, ErrNotLeader
		}
		if err := g.rounds.confirm(ctx, term); err != nil {
			return nil, As{}, err
		}
	}
	if err := g.replica.err(); err != nil {
		return nil, As{}, fmt.Errorf("%w: replica at fault: %w", ErrStopped, err)
	}
	return body, as, nil
}

// within says whether a state is at most so stale. A stamp that is as far ahead of this server's clock tells nothing.
func (g *Group) within(as As, staleness time.Duration) bool {
	age := g.cfg.Now().Sub(as.Wall)
	return !as.Wall.IsZero() && age <= staleness && age >= -staleness
}

// reach waits until the machines have seen an entry. A server that is no member may never do.
func (g *Group) reach(ctx context.Context, index uint64) error {
	for {
		grown := g.replica.growth()
		if g.replica.newest.Load().Index >= index {
			return nil
		}
		if g.idOf(g.cfg.Name) != g.ID() {
			return ErrNotLeader
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("entry %d has not come: %w: %w", index, ErrBusy, ctx.Err())
		case <-g.ending:
			return ErrStopped
		}
	}
}
