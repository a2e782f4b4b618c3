//go:build !linux

package bench

import "time"

// nap sleeps about d.
func nap(d time.Duration) { time.Sleep(d) }
