package main

import (
	"context"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

// chargeFlags say what a debit or a hold takes from.
type chargeFlags struct {
	Order     []string          `placeholder:"KIND" help:"Kinds to take from, in this order: included, promo, credit, overdraft."`
	Attribute map[string]string `mapsep:"," placeholder:"NAME=VALUE,..." help:"Facts that grants with --applies-to look at."`
}

type creditsDebitCommand struct {
	writeFlags  `embed:""`
	chargeFlags `embed:""`
	memoFlag    `embed:""`
	Account     string `arg:"" help:"The account id."`
	Amount      amount `arg:"" help:"Credits, such as 12 or 0.05."`
	Overshoot   string `enum:"cap,deny,overdraw" default:"cap" help:"What is beyond the credit: forgive it (cap), take nothing at all (deny), or owe it as far as the overdraft goes (overdraw)."`
}

// Help is what `weir credits debit -h` adds to the flags.
func (creditsDebitCommand) Help() string {
	return `Examples:

    weir credits debit alice 0.02
    weir credits debit alice 3 --overshoot deny --order credit --memo "invoice 17" --key invoice-17

A debit is for what has happened: by default it takes what there is and forgives the rest, and says so.
Exit code: 0 taken, 1 refused (nothing is taken), 2 anything else.`
}

// Run takes the credit; a refusal is errDenied.
func (c *creditsDebitCommand) Run(ctx context.Context, s *shell) error {
	return c.write(s, func(weir *rest.Client, key string) (client.Receipt, error) {
		return weir.Debit(ctx, key, c.Account, client.Debit{
			AmountMicros: int64(c.Amount), Order: c.Order, Memo: c.Memo, Overshoot: c.Overshoot, Attributes: c.Attribute,
		})
	})
}

type creditsRefundCommand struct {
	writeFlags `embed:""`
	memoFlag   `embed:""`
	Charge     string `arg:"" help:"The key of a debit, or the id of a hold."`
	Amount     amount `arg:"" optional:"" help:"Credits; all that is left of the charge when left out."`
}

// Help is what `weir credits refund -h` adds to the flags.
func (creditsRefundCommand) Help() string {
	return `Examples:

    weir credits refund invoice-17
    weir credits refund invoice-17 0.5 --key invoice-17-half

It goes to the grants that it came from, the last taken first. What came from a grant that has ended is given as a new
one, for a short time. Exit code: 0 given back, 1 refused, such as more than was charged, 2 anything else.`
}

// Run gives it back; a refusal is errDenied.
func (c *creditsRefundCommand) Run(ctx context.Context, s *shell) error {
	return c.write(s, func(weir *rest.Client, key string) (client.Receipt, error) {
		return weir.Refund(ctx, key, c.Charge, client.Refund{AmountMicros: int64(c.Amount), Memo: c.Memo})
	})
}
