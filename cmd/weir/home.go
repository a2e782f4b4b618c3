package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/weir-cluster/weir/client"
)

type homeCommand struct {
	Account string `arg:"" help:"The account id."`
	Domain  string `default:"demo" help:"The domain of the account."`
}

// Help is what `weir home -h` adds to the flags.
func (homeCommand) Help() string {
	return `Examples:

    weir home alice
    weir home acme~alice --domain llm -o json`
}

// Run prints the home and the deputy of an account.
func (c *homeCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	v, err := weir.View(ctx)
	if err != nil {
		return fmt.Errorf("no view: %w", err)
	}
	if len(v.Domains) > 0 && !slices.ContainsFunc(v.Domains, func(d client.Domain) bool { return d.Name == c.Domain }) {
		if _, err := weir.Special(ctx, c.Domain, ""); err != nil { // it names the nearest
			return fmt.Errorf("no home: %w", err)
		}
	}
	p := v.Place(c.Domain, c.Account)
	if err := show(s, p, func(w io.Writer, p client.Place) {
		fmt.Fprintf(w, "account\t%s in %s, partition %d\n", c.Account, c.Domain, p.Partition)
		fmt.Fprintf(w, "home\t%s\n", memberText(p.Home))
		fmt.Fprintf(w, "deputy\t%s\n", memberText(p.Deputy))
		fmt.Fprintf(w, "epoch\t%d\n", v.Epoch)
	}); err != nil {
		return err
	}
	if p.Home == nil {
		return fmt.Errorf("partition %d has no home in epoch %d", p.Partition, v.Epoch)
	}
	return nil
}

func memberText(m *client.Member) string {
	if m == nil {
		return "-"
	}
	return fmt.Sprintf("%s (http %s)", m.Name, orDash(m.HTTP))
}
