package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

type blockCommand struct {
	domainFlag `embed:""`
	endFlags   `embed:""`
	Account    string `arg:"" help:"The account id."`
	Why        string `placeholder:"TEXT" help:"A sentence for the user, who sees it in every refusal."`
}

// Help is what `weir block -h` adds to the flags.
func (blockCommand) Help() string {
	return `Examples:

    weir block mallory --why "Abuse was reported; write to support."
    weir block mallory --for 1h --domain llm

Every check of the account is refused with BLOCKED, on every node within a second.`
}

// Run blocks the account.
func (c *blockCommand) Run(ctx context.Context, s *shell) error {
	until := c.at(time.Now())
	return change(s, fmt.Sprintf("%s in %s is blocked%s", c.Account, c.Domain, untilText(until)), func(weir *rest.Client) (uint64, error) {
		return weir.Block(ctx, c.Domain, c.Account, rest.Block{Why: c.Why, Until: until})
	})
}

type unblockCommand struct {
	domainFlag `embed:""`
	Account    string `arg:"" help:"The account id."`
}

// Help is what `weir unblock -h` adds to the flags.
func (unblockCommand) Help() string {
	return `Examples:

    weir unblock mallory
    weir unblock mallory --domain llm`
}

// Run takes the block away.
func (c *unblockCommand) Run(ctx context.Context, s *shell) error {
	return change(s, fmt.Sprintf("%s in %s is not blocked", c.Account, c.Domain), func(weir *rest.Client) (uint64, error) {
		return weir.Unblock(ctx, c.Domain, c.Account)
	})
}

type resetCommand struct {
	domainFlag `embed:""`
	Account    string `arg:"" help:"The account id."`
	Limit      string `arg:"" optional:"" help:"One limit; all limits when left out."`
}

// Help is what `weir reset -h` adds to the flags.
func (resetCommand) Help() string {
	return `Examples:

    weir reset alice
    weir reset alice user-rpm --domain llm

Buckets start afresh, as if nothing had been used: full bursts, empty windows. Credit is not touched.`
}

// Run starts the buckets afresh.
func (c *resetCommand) Run(ctx context.Context, s *shell) error {
	what := "every limit"
	if c.Limit != "" {
		what = c.Limit
	}
	return change(s, fmt.Sprintf("%s of %s in %s starts afresh", what, c.Account, c.Domain), func(weir *rest.Client) (uint64, error) {
		return weir.Reset(ctx, c.Domain, c.Account, c.Limit)
	})
}

type limitsCommand struct {
	domainFlag `embed:""`
	Account    string   `arg:"" help:"The account id."`
	Attributes []string `arg:"" optional:"" name:"name=value" help:"Further attributes; limits that match on them are told too."`
}

// Help is what `weir limits -h` adds to the flags.
func (limitsCommand) Help() string {
	return `Examples:

    weir limits alice
    weir limits alice model=large --domain llm -o json

It takes nothing. FULL IN is the time until nothing of the limit is used any more.`
}

// Run prints how the account stands with its limits.
func (c *limitsCommand) Run(ctx context.Context, s *shell) error {
	attributes, err := pairs("attribute", c.Attributes)
	if err != nil {
		return err
	}
	weir, err := s.client()
	if err != nil {
		return err
	}
	all, err := weir.Limits(ctx, c.Domain, c.Account, attributes)
	if err != nil {
		return fmt.Errorf("no limits: %w", err)
	}
	return show(s, all, standingText)
}

func standingText(w io.Writer, all rest.Standing) {
	if b := all.Blocked; b != nil {
		fmt.Fprintf(w, "blocked%s: %s\n", untilText(b.Until), orDash(b.Why))
	}
	fmt.Fprintln(w, "LIMIT\tLEFT\tOF\tMETER\tFULL IN\tNOTE")
	for _, l := range all.Limits {
		note := limitNote(l)
		full := "-"
		if l.ResetMS >= 0 {
			full = milliseconds(l.ResetMS)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\n", l.Name, l.Remaining, l.Limit, orDash(l.Meter), full, orDash(note))
	}
	fmt.Fprintf(w, "home %s, epoch %d, policy %d\n", orDash(all.Home), all.Epoch, all.PolicyVersion)
}

// limitNote says what is special about a limit, nothing for most.
func limitNote(l client.Limit) string {
	note := ""
	if l.Overridden {
		note = "overridden"
	}
	if l.Shadow {
		note = commaed(note, "shadow")
	}
	return note
}

func commaed(list, word string) string {
	if list == "" {
		return word
	}
	return list + ", " + word
}
