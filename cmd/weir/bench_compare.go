package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/weir-cluster/weir/client/bench"
)

type benchCompareCommand struct {
	Old      string   `arg:"" help:"Report saved before."`
	New      string   `arg:"" help:"Report saved after."`
	FailOver *float64 `placeholder:"PERCENT" help:"Exit with 1 when something got worse by more than this, and by more than its rounds differ."`
}

// Help is what `weir bench compare -h` adds to the flags.
func (benchCompareCommand) Help() string {
	return `A change counts as better or worse when it is larger than what the rounds of one report differ by.

Examples:

    weir bench --suite figures --save new.json && weir bench compare old.json new.json
    weir bench compare old.json new.json --fail-over 10`
}

// Run prints what changed; with --fail-over a change for the worse is errDenied.
func (c *benchCompareCommand) Run(s *shell) error {
	old, err := readReport(c.Old)
	if err != nil {
		return err
	}
	now, err := readReport(c.New)
	if err != nil {
		return err
	}
	all := bench.Compare(old, now)
	if len(all) == 0 {
		return errors.New("the reports have nothing in common to compare")
	}
	if err := show(s, all, func(w io.Writer, all []bench.Change) {
		if old.Machine != now.Machine {
			fmt.Fprintf(w, "Not the same machine: %+v, then %+v.\n", old.Machine, now.Machine)
		}
		fmt.Fprintln(w, "WHAT\tOLD\tNEW\tCHANGE\tNOISE\tVERDICT")
		for _, c := range all {
			fmt.Fprintf(w, "%s\t%s\t%s\t%+.1f %%\t%.1f %%\t%s\n", c.Name, quantity(c.Old, c.Unit), quantity(c.New, c.Unit), c.Percent, c.Noise, c.Verdict)
		}
	}); err != nil {
		return err
	}
	if c.FailOver != nil && len(bench.WorseBy(all, *c.FailOver)) > 0 {
		return errDenied
	}
	return nil
}

func readReport(file string) (bench.Report, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return bench.Report{}, fmt.Errorf("read a saved report: %w", err)
	}
	r, err := bench.ParseReport(text)
	if err != nil {
		return r, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}
