// Command weir is a node of a Weir cluster and the tools to talk to one: `weir dev` starts three nodes
// to try it out, `weir serve` one node of a real cluster, the other commands ask whichever is running.
// It exits with 0 when it worked or the check was allowed, 1 when the answer was no, 2 when there was no
// answer, and 64 when it was called wrongly.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal asks for a graceful end, a second one ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
