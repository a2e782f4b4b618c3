package bench

import (
	"context"
	"math/rand/v2"
	"time"
)

// arrivals is an open loop's schedule: messages that come by themselves, independent of each other and of the
// answers (a Poisson process).
type arrivals struct {
	mean float64 // nanoseconds between two
	at   float64 // nanoseconds since the start
	r    *rand.Rand
}

func newArrivals(perSecond float64, seed uint64) *arrivals {
	return &arrivals{mean: float64(time.Second) / perSecond, r: rand.New(rand.NewPCG(seed, 1))}
}

// next returns when the next message should be sent, since the start of the schedule.
func (a *arrivals) next() time.Duration {
	a.at += a.r.ExpFloat64() * a.mean
	return time.Duration(a.at)
}

// clock is time as pace needs it.
type clock struct {
	now func() time.Time
	nap func(time.Duration) // sleeps at most about so long; it may wake early
}

// pace hands out the intended time of each arrival when it has come, from start until the end of the schedule
// or of ctx, and closes due. It never skips one: while nobody takes an arrival the ones behind it wait, and
// their lateness counts from the time they were meant for.
func pace(ctx context.Context, c clock, a *arrivals, start, end time.Time, due chan<- time.Time) {
	defer close(due)
	for at := start.Add(a.next()); at.Before(end); at = start.Add(a.next()) {
		for left := at.Sub(c.now()); left > 0; left = at.Sub(c.now()) {
			if ctx.Err() != nil {
				return
			}
			c.nap(left)
		}
		select {
		case due <- at:
		case <-ctx.Done():
			return
		}
	}
}
