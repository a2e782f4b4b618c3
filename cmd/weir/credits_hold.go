package main

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

type creditsHoldCommand struct {
	writeFlags  `embed:""`
	chargeFlags `embed:""`
	memoFlag    `embed:""`
	Account     string  `arg:"" help:"The account id."`
	Amount      amount  `arg:"" help:"Credits, such as 12 or 0.05: the most that it can come to."`
	For         lasting `default:"15m" placeholder:"DURATION" help:"How long it holds, such as 30m, 1h or 7d (${default})."`
	Partial     bool    `help:"Hold less when there is less."`
	OnExpire    string  `enum:"release,capture" default:"release" help:"What becomes of the rest when it ends by itself: give it back (release) or charge it (capture)."`
	Late        string  `enum:"charge,reject" default:"charge" help:"A capture after its end: charge as far as there is credit, or reject."`
}

// Help is what `weir credits hold -h` adds to the flags.
func (creditsHoldCommand) Help() string {
	return `Examples:

    weir credits hold alice 2 --key job-17
    weir credits capture job-17 1.3 --final

The key is the id of the hold. What is held is not in the balance. A hold that nobody ends, ends by itself.
Exit code: 0 held, 1 refused, such as for too little credit (nothing is held), 2 anything else.`
}

// Run sets the credit aside; a refusal is errDenied.
func (c *creditsHoldCommand) Run(ctx context.Context, s *shell) error {
	return c.write(s, func(weir *rest.Client, key string) (client.Receipt, error) {
		return weir.Authorize(ctx, key, c.Account, client.Hold{
			AmountMicros: int64(c.Amount), TTLMS: time.Duration(c.For).Milliseconds(), Partial: c.Partial, Order: c.Order,
			Attributes: c.Attribute, OnExpire: c.OnExpire, Late: c.Late, Memo: c.Memo,
		})
	})
}

type creditsExtendCommand struct {
	writeFlags `embed:""`
	memoFlag   `embed:""`
	Hold       string  `arg:"" help:"The id of the hold."`
	Amount     amount  `arg:"" optional:"" help:"Credits to hold in addition; none when left out."`
	For        lasting `placeholder:"DURATION" help:"How long it holds from now on. It is never shortened."`
}

// Help is what `weir credits extend -h` adds to the flags.
func (creditsExtendCommand) Help() string {
	return `Examples:

    weir credits extend job-17 0.5
    weir credits extend job-17 --for 1h

Exit code: 0 extended, 1 refused (the hold is as it was), 2 anything else.`
}

// Run extends the hold; a refusal is errDenied.
func (c *creditsExtendCommand) Run(ctx context.Context, s *shell) error {
	if c.Amount == 0 && c.For == 0 {
		return fmt.Errorf("%w: name an amount, or --for, or both", errUsage)
	}
	return c.write(s, func(weir *rest.Client, key string) (client.Receipt, error) {
		return weir.Extend(ctx, key, c.Hold, client.Extension{AmountMicros: int64(c.Amount), TTLMS: time.Duration(c.For).Milliseconds(), Memo: c.Memo})
	})
}

type creditsCaptureCommand struct {
	writeFlags `embed:""`
	memoFlag   `embed:""`
	Hold       string `arg:"" help:"The id of the hold."`
	Amount     amount `arg:"" help:"Credits, such as 12 or 0.05; 0 only with --final."`
	Final      bool   `help:"It is the last one: what is left goes back."`
	Overshoot  string `enum:"cap,deny,overdraw" default:"cap" help:"What is beyond the hold: charge as far as there is credit and forgive the rest (cap), refuse it all (deny), or owe it as far as the overdraft goes (overdraw)."`
}

// Help is what `weir credits capture -h` adds to the flags.
func (creditsCaptureCommand) Help() string {
	return `Examples:

    weir credits capture job-17 0.4
    weir credits capture job-17 1.3 --final

Exit code: 0 charged, 1 refused, such as for a hold that was released (nothing is charged), 2 anything else.`
}

// Run charges the hold; a refusal is errDenied.
func (c *creditsCaptureCommand) Run(ctx context.Context, s *shell) error {
	return c.write(s, func(weir *rest.Client, key string) (client.Receipt, error) {
		return weir.Capture(ctx, key, c.Hold, client.Capture{AmountMicros: int64(c.Amount), Final: c.Final, Overshoot: c.Overshoot, Memo: c.Memo})
	})
}

type creditsReleaseCommand struct {
	writeFlags `embed:""`
	memoFlag   `embed:""`
	Hold       string `arg:"" help:"The id of the hold."`
}

// Help is what `weir credits release -h` adds to the flags.
func (creditsReleaseCommand) Help() string {
	return `Examples:

    weir credits release job-17

It may come before the hold itself, which is then refused. Exit code: 0 released, 1 refused: it was captured already,
2 anything else.`
}

// Run gives back what is left; a refusal is errDenied.
func (c *creditsReleaseCommand) Run(ctx context.Context, s *shell) error {
	return c.write(s, func(weir *rest.Client, key string) (client.Receipt, error) {
		return weir.Release(ctx, key, c.Hold, c.Memo)
	})
}
