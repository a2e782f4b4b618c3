package node

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An idle node wakes up once for all that it looks after, whenever each of them began.
func TestLooksAreInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parts{began: time.Now()}
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		moments := map[time.Duration]bool{}
		look := func(every time.Duration) {
			p.look(ctx, every, func() bool {
				mu.Lock()
				defer mu.Unlock()
				moments[time.Since(p.began)] = true
				return false
			})
		}
		time.Sleep(70 * time.Millisecond)
		go look(lookEvery)
		time.Sleep(60 * time.Millisecond)
		go look(5 * lookEvery)
		time.Sleep(2*time.Second - 130*time.Millisecond)
		synctest.Wait()
		cancel()
		for at := range moments {
			if at%lookEvery != 0 {
				t.Errorf("a look after %v: not in step", at)
			}
		}
		if len(moments) != int(2*time.Second/lookEvery) {
			t.Errorf("%d looks in 2s, want one every %v: %v", len(moments), lookEvery, moments)
		}
	})
}
