package group

import "time"

// reading is what a leader read off its monotonic clock, and in which term. A term has one leader, which is one process, so two
// readings of a term are of one clock. The zero value is none.
type reading struct {
	term uint64
	mono time.Duration
}

// elapsed is how much time has surely passed in the life of a group: what Stamp.Elapsed says. It is the same on every replica.
// It adds up what passed between entries of one term and stands still from one term to the next, so it may fall behind
// real time and never leads it, but for the drift of the leaders' clocks. (LEDGER 4.2's E.)
type elapsed struct {
	total time.Duration
	last  reading
}

// move goes on to an entry of a term of the log. One that its leader packed in another term than it was appended in, or that has
// no reading, adds nothing and starts anew.
func (e *elapsed) move(term uint64, r reading) {
	if r.term != term {
		e.last = reading{}
		return
	}
	if e.last.term != term {
		e.last = r
		return
	}
	if passed := r.mono - e.last.mono; passed > 0 {
		e.total += passed
		e.last = r // a clock that went back must not count the same time twice
	}
}
