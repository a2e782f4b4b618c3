package main

import (
	"context"
	"fmt"
	"io"

	"github.com/weir-cluster/weir/client"
)

type eventsForgetCommand struct {
	Consumer string `arg:"" help:"The name of its cursor, as weir ledger status has it."`
}

// Help is what `weir events forget -h` adds to the flags.
func (eventsForgetCommand) Help() string {
	return `Examples:

    weir events forget webhook/billing

Events are kept for every consumer that is behind, as long as there is room. One that comes back begins anew. A webhook that
runs is not forgotten for long: leave it out of the nodes' files first.`
}

// Run forgets the cursor.
func (c *eventsForgetCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	was, err := weir.ForgetCursor(ctx, c.Consumer)
	if err != nil {
		return fmt.Errorf("not forgotten: %w", err)
	}
	return show(s, was, func(w io.Writer, was client.EventCursor) {
		fmt.Fprintf(w, "%s is forgotten; it was at %d\n", was.Name, was.Seq)
	})
}
