package policy

import (
	"context"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

const (
	undoTries    = 12
	undoTimeout  = 2 * time.Second
	undoPause    = 100 * time.Millisecond // doubled after each try, up to undoPauseMax
	undoPauseMax = 5 * time.Second
	sweepEvery   = 10 * time.Second
)

// undo hands over the return of a debit whose outcome is unknown while its request was refused. With the queue full
// the debit stays as it may be, and a log line names it.
func (w *Waterfall) undo(r ledger.Return) {
	select {
	case w.undos <- r:
	default:
		w.c.Logger.Error("a debit of unknown outcome is left standing: too many wait to be undone", "debit", r.Debit, "account", r.Account)
	}
}

// Run undoes the debits of requests that were refused while the ledger's answer was unknown, and forgets reservations
// that ended. It blocks until ctx ends and then logs which debits it leaves standing; it returns nil.
func (w *Waterfall) Run(ctx context.Context) error {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-sweep.C:
			w.c.Records.sweep(w.c.Now())
		case r := <-w.undos:
			w.carryOut(ctx, r)
		}
	}
	for {
		select {
		case r := <-w.undos:
			w.leave(r, ctx.Err())
		default:
			return nil
		}
	}
}

// carryOut tries one return until it is done, or too often. While the ledger is away the others wait behind it:
// they could not succeed either.
func (w *Waterfall) carryOut(ctx context.Context, r ledger.Return) {
	pause := undoPause
	for try := 1; ; try++ {
		limited, cancel := context.WithTimeout(ctx, undoTimeout)
		_, err := w.c.Purse.Return(limited, r)
		cancel()
		if err == nil {
			return
		}
		if try == undoTries || ctx.Err() != nil {
			w.leave(r, err)
			return
		}
		rest := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-rest.C:
		}
		rest.Stop()
		pause = min(2*pause, undoPauseMax)
	}
}

func (w *Waterfall) leave(r ledger.Return, why error) {
	w.c.Logger.Error("a debit of unknown outcome is left standing", "debit", r.Debit, "account", r.Account, "error", why)
}
