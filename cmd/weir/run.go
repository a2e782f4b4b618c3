package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kong"

	"github.com/weir-cluster/weir/client/rest"
)

// The exit codes; scripts rely on them.
const (
	exitOK     = 0
	exitDenied = 1
	exitFailed = 2
	exitUsage  = 64
)

var (
	errDenied = errors.New("denied")     // the answer was no and has been printed
	errUsage  = errors.New("wrong call") // arguments that only the command itself could judge
)

type commandLine struct {
	Global globals `embed:""`

	Dev      devCommand      `cmd:"" help:"Start three nodes on this machine to try Weir out."`
	Demo     demoCommand     `cmd:"" help:"Watch limits, grants and credit run out while a node is killed."`
	Serve    serveCommand    `cmd:"" help:"Run one node of a cluster."`
	Check    checkCommand    `cmd:"" help:"Ask whether a request may go on."`
	Limits   limitsCommand   `cmd:"" help:"Show how an account stands with its limits."`
	Override overrideCommand `cmd:"" help:"Give one account its own numbers for a limit."`
	Block    blockCommand    `cmd:"" help:"Refuse everything of an account."`
	Unblock  unblockCommand  `cmd:"" help:"End a block."`
	Reset    resetCommand    `cmd:"" help:"Start an account's limits afresh."`
	Members  membersCommand  `cmd:"" help:"List the nodes of the cluster, or take one off."`
	Home     homeCommand     `cmd:"" help:"Show which node decides for an account."`
	Policy   policyCommand   `cmd:"" help:"Check, test, compare, apply, show or roll back the policy."`
	Credits  creditsCommand  `cmd:"" help:"Open accounts, grant, debit, show balances."`
	Events   eventsCommand   `cmd:"" help:"Watch what happens in the ledger."`
	Ledger   ledgerCommand   `cmd:"" help:"Look into the ledger, back it up, restore it, or save it when a quorum is lost."`
	Bench    benchCommand    `cmd:"" help:"Put load on a cluster and measure what it does."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

type globals struct {
	Addr    string        `env:"WEIR_ADDR" default:"127.0.0.1:8080" placeholder:"HOST:PORT,..." help:"HTTP addresses of nodes, asked in this order (${default})."`
	Output  string        `short:"o" enum:"text,json" default:"text" help:"Print for people (text) or programs (json)."`
	Timeout time.Duration `default:"5s" help:"Longest time for one call."`
}

// shell is what a command works with besides its own flags.
type shell struct {
	globals
	args           []string // as they were given, to say how to repeat them
	stdout, stderr io.Writer
}

func (s *shell) client() (*rest.Client, error) {
	if s.Timeout <= 0 {
		return nil, fmt.Errorf("%w: --timeout %v must be positive", errUsage, s.Timeout)
	}
	c, err := rest.New(rest.Config{Addr: s.Addr, Timeout: s.Timeout})
	if err != nil {
		return nil, fmt.Errorf("%w: --addr: %w", errUsage, err)
	}
	return c, nil
}

// run is the whole program but for signals and the exit itself; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	line := commandLine{}
	helped := false
	parser, err := kong.New(&line,
		kong.Name("weir"),
		kong.Description("Rate limits, usage and credits in one decision.\n\nTry it: `weir dev` in one terminal, then"+
			" `weir check user=alice` in another; `weir demo` shows it without you."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		fmt.Fprintln(stderr, "weir:", err)
		return exitFailed
	}
	parsed, err := parser.Parse(args)
	switch {
	case helped:
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "weir: %v\nRun `weir --help`, or -h after a command, for examples.\n", err)
		return exitUsage
	}
	return exitCode(parsed.Run(&shell{globals: line.Global, args: args, stdout: stdout, stderr: stderr}), stderr)
}

func exitCode(err error, stderr io.Writer) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errDenied):
		return exitDenied
	}
	fmt.Fprintln(stderr, "weir:", err)
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFailed
}
