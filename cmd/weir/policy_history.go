package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/weir-cluster/weir/client/rest"
)

type policyHistoryCommand struct{}

// Help is what `weir policy history -h` adds to the flags.
func (policyHistoryCommand) Help() string {
	return `Examples:

    weir policy history
    weir policy history -o json

The newest is first and in force. weir policy show --version N prints one.`
}

// Run lists the versions.
func (policyHistoryCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	all, err := weir.PolicyHistory(ctx)
	if err != nil {
		return fmt.Errorf("no history: %w", err)
	}
	return show(s, all, historyText)
}

const hashShown = 12 // characters that tell versions of a history apart

func historyText(w io.Writer, all []rest.PolicyVersion) {
	fmt.Fprintln(w, "VERSION\tAT\tBYTES\tSHA-256\tNOTE")
	for _, v := range all {
		at := "-"
		if !v.At.IsZero() {
			at = v.At.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%s\n", v.Version, at, v.Bytes, v.Hash[:min(len(v.Hash), hashShown)], orDash(v.Note))
	}
}

type policyRollbackCommand struct {
	waitFlag `embed:""`
	Version  uint64 `arg:"" help:"The version whose text comes back; weir policy history lists them."`
	IfMatch  string `placeholder:"VERSION" help:"Replace only this version, so that nobody's change is lost."`
}

// Help is what `weir policy rollback -h` adds to the flags.
func (policyRollbackCommand) Help() string {
	return `Examples:

    weir policy rollback 3
    weir policy rollback 3 --if-match 5

The text comes back under a new version: nothing of the history is lost, and a rollback can be rolled back.`
}

// Run puts the text of the version in force.
func (c *policyRollbackCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	version, err := weir.RollbackPolicy(ctx, c.Version, c.IfMatch)
	if err != nil {
		return fmt.Errorf("roll back to version %d: %w", c.Version, err)
	}
	return show(s, policyVersion{Version: version, Behind: c.inForce(ctx, s, weir, version)}, func(w io.Writer, v policyVersion) {
		fmt.Fprintf(w, "the text of version %d is in force as version %d\n", c.Version, v.Version)
	})
}
