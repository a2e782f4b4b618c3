package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-cluster/weir/client"
)

type checkCommand struct {
	Args    []string         `arg:"" optional:"" name:"attribute=value" help:"Attributes of the request; a first word without = is the domain (demo when left out)."`
	Cost    map[string]int64 `mapsep:"," placeholder:"METER=N,..." help:"What the request uses; requests=1 when left out."`
	Mode    string           `enum:"consume,peek,reserve" default:"consume" help:"consume takes it, peek only looks, reserve takes an estimate."`
	Key     string           `help:"Idempotency key: the same check again takes nothing again."`
	MaxWait time.Duration    `help:"Wait in a queue at most this long; there is no queue yet, so nothing waits."`
	Ticket  string           `help:"Come back with the ticket of a queued check."`
	Explain bool             `help:"Show every rule that was looked at."`
}

// Help is what `weir check -h` adds to the flags.
func (checkCommand) Help() string {
	return `Examples:

    weir check user=alice
    weir check demo user=alice model=large --cost requests=1,tokens=500
    weir check user=alice --mode peek --explain
    weir check user=alice --key order-17 && ./send-the-request

Exit code: 0 allowed, 1 denied, 2 no decision, 64 wrong call.`
}

// Run asks for one decision and prints it; a refusal is errDenied.
func (c *checkCommand) Run(ctx context.Context, s *shell) error {
	r, err := c.request()
	if err != nil {
		return err
	}
	weir, err := s.client()
	if err != nil {
		return err
	}
	d, err := weir.Check(ctx, r)
	if err != nil {
		return fmt.Errorf("no decision: %w", err)
	}
	if err := show(s, d, decisionText); err != nil {
		return err
	}
	if !d.Allowed() {
		return errDenied
	}
	return nil
}

func (c *checkCommand) request() (client.CheckRequest, error) {
	r := client.CheckRequest{
		Domain: "demo", Cost: c.Cost, Mode: strings.ToUpper(c.Mode), IdempotencyKey: c.Key,
		Ticket: c.Ticket, MaxWaitMS: c.MaxWait.Milliseconds(), Explain: c.Explain,
	}
	attributes := c.Args
	if len(attributes) > 0 && !strings.Contains(attributes[0], "=") {
		r.Domain, attributes = attributes[0], attributes[1:]
	}
	var err error
	if r.Attributes, err = pairs("attribute", attributes); err != nil {
		return r, err
	}
	if len(r.Attributes) == 0 {
		return r, fmt.Errorf("%w: whom is it for? name at least one attribute, such as user=alice", errUsage)
	}
	return r, nil
}

// pairs reads name=value arguments; no name may come twice.
func pairs(what string, args []string) (map[string]string, error) {
	all := make(map[string]string, len(args))
	for _, a := range args {
		name, value, ok := strings.Cut(a, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%w: %s %q: expected name=value", errUsage, what, a)
		}
		if _, twice := all[name]; twice {
			return nil, fmt.Errorf("%w: %s %s is given twice", errUsage, what, name)
		}
		all[name] = value
	}
	return all, nil
}

func decisionText(w io.Writer, d client.Decision) {
	fmt.Fprintf(w, "%s\t%s\n", d.Verdict, d.Reason)
	if d.Message != "" {
		fmt.Fprintf(w, "message\t%s\n", d.Message)
	}
	if d.Remedy != "" && d.Remedy != "none" {
		fmt.Fprintf(w, "remedy\t%s\n", d.Remedy)
	}
	if d.RetryAfterMS > 0 {
		fmt.Fprintf(w, "retry\tafter %s\n", milliseconds(d.RetryAfterMS))
	}
	if d.Ticket != "" {
		fmt.Fprintf(w, "ticket\t%s, wait %s\n", d.Ticket, milliseconds(d.WaitMS))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Degrade)) {
		fmt.Fprintf(w, "degrade\t%s=%s\n", name, d.Degrade[name])
	}
	for _, p := range d.Sources {
		fmt.Fprintf(w, "source\t%s\n", drawText(p))
	}
	for _, l := range d.Limits {
		fmt.Fprintf(w, "limit\t%s %d: %d left, full in %s%s\n", l.Name, l.Limit, l.Remaining, milliseconds(l.ResetMS), inBrackets(limitNote(l)))
	}
	if d.Reservation != "" {
		fmt.Fprintf(w, "reserved\t%s\n", d.Reservation)
	}
	for _, e := range d.Explain {
		fmt.Fprintf(w, "rule\t%s: %s  %s\n", e.Rule, e.Result, e.Detail)
	}
	fmt.Fprintf(w, "home\t%s, epoch %d, policy %d\n", orDash(d.Home), d.Epoch, d.PolicyVersion)
}

func drawText(p client.Draw) string {
	text := fmt.Sprintf("%d %s from %s", p.Amount, p.Meter, p.Source)
	if p.CreditsMicros != 0 {
		text += fmt.Sprintf(" for %v credits", amount(p.CreditsMicros))
	}
	if p.Grant != "" {
		text += ", grant " + p.Grant
	}
	return text
}

func inBrackets(note string) string {
	if note == "" {
		return ""
	}
	return " (" + note + ")"
}
