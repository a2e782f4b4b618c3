package main

import (
	"context"
	"fmt"
	"io"

	"github.com/weir-cluster/weir/client/rest"
)

type homeCommand struct {
	Account string `arg:"" help:"The account id."`
	Domain  string `default:"demo" help:"The domain of the account."`
}

// Help is what `weir home -h` adds to the flags.
func (homeCommand) Help() string {
	return `Examples:

    weir home alice
    weir home acme~alice --domain llm -o json

The deputy has a copy of what the home counts and takes over when it is lost. The epoch counts the views of the cluster;
since is the one from which on the home has been it.`
}

// Run prints the home and the deputy of an account.
func (c *homeCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	h, err := weir.Home(ctx, c.Domain, c.Account)
	if err != nil {
		return fmt.Errorf("no home: %w", err)
	}
	if err := show(s, h, func(w io.Writer, h rest.Home) {
		fmt.Fprintf(w, "account\t%s in %s, partition %d\n", c.Account, c.Domain, h.Partition)
		fmt.Fprintf(w, "home\t%s\n", nodeText(h.Home))
		fmt.Fprintf(w, "deputy\t%s\n", nodeText(h.Deputy))
		if h.Next != nil {
			fmt.Fprintf(w, "next\t%s\n", nodeText(h.Next))
		}
		fmt.Fprintf(w, "epoch\t%d, since %d\n", h.Epoch, h.Since)
	}); err != nil {
		return err
	}
	if h.Home == nil {
		return fmt.Errorf("partition %d has no home in epoch %d", h.Partition, h.Epoch)
	}
	return nil
}

func nodeText(n *rest.Node) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprintf("%s (http %s)", n.Name, orDash(n.HTTP))
}
