package simnet

import (
	"sync"
	"time"
)

// deadline turns a time into a flag. The network's lock guards it.
type deadline struct {
	expired bool
	timer   *time.Timer
	round   int // how often it was set: a timer of an earlier round has no say
}

// set replaces the deadline and wakes those who wait on ready when it is over. The zero time is never over.
func (d *deadline) set(t time.Time, ready *sync.Cond) {
	d.stop()
	d.expired = false
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.expired = true
		ready.Broadcast()
		return
	}
	round := d.round
	d.timer = time.AfterFunc(left, func() {
		ready.L.Lock()
		defer ready.L.Unlock()
		if d.round == round {
			d.expired = true
			ready.Broadcast()
		}
	})
}

func (d *deadline) stop() {
	d.round++
	if d.timer != nil {
		d.timer.Stop()
	}
}
