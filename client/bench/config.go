package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-cluster/weir/client/bench/floor"
)

// Loop says when a message is sent.
type Loop string

// The loops.
const (
	Closed Loop = "closed" // each caller sends when its last message is answered: finds the maximum
	Open   Loop = "open"   // messages come when they come; latency counts from then, however late they are sent
)

// Via is the way that checks go in.
type Via string

// The ways in.
const (
	ViaUnary  Via = "unary"  // Check, one call each
	ViaStream Via = "stream" // CheckStream: messages of Batch checks; single checks share a stream a node
	ViaBatch  Via = "batch"  // CheckBatch
	ViaRLS    Via = "rls"    // Envoy's ShouldRateLimit
	ViaClient Via = "client" // package client: single checks that share a stream a node
)

// Bounds of a bench.
const (
	keysMax      = 200_000
	batchMax     = 1000
	callersMax   = 4096
	rateMax      = 10_000_000
	durationMin  = 100 * time.Millisecond
	durationMax  = 10 * time.Minute
	nodesMax     = 9
	roundsMax    = 100
	callersOpen  = 256 // of an open loop, if not said otherwise: more than are ever busy below the maximum
	searchTime   = time.Second
	callTime     = 10 * time.Second
	stepWarmup   = 200 * time.Millisecond
	firstWarmup  = time.Second
	durationLess = 5 * time.Second
)

// Config says what load to put on. Zero fields have the defaults of DefaultConfig but for those where zero is
// a choice.
type Config struct {
	Nodes    int    // of a cluster that the Bed starts
	Addr     string // HTTP addresses of a running cluster, separated by commas, instead
	Via      Via
	Route    Route
	Loop     Loop    // Closed measures the maximum only; Open then also 25, 50, 75 and 90 % of it
	Rate     float64 // decisions a second of an open loop, instead of the percentages; 0: those
	Callers  int     // that send at once; 0: as many as give the most, and 256 in an open loop
	Keys     int     // accounts
	Spread   Spread
	Batch    int           // checks in a message, for ViaStream and ViaBatch
	Duration time.Duration // of one step
	Warmup   time.Duration // before the first step
	Rounds   int           // that a step is cut into, in turns with the floor
	Version  string        // of Weir, for the report
	// Progress hears what is done now; nil hears nothing. It must not block.
	Progress func(what string)
}

// DefaultConfig is three nodes, unary checks to their homes, at the maximum and below it.
func DefaultConfig() Config {
	return Config{
		Nodes: 3, Via: ViaUnary, Route: Home, Loop: Open, Keys: 10_000, Spread: Uniform, Batch: 1,
		Duration: durationLess, Warmup: firstWarmup, Rounds: 5,
	}
}

// Validate returns everything that is wrong with the configuration.
func (c Config) Validate() error {
	var wrong []error
	say := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	say(c.Addr == "" && (c.Nodes < 1 || c.Nodes > nodesMax), "nodes %d: 1 to %d", c.Nodes, nodesMax)
	switch c.Via {
	case ViaUnary, ViaStream, ViaBatch, ViaRLS, ViaClient:
	default:
		wrong = append(wrong, fmt.Errorf("via %q: unary, stream, batch, rls or client", c.Via))
	}
	switch c.Route {
	case Home, Any, Single, Away:
	default:
		wrong = append(wrong, fmt.Errorf("route %q: home, any, single or away", c.Route))
	}
	switch c.Spread {
	case Uniform, Zipf, Hot:
	default:
		wrong = append(wrong, fmt.Errorf("spread %q: uniform, zipf or hot", c.Spread))
	}
	say(c.Loop != Closed && c.Loop != Open, "loop %q: closed or open", c.Loop)
	say(c.Rate != 0 && c.Loop == Closed, "rate %v: only an open loop has one", c.Rate)
	say(c.Rate < 0 || c.Rate > rateMax, "rate %v: 0 to %d decisions a second", c.Rate, rateMax)
	say(c.Callers < 0 || c.Callers > callersMax, "callers %d: 0 to %d", c.Callers, callersMax)
	say(c.Keys < 1 || c.Keys > keysMax, "keys %d: 1 to %d", c.Keys, keysMax)
	say(c.Batch < 1 || c.Batch > batchMax, "batch %d: 1 to %d", c.Batch, batchMax)
	say(c.Batch > 1 && c.Via != ViaStream && c.Via != ViaBatch, "batch %d: via %s sends single checks", c.Batch, c.Via)
	say(c.Via == ViaClient && c.Route != Home && c.Route != Any, "route %s: via client goes home or to any", c.Route)
	say(c.Via == ViaRLS && (c.Route == Home || c.Route == Away), "route %s: an Envoy tree has no accounts, so via rls goes to any or to a single node", c.Route)
	say(c.Duration < durationMin || c.Duration > durationMax, "duration %v: %v to %v", c.Duration, durationMin, durationMax)
	say(c.Warmup < 0 || c.Warmup > durationMax, "warmup %v: 0 to %v", c.Warmup, durationMax)
	say(c.Rounds < 1 || c.Rounds > roundsMax, "rounds %d: 1 to %d", c.Rounds, roundsMax)
	return errors.Join(wrong...)
}

// Process is where a process of the Bed listens.
type Process struct{ HTTP, GRPC string }

// Bed starts the processes that are measured, on this machine. Each call returns once they are ready, with
// how to end them; they also end with ctx.
type Bed interface {
	// Nodes starts a cluster of n nodes with Policy.
	Nodes(ctx context.Context, n int) (httpAddrs []string, end func(), err error)
	// Calls starts a process that runs floor.Calls.
	Calls(ctx context.Context, a floor.Answers) (p Process, end func(), err error)
	// Idle starts n processes that run floor.Idle with each other.
	Idle(ctx context.Context, n int) (httpAddrs []string, end func(), err error)
}
