package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

type overrideCommand struct {
	Set   overrideSetCommand   `cmd:"" help:"Give an account its own numbers for a limit."`
	Unset overrideUnsetCommand `cmd:"" help:"Let the policy's own numbers hold again."`
	List  overrideListCommand  `cmd:"" help:"List overrides and blocks."`
}

// domainFlag is the domain that an account is of.
type domainFlag struct {
	Domain string `default:"demo" help:"The domain of the account."`
}

// endFlags say until when something holds.
type endFlags struct {
	Until time.Time `xor:"end" placeholder:"TIME" help:"When it ends, such as 2027-01-31T00:00:00Z; never when left out."`
	For   lasting   `xor:"end" placeholder:"DURATION" help:"How long it holds from now on, such as 1h or 7d."`
}

// at returns the end, the zero time for never.
func (f endFlags) at(now time.Time) time.Time {
	if f.For > 0 {
		return now.Add(time.Duration(f.For)).UTC().Truncate(time.Second)
	}
	return f.Until
}

// lasting is a positive duration; people also write days.
type lasting time.Duration

// UnmarshalText reads a duration such as 90s, 1h30m or 7d.
func (l *lasting) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 15)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d < time.Second {
		return fmt.Errorf("duration %q: expected a second or more, such as 30m, 1h or 7d", text)
	}
	*l = lasting(d)
	return nil
}

// changed is what a command prints about a change that the cluster agreed on.
type changed struct {
	Done     string `json:"done"`
	Revision uint64 `json:"revision"`
}

// change makes one change and prints what was done.
func change(s *shell, done string, send func(*rest.Client) (uint64, error)) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	revision, err := send(weir)
	if p := new(rest.Problem); errors.As(err, &p) || errors.Is(err, client.ErrUnreachable) {
		return fmt.Errorf("not changed: %w", err)
	}
	if err != nil {
		return fmt.Errorf("perhaps changed: %w; `weir override list` tells", err)
	}
	return show(s, changed{Done: done, Revision: revision}, func(w io.Writer, c changed) {
		fmt.Fprintf(w, "%s (revision %d)\n", c.Done, c.Revision)
	})
}

type overrideSetCommand struct {
	domainFlag `embed:""`
	endFlags   `embed:""`
	Account    string   `arg:"" help:"The account id."`
	Limit      string   `arg:"" help:"The limit of the policy."`
	Terms      []string `arg:"" name:"term=value" help:"rate=N/UNIT and burst=N of a token bucket; limit=N and window=DURATION of the others."`
}

// Help is what `weir override set -h` adds to the flags.
func (overrideSetCommand) Help() string {
	return `Examples:

    weir override set alice user-rpm rate=600/min
    weir override set alice user-rpm rate=600/min burst=200 --for 7d
    weir override set acme~bob tokens-day limit=5000000 --domain llm --until 2027-01-31T00:00:00Z

It holds on every node within a second. What is not named stays as the policy says.`
}

// Run sets the override.
func (c *overrideSetCommand) Run(ctx context.Context, s *shell) error {
	named, err := pairs("term", c.Terms)
	if err != nil {
		return err
	}
	t := rest.Terms{Rate: named["rate"], Window: named["window"], Until: c.at(time.Now())}
	for name, into := range map[string]*int64{"burst": &t.Burst, "limit": &t.Limit} {
		text, given := named[name]
		if *into, err = strconv.ParseInt(text, 10, 64); given && (err != nil || *into < 1) {
			return fmt.Errorf("%w: term %s=%s: expected a whole number from 1", errUsage, name, text)
		}
		delete(named, name)
	}
	delete(named, "rate")
	delete(named, "window")
	for name := range named {
		return fmt.Errorf("%w: term %q: expected rate, burst, limit or window", errUsage, name)
	}
	return change(s, fmt.Sprintf("%s of %s in %s is overridden%s", c.Limit, c.Account, c.Domain, untilText(t.Until)), func(weir *rest.Client) (uint64, error) {
		return weir.SetOverride(ctx, c.Domain, c.Account, c.Limit, t)
	})
}

func untilText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " until " + t.UTC().Format(time.RFC3339)
}

type overrideUnsetCommand struct {
	domainFlag `embed:""`
	Account    string `arg:"" help:"The account id."`
	Limit      string `arg:"" help:"The limit of the policy."`
}

// Help is what `weir override unset -h` adds to the flags.
func (overrideUnsetCommand) Help() string {
	return `Examples:

    weir override unset alice user-rpm
    weir override unset acme~bob tokens-day --domain llm`
}

// Run takes the override away.
func (c *overrideUnsetCommand) Run(ctx context.Context, s *shell) error {
	return change(s, fmt.Sprintf("%s of %s in %s is as the policy says", c.Limit, c.Account, c.Domain), func(weir *rest.Client) (uint64, error) {
		return weir.UnsetOverride(ctx, c.Domain, c.Account, c.Limit)
	})
}

type overrideListCommand struct {
	domainFlag `embed:""`
	Account    string `arg:"" optional:"" help:"The account id; all accounts of the domain when left out."`
}

// Help is what `weir override list -h` adds to the flags.
func (overrideListCommand) Help() string {
	return `Examples:

    weir override list
    weir override list alice --domain llm -o json

An override of a limit that the policy in force does not have is idle: it holds again once the limit is back.`
}

// Run prints what holds beside the policy.
func (c *overrideListCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	all, err := weir.Special(ctx, c.Domain, c.Account)
	if err != nil {
		return fmt.Errorf("no list: %w", err)
	}
	return show(s, all, specialText)
}

func specialText(w io.Writer, all rest.Special) {
	fmt.Fprintln(w, "ACCOUNT\tWHAT\tTERMS\tUNTIL\tNOTE")
	for _, o := range all.Overrides {
		note := "-"
		if o.Idle != "" {
			note = "idle: " + o.Idle
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", o.Account, o.Name, termsText(o.Terms), momentText(o.Until), note)
	}
	for _, b := range all.Blocks {
		fmt.Fprintf(w, "%s\tblocked\t-\t%s\t%s\n", b.Account, momentText(b.Until), orDash(b.Why))
	}
}

func termsText(t rest.Terms) string {
	var parts []string
	if t.Rate != "" {
		parts = append(parts, "rate="+t.Rate)
	}
	if t.Burst != 0 {
		parts = append(parts, fmt.Sprintf("burst=%d", t.Burst))
	}
	if t.Limit != 0 {
		parts = append(parts, fmt.Sprintf("limit=%d", t.Limit))
	}
	if t.Window != "" {
		parts = append(parts, "window="+t.Window)
	}
	return strings.Join(parts, " ")
}

// momentText is a moment, if there is one.
func momentText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
