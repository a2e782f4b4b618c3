package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/weir-cluster/weir/client"
)

type ledgerCommand struct {
	Status   ledgerStatusCommand   `cmd:"" help:"Show what each voter has, and whether they agree."`
	Verify   ledgerVerifyCommand   `cmd:"" help:"Audit a data directory, a backup or the running cluster."`
	Entries  ledgerEntriesCommand  `cmd:"" help:"List the movements of an account."`
	Snapshot ledgerSnapshotCommand `cmd:"" help:"Write a backup of the ledger and the policy to a file."`
	Restore  ledgerRestoreCommand  `cmd:"" help:"Begin a new cluster with a backup, offline."`
	Recover  ledgerRecoverCommand  `cmd:"" help:"Go on with one survivor when most voters are lost for good, offline."`
}

// entriesMax is how many entries a node gives in one answer.
const entriesMax = 256

type ledgerEntriesCommand struct {
	Account string `arg:"" help:"The account id."`
	After   uint64 `help:"List what is beyond this seq."`
	Limit   int    `default:"256" help:"List so many at most."`
}

// Help is what `weir ledger entries -h` adds to the flags.
func (ledgerEntriesCommand) Help() string {
	return `Oldest first; each movement is postings that sum to zero. The ledger keeps the newest of an account: if the
first seq is not the one after --after, those between are gone.

Examples:

    weir ledger entries alice
    weir ledger entries alice --after 120 --limit 20 -o json`
}

// Run prints the entries as the ledger has them now.
func (c *ledgerEntriesCommand) Run(ctx context.Context, s *shell) error {
	if c.Limit < 1 || c.Limit > entriesMax {
		return fmt.Errorf("%w: --limit %d: expected 1 to %d", errUsage, c.Limit, entriesMax)
	}
	weir, err := s.client()
	if err != nil {
		return err
	}
	all, err := weir.Entries(ctx, c.Account, c.After, c.Limit)
	if err != nil {
		return fmt.Errorf("no entries: %w", err)
	}
	if all == nil {
		all = []client.Entry{}
	}
	return show(s, all, entriesText)
}

func entriesText(w io.Writer, all []client.Entry) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no entries")
		return
	}
	fmt.Fprintln(w, "SEQ\tTIME\tMOVEMENT\tPOSTINGS\tKEY\tMEMO\t")
	for _, e := range all {
		postings := make([]string, len(e.Postings))
		for i, p := range e.Postings {
			postings[i] = fmt.Sprintf("%s %v", p.Book, amount(p.AmountMicros))
			if p.Grant != "" {
				postings[i] += " (" + p.Grant + ")"
			}
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t\n", e.Seq, e.Time.UTC().Format(time.RFC3339), e.Movement,
			orDash(strings.Join(postings, ", ")), orDash(e.IdempotencyKey), e.Memo)
	}
}
