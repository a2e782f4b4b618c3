package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

type eventsDeadCommand struct {
	List      eventsDeadListCommand  `cmd:"" default:"withargs" help:"List what webhooks' endpoints would not take."`
	Redeliver eventsRedeliverCommand `cmd:"" help:"Send some of it again."`
}

// redeliverTime is what a node has for a redelivery: the endpoint's time and some more.
const redeliverTime = 30 * time.Second

// lettersPage is how many letters are asked for at once.
const lettersPage = 1000

// letter is a dead letter and the node that keeps it.
type letter struct {
	Node string `json:"node"`
	rest.DeadLetter
}

type eventsDeadListCommand struct {
	Webhook string `help:"Only of the webhook with this name."`
}

// Help is what `weir events dead list -h` adds to the flags.
func (eventsDeadListCommand) Help() string {
	return `Examples:

    weir events dead
    weir events dead list --webhook billing -o json

A webhook's event becomes a dead letter when its endpoint refuses it for good (400, 410, 413, 415, 422), or has failed for days.
The node that met the refusal keeps it, for 90 days or 64 MiB; LETTER names both.`
}

// Run asks every node.
func (c *eventsDeadListCommand) Run(ctx context.Context, s *shell) error {
	all, missing, err := s.letters(ctx, c.Webhook)
	if err != nil {
		return err
	}
	if err := show(s, all, lettersText); err != nil {
		return err
	}
	return missing
}

// letters returns the dead letters of all nodes; missing says which nodes did not tell theirs.
func (s *shell) letters(ctx context.Context, webhook string) (all []letter, missing, err error) {
	members, err := s.members(ctx)
	if err != nil {
		return nil, nil, err
	}
	all = []letter{}
	for _, m := range members {
		found, err := s.lettersAt(ctx, m, webhook)
		if err != nil {
			missing = errors.Join(missing, fmt.Errorf("the dead letters of %s are not known: %w", m.Name, err))
		}
		all = append(all, found...)
	}
	slices.SortStableFunc(all, func(a, b letter) int { return a.At.Compare(b.At) })
	return all, missing, nil
}

func (s *shell) members(ctx context.Context) ([]client.Member, error) {
	weir, err := s.client()
	if err != nil {
		return nil, err
	}
	v, err := weir.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("no dead letters: %w", err)
	}
	return v.Members, nil
}

func (s *shell) lettersAt(ctx context.Context, m client.Member, webhook string) (all []letter, err error) {
	weir, err := rest.New(rest.Config{Addr: m.HTTP, Timeout: s.Timeout})
	for after := uint64(0); err == nil; {
		page, failed := weir.DeadLetters(ctx, after, lettersPage)
		if failed != nil {
			return all, failed
		}
		for _, l := range page.Letters {
			if webhook == "" || l.Webhook == webhook {
				all = append(all, letter{m.Name, l})
			}
			after = l.ID
		}
		if len(page.Letters) < lettersPage {
			return all, nil
		}
	}
	return all, err
}

func lettersText(w io.Writer, all []letter) {
	fmt.Fprintln(w, "LETTER\tWEBHOOK\tEVENT\tTIME\tSTATUS\tREASON\t")
	for _, l := range all {
		status := "-"
		if l.Status != 0 {
			status = strconv.Itoa(l.Status)
		}
		fmt.Fprintf(w, "%s/%d\t%s\t%d\t%s\t%s\t%.80s\t\n", l.Node, l.ID, l.Webhook, l.Seq, l.At.UTC().Format(time.RFC3339), status, oneLine(l.Reason))
	}
}

// oneLine is what an endpoint said, fit for a cell.
func oneLine(text string) string { return orDash(strings.Join(strings.Fields(text), " ")) }

type eventsRedeliverCommand struct {
	Letters []string `arg:"" optional:"" name:"letter" help:"NODE/ID, as weir events dead lists it."`
	All     bool     `help:"All that there are."`
	Webhook string   `help:"With --all: only of the webhook with this name."`
}

// Help is what `weir events dead redeliver -h` adds to the flags.
func (eventsRedeliverCommand) Help() string {
	return `Examples:

    weir events dead redeliver n1/3 n2/1
    weir events dead redeliver --all --webhook billing

Each is sent once, with the webhook's URL and secrets as they are now, and ends when the endpoint takes it. It comes after
newer events: its seq tells where it belongs.

Exit code: 0 all were taken, 2 some were not.`
}

// redelivered is what came of a redelivery.
type redelivered struct {
	Letter  string `json:"letter"`
	Webhook string `json:"webhook,omitempty"`
	Seq     uint64 `json:"seq,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Run sends one after the other, and goes on past what is refused.
func (c *eventsRedeliverCommand) Run(ctx context.Context, s *shell) error {
	if c.All == (len(c.Letters) > 0) {
		return fmt.Errorf("%w: name letters as NODE/ID, or --all", errUsage)
	}
	names := c.Letters
	var missing error
	if c.All {
		all, some, err := s.letters(ctx, c.Webhook)
		if err != nil {
			return err
		}
		missing = some
		for _, l := range all {
			names = append(names, fmt.Sprintf("%s/%d", l.Node, l.ID))
		}
	}
	members, err := s.members(ctx)
	if err != nil {
		return err
	}
	done, refused := []redelivered{}, 0
	for _, name := range names {
		r := redelivered{Letter: name}
		if err := s.redeliver(ctx, members, &r); err != nil {
			r.Error = err.Error()
			refused++
		}
		done = append(done, r)
	}
	if err := show(s, done, redeliveredText); err != nil {
		return err
	}
	if refused > 0 {
		missing = errors.Join(missing, fmt.Errorf("%d of %d were not taken", refused, len(done)))
	}
	return missing
}

func (s *shell) redeliver(ctx context.Context, members []client.Member, r *redelivered) error {
	node, text, _ := strings.Cut(r.Letter, "/")
	id, err := strconv.ParseUint(text, 10, 64)
	at := slices.IndexFunc(members, func(m client.Member) bool { return m.Name == node })
	if err != nil || at < 0 {
		return errors.New("expected NODE/ID of a node of the cluster")
	}
	weir, err := rest.New(rest.Config{Addr: members[at].HTTP, Timeout: max(s.Timeout, redeliverTime)})
	if err != nil {
		return err
	}
	l, err := weir.Redeliver(ctx, id)
	r.Webhook, r.Seq = l.Webhook, l.Seq
	return err
}

func redeliveredText(w io.Writer, all []redelivered) {
	for _, r := range all {
		if r.Error != "" {
			fmt.Fprintf(w, "%s\tnot taken: %s\t\n", r.Letter, r.Error)
			continue
		}
		fmt.Fprintf(w, "%s\tevent %d was taken by %s\t\n", r.Letter, r.Seq, r.Webhook)
	}
}
