package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/group"
	"github.com/weir-cluster/weir/ledger/journal"
	"github.com/weir-cluster/weir/policy"
)

// Verdict is what an audit of a ledger found. The ledger is sound if there are no differences.
type Verdict struct {
	Accounts, OpenHolds, Keys int
	Index, Term               uint64 // of the newest log entry
	Events                    uint64 // that there were, in all
	First, Last               uint64 // of them, those that the journal still has and that were replayed; zero: none
	Digest                    [32]byte
	Differences               []string // the first hundred
	Found                     int      // how many there are
}

// VerifyBackup reads a backup's ledger as strictly as a node that begins with it would: sums, floors, conservation, holds. A
// backup has no journal. Its errors are group.ErrBackupBad, group.ErrBackupNewer and those of the file.
func VerifyBackup(f *os.File) (v Verdict, err error) {
	at, err := f.Stat()
	if err != nil {
		return v, err
	}
	l, state, err := group.OpenBackup(f, at.Size())
	if err != nil {
		return v, fmt.Errorf("%s: %w", f.Name(), err)
	}
	m := ledger.NewMachine(ledger.DefaultConfig())
	if err := group.ReadState(state, map[string]group.Machine{machineLedger: ledgerMachine{m}}); err != nil {
		return unsound(err), nil
	}
	v = of(m)
	v.Index, v.Term = l.Index, l.Term
	return v, nil
}

// unsound is the verdict on a state that cannot be taken for one.
func unsound(err error) Verdict {
	return Verdict{Differences: []string{err.Error()}, Found: 1}
}

func of(m *ledger.Machine) Verdict {
	v := Verdict{Accounts: m.Accounts(), Keys: m.Keys(), Digest: m.Digest()}
	v.OpenHolds, _ = m.Holds()
	v.Events, _ = m.Events()
	return v
}

// VerifyDir audits the ledger in the data directory of a node that does not run, and changes nothing. It replays the log on the newest
// snapshot, holds the events that come of it against the journal, and replays the journal by itself, with other code than
// made it: each must lead to the same. Its errors are those of OpenRecovery and of the disk.
func VerifyDir(ctx context.Context, dir string) (v Verdict, err error) {
	r, err := OpenRecovery(dir)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	kept, err := keptJournal(dir)
	if err != nil {
		return v, err
	}
	if kept != nil {
		defer func() { err = errors.Join(err, kept.Close()) }()
	}
	c := ledger.DefaultConfig()
	again := &replayed{kept: kept}
	c.Journal = again
	m := ledger.NewMachine(c)
	if err := r.kept.Replay(machines(cluster.NewViews(nil), policy.NewBook(slog.New(slog.DiscardHandler)), m)); err != nil {
		return unsound(err), nil
	}
	v = of(m)
	v.Index, v.Term = r.Index, r.Term
	a, err := ledger.Verify(again.all(ctx), m)
	if err != nil {
		return v, err
	}
	v.First, v.Last = a.First, a.Last
	v.Differences, v.Found = append(again.differences, a.Differences...), len(again.differences)+a.Found
	if err := m.Verify(); err != nil {
		v.Differences, v.Found = append(v.Differences, err.Error()), v.Found+1
	}
	return v, nil
}

// keptJournal opens the journal in a data directory as it is; nil if there is none.
func keptJournal(dir string) (*journal.Journal, error) {
	dir = Config{DataDir: dir}.journal()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	c := journal.DefaultConfig()
	c.ReadOnly, c.Now = true, time.Now
	return journal.Open(filepath.Clean(dir), c)
}

// replayed takes the events that come of replaying the log: what the journal has is compared, and what it lacks at its end, as after
// a kill -9, is kept.
type replayed struct {
	kept        *journal.Journal
	tail        [][]byte
	differences []string
}

const differencesMax = 100

// Append is as ledger.Journal wants it.
func (r *replayed) Append(seq uint64, event []byte) error {
	if r.kept == nil || seq > r.kept.Newest() {
		r.tail = append(r.tail, bytes.Clone(event))
		return nil
	}
	was, err := r.kept.Read(seq)
	switch {
	case errors.Is(err, journal.ErrGone):
	case err != nil:
		r.differ(fmt.Sprintf("event %d: the journal: %v", seq, err))
	case !bytes.Equal(was, event):
		r.differ(fmt.Sprintf("event %d: the log leads to other contents than the journal has", seq))
	}
	return nil
}

func (r *replayed) differ(what string) {
	if len(r.differences) < differencesMax {
		r.differences = append(r.differences, what)
	}
}

// Read is not asked for by a replay.
func (r *replayed) Read(uint64) ([]byte, error) { return nil, ledger.ErrGone }

// Sync is as ledger.Journal wants it.
func (r *replayed) Sync() error { return nil }

// all yields the journal's events and what the log leads to beyond them.
func (r *replayed) all(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if r.kept != nil && !r.scan(ctx, yield) {
			return
		}
		for _, event := range r.tail {
			if !yield(event, nil) {
				return
			}
		}
	}
}

// scan yields what the journal has, gaps left out, and says whether to go on.
func (r *replayed) scan(ctx context.Context, yield func([]byte, error) bool) bool {
	for after := max(r.kept.Oldest(), 1) - 1; after < r.kept.Newest(); {
		events, err := r.kept.Scan(ctx, after, 1024, 1<<20)
		if missing := (*journal.MissingError)(nil); errors.As(err, &missing) && missing.Next > after+1 {
			r.differ(fmt.Sprintf("the journal lacks events %d to %d", missing.Seq, missing.Next-1))
			after = missing.Next - 1
			continue
		}
		if err != nil {
			return yield(nil, err)
		}
		for _, event := range events {
			if !yield(event, nil) {
				return false
			}
		}
		after += uint64(len(events))
	}
	return true
}
