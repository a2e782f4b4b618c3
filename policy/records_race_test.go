package policy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ring"
)

// Everything at once; the race detector watches. What was reserved and decided is all at the copy in the end.
func TestRecordsOfAnyGoroutine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, settlePolicy)
		g.open(t, "alice", 0, 0, 1_000_000_000)
		p := ring.Partition("llm", "alice")
		from, to := g.node(g.few(0)), g.node(g.few(0))
		from.c = Idempotent(from.w, IdempotentConfig{
			Policy: g.w.c.Policy, Now: g.w.c.Now, Records: from.records,
			Replicated: func(context.Context, uint16) bool { time.Sleep(time.Millisecond); return false },
		})
		from.records.Track(p, true)
		ship := func() {
			for more := true; more; {
				var chunk []byte
				if chunk, more = from.records.Changes(p, 300); chunk != nil {
					if err := to.records.Restore(p, 0, chunk); err != nil {
						t.Error(err)
					}
				}
			}
		}
		var clients, shipper sync.WaitGroup
		stop := make(chan struct{})
		for i := range 4 {
			clients.Go(func() { reserveAndSettle(t, from, "k"+strconv.Itoa(i/2)) })
		}
		shipper.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				ship()
				to.records.Due(nil)
				switch n % 7 {
				case 3:
					from.records.Track(p, true)
				case 5:
					to.records.Drop(p)
					from.records.Track(p, true)
				case 6:
					from.records.sweep(g.w.c.Now())
				}
			}
		})
		clients.Wait()
		close(stop)
		shipper.Wait()
		from.records.Track(p, true)
		ship()
		if a, b := from.records, to.records; a.reserved != b.reserved || a.keys != b.keys || a.keys != 40 || a.claimed != 0 {
			t.Errorf("%d reservations and %d keys, the copy has %d and %d; %d claimed", a.reserved, a.keys, b.reserved, b.keys, a.claimed)
		}
	})
}

// reserveAndSettle is a client that repeats all that it does.
func reserveAndSettle(t *testing.T, n *node, name string) {
	for i := range 20 {
		d, err := n.c.Check(t.Context(), alice("reserve", "tokens:30", fmt.Sprint("key=", name, "-", i)))
		if err != nil {
			t.Error(err)
			return
		}
		for _, s := range []Settlement{
			{Actual: []Cost{{"tokens", 40}}},
			{Extend: time.Minute},
			{Actual: []Cost{{"tokens", 10}}, Final: true},
			{Actual: []Cost{{"tokens", 10}}, Final: true},
		} {
			s.Reservation = d.Reservation
			if _, err := n.w.Settle(t.Context(), s); err != nil && !errors.Is(err, ErrConflict) { // the other with this key ended it
				t.Error(err)
			}
		}
	}
}
