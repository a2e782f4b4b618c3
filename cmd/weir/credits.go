package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

type creditsCommand struct {
	Open    creditsOpenCommand    `cmd:"" help:"Open an account."`
	Grant   creditsGrantCommand   `cmd:"" help:"Give credit to an account."`
	Debit   creditsDebitCommand   `cmd:"" help:"Take credit from an account."`
	Balance creditsBalanceCommand `cmd:"" help:"Show an account and what is left."`
}

// writeFlags are what every write to the ledger has.
type writeFlags struct {
	Key string `help:"Idempotency key: repeat a write with its key and it counts once (a fresh one when left out)."`
}

// write makes one ledger write and prints its receipt. When the outcome is unknown it says how to repeat.
func (f writeFlags) write(s *shell, send func(*rest.Client, string) (client.Receipt, error)) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	key := f.Key
	if key == "" {
		key = "cli-" + rand.Text()
	}
	r, err := send(weir, key)
	if err != nil {
		p := new(rest.Problem)
		refused := errors.As(err, &p) && p.Status < http.StatusInternalServerError
		if refused || errors.Is(err, client.ErrUnreachable) {
			return fmt.Errorf("not written: %w", err)
		}
		return fmt.Errorf("perhaps written: %w; repeat it with --key %s and it counts once", err, key)
	}
	if err := show(s, r, receiptText); err != nil {
		return err
	}
	if r.Refused() {
		return errDenied
	}
	return nil
}

func receiptText(w io.Writer, r client.Receipt) {
	again := ""
	if r.Replayed {
		again = " (a repetition: this is the first receipt)"
	}
	fmt.Fprintf(w, "%s\t%s%s\n", r.Outcome, r.Account, again)
	if r.Detail != "" {
		fmt.Fprintf(w, "message\t%s\n", r.Detail)
	}
	if r.AmountMicros != 0 {
		fmt.Fprintf(w, "amount\t%v\n", amount(r.AmountMicros))
	}
	for _, p := range r.Parts {
		fmt.Fprintf(w, "part\t%v %s, grant %s\n", amount(p.AmountMicros), p.Kind, orDash(p.Grant))
	}
	fmt.Fprintf(w, "balance\t%v\n", amount(r.BalanceAfterMicros))
	fmt.Fprintf(w, "seq\t%d, index %d, term %d\n", r.Seq, r.Index, r.Term)
}

type creditsOpenCommand struct {
	writeFlags `embed:""`
	Account    string            `arg:"" help:"The account id."`
	Plan       string            `help:"The plan of the account."`
	Label      map[string]string `mapsep:"," placeholder:"NAME=VALUE,..." help:"Labels of the account."`
	UseCredits bool              `default:"true" negatable:"" help:"Whether credit may be spent past a limit (yes)."`
	Overdraft  amount            `default:"0" help:"How far the balance may go below zero, in credits."`
}

// Help is what `weir credits open -h` adds to the flags.
func (creditsOpenCommand) Help() string {
	return `Examples:

    weir credits open alice --plan free
    weir credits open acme --overdraft 5 --label region=eu,tier=gold`
}

// Run opens the account.
func (c *creditsOpenCommand) Run(ctx context.Context, s *shell) error {
	return c.write(s, func(weir *rest.Client, key string) (client.Receipt, error) {
		return weir.OpenAccount(ctx, key, client.Account{
			ID: c.Account, Plan: c.Plan, Labels: c.Label, UseCredits: c.UseCredits, OverdraftMicros: int64(c.Overdraft),
		})
	})
}

type creditsGrantCommand struct {
	writeFlags `embed:""`
	Account    string    `arg:"" help:"The account id."`
	Kind       string    `arg:"" enum:"included,promo,credit" help:"included, promo or credit."`
	Amount     amount    `arg:"" help:"Credits, such as 12 or 0.05."`
	ID         string    `name:"id" help:"Name of the grant; one is made up when left out."`
	Priority   uint8     `help:"Within a kind, lower is spent first."`
	Effective  time.Time `placeholder:"TIME" help:"When it can first be spent, such as 2026-01-31T00:00:00Z; now when left out."`
	Expires    time.Time `placeholder:"TIME" help:"When what is left is gone; never when left out."`
}

// Help is what `weir credits grant -h` adds to the flags.
func (creditsGrantCommand) Help() string {
	return `Examples:

    weir credits grant alice included 0.05
    weir credits grant alice promo 2 --expires 2027-01-31T00:00:00Z --key spring-alice`
}

// Run gives the credit.
func (c *creditsGrantCommand) Run(ctx context.Context, s *shell) error {
	return c.write(s, func(weir *rest.Client, key string) (client.Receipt, error) {
		return weir.Grant(ctx, key, c.Account, client.Grant{
			ID: c.ID, Kind: c.Kind, AmountMicros: int64(c.Amount), Priority: c.Priority, Effective: c.Effective, Expires: c.Expires,
		})
	})
}

type creditsDebitCommand struct {
	writeFlags `embed:""`
	Account    string   `arg:"" help:"The account id."`
	Amount     amount   `arg:"" help:"Credits, such as 12 or 0.05."`
	Order      []string `placeholder:"KIND" help:"Kinds to take from, in this order: included, promo, credit, overdraft."`
	Memo       string   `help:"A note that is kept with it."`
}

// Help is what `weir credits debit -h` adds to the flags.
func (creditsDebitCommand) Help() string {
	return `Examples:

    weir credits debit alice 0.02
    weir credits debit alice 3 --order credit --memo "invoice 17" --key invoice-17

Exit code: 0 taken, 1 too little credit (nothing is taken), 2 anything else.`
}

// Run takes the credit; too little of it is errDenied.
func (c *creditsDebitCommand) Run(ctx context.Context, s *shell) error {
	return c.write(s, func(weir *rest.Client, key string) (client.Receipt, error) {
		return weir.Debit(ctx, key, c.Account, client.Debit{AmountMicros: int64(c.Amount), Order: c.Order, Memo: c.Memo})
	})
}

type creditsBalanceCommand struct {
	Account string `arg:"" help:"The account id."`
}

// Help is what `weir credits balance -h` adds to the flags.
func (creditsBalanceCommand) Help() string {
	return `Examples:

    weir credits balance alice
    weir credits balance alice -o json`
}

// Run prints the account as the ledger has it now.
func (c *creditsBalanceCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	a, err := weir.Account(ctx, c.Account)
	if err != nil {
		return fmt.Errorf("no balance: %w", err)
	}
	return show(s, a, statementText)
}

func statementText(w io.Writer, a client.Statement) {
	fmt.Fprintf(w, "account\t%s, plan %s\n", a.ID, orDash(a.Plan))
	fmt.Fprintf(w, "balance\t%v\n", amount(a.BalanceMicros))
	for _, kind := range []string{"included", "promo", "credit"} { // the order in which they are spent
		if micros, ok := a.ByKind[kind]; ok {
			fmt.Fprintf(w, "%s\t%v\n", kind, amount(micros))
		}
	}
	if a.OverdraftMicros != 0 {
		fmt.Fprintf(w, "overdraft\t%v\n", amount(a.OverdraftMicros))
	}
	for _, g := range a.Grants {
		until := ""
		if !g.Expires.IsZero() {
			until = ", until " + g.Expires.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "grant\t%s %s: %v of %v left%s\n", g.ID, g.Kind, amount(g.RemainingMicros), amount(g.AmountMicros), until)
	}
	fmt.Fprintf(w, "seq\t%d, index %d, term %d\n", a.Seq, a.Index, a.Term)
}
