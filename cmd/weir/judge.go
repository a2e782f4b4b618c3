package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weir-cluster/weir/client"
)

var errOtherStory = errors.New("this is not what should have happened")

// judge prints the denial that ends the play and compares what happened with what was told: every grant
// was spent to the last micro-credit and no further, and the limit gave what its rate allows.
func (d *demo) judge(ctx context.Context, denial client.Decision, took time.Duration) error {
	fmt.Fprintf(d.stdout, "\n  The denial says: %s\n  remedy %s, retry after %v\n",
		denial.Message, denial.Remedy, denial.RetryAfter().Round(100*time.Millisecond))
	d.wrong = append(d.wrong, denialFaults(denial)...)
	if !d.killed {
		d.wrong = append(d.wrong, "it ended before a node was killed")
	}
	paid := int64(0)
	for _, g := range grants() {
		source := strings.ToUpper(g.Kind)
		paid += d.micros[source]
		if d.micros[source] != g.AmountMicros {
			d.wrong = append(d.wrong, fmt.Sprintf("%v credits came from %s, %v were granted",
				amount(d.micros[source]), source, amount(g.AmountMicros)))
		}
	}
	if n, most := d.units["LIMIT"], playLimit+int64(took/playRefill); n < playLimit || n > most {
		d.wrong = append(d.wrong, fmt.Sprintf("the limit admitted %d in %v, it should be %d to %d", n, took, playLimit, most))
	}
	var left client.Statement
	if err := eventually(ctx, func() (err error) {
		left, err = d.clients[(d.victim+1)%len(d.clients)].Account(ctx, "alice")
		return err
	}); err != nil {
		return fmt.Errorf("read alice's balance: %w", err)
	}
	if left.BalanceMicros != 0 {
		d.wrong = append(d.wrong, fmt.Sprintf("her balance is %v, it should be 0", amount(left.BalanceMicros)))
	}
	if len(d.wrong) > 0 {
		return fmt.Errorf("%w:\n  %s", errOtherStory, strings.Join(d.wrong, "\n  "))
	}
	fmt.Fprintf(d.stdout, "\nAllowed: %d by the limit, %d from included quota, %d from the promotion, %d from paid credit. The credits\n"+
		"spent, %v, are exactly those granted; killing %s lost nothing and charged nothing twice.\n",
		d.units["LIMIT"], d.units["INCLUDED"], d.units["PROMO"], d.units["CREDIT"], amount(paid), d.fleet.nodes[d.victim].name)
	return nil
}

func denialFaults(a client.Decision) []string {
	var wrong []string
	if a.Reason != "CREDITS_EXHAUSTED" || a.Remedy != "buy" {
		wrong = append(wrong, fmt.Sprintf("the reason of the denial is %s with remedy %q, it should be CREDITS_EXHAUSTED with buy", a.Reason, a.Remedy))
	}
	if a.Message == "" || a.RetryAfterMS <= 0 {
		wrong = append(wrong, fmt.Sprintf("the denial should say why and when to come back: message %q, retry after %d ms", a.Message, a.RetryAfterMS))
	}
	return wrong
}
