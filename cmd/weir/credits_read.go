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

type creditsBalanceCommand struct {
	Account      string        `arg:"" help:"The account id."`
	MaxStaleness time.Duration `placeholder:"DURATION" help:"Let any node answer that is at most so far behind; as of now when left out."`
	MinIndex     uint64        `placeholder:"INDEX" help:"Wait until the answer knows this index, such as that of a receipt."`
}

// Help is what `weir credits balance -h` adds to the flags.
func (creditsBalanceCommand) Help() string {
	return `Examples:

    weir credits balance alice
    weir credits balance alice -o json
    weir credits balance alice --max-staleness 2s`
}

// Run prints the account as the ledger has it now.
func (c *creditsBalanceCommand) Run(ctx context.Context, s *shell) error {
	if c.MaxStaleness < 0 {
		return fmt.Errorf("%w: --max-staleness %v must be positive", errUsage, c.MaxStaleness)
	}
	weir, err := s.client()
	if err != nil {
		return err
	}
	a, err := weir.AccountAsOf(ctx, c.Account, client.Read{MaxStaleness: c.MaxStaleness, MinIndex: c.MinIndex})
	if err != nil {
		return fmt.Errorf("no balance: %w", err)
	}
	return show(s, a, statementText)
}

func statementText(w io.Writer, a client.Statement) {
	blocked := ""
	if a.Blocked {
		blocked = ", blocked"
	}
	fmt.Fprintf(w, "account\t%s, plan %s%s\n", a.ID, orDash(a.Plan), blocked)
	fmt.Fprintf(w, "balance\t%v\n", amount(a.BalanceMicros))
	for _, kind := range []string{"included", "promo", "credit"} { // the order in which they are spent
		if micros, ok := a.ByKind[kind]; ok {
			fmt.Fprintf(w, "%s\t%v\n", kind, amount(micros))
		}
	}
	if a.HeldMicros != 0 || a.OpenHolds != 0 {
		fmt.Fprintf(w, "held\t%v by open holds: %d\n", amount(a.HeldMicros), a.OpenHolds)
	}
	if a.OverdraftMicros != 0 {
		fmt.Fprintf(w, "overdraft\t%v\n", amount(a.OverdraftMicros))
	}
	if a.ForgivenMicros != 0 {
		fmt.Fprintf(w, "forgiven\t%v so far\n", amount(a.ForgivenMicros))
	}
	for _, g := range a.Grants {
		fmt.Fprintf(w, "grant\t%s\n", grantText(g))
	}
	for _, g := range a.Recurring {
		fmt.Fprintf(w, "recurring\t%s\n", recurringText(g))
	}
	fmt.Fprintf(w, "seq\t%d, index %d, term %d\n", a.Seq, a.Index, a.Term)
}

func grantText(g client.GrantLeft) string {
	text := fmt.Sprintf("%s %s: %v of %v left", g.ID, g.Kind, amount(g.RemainingMicros), amount(g.AmountMicros))
	if g.HeldMicros != 0 {
		text += fmt.Sprintf(", %v held", amount(g.HeldMicros))
	}
	switch {
	case g.Voided:
		text += ", voided"
	case g.Expired:
		text += ", expired"
	}
	return text + conditionsText(g.Grant)
}

func recurringText(g client.Grant) string {
	text := fmt.Sprintf("%s %s: %v every %s", g.ID, g.Kind, amount(g.AmountMicros), g.Every)
	if g.Zone != "" {
		text += ", zone " + g.Zone
	}
	if g.RolloverMicros != 0 {
		text += fmt.Sprintf(", rollover %v", amount(g.RolloverMicros))
	}
	return text + conditionsText(g)
}

func conditionsText(g client.Grant) (text string) {
	if !g.Expires.IsZero() {
		text = ", until " + g.Expires.Format(time.RFC3339)
	}
	if len(g.AppliesTo) > 0 {
		text += ", for " + termsOf(g.AppliesTo)
	}
	return text
}

type creditsHistoryCommand struct {
	Account string `arg:"" help:"The account id."`
	Limit   int    `default:"20" help:"List so many at most (${default})."`
	Cursor  string `help:"Go on where a page ended, as it says."`
}

// Help is what `weir credits history -h` adds to the flags.
func (creditsHistoryCommand) Help() string {
	return `Examples:

    weir credits history alice
    weir credits history alice --limit 100 -o json

CHANGE is what it did to the balance; credit that is put into a hold leaves the balance, what is captured of it does not
change it any more. weir ledger entries has the postings, oldest first.`
}

// Run prints a page.
func (c *creditsHistoryCommand) Run(ctx context.Context, s *shell) error {
	if c.Limit < 1 || c.Limit > entriesMax {
		return fmt.Errorf("%w: --limit %d: expected 1 to %d", errUsage, c.Limit, entriesMax)
	}
	weir, err := s.client()
	if err != nil {
		return err
	}
	h, err := weir.History(ctx, c.Account, client.Page{NewestFirst: true, Cursor: c.Cursor, Limit: c.Limit})
	if err != nil {
		return fmt.Errorf("no history: %w", err)
	}
	if h.Entries == nil {
		h.Entries = []client.Entry{}
	}
	return show(s, h, movementsText)
}

func movementsText(w io.Writer, h client.History) {
	if len(h.Entries) == 0 {
		fmt.Fprintln(w, "nothing more")
		return
	}
	fmt.Fprintln(w, "SEQ\tTIME\tMOVEMENT\tCHANGE\tBALANCE\tFORGIVEN\tOF\tKEY\tMEMO\t")
	for _, e := range h.Entries {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%v\t%s\t%s\t%s\t%s\t\n", e.Seq, e.Time.UTC().Format(time.RFC3339), e.Movement,
			signed(balanceChange(e)), amount(e.BalanceAfterMicros), orDash(unlessZero(e.ForgivenMicros)), orDash(entryAbout(e)), orDash(e.IdempotencyKey), e.Memo)
	}
	if h.Next != "" {
		fmt.Fprintf(w, "more with --cursor %s\n", h.Next)
	}
}

// balanceChange is what an entry did to what can be spent.
func balanceChange(e client.Entry) (micros int64) {
	for _, p := range e.Postings {
		if p.Book == "available" || p.Book == "overdrawn" {
			micros += p.AmountMicros
		}
	}
	return micros
}

// entryAbout names what an entry is about, if it is about one thing.
func entryAbout(e client.Entry) string {
	switch {
	case e.Hold != "" && e.Hold != e.IdempotencyKey:
		return "hold " + e.Hold
	case e.Charge != "":
		return "charge " + e.Charge
	case e.Grant != "" && e.Grant != e.IdempotencyKey:
		return "grant " + e.Grant
	default:
		return ""
	}
}

func signed(micros int64) string {
	if micros > 0 {
		return "+" + amount(micros).String()
	}
	return amount(micros).String()
}

func unlessZero(micros int64) string {
	if micros == 0 {
		return ""
	}
	return amount(micros).String()
}

// termsOf writes attributes in the order of their names.
func termsOf(attributes map[string]string) string {
	var terms []string
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		terms = append(terms, name+"="+attributes[name])
	}
	return strings.Join(terms, ",")
}
