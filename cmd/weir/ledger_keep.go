package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weir-cluster/weir/client/rest"
	"github.com/weir-cluster/weir/node"
)

type ledgerSnapshotCommand struct {
	File string `arg:"" type:"path" help:"The file to write; it must not exist."`
}

// Help is what `weir ledger snapshot -h` adds to the flags.
func (ledgerSnapshotCommand) Help() string {
	return `Examples:

    weir ledger snapshot weir-2027-01-31.backup

The file has all accounts and the policy with its history, overrides and blocks, as of everything that was acknowledged
before. It has no buckets and no members. "weir ledger restore" begins a new cluster with it.`
}

// backedUp is a backup that was written and read again.
type backedUp struct {
	File    string    `json:"file"`
	Bytes   int64     `json:"bytes"`
	Cluster string    `json:"cluster"`
	Index   uint64    `json:"index"`
	Term    uint64    `json:"term"`
	Taken   time.Time `json:"taken"`
}

// Run asks the leader for a backup and writes it.
func (c *ledgerSnapshotCommand) Run(ctx context.Context, s *shell) error {
	if _, err := os.Lstat(c.File); err == nil {
		return fmt.Errorf("%w: %s exists: name another file", errUsage, c.File)
	}
	part, err := os.CreateTemp(filepath.Dir(c.File), ".weir-snapshot-*")
	if err != nil {
		return fmt.Errorf("no backup: %w", err)
	}
	defer os.Remove(part.Name()) // a backup has been renamed by then
	defer part.Close()
	if err := s.backup(ctx, part); err != nil {
		return fmt.Errorf("no backup: %w", err)
	}
	l, bytes, err := node.ReadBackup(part)
	if err != nil {
		return fmt.Errorf("no backup: what came: %w", err)
	}
	if err := errors.Join(part.Sync(), os.Rename(part.Name(), c.File)); err != nil {
		return fmt.Errorf("no backup: %w", err)
	}
	return show(s, backedUp{c.File, bytes, l.Cluster, l.Index, l.Term, l.Taken}, func(w io.Writer, b backedUp) {
		fmt.Fprintf(w, "%s: %d bytes, checked\n", b.File, b.Bytes)
		fmt.Fprintf(w, "cluster %s as of index %d, term %d, %s\n", b.Cluster, b.Index, b.Term, b.Taken.Format(time.RFC3339))
	})
}

// backup asks the first address, and the leader that it names.
func (s *shell) backup(ctx context.Context, to *os.File) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	err = weir.Backup(ctx, to)
	if p := new(rest.Problem); !errors.As(err, &p) || p.Reason != "NOT_LEADER" {
		return err
	}
	v, lost := weir.View(ctx)
	for _, m := range v.Members {
		if m.Name != v.Leader {
			continue
		}
		leader, lost := rest.New(rest.Config{Addr: m.HTTP, Timeout: s.Timeout})
		if lost == nil {
			lost = leader.Backup(ctx, to)
		}
		return lost
	}
	return errors.Join(err, lost)
}

// offlineFlags say on which node's directory a command works that needs no cluster.
type offlineFlags struct {
	DataDir string `env:"WEIR_DATA_DIR" required:"" type:"path" placeholder:"DIR" help:"The data directory of the node, as of weir serve."`
}

type ledgerRestoreCommand struct {
	offlineFlags `embed:""`
	File         string `arg:"" type:"existingfile" help:"A file that weir ledger snapshot wrote."`
	Name         string `env:"WEIR_NAME" required:"" help:"Name of the node that will run there."`
}

// Help is what `weir ledger restore -h` adds to the flags.
func (ledgerRestoreCommand) Help() string {
	return `Examples:

    weir ledger restore weir-2027-01-31.backup --data-dir /var/lib/weir --name n1
    weir serve --data-dir /var/lib/weir --name n1

It needs no running node. The directory must be empty; the node that is started on it is a cluster of its own, another
than that of the backup: nodes of that do not hear it. Start it without --join; others then join it with empty
directories. What was written to the ledger after the backup is not in it.`
}

type restored struct {
	Node    string    `json:"node"`
	DataDir string    `json:"data_dir"`
	Cluster string    `json:"cluster"` // whose backup it was
	Index   uint64    `json:"index"`
	Taken   time.Time `json:"taken"`
}

// Run makes the directory.
func (c *ledgerRestoreCommand) Run(s *shell) error {
	f, err := os.Open(c.File)
	if err != nil {
		return fmt.Errorf("not restored: %w", err)
	}
	defer f.Close()
	l, err := node.Restore(c.DataDir, c.Name, f)
	if err != nil {
		return fmt.Errorf("not restored: %w", err)
	}
	return show(s, restored{c.Name, c.DataDir, l.Cluster, l.Index, l.Taken}, func(w io.Writer, r restored) {
		fmt.Fprintf(w, "%s has the ledger and the policy of cluster %s as of index %d, %s\n", r.DataDir, r.Cluster, r.Index, r.Taken.Format(time.RFC3339))
		fmt.Fprintf(w, "start it: weir serve --name %s --data-dir %s\n", r.Node, r.DataDir)
	})
}

type ledgerRecoverCommand struct {
	offlineFlags `embed:""`
	Yes          bool `help:"Do it. Without, it is only told what would be done."`
	Force        bool `help:"Do it although it is not needed."`
}

// Help is what `weir ledger recover -h` adds to the flags.
func (ledgerRecoverCommand) Help() string {
	return `Examples:

    weir ledger recover --data-dir /var/lib/weir
    weir ledger recover --data-dir /var/lib/weir --yes

For when most voters are lost for good, disks included. If they can come back, start them instead: nothing is lost then.
Stop all that still run, choose the voter whose log is longest (each prints its index), keep a copy of its directory, and
recover there: it begins the next generation of the cluster alone. Start it, then the others as new, with empty
directories; a node of the old generation that comes back is not heard.

What the lost voters agreed on and this one never got is lost. What it got and they had not agreed on is agreed now.`
}

// recovery is what was done, or would be.
type recovery struct {
	Node    string   `json:"node"`
	DataDir string   `json:"data_dir"`
	Index   uint64   `json:"index"` // of its newest entry
	Term    uint64   `json:"term"`
	Others  []string `json:"others"`            // the other voters
	Lineage string   `json:"lineage,omitempty"` // of the new generation; empty: nothing was done
}

// Run tells what it would do, or does it.
func (c *ledgerRecoverCommand) Run(s *shell) error {
	r, err := node.OpenRecovery(c.DataDir)
	if err != nil {
		return fmt.Errorf("not recovered: %w", err)
	}
	defer r.Close()
	if err := r.Needed(); err != nil && !c.Force {
		return fmt.Errorf("not recovered: %w; --force does it all the same", err)
	}
	done := recovery{Node: r.Name, DataDir: c.DataDir, Index: r.Index, Term: r.Term, Others: r.Others}
	if c.Yes {
		if done.Lineage, err = r.Do(); err != nil {
			return fmt.Errorf("perhaps recovered: %w; repeat it", err)
		}
	}
	if err := show(s, done, recoveryText); err != nil || c.Yes {
		return err
	}
	return fmt.Errorf("%w: nothing was changed: repeat with --yes", errUsage)
}

func recoveryText(w io.Writer, r recovery) {
	others := "nobody else"
	if len(r.Others) > 0 {
		others = strings.Join(r.Others, ", ")
	}
	fmt.Fprintf(w, "node\t%s in %s\n", r.Node, r.DataDir)
	fmt.Fprintf(w, "log\tup to index %d of term %d\n", r.Index, r.Term)
	fmt.Fprintf(w, "voters\t%s and %s\n", r.Node, others)
	if r.Lineage == "" {
		fmt.Fprintf(w, "would\tmake %s the only voter of a new generation, and all of its log agreed; never start %s with their old disks again\n", r.Node, others)
		return
	}
	fmt.Fprintf(w, "done\t%s is the only voter of generation %s; start it, and new nodes with empty directories\n", r.Node, r.Lineage)
}
