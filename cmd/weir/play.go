package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

const (
	playKillAfter = 7                      // answers: by then the limit is used up and included quota in part
	playAsksMax   = 40                     // 13 end it unless time refills the limit on the way
	playLimit     = 5                      // burst of the limit in demo.yaml
	playRefill    = 12 * time.Second       // one more unit of it, at 5 a minute
	playShip      = 500 * time.Millisecond // the deputy's copy is about 0.15 s behind
	triesMax      = 40
	tryPause      = 250 * time.Millisecond
)

// demo is the state of the play.
type demo struct {
	*shell
	fleet   *fleet
	clients []*rest.Client // of fleet.nodes

	home   string   // alice's
	victim int      // index of the node that is killed: her home
	killed bool     // the rest goes on without the victim
	asks   int      // counts turns: which node is asked next
	phase  string   // what paid last
	wrong  []string // what was not as told

	units, micros map[string]int64 // allowed and paid so far, by source
}

// play tells the story and returns an error when it is not what happened.
func (d *demo) play(ctx context.Context) error {
	if err := d.prepare(ctx); err != nil {
		return fmt.Errorf("give alice her credit: %w", err)
	}
	if err := d.cast(ctx); err != nil {
		return err
	}
	fmt.Fprintf(d.stdout, "\n  %2s  %-5s %-5s %-8s %-18s %-9s %10s %8s\n",
		"#", "ASKED", "HOME", "VERDICT", "REASON", "SOURCE", "LIMIT LEFT", "BALANCE")
	began := time.Now()
	for i := range playAsksMax {
		if i == playKillAfter {
			if err := d.kill(ctx); err != nil {
				return err
			}
		}
		answer, err := d.ask(ctx, i+1)
		if err != nil {
			return err
		}
		if !answer.Allowed() {
			return d.judge(ctx, answer, time.Since(began))
		}
	}
	return fmt.Errorf("none of %d requests was denied", playAsksMax)
}

// grants is what alice has when the play begins: 3, 2 and 2 requests at 0.01.
func grants() []client.Grant {
	return []client.Grant{
		{ID: "plan", Kind: "included", AmountMicros: 30_000},
		{ID: "welcome", Kind: "promo", AmountMicros: 20_000},
		{ID: "paid", Kind: "credit", AmountMicros: 20_000},
	}
}

// prepare opens alice's account and gives her the grants.
func (d *demo) prepare(ctx context.Context) error {
	if err := eventually(ctx, func() error {
		_, err := d.clients[1].OpenAccount(ctx, "demo-open", client.Account{ID: "alice", Plan: "demo", UseCredits: true})
		return err
	}); err != nil {
		return err
	}
	for _, g := range grants() {
		if err := eventually(ctx, func() error {
			_, err := d.clients[2].Grant(ctx, "demo-grant-"+g.ID, "alice", g)
			return err
		}); err != nil {
			return err
		}
		fmt.Fprintf(d.stdout, "alice gets %v credits, %s.\n", amount(g.AmountMicros), g.Kind)
	}
	return nil
}

// cast finds alice's home, which is to be killed.
func (d *demo) cast(ctx context.Context) error {
	v, err := d.clients[0].View(ctx)
	if err != nil {
		return fmt.Errorf("find alice's home: %w", err)
	}
	place := v.Place("demo", "alice")
	if place.Home == nil || place.Deputy == nil {
		return fmt.Errorf("find alice's home: partition %d has no home or no deputy in epoch %d", place.Partition, v.Epoch)
	}
	d.home = place.Home.Name
	d.victim = slices.IndexFunc(d.fleet.nodes, func(p *process) bool { return p.name == d.home })
	fmt.Fprintf(d.stdout, "Her home is %s: whichever node is asked, that one decides. Its deputy %s has a copy. The leader is %s.\n",
		d.home, place.Deputy.Name, v.Leader)
	return nil
}

// kill ends alice's home and waits until another node is.
func (d *demo) kill(ctx context.Context) error {
	pause(ctx, playShip)
	p := d.fleet.nodes[d.victim]
	if err := p.kill(); err != nil {
		return err
	}
	d.killed = true
	fmt.Fprintf(d.stdout, "\n  ---- kill -9 %s (process %d): it is alice's home.\n", p.name, p.running.Pid)
	began := time.Now()
	if err := eventually(ctx, func() error {
		a, err := d.clients[d.next()].Check(ctx, client.CheckRequest{Domain: "demo", Attributes: map[string]string{"user": "alice"}, Mode: client.Peek})
		if err == nil && (a.Home == p.name || strings.HasPrefix(a.Reason, "FALLBACK") || a.Status == http.StatusServiceUnavailable) {
			err = fmt.Errorf("%s by %q", a.Reason, a.Home)
		}
		d.home = a.Home
		return err
	}); err != nil {
		return fmt.Errorf("find another home for alice: %w", err)
	}
	fmt.Fprintf(d.stdout, "       Its deputy answered meanwhile. After %v %s is her home, and goes on with the copy it had.\n",
		time.Since(began).Round(100*time.Millisecond), d.home)
	d.phase = ""
	return nil
}

// ask sends one request of alice's through the next living node and prints what came of it. An answer
// that could not be decided is asked for again, with the same key while it is unknown what happened.
func (d *demo) ask(ctx context.Context, n int) (client.Decision, error) {
	key := fmt.Sprintf("demo-%d", n)
	for try := 1; ; try++ {
		i := d.next()
		a, err := d.clients[i].Check(ctx, client.CheckRequest{
			Domain: "demo", Attributes: map[string]string{"user": "alice"}, IdempotencyKey: key,
		})
		trouble := ""
		switch {
		case err != nil:
			trouble = err.Error()
		case a.Status == http.StatusServiceUnavailable:
			trouble = a.Reason
			key = fmt.Sprintf("demo-%d-%d", n, try) // that one is decided, so this is another request
		default:
			d.row(ctx, n, i, a)
			return a, nil
		}
		if try == triesMax || ctx.Err() != nil {
			return a, fmt.Errorf("request %d: no decision in %d tries: %s", n, try, trouble)
		}
		fmt.Fprintf(d.stdout, "  %2d  %-5s undecided, asked again: %s\n", n, d.fleet.nodes[i].name, trouble)
		pause(ctx, tryPause)
	}
}

// next takes the living nodes in turn.
func (d *demo) next() int {
	if d.killed && d.asks%len(d.clients) == d.victim {
		d.asks++
	}
	i := d.asks % len(d.clients)
	d.asks++
	return i
}

// row prints an answer and adds it up.
func (d *demo) row(ctx context.Context, n, asked int, a client.Decision) {
	source, left, balance := "-", "-", "-"
	for _, p := range a.Sources {
		source = p.Source
		d.units[p.Source] += p.Amount
		d.micros[p.Source] += p.CreditsMicros
	}
	for _, l := range a.Limits {
		left = fmt.Sprintf("%d of %d", l.Remaining, l.Limit)
	}
	if s, err := d.clients[asked].Account(ctx, "alice"); err == nil {
		balance = amount(s.BalanceMicros).String()
	}
	if a.Home != d.home {
		d.wrong = append(d.wrong, fmt.Sprintf("request %d was decided by %q, not by alice's home %s", n, a.Home, d.home))
	}
	if source != d.phase {
		d.phase = source
		fmt.Fprintf(d.stdout, "  %s\n", phaseTitle(source))
	}
	fmt.Fprintf(d.stdout, "  %2d  %-5s %-5s %-8s %-18s %-9s %10s %8s\n",
		n, d.fleet.nodes[asked].name, a.Home, a.Verdict, a.Reason, source, left, balance)
}

func phaseTitle(source string) string {
	switch source {
	case "LIMIT":
		return "within her limit, 5 requests a minute:"
	case "INCLUDED":
		return "past the limit, 0.01 a request, from the quota included in her plan:"
	case "PROMO":
		return "from a promotion:"
	case "CREDIT":
		return "from credit she paid for:"
	default:
		return "nothing is left:"
	}
}

// eventually repeats try until it works; a cluster that has just started may need a moment.
func eventually(ctx context.Context, try func() error) error {
	for tries := 1; ; tries++ {
		err := try()
		if err == nil || tries == triesMax || ctx.Err() != nil {
			return err
		}
		pause(ctx, tryPause)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
