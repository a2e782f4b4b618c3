package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/node"
)

type ledgerVerifyCommand struct {
	Path string `arg:"" optional:"" type:"path" help:"The data directory of a node that does not run, or a file that weir ledger snapshot wrote. Without it the running cluster is verified."`
}

// Help is what `weir ledger verify -h` adds to the flags.
func (*ledgerVerifyCommand) Help() string {
	return `Examples:

    weir ledger verify
    weir ledger verify /var/lib/weir
    weir ledger verify weir-2027-01-31.backup

Of a data directory the log is replayed and compared with the journal of events, and the journal is replayed by itself: each must
lead to the same accounts, grants, holds, sums and chain. Nothing is changed. A backup is read as strictly as a node would that
begins with it. Of a running cluster the voters' digests are compared, and a backup of the leader is verified; the journal
of a voter is verified only when it does not run.

Exit code: 0 all is sound, 1 there are differences, which are listed, 2 it could not be verified.`
}

// verdict is a node.Verdict as it is printed.
type verdict struct {
	Of          string   `json:"of"`
	Accounts    int      `json:"accounts"`
	OpenHolds   int      `json:"open_holds"`
	Keys        int      `json:"keys"`
	Index       uint64   `json:"index"`
	Term        uint64   `json:"term"`
	Events      uint64   `json:"events"`
	First       uint64   `json:"first_event,omitempty"`
	Last        uint64   `json:"last_event,omitempty"`
	Digest      string   `json:"digest"`
	Found       int      `json:"found"` // differences
	Differences []string `json:"differences,omitempty"`
}

// Run verifies and returns errDenied when something differs.
func (c *ledgerVerifyCommand) Run(ctx context.Context, s *shell) error {
	v, err := c.verify(ctx, s)
	if err != nil {
		return fmt.Errorf("not verified: %w", err)
	}
	if err := show(s, v, verdictText); err != nil {
		return err
	}
	if v.Found > 0 {
		return errDenied
	}
	return nil
}

func (c *ledgerVerifyCommand) verify(ctx context.Context, s *shell) (verdict, error) {
	if c.Path == "" {
		return s.verifyCluster(ctx)
	}
	at, err := os.Stat(c.Path)
	if err != nil {
		return verdict{}, err
	}
	if at.IsDir() {
		v, err := node.VerifyDir(ctx, c.Path)
		return told(c.Path, v), err
	}
	f, err := os.Open(c.Path)
	if err != nil {
		return verdict{}, err
	}
	defer f.Close()
	v, err := node.VerifyBackup(f)
	return told(c.Path, v), err
}

func told(of string, v node.Verdict) verdict {
	return verdict{
		Of: of, Accounts: v.Accounts, OpenHolds: v.OpenHolds, Keys: v.Keys, Index: v.Index, Term: v.Term, Events: v.Events,
		First: v.First, Last: v.Last, Digest: fmt.Sprintf("%x", v.Digest), Found: v.Found, Differences: v.Differences,
	}
}

// verifyCluster verifies a backup that the leader makes now, and compares what the voters have.
func (s *shell) verifyCluster(ctx context.Context) (verdict, error) {
	weir, err := s.client()
	if err != nil {
		return verdict{}, err
	}
	view, err := weir.View(ctx)
	if err != nil {
		return verdict{}, err
	}
	part, err := os.CreateTemp("", "weir-verify-*")
	if err != nil {
		return verdict{}, err
	}
	defer os.Remove(part.Name())
	defer part.Close()
	if err := s.backup(ctx, part); err != nil {
		return verdict{}, err
	}
	found, err := node.VerifyBackup(part)
	if err != nil {
		return verdict{}, err
	}
	v := told("cluster "+view.Cluster, found)
	replicas, err := s.replicas(ctx, view)
	if err != nil {
		return verdict{}, err
	}
	differ := differing(replicas)
	v.Differences, v.Found = append(v.Differences, differ...), v.Found+len(differ)
	return v, nil
}

// replicas asks all voters; one that does not answer is an error.
func (s *shell) replicas(ctx context.Context, view client.View) (all []replica, err error) {
	for _, m := range view.Members {
		if !m.Voter {
			continue
		}
		r := replica{Node: m.Name}
		var silent error
		if r.LedgerStatus, silent = s.replicaOf(ctx, m.HTTP); silent != nil {
			err = errors.Join(err, fmt.Errorf("voter %s: %w", m.Name, silent))
		}
		all = append(all, r)
	}
	return all, err
}

func verdictText(w io.Writer, v verdict) {
	fmt.Fprintf(w, "%s, as of index %d, term %d\n", v.Of, v.Index, v.Term)
	fmt.Fprintf(w, "accounts\t%d\n", v.Accounts)
	fmt.Fprintf(w, "open holds\t%d\n", v.OpenHolds)
	fmt.Fprintf(w, "keys\t%d\n", v.Keys)
	if v.Last > 0 {
		fmt.Fprintf(w, "events\t%d, of which %d to %d were replayed\n", v.Events, v.First, v.Last)
	} else {
		fmt.Fprintf(w, "events\t%d\n", v.Events)
	}
	fmt.Fprintf(w, "digest\t%.12s\n", v.Digest)
	if v.Found == 0 {
		fmt.Fprintln(w, "sound: nothing differs")
		return
	}
	fmt.Fprintf(w, "NOT SOUND: %d differences\n", v.Found)
	for _, d := range v.Differences {
		fmt.Fprintln(w, d)
	}
}
