package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-cluster/weir/client/bench"
)

type benchLedgerCommand struct {
	Rounds int           `default:"3" help:"Rounds of each load."`
	Round  time.Duration `default:"1s" help:"Length of a round, 100ms to 10m."`
	Save   string        `placeholder:"FILE" help:"Write the report as JSON as well."`
}

// Help is what `weir bench ledger -h` adds to the flags.
func (benchLedgerCommand) Help() string {
	return `It starts three nodes on this machine and debits accounts at the one that leads: in messages of 256, one by one on
streams that many callers share, and at half of what then came through. Every debit is agreed on by the nodes and on
their disks before it is answered. A ledger remembers a million debits a day if not told otherwise, so a long run fills it.`
}

// Run measures and prints the report.
func (c *benchLedgerCommand) Run(ctx context.Context, s *shell) error {
	f := bench.DefaultLedger()
	p := newProgress(s.stderr, time.Now)
	f.Version, f.Progress, f.Rounds, f.Round = buildVersion(), p.say, c.Rounds, c.Round
	if err := f.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	bed, end, err := newBed()
	if err != nil {
		return err
	}
	defer end()
	r, err := bench.Ledger(ctx, f, bed)
	p.done()
	if len(r.Figures) > 0 {
		err = errors.Join(err, (&benchRunCommand{Save: c.Save}).save(r), show(s, r, reportText))
	}
	switch {
	case err != nil:
		return fmt.Errorf("bench: %w", err)
	case r.Partial != "":
		return fmt.Errorf("bench: %s: the report is of what there was", r.Partial)
	}
	return nil
}
