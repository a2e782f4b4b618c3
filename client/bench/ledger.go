package bench

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// The loads of the ledger's figures, as promised.
const (
	batchedDebits  = 256
	batchedCallers = 48 // 12,288 debits under way; the queue before the log takes 16,384
	singleCallers  = 512
)

// DefaultLedger takes about half a minute. In a longer run the keys of all debits would not fit into the ledger's memory of them.
func DefaultLedger() FiguresConfig {
	return FiguresConfig{Rounds: 3, Round: time.Second, Idle: time.Second}
}

// Ledger measures what the project promises of the ledger, on three nodes that the Bed starts, whose disks sync every write. The
// debits go to the node that leads. It returns as Figures does. (What an empty machine does in the place of the ledger's is measured
// by BenchmarkLedgerAgainstEmpty of package node: it has no door.)
func Ledger(ctx context.Context, c FiguresConfig, bed Bed) (Report, error) {
	r := newReport(c.Version, "suite ledger", time.Now())
	if err := c.Validate(); err != nil {
		return r, err
	}
	f := &figures{FiguresConfig: c, bed: bed, report: &r}
	err := f.ledger(ctx)
	if ctx.Err() != nil {
		r.Partial, err = "it was interrupted", nil
	}
	return r, err
}

func (f *figures) ledger(ctx context.Context) error {
	f.config().say("starting %s", nodes(figureNodes))
	addrs, end, err := f.bed.Nodes(ctx, figureNodes)
	if err != nil {
		return fmt.Errorf("start %s: %w", nodes(figureNodes), err)
	}
	defer end()
	to, err := find(ctx, strings.Join(addrs, ","))
	if err != nil {
		return err
	}
	lead := 0
	for i, n := range to.nodes {
		if n.name == to.view.Leader {
			lead = i
		}
	}
	wires, err := connect(to)
	if err != nil {
		return err
	}
	defer wires.close()
	open := func(name string, batch int, l load) (rounds, error) {
		b, err := openTill(ctx, wires[lead], batch)
		if err != nil {
			return rounds{}, err
		}
		defer b.stop()
		l.window, l.warmup = f.Round, stepWarmup
		f.config().say("%s: %d rounds of %v", name, f.Rounds, f.Round)
		all, err := turns(ctx, f.Rounds, l, side{onWeir, b, to.httpAddrs()})
		if err == nil {
			f.report.Steps = append(f.report.Steps, all[0].step(name, onWeir, l, batch))
		}
		return all[0], err
	}
	many, err := open("batched debits", batchedDebits, load{callers: batchedCallers})
	f.add(ctx, err, atLeast("batched debits, 256 a message", "debits/s", 100_000, many.perSecond(), fmt.Sprintf("%d callers", batchedCallers)))
	one, err := open("single debits", 1, load{callers: singleCallers})
	note := fmt.Sprintf("%d callers", singleCallers)
	if err == nil {
		if half, err := open("single debits, half", 1, load{callers: singleCallers, rate: median(one.perSecond()) / 2}); err == nil {
			note += fmt.Sprintf("; at half of that p99 is %.1f ms", median(half.p99())/1e3)
		}
	}
	f.add(ctx, err, atLeast("single debits over a stream", "debits/s", 30_000, one.perSecond(), note))
	return nil
}
