package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

type ledgerStatusCommand struct{}

// Help is what `weir ledger status -h` adds to the flags.
func (ledgerStatusCommand) Help() string {
	return `Examples:

    weir ledger status
    weir ledger status -o json

Each voter tells what its own replica has. DIGEST is of its whole state after so many COMMANDS: where those are equal, the
digests must be. LAG is how many log entries a voter is behind the one that is furthest. JOURNAL is which events it keeps. Of
each consumer of the events it tells after which event it goes on, and how many it has not dealt with.

Exit code: 0 all voters answered and agree, 1 two of them differ, 2 a voter did not answer.`
}

// replica is what a voter says of its ledger.
type replica struct {
	Node   string `json:"node"`
	Leader bool   `json:"leader"`
	Error  string `json:"error,omitempty"` // why it did not answer
	client.LedgerStatus
}

// ledgerView is the ledger, as its voters have it.
type ledgerView struct {
	Cluster  string    `json:"cluster"`
	Leader   string    `json:"leader"`
	Replicas []replica `json:"replicas"`
	// Consumers is as the replica knows them that is furthest.
	Consumers []cursorLag `json:"consumers"`
	Differ    []string    `json:"differ,omitempty"`
}

// cursorLag is how far one that reads the events has come.
type cursorLag struct {
	client.EventCursor
	Lag uint64 `json:"lag"` // events beyond it
}

// Run asks every voter.
func (ledgerStatusCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	v, err := weir.View(ctx)
	if err != nil {
		return fmt.Errorf("no status: %w", err)
	}
	all := ledgerView{Cluster: v.Cluster, Leader: v.Leader}
	silent := false
	for _, m := range v.Members {
		if !m.Voter {
			continue
		}
		r := replica{Node: m.Name, Leader: m.Name == v.Leader}
		if r.LedgerStatus, err = s.replicaOf(ctx, m.HTTP); err != nil {
			r.Error, silent = err.Error(), true
		}
		all.Replicas = append(all.Replicas, r)
	}
	all.Differ, all.Consumers = differing(all.Replicas), consumersOf(all.Replicas)
	if err := show(s, all, ledgerViewText); err != nil {
		return err
	}
	switch {
	case len(all.Differ) > 0:
		return errDenied
	case silent:
		return errors.New("not every voter answered")
	default:
		return nil
	}
}

// ownReplica has a voter answer by itself, however far it is behind, once it has anything at all.
func ownReplica() client.Read { return client.Read{MinIndex: 1} }

func (s *shell) replicaOf(ctx context.Context, address string) (client.LedgerStatus, error) {
	weir, err := rest.New(rest.Config{Addr: address, Timeout: s.Timeout})
	if err != nil {
		return client.LedgerStatus{}, err
	}
	return weir.LedgerStatus(ctx, ownReplica())
}

// differing tells of replicas that have done the same and are not the same.
func differing(all []replica) (found []string) {
	for i, a := range all {
		for _, b := range all[:i] {
			if a.Error == "" && b.Error == "" && a.Commands == b.Commands && a.Digest != b.Digest {
				found = append(found, fmt.Sprintf("%s and %s differ after %d commands: one of them is broken", b.Node, a.Node, a.Commands))
			}
		}
	}
	return found
}

func ledgerViewText(w io.Writer, v ledgerView) {
	fmt.Fprintf(w, "cluster %s, leader %s\n", v.Cluster, orDash(v.Leader))
	fmt.Fprintln(w, "NODE\tROLE\tINDEX\tLAG\tTERM\tEVENTS\tACCOUNTS\tHOLDS\tKEYS\tCOMMANDS\tDIGEST\tTIME\tJOURNAL\t")
	furthest := uint64(0)
	for _, r := range v.Replicas {
		furthest = max(furthest, r.Index)
	}
	for _, r := range v.Replicas {
		role := "voter"
		if r.Leader {
			role = "leader"
		}
		if r.Error != "" {
			fmt.Fprintf(w, "%s\t%s\t%s\n", r.Node, role, r.Error)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.12s\t%s\t%s\t\n", r.Node, role, r.Index, furthest-r.Index, r.Term, r.Events, r.Accounts,
			r.OpenHolds, r.Keys, r.Commands, r.Digest, momentText(r.Time), journalText(r.Journal))
	}
	if len(v.Consumers) > 0 {
		fmt.Fprintln(w, "CONSUMER\tEVENT\tLAG\t")
	}
	for _, c := range v.Consumers {
		fmt.Fprintf(w, "%s\t%d\t%d\t\n", c.Name, c.Seq, c.Lag)
	}
	for _, d := range v.Differ {
		fmt.Fprintf(w, "%s\n", d)
	}
}

// journalText is which events a journal has, and its size.
func journalText(j *client.JournalRange) string {
	if j == nil || j.Newest == 0 {
		return "-"
	}
	text := fmt.Sprintf("%d-%d, %.1f MiB", j.Oldest, j.Newest, float64(j.Bytes)/(1<<20))
	if j.Missing > 0 {
		text += fmt.Sprintf(", %d missing", j.Missing)
	}
	return text
}

// consumersOf lists the consumers of the events as the replica knows them that is furthest.
func consumersOf(all []replica) []cursorLag {
	var newest replica
	for _, r := range all {
		if r.Error == "" && r.Index >= newest.Index {
			newest = r
		}
	}
	found := []cursorLag{}
	for _, c := range newest.Cursors {
		found = append(found, cursorLag{c, newest.Events - min(c.Seq, newest.Events)})
	}
	return found
}
