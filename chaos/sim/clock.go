package sim

import (
	"sync"
	"time"
)

// clock is a node's own clock, which may be ahead, behind, fast or slow. Like node.Config's own it never goes back
// while a process lives: a setback holds from the next start on.
type clock struct {
	mu     sync.Mutex
	anchor time.Time // when the clock was last set, true time
	shown  time.Time // what it showed then
	rate   float64
	frozen bool
	skewed uint64 // readings while the clock was set to run wrong
	wrong  bool
}

func newClock(offset time.Duration, rate float64) *clock {
	now := time.Now()
	return &clock{anchor: now, shown: now.Add(offset), rate: rate}
}

// now reads the clock.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wrong {
		c.skewed++
	}
	return c.read()
}

func (c *clock) read() time.Time {
	if c.frozen {
		return c.shown
	}
	return c.shown.Add(time.Duration(float64(time.Since(c.anchor)) * c.rate))
}

// set changes how the clock goes on from what it shows now: a jump ahead, and a rate. wrong has readings counted.
func (c *clock) set(jump time.Duration, rate float64, wrong bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown, c.anchor, c.rate, c.wrong = c.read().Add(max(jump, 0)), time.Now(), rate, wrong
}

// freeze stops the clock. thaw has it show true progress again: a stopped process that goes on sees how late it is.
func (c *clock) freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.frozen {
		c.shown, c.anchor, c.frozen = c.read(), time.Now(), true
	}
}

func (c *clock) thaw() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = false
}

// readings returns how often the clock was read while it ran wrong.
func (c *clock) readings() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skewed
}
