package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ledger/journal"
)

// Bounds of one read of another node's journal.
const (
	journalRecordsMax = 4096
	journalBytesMax   = 4 << 20
	journalWaitMax    = 30 * time.Second
)

// PeerEvents reads the journals of other nodes as if it were one of this node's: the first that answers and has what is
// asked for. Build it with (*Peers).Events.
type PeerEvents struct {
	peers  *Peers
	voters func() []string // peer addresses, the likeliest first
}

var _ Events = (*PeerEvents)(nil)

// Events returns the journal of the voters, whose peer addresses are asked for before each call.
func (p *Peers) Events(voters func() []string) *PeerEvents { return &PeerEvents{p, voters} }

// Scan is (*journal.Journal).Scan on another node.
func (e *PeerEvents) Scan(ctx context.Context, after uint64, records, size int) ([][]byte, error) {
	r, err := e.read(ctx, &weirv1.ReadJournalRequest{
		After: after, Records: uint32(min(records, journalRecordsMax)), Bytes: uint32(min(size, journalBytesMax)),
	})
	return r.GetRecords(), err
}

// Wait is (*journal.Journal).Wait on another node.
func (e *PeerEvents) Wait(ctx context.Context, after uint64) error {
	for {
		r, err := e.read(ctx, &weirv1.ReadJournalRequest{After: after, Records: 1, WaitMs: uint32(journalWaitMax.Milliseconds())})
		if err != nil || len(r.GetRecords()) > 0 || r.GetNewest() > after {
			return err
		}
	}
}

// Range is (*journal.Journal).Range on another node.
func (e *PeerEvents) Range(ctx context.Context) (oldest, newest uint64, err error) {
	r, err := e.read(ctx, &weirv1.ReadJournalRequest{})
	return r.GetOldest(), r.GetNewest(), err
}

// read asks one voter after the other, until one has it.
func (e *PeerEvents) read(ctx context.Context, ask *weirv1.ReadJournalRequest) (*weirv1.ReadJournalResponse, error) {
	err := fmt.Errorf("%w: no voter is known", cluster.ErrUnreachable)
	for _, address := range e.voters() {
		peer, ok := e.peers.Peer(address).(*Peer)
		if !ok {
			continue
		}
		r, failed := peer.ReadJournal(ctx, ask)
		behind := failed == nil && ask.GetRecords() > 0 && len(r.GetRecords()) == 0
		if behind && errors.As(err, new(*journal.MissingError)) {
			continue // it has not come to what another one lacks
		}
		if failed == nil {
			return r, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !errors.Is(err, journal.ErrGone) { // one voter says that it is gone: that is told, unless another one has it
			err = failed
		}
	}
	return nil, err
}

// ReadJournal reads the journal of the other node. A missing record is a *journal.MissingError.
func (p *Peer) ReadJournal(ctx context.Context, ask *weirv1.ReadJournalRequest) (*weirv1.ReadJournalResponse, error) {
	r, err := p.service.ReadJournal(ctx, ask)
	if err != nil {
		return nil, fromStatus(err)
	}
	if seq := r.GetMissing(); seq != 0 {
		return nil, &journal.MissingError{Seq: seq, Next: r.GetNext(), Gap: r.GetGap()}
	}
	return r, nil
}

// ReadJournal answers from this node's journal.
func (s *PeerServer) ReadJournal(ctx context.Context, r *weirv1.ReadJournalRequest) (*weirv1.ReadJournalResponse, error) {
	if s.Journal == nil {
		return nil, toStatus(fmt.Errorf("%w: this node keeps no journal", cluster.ErrUnreachable))
	}
	if wait := min(time.Duration(r.GetWaitMs())*time.Millisecond, journalWaitMax); wait > 0 {
		if err := waitEvents(ctx, s.Journal, r.GetAfter(), wait); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return nil, toStatus(err)
		}
	}
	out := &weirv1.ReadJournalResponse{}
	var err error
	if n := min(int(r.GetRecords()), journalRecordsMax); n > 0 {
		out.Records, err = s.Journal.Scan(ctx, r.GetAfter(), n, min(int(r.GetBytes()), journalBytesMax))
	}
	if missing := (*journal.MissingError)(nil); errors.As(err, &missing) {
		out.Missing, out.Gap, out.Next, err = missing.Seq, missing.Gap, missing.Next, nil
	}
	if err == nil {
		out.Oldest, out.Newest, err = s.Journal.Range(ctx)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return out, nil
}
