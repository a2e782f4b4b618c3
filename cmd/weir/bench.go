package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/weir-cluster/weir/client/bench"
)

type benchCommand struct {
	Run     benchRunCommand     `cmd:"" default:"withargs" help:"Put load on a cluster (the default)."`
	Ledger  benchLedgerCommand  `cmd:"" help:"Measure the figures of the ledger."`
	Compare benchCompareCommand `cmd:"" help:"Compare two saved reports."`
	Policy  benchPolicyCommand  `cmd:"" help:"Print the policy that a cluster needs to be measured."`
	Floor   benchFloorCommand   `cmd:"" hidden:"" help:"Run a process that decides nothing, for the bench to compare with."`
}

// Help is what `weir bench -h` adds to the commands.
func (benchCommand) Help() string {
	return `Without --addr it starts its own nodes on this machine, beside processes that decide nothing: the floor, which
is what the libraries cost alone. Weir and the floor are loaded in turns. First it looks for the most that comes
through (closed loop), then it measures latency at 25, 50, 75 and 90 % of that (open loop: latency counts from
when a message was due, however late it was sent). All the while one account with an exact limit is asked for
through every node, and admissions beyond its bound are counted.

Examples:

    weir bench
    weir bench --via stream --batch 100 --nodes 1 --loop closed
    weir bench --via client --route any --rate 5000 --duration 30s
    weir bench --spread hot --save hot.json -o json
    weir bench --suite figures --save today.json && weir bench compare yesterday.json today.json --fail-over 10
    weir bench policy >bench.yaml && weir bench --addr 10.0.0.5:8080,10.0.0.6:8080

With --addr the cluster must have the domains of ` + "`weir bench policy`" + ` in force. The flags: weir bench run -h.

Exit code: 0 done, 1 more was admitted than the exact limit allows, 2 not done or not to the end, 64 wrong call.`
}

type benchRunCommand struct {
	Suite    string        `enum:"none,figures" default:"none" help:"Measure a named suite instead: figures."`
	Nodes    int           `default:"3" help:"Start so many nodes; without --addr only."`
	Via      bench.Via     `enum:"unary,stream,batch,rls,client" default:"unary" help:"Send by unary, stream, batch, rls or the Go client."`
	Route    bench.Route   `enum:"auto,home,any,single,away" default:"auto" help:"Send to the home, any node, a single one, or away from home; auto is home where there is one."`
	Loop     bench.Loop    `enum:"open,closed" default:"open" help:"open: the maximum, then latency below it; closed: the maximum only."`
	Rate     float64       `placeholder:"N" help:"Measure at so many decisions a second only (open loop)."`
	Callers  int           `placeholder:"N" help:"Callers that send at once; found by trying when left out."`
	Keys     int           `default:"10000" help:"Accounts that checks are for."`
	Spread   bench.Spread  `enum:"uniform,zipf,hot" default:"uniform" help:"How checks fall on them; hot gives half of all to one."`
	Batch    int           `default:"1" help:"Checks in a message, by stream or batch: 1 to 1000."`
	Duration time.Duration `default:"5s" help:"Length of a step on each side, 100ms to 10m."`
	Warmup   time.Duration `default:"1s" help:"Load before the first step."`
	Rounds   int           `placeholder:"N" help:"Rounds a step is cut into, in turns with the floor (5; figures 7)."`
	Save     string        `placeholder:"FILE" help:"Write the report as JSON as well."`
}

// Help is what `weir bench run -h` adds to the flags.
func (benchRunCommand) Help() string {
	return `The word run can be left out. What is measured, with examples: weir bench -h.`
}

// Run puts the load on, prints the report, and returns errDenied when too much was admitted.
func (c *benchRunCommand) Run(ctx context.Context, s *shell, k *kong.Context) error {
	p := newProgress(s.stderr, time.Now)
	bed, end, err := newBed()
	if err != nil {
		return err
	}
	defer end()
	var r bench.Report
	if c.Suite == "figures" {
		r, err = c.figures(ctx, k, p, bed)
	} else {
		r, err = c.measure(ctx, s, k, p, bed)
	}
	p.done()
	if len(r.Steps)+len(r.Figures) == 0 {
		if err == nil {
			err = errors.New("it was interrupted before anything was measured")
		}
		return fmt.Errorf("bench: %w", err)
	}
	err = errors.Join(err, c.save(r), show(s, r, reportText))
	switch {
	case err != nil:
		return fmt.Errorf("bench: %w", err)
	case r.OverAdmitted():
		return errDenied
	case r.Partial != "":
		return fmt.Errorf("bench: %s: the report is of what there was", r.Partial)
	}
	return nil
}

func (c *benchRunCommand) figures(ctx context.Context, k *kong.Context, p *progress, bed bench.Bed) (bench.Report, error) {
	f := bench.DefaultFigures()
	f.Version, f.Progress = buildVersion(), p.say
	if given(k, "addr") {
		return bench.Report{}, fmt.Errorf("%w: --suite figures measures nodes that it starts itself, without --addr", errUsage)
	}
	if c.Rounds > 0 {
		f.Rounds = c.Rounds
	}
	if given(k, "duration") {
		f.Round = c.Duration / time.Duration(f.Rounds)
	}
	if err := f.Validate(); err != nil {
		return bench.Report{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	return bench.Figures(ctx, f, bed)
}

func (c *benchRunCommand) measure(ctx context.Context, s *shell, k *kong.Context, p *progress, bed bench.Bed) (bench.Report, error) {
	b := c.config()
	b.Version, b.Progress = buildVersion(), p.say
	if given(k, "addr") { // only ever asked for by name: WEIR_ADDR may be a cluster that people depend on
		b.Addr = s.Addr
	}
	if err := b.Validate(); err != nil {
		return bench.Report{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	return bench.Run(ctx, b, bed)
}

func (c *benchRunCommand) config() bench.Config {
	b := bench.DefaultConfig()
	b.Nodes, b.Via, b.Route, b.Loop, b.Rate, b.Callers = c.Nodes, c.Via, c.Route, c.Loop, c.Rate, c.Callers
	b.Keys, b.Spread, b.Batch, b.Duration, b.Warmup = c.Keys, c.Spread, c.Batch, c.Duration, c.Warmup
	if c.Rounds > 0 {
		b.Rounds = c.Rounds
	}
	if b.Route == "auto" {
		b.Route = bench.Home
		if b.Via == bench.ViaRLS {
			b.Route = bench.Any
		}
	}
	return b
}

// given reports whether a flag stands on the command line.
func given(k *kong.Context, flag string) bool {
	for _, p := range k.Path {
		if p.Flag != nil && p.Flag.Name == flag && !p.Resolved {
			return true
		}
	}
	return false
}

func (c *benchRunCommand) save(r bench.Report) error {
	if c.Save == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the report as JSON: %w", err)
	}
	if err := os.WriteFile(c.Save, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("save the report: %w", err)
	}
	return nil
}

type benchPolicyCommand struct{}

// Run prints the policy.
func (benchPolicyCommand) Run(s *shell) error {
	_, err := s.stdout.Write(bench.Policy)
	return err
}
