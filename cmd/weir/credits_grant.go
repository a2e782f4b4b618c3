package main

import (
	"context"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

type creditsGrantCommand struct {
	writeFlags `embed:""`
	Account    string            `arg:"" help:"The account id."`
	Kind       string            `arg:"" enum:"included,promo,credit" help:"included, promo or credit."`
	Amount     amount            `arg:"" help:"Credits, such as 12 or 0.05."`
	ID         string            `name:"id" help:"Name of the grant; the key when left out."`
	Priority   uint8             `help:"Within a kind, lower is spent first."`
	Effective  time.Time         `placeholder:"TIME" help:"When it can first be spent, such as 2026-01-31T00:00:00Z; now when left out."`
	Expires    time.Time         `placeholder:"TIME" help:"When what is left is gone; never when left out. Of one that recurs: when it ends."`
	Every      string            `enum:"once,day,week,month,year" default:"once" placeholder:"PERIOD" help:"Give it anew each day, week, month or year (${default})."`
	Zone       string            `placeholder:"ZONE" help:"Time zone in which the periods begin, such as Europe/Berlin; UTC when left out."`
	Rollover   amount            `default:"0" help:"How much of what one period left is spent in the next, at most."`
	AppliesTo  map[string]string `mapsep:"," placeholder:"NAME=VALUE,..." help:"Only debits with all of these attributes spend it."`
}

// Help is what `weir credits grant -h` adds to the flags.
func (creditsGrantCommand) Help() string {
	return `Examples:

    weir credits grant alice included 0.05
    weir credits grant alice promo 2 --expires 2027-01-31T00:00:00Z --key spring-alice
    weir credits grant acme included 100 --id plan --every month --zone Europe/Berlin --rollover 25
    weir credits grant acme promo 10 --applies-to model=large`
}

// Run gives the credit.
func (c *creditsGrantCommand) Run(ctx context.Context, s *shell) error {
	every := c.Every
	if every == "once" {
		every = ""
	}
	return c.write(s, func(weir *rest.Client, key string) (client.Receipt, error) {
		return weir.Grant(ctx, key, c.Account, client.Grant{
			ID: c.ID, Kind: c.Kind, AmountMicros: int64(c.Amount), Priority: c.Priority, Effective: c.Effective, Expires: c.Expires,
			Every: every, Zone: c.Zone, RolloverMicros: int64(c.Rollover), AppliesTo: c.AppliesTo,
		})
	})
}

type creditsVoidCommand struct {
	writeFlags `embed:""`
	memoFlag   `embed:""`
	Account    string `arg:"" help:"The account id."`
	Grant      string `arg:"" help:"The grant, as weir credits balance names it."`
}

// Help is what `weir credits void -h` adds to the flags.
func (creditsVoidCommand) Help() string {
	return `Examples:

    weir credits void alice spring-alice

What was spent of it stays spent, and what is held of it stays held. A grant that recurs is not given again.`
}

// Run takes it back.
func (c *creditsVoidCommand) Run(ctx context.Context, s *shell) error {
	return c.write(s, func(weir *rest.Client, key string) (client.Receipt, error) {
		return weir.VoidGrant(ctx, key, c.Account, c.Grant, c.Memo)
	})
}

type creditsAdjustCommand struct {
	writeFlags `embed:""`
	Account    string `arg:"" help:"The account id."`
	Give       amount `required:"" xor:"amount" help:"Credits to give, such as 12 or 0.05."`
	Take       amount `required:"" xor:"amount" help:"Credits to take."`
	Kind       string `required:"" enum:"included,promo,credit,overdraft" help:"What kind of credit: included, promo or credit; or overdraft, to write off a debt."`
	Memo       string `required:"" help:"The reason, kept with it."`
}

// Help is what `weir credits adjust -h` adds to the flags.
func (creditsAdjustCommand) Help() string {
	return `Examples:

    weir credits adjust alice --give 5 --kind promo --memo "sorry for the outage of May 3"
    weir credits adjust alice --take 0.25 --kind credit --memo "case 4711"
    weir credits adjust alice --give 1.5 --kind overdraft --memo "uncollectable"

For what has a charge use weir credits refund instead: it gives back to where the charge came from.
Exit code: 0 done, 1 too little credit to take (nothing is taken), 2 anything else.`
}

// Run corrects the balance.
func (c *creditsAdjustCommand) Run(ctx context.Context, s *shell) error {
	return c.write(s, func(weir *rest.Client, key string) (client.Receipt, error) {
		return weir.Adjust(ctx, key, c.Account, client.Adjustment{AmountMicros: int64(c.Give) - int64(c.Take), Kind: c.Kind, Memo: c.Memo})
	})
}
