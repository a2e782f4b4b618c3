package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

type eventsCommand struct {
	Tail   eventsTailCommand   `cmd:"" help:"Print what happens in the ledger."`
	Dead   eventsDeadCommand   `cmd:"" help:"List what webhooks could not deliver, and send it again."`
	Forget eventsForgetCommand `cmd:"" help:"Keep nothing any more for a consumer that is gone."`
}

// lastEvents is with how many of the newest events a listing begins that is told nothing else.
const lastEvents = 10

// eventsBehind is the pause before a node is asked again that has not all events yet.
const eventsBehind = 50 * time.Millisecond

// followAgain is the pause before a stream that ended is asked for again.
const followAgain = time.Second

type eventsTailCommand struct {
	After   *uint64  `xor:"from" placeholder:"SEQ" help:"Begin after this event; 0 is the beginning."`
	Last    *uint64  `xor:"from" placeholder:"N" help:"Begin with so many of the newest events (10)."`
	Follow  bool     `short:"f" help:"Go on with what is to come, until it is interrupted."`
	Account string   `help:"Only what happens to this account."`
	Type    []string `placeholder:"MOVEMENT" help:"Only these, such as debit,refund."`
}

// Help is what `weir events tail -h` adds to the flags.
func (eventsTailCommand) Help() string {
	return `Examples:

    weir events tail
    weir events tail --follow --account alice
    weir events tail --after 0 --type debit,capture -o json

Every change of the ledger is an event with a number of its own, in one order for all accounts, without gaps. With -o json
each is a CloudEvent on a line of its own. --last counts the events of all accounts.`
}

// Run prints the events that there are, and with --follow those that come.
func (c *eventsTailCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	q, newest := rest.EventQuery{Account: c.Account, Types: c.Type}, uint64(0)
	switch {
	case c.After != nil:
		q.After = *c.After
	default:
		all, err := weir.LedgerStatus(ctx, client.Read{})
		if err != nil {
			return fmt.Errorf("no events: %w", err)
		}
		last := uint64(lastEvents)
		if c.Last != nil {
			last = *c.Last
		}
		q.After, newest = all.Events-min(last, all.Events), all.Events
	}
	out := &eventTable{lines: s.Output == "json", to: s.stdout}
	if c.Follow {
		return out.follow(ctx, s, weir, q)
	}
	for late := time.Now().Add(s.Timeout); ; {
		page, next, err := weir.Events(ctx, q)
		if err != nil {
			return noEvents(err)
		}
		for _, e := range page {
			if err := out.print(e); err != nil {
				return err
			}
		}
		switch {
		case next > q.After:
			q.After = next
		case next >= newest:
			return out.flush()
		case time.Now().After(late):
			return errors.Join(out.flush(), fmt.Errorf("no events after %d: the ledger has %d, and the node that was asked has not heard of the rest", next, newest))
		default: // it hears of them at the leader's next word
			time.Sleep(eventsBehind)
		}
	}
}

// noEvents says what to do when events are not kept any more.
func noEvents(err error) error {
	if p := new(rest.Problem); errors.As(err, &p) && p.Status == http.StatusGone {
		return fmt.Errorf("no events: %w; begin later with --after", err)
	}
	return fmt.Errorf("no events: %w", err)
}

// eventTable prints events: lines of JSON, or columns that are as wide as the page needs.
type eventTable struct {
	lines   bool
	to      io.Writer
	columns *tabwriter.Writer
}

// follow prints what comes until ctx ends, which is no error. When a node goes away, the next one goes on.
func (o *eventTable) follow(ctx context.Context, s *shell, weir *rest.Client, q rest.EventQuery) error {
	for {
		err := weir.FollowEvents(ctx, q, func(e client.Event) error {
			q.After = max(q.After, e.Data.Seq)
			return errors.Join(o.print(e), o.flush())
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, rest.ErrEventsEnded) && !errors.Is(err, client.ErrUnreachable):
			return noEvents(err)
		}
		fmt.Fprintf(s.stderr, "weir: %v; going on after %d\n", err, q.After)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followAgain):
		}
	}
}

func (o *eventTable) print(e client.Event) error {
	if o.lines {
		_, err := fmt.Fprintf(o.to, "%s\n", e.Raw)
		return err
	}
	if o.columns == nil {
		o.columns = tabwriter.NewWriter(o.to, 0, 8, 2, ' ', 0)
		fmt.Fprintln(o.columns, "EVENT\tTIME\tACCOUNT\tSEQ\tMOVEMENT\tCHANGE\tBALANCE\tOF\tKEY\tMEMO\t")
	}
	d := client.Entry{
		Seq: e.Data.AccountSeq, Movement: e.Data.Movement, IdempotencyKey: e.Data.IdempotencyKey, Hold: e.Data.Hold, Grant: e.Data.Grant,
		Charge: e.Data.Charge, Postings: e.Data.Postings,
	}
	_, err := fmt.Fprintf(o.columns, "%d\t%s\t%s\t%d\t%s\t%s\t%v\t%s\t%s\t%s\t\n", e.Data.Seq, e.Time.UTC().Format(time.RFC3339), orDash(e.Data.Account),
		d.Seq, d.Movement, signed(balanceChange(d)), amount(e.Data.BalanceAfterMicros), orDash(entryAbout(d)), orDash(d.IdempotencyKey), e.Data.Memo)
	return err
}

func (o *eventTable) flush() error {
	if o.columns == nil {
		return nil
	}
	return o.columns.Flush()
}
