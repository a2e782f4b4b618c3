package wallet

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// Five homes draw on one account until nothing is left: each of the last 100 credits is used, none twice, and nobody is refused
// while there is credit that could have come back within a report interval.
func TestLastCreditsOfAnAccountAreAllUsed(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			const amount = credit / 10
			const most = 1400 * time.Millisecond // a report interval, with a quarter for the turn, and the ways
			b := newBank(t, lending(), seed)
			b.open("a", 100*credit)
			b.slow = 20
			var homes []*running
			var mu sync.Mutex
			var drawn ledger.Credits
			var lastRefused time.Time
			refused := make([]time.Time, 5) // since when each home is
			var all sync.WaitGroup
			memory := 0
			for i := range 5 {
				h := b.hold(fmt.Sprint("n", i), nil)
				homes = append(homes, h)
				rng := rand.New(rand.NewPCG(seed, uint64(i)))
				all.Go(func() {
					for n := range 2000 {
						time.Sleep(time.Duration(rng.IntN(40+60*i)) * time.Millisecond)
						d := ledger.Debit{Key: fmt.Sprintf("l-%d-%d", i, n), Account: "a", Amount: amount, Overshoot: ledger.Deny}
						r, err := h.Debit(t.Context(), d)
						mu.Lock()
						switch {
						case err != nil:
							t.Error(err)
						case r.Outcome == ledger.Done:
							drawn, refused[i] = drawn+amount, time.Time{}
							if r.Allowance != 0 {
								memory++
							}
						case refused[i].IsZero():
							refused[i], lastRefused = time.Now(), time.Now()
						case time.Since(refused[i]) > most && drawn < 100*credit:
							t.Errorf("seed %d: %s refused for %s, and %s is left", seed, h.c.Home, time.Since(refused[i]), 100*credit-drawn)
						}
						over := !lastRefused.IsZero() && time.Since(lastRefused) > 5*time.Second
						mu.Unlock()
						if over {
							return
						}
					}
				})
			}
			all.Wait()
			if drawn != 100*credit {
				t.Errorf("seed %d: %s of 100 drawn, %d from memory", seed, drawn, memory)
			}
			for _, h := range homes {
				_ = h.Close(t.Context())
				h.stop()
			}
			if a := b.account("a"); a.Books[ledger.Spent] != 100*credit || a.Balance != 0 || memory < 400 {
				t.Errorf("seed %d: %v, %d from memory", seed, a.Books, memory)
			}
			b.sound()
		})
	}
}

// What is steadily drawn costs the ledger at most 10 commands in 1,000 draws, and no draw waits at a renewal.
func TestSteadyDrawsSeldomReachTheLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, lending(), 1)
		b.open("a", 1_000_000*credit)
		b.reply = 5 * time.Millisecond
		w := b.hold("n1", nil)
		w.warm("a", credit/1000)
		time.Sleep(100 * time.Millisecond)
		writes := b.writes
		const draws = 200_000
		for i := range draws {
			if r := w.draw(fmt.Sprintf("l-%d", i), "a", credit/1000); r.Allowance == 0 && i > 200 {
				t.Fatalf("draw %d went to the ledger", i)
			}
			time.Sleep(time.Millisecond)
		}
		if writes = b.writes - writes; writes*1000 > 10*draws {
			t.Errorf("%d writes for %d draws", writes, draws)
		}
		t.Logf("%.2f ledger writes in 1,000 draws", float64(writes)*1000/draws)
		_ = w.Close(t.Context())
		w.stop()
		b.sound()
	})
}
