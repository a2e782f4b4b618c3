package chaos

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// titles are the invariants in a few words; CHAOS §5 defines them.
var titles = map[string]string{
	"M1": "over-admission", "M2": "no unjustified refusal", "M3": "single home", "M4": "epochs agree, never go back",
	"M5": "honest replies", "M6": "fallbacks as declared", "M7": "admission and debit",
	"L1": "conservation", "L2": "floor", "L3": "exactly once", "L4": "same key, same reply", "L5": "linearizable",
	"L6": "durable", "L7": "equal replicas", "L8": "session reads", "L9": "no phantom", "L10": "outbox",
	"A1": "answered by the home", "A2": "latency", "A3": "detection", "A4": "convergence", "A5": "longest without a write", "A6": "recovery without help",
	"H1": "faults bit", "H2": "enough was asked", "H3": "few unknown outcomes", "H4": "all healed",
}

// WriteReport writes results as a table, the verdict first, and below it the excerpt of each that was refuted.
func WriteReport(w io.Writer, results []Result) error {
	var text strings.Builder
	fmt.Fprintf(&text, "verdict: %s\n", Verdict(results))
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "id\tinvariant\tstatus\tbound\tobserved\tmargin\tunit\twhy")
	for _, r := range results {
		fmt.Fprintf(table, "%s\t%s\t%s\t%.6g\t%.6g\t%.6g\t%s\t%s\n", r.Invariant, titles[r.Invariant], r.Status, r.Bound, r.Observed, r.Margin, r.Unit, r.Why)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for _, r := range results {
		if r.Status != Refuted {
			continue
		}
		fmt.Fprintf(&text, "\n%s %s: %s\n", r.Invariant, titles[r.Invariant], r.Why)
		for i := range r.Excerpt {
			fmt.Fprintf(&text, "  %s\n", r.Excerpt[i].tell())
		}
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// tell writes an operation in a line.
func (o *Op) tell() string {
	var text strings.Builder
	until := "open"
	if o.Returned >= 0 {
		until = fmt.Sprintf("%.6f", o.Returned.Seconds())
	}
	fmt.Fprintf(&text, "%.6f to %s: client %d asks %s for %s of %s", o.Invoked.Seconds(), until, o.Client, o.Node, o.Kind, o.Account)
	say := func(is bool, format string, args ...any) {
		if is {
			fmt.Fprintf(&text, format, args...)
		}
	}
	say(len(o.Limits) > 0, "/%s", strings.Join(o.Limits, "+"))
	say(o.Key != "", " key %s", o.Key)
	say(o.Cost != 0, " cost %d", o.Cost)
	say(true, ": %s", o.Outcome)
	say(o.Err != "", " (%s)", o.Err)
	r := &o.Reply
	say(r.Verdict != "", " %s", r.Verdict)
	say(r.Reason != "", " %s", r.Reason)
	say(r.Home != "", " by %s", r.Home)
	say(r.Epoch != 0, " epoch %d", r.Epoch)
	say(r.RetryAfter != 0, " retry after %s", r.RetryAfter.Round(time.Millisecond))
	for _, l := range r.Limits {
		say(true, " %s %d/%d", l.Name, l.Remaining, l.Limit)
	}
	for _, src := range r.Sources {
		say(src.CreditsMicros != 0, " paid %d", src.CreditsMicros)
	}
	say(r.Seq != 0, " seq %d index %d term %d balance %d", r.Seq, r.Index, r.Term, r.BalanceAfterMicros)
	say(o.Ask != Ask{}, " asks %+v", o.Ask)
	say(r.Hold.State != "", " hold %+v", r.Hold)
	say(r.Replayed, " replayed")
	say(len(r.Entries) > 0, " %d entries", len(r.Entries))
	return text.String()
}
