package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

type creditsCommand struct {
	Open    creditsOpenCommand    `cmd:"" help:"Open an account."`
	Set     creditsSetCommand     `cmd:"" help:"Change the plan, the labels or the rules of an account."`
	Grant   creditsGrantCommand   `cmd:"" help:"Give credit to an account, once or every period."`
	Void    creditsVoidCommand    `cmd:"" help:"Take back what is left of a grant."`
	Debit   creditsDebitCommand   `cmd:"" help:"Take credit from an account."`
	Hold    creditsHoldCommand    `cmd:"" help:"Set credit aside for something that is still to come."`
	Extend  creditsExtendCommand  `cmd:"" help:"Hold more, or longer."`
	Capture creditsCaptureCommand `cmd:"" help:"Charge a hold."`
	Release creditsReleaseCommand `cmd:"" help:"Give back what is left of a hold."`
	Refund  creditsRefundCommand  `cmd:"" help:"Give back what a debit or a hold was charged."`
	Adjust  creditsAdjustCommand  `cmd:"" help:"Correct a balance by hand, with a reason."`
	Balance creditsBalanceCommand `cmd:"" help:"Show an account and what is left."`
	History creditsHistoryCommand `cmd:"" help:"List what happened to an account, newest first."`
}

// writeFlags are what every write to the ledger has.
type writeFlags struct {
	Key string `help:"Idempotency key: repeat a write with its key and it counts once (a fresh UUIDv7 when left out)."`
}

// memoFlag is what a write can say about itself.
type memoFlag struct {
	Memo string `help:"A note that is kept with it."`
}

// write makes one ledger write and prints its receipt. When the outcome is unknown it says how to repeat.
func (f writeFlags) write(s *shell, send func(*rest.Client, string) (client.Receipt, error)) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	key := f.Key
	if key == "" {
		fresh, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("not written: make a key: %w", err)
		}
		key = fresh.String()
	}
	r, err := send(weir, key)
	if err != nil && unwritten(err) {
		return fmt.Errorf("not written: %w", err)
	}
	if err != nil {
		return fmt.Errorf("perhaps written: %w; repeat it and it counts once: %s", err, s.again(f.Key, key))
	}
	if err := show(s, r, receiptText); err != nil {
		return err
	}
	if r.Refused() {
		return errDenied
	}
	return nil
}

// unwritten reports whether a write that failed surely left nothing behind.
func unwritten(err error) bool {
	p := new(rest.Problem)
	if !errors.As(err, &p) {
		return errors.Is(err, client.ErrUnreachable)
	}
	return p.Status < http.StatusInternalServerError || slices.Contains([]string{"FULL", "NOT_LEADER", "UNAVAILABLE"}, p.Reason)
}

// again is the command line that repeats this one with its key.
func (s *shell) again(given, key string) string {
	words := []string{"weir"}
	for _, a := range s.args {
		words = append(words, quoted(a))
	}
	if given == "" {
		words = append(words, "--key", quoted(key))
	}
	return strings.Join(words, " ")
}

// quoted writes a word as a shell reads it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./:,@%+~", r)
	}
	if word != "" && word[0] != '~' && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
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
	if r.ForgivenMicros != 0 {
		fmt.Fprintf(w, "forgiven\t%v, there was no credit for it\n", amount(r.ForgivenMicros))
	}
	if r.ExpiredMicros != 0 {
		fmt.Fprintf(w, "expired\t%v of it: the grant has ended meanwhile\n", amount(r.ExpiredMicros))
	}
	for _, p := range r.Parts {
		fmt.Fprintf(w, "part\t%v %s, grant %s\n", amount(p.AmountMicros), p.Kind, orDash(p.Grant))
	}
	if r.Hold != nil {
		holdText(w, *r.Hold, r.Late)
	}
	fmt.Fprintf(w, "balance\t%v\n", amount(r.BalanceAfterMicros))
	fmt.Fprintf(w, "seq\t%d, index %d, term %d\n", r.Seq, r.Index, r.Term)
}

func holdText(w io.Writer, h client.HoldState, late bool) {
	end := ""
	switch {
	case late:
		end = ", captured after its end"
	case h.State == "open" && h.ExpiresInMS > 0:
		end = ", ends in " + milliseconds(h.ExpiresInMS)
	}
	fmt.Fprintf(w, "hold\t%s\n", h.ID)
	fmt.Fprintf(w, "state\t%s: %v captured, %v held%s\n", h.State, amount(h.CapturedMicros), amount(h.HeldMicros), end)
	if h.RefundedMicros != 0 {
		fmt.Fprintf(w, "refunded\t%v\n", amount(h.RefundedMicros))
	}
}

type creditsOpenCommand struct {
	writeFlags `embed:""`
	Account    string            `arg:"" help:"The account id."`
	Plan       string            `help:"The plan of the account."`
	Label      map[string]string `mapsep:"," placeholder:"NAME=VALUE,..." help:"Labels of the account."`
	UseCredits bool              `default:"true" negatable:"" help:"Whether credit may be spent past a limit (yes)."`
	Overdraft  amount            `default:"0" help:"How far the balance may go below zero, in credits."`
	Blocked    bool              `help:"Open it blocked: debits and holds are refused until it is set otherwise."`
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
			ID: c.Account, Plan: c.Plan, Labels: c.Label, UseCredits: c.UseCredits, OverdraftMicros: int64(c.Overdraft), Blocked: c.Blocked,
		})
	})
}

type creditsSetCommand struct {
	writeFlags `embed:""`
	memoFlag   `embed:""`
	Account    string            `arg:"" help:"The account id."`
	Plan       *string           `help:"The plan of the account."`
	Label      map[string]string `mapsep:"," xor:"labels" placeholder:"NAME=VALUE,..." help:"Labels of the account, in place of those it has."`
	Unlabel    bool              `xor:"labels" help:"Take all labels off."`
	UseCredits *bool             `negatable:"" help:"Whether credit may be spent past a limit."`
	Overdraft  *amount           `help:"How far the balance may go below zero, in credits."`
	Blocked    *bool             `negatable:"" help:"Whether debits and new holds are refused. Captures, releases and refunds go on."`
}

// Help is what `weir credits set -h` adds to the flags.
func (creditsSetCommand) Help() string {
	return `Examples:

    weir credits set alice --plan pro --overdraft 2.5
    weir credits set alice --blocked
    weir credits set alice --no-blocked

What is not named stays as it is.`
}

// Run changes the account.
func (c *creditsSetCommand) Run(ctx context.Context, s *shell) error {
	change := client.AccountChange{Plan: c.Plan, Labels: c.Label, UseCredits: c.UseCredits, OverdraftMicros: (*int64)(c.Overdraft), Blocked: c.Blocked, Memo: c.Memo}
	if c.Unlabel {
		change.Labels = map[string]string{}
	}
	if change.Plan == nil && change.Labels == nil && change.UseCredits == nil && change.OverdraftMicros == nil && change.Blocked == nil {
		return fmt.Errorf("%w: nothing to change: name --plan, --label, --unlabel, --use-credits, --overdraft or --blocked", errUsage)
	}
	return c.write(s, func(weir *rest.Client, key string) (client.Receipt, error) {
		return weir.UpdateAccount(ctx, key, c.Account, change)
	})
}
