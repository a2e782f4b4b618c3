package bench

import (
	"syscall"
	"time"
)

// napFine is how long a nap of the system's takes at most; the runtime's timers wake up to a millisecond late,
// which an open loop would book as latency of whatever it measures.
const napFine = 2 * time.Millisecond

// nap sleeps about d, or less.
func nap(d time.Duration) {
	if d > napFine {
		time.Sleep(d - napFine)
		return
	}
	t := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&t, nil) // interrupted is an early wake-up
}
