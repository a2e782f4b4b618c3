package node

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/weir-cluster/weir/cluster"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/group"
	"github.com/weir-cluster/weir/policy"
)

// What keeps an offline repair from being done.
var (
	// ErrNotNeeded: there is nothing to recover from; it can be forced.
	ErrNotNeeded = errors.New("not needed")
	// ErrNotEmpty: the directory holds something already.
	ErrNotEmpty = errors.New("directory not empty")
)

// Survivor is what a data directory tells of the node that it is of and of its group.
type Survivor struct {
	Name        string // of the node
	Voters      int    // of the group, this one included if it votes
	Votes       bool
	Others      []string // names of the other voters
	Index, Term uint64   // of the newest entry of its log
}

// Recovery makes what one node has of the agreed state the beginning of a new generation of the cluster, when the quorum of the
// voters is lost for good. No node runs on the directory meanwhile. Close must follow.
type Recovery struct {
	Survivor
	kept *group.Offline
}

// OpenRecovery looks into the data directory of a node. Its errors are group.ErrInUse while the node runs, and ErrNotNeeded when
// the directory has no Raft state, or is of no member of its group.
func OpenRecovery(dir string) (*Recovery, error) {
	if kept, err := group.Kept(dir); err != nil || !kept {
		return nil, errors.Join(err, fmt.Errorf("%w: %s holds no Raft log; name the data directory of a node that voted", ErrNotNeeded, dir))
	}
	kept, err := group.OpenOffline(group.Disk(dir))
	if errors.Is(err, group.ErrInUse) {
		return nil, fmt.Errorf("%w: stop the node first", err)
	}
	if err != nil {
		return nil, err
	}
	r := &Recovery{kept: kept}
	self, member := kept.Self()
	if !member {
		return nil, errors.Join(fmt.Errorf("%w: %s holds no Raft state of a member; a node that only forwards joins the others with what it has", ErrNotNeeded, dir), kept.Close())
	}
	r.Name, r.Votes = self.Name, self.Voter
	r.Index, r.Term = kept.Last()
	for _, s := range kept.Servers() {
		if s.Voter {
			r.Voters++
		}
		if s.Voter && s.ID != self.ID {
			r.Others = append(r.Others, s.Name)
		}
	}
	slices.Sort(r.Others)
	return r, nil
}

// Needed returns ErrNotNeeded when this node has the quorum of its group alone, so that it need only be started.
func (r *Recovery) Needed() error {
	if r.Votes && r.Voters == 1 {
		return fmt.Errorf("%w: %s is the only voter of its group: start it", ErrNotNeeded, r.Name)
	}
	return nil
}

// Do begins the new generation and returns its name. What this node knows of the log counts as agreed to its end. It may be
// repeated when it was interrupted.
func (r *Recovery) Do() (lineage string, err error) {
	views := &succession{Views: cluster.NewViews(nil)}
	all := machines(views, policy.NewBook(slog.New(slog.DiscardHandler)), ledger.NewMachine(ledger.DefaultConfig()))
	views.begin = func(v *cluster.View) error {
		lineage = v.Lineage()
		return r.kept.SetLineage(lineage) // before anything that the old voters might take for theirs
	}
	if err := r.kept.Recover(r.Name, all); err != nil {
		return "", err
	}
	return lineage, nil
}

// Close releases the directory.
func (r *Recovery) Close() error { return r.kept.Close() }

// succession is the view machine of a generation that ends: what it passes on is the view of the next.
type succession struct {
	*cluster.Views
	begin func(next *cluster.View) error
}

// Snapshot captures the view with which the next generation begins.
func (s *succession) Snapshot() (func(io.Writer) error, error) {
	v := s.Current()
	if v == nil {
		return nil, errors.New("the log has no view: no cluster was ever founded by it")
	}
	next := v.NextGeneration()
	if err := s.begin(next); err != nil {
		return nil, err
	}
	return func(w io.Writer) error {
		_, err := w.Write(next.Encode())
		return err
	}, nil
}

// ReadBackup reads a file from end to end, and returns what it says of itself and how long it is, if it is a whole backup. Its errors
// are group.ErrBackupBad and group.ErrBackupNewer.
func ReadBackup(f *os.File) (l group.Label, bytes int64, err error) {
	at, err := f.Stat()
	if err != nil {
		return l, 0, err
	}
	l, _, err = group.OpenBackup(f, at.Size())
	return l, at.Size(), err
}

// Restore makes a backup the state that the first node of a new cluster begins with, in an empty directory or one that does not
// exist. The new cluster is another than that of the backup, whose nodes do not hear it. Its errors are ErrNotEmpty,
// group.ErrBackupBad and group.ErrBackupNewer; after any error the directory is as it was.
func Restore(dir, name string, backup *os.File) (l group.Label, err error) {
	at, err := backup.Stat()
	if err != nil {
		return l, err
	}
	l, state, err := group.OpenBackup(backup, at.Size())
	if err != nil {
		return l, fmt.Errorf("%s: %w", backup.Name(), err)
	}
	_, err = os.Stat(dir)
	was := err == nil
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return l, err
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) > 0 {
		return l, errors.Join(err, fmt.Errorf("%w: %s holds %d files", ErrNotEmpty, dir, len(found)))
	}
	if err := restore(dir, name, l, state); err != nil {
		return l, errors.Join(fmt.Errorf("%s: %w", backup.Name(), err), empty(dir, was))
	}
	return l, nil
}

// empty takes away what a restore that failed has left in a directory, and the directory if it was not there before.
func empty(dir string, was bool) error {
	if !was {
		return os.RemoveAll(dir)
	}
	found, err := os.ReadDir(dir)
	for _, f := range found {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, f.Name())))
	}
	return err
}

func restore(dir, name string, l group.Label, state io.Reader) error {
	kept, err := group.OpenOffline(group.Disk(dir))
	if err != nil {
		return err
	}
	all := machines(cluster.NewViews(nil), policy.NewBook(slog.New(slog.DiscardHandler)), ledger.NewMachine(ledger.DefaultConfig()))
	// Until the new cluster has a view, it must not be taken for the old one.
	err = kept.SetLineage("restored." + kept.ID())
	if err == nil {
		err = kept.Restore(name, l, state, all)
	}
	return errors.Join(err, kept.Close())
}
