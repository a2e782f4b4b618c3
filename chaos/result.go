package chaos

import "time"

// Status is how an invariant fared.
type Status uint8

// The zero value promises least.
const (
	Inconclusive Status = iota // too little happened to say
	Held
	Refuted
)

// String returns the status in lower case.
func (s Status) String() string {
	switch s {
	case Held:
		return "held"
	case Refuted:
		return "refuted"
	default:
		return "inconclusive"
	}
}

// Result is what a checker found.
type Result struct {
	Invariant string // such as M1
	Status    Status
	Bound     float64
	Observed  float64
	Margin    float64 // Bound - Observed, in the unit of both
	Unit      string
	Excerpt   []Op // the smallest part of the history that shows it, when refuted
	Why       string
}

// Limit is what the checkers must know of a limit of the policy, from a moment on.
type Limit struct {
	Name      string
	Algorithm string // token_bucket, fixed_window, calendar_window, sliding_window, rolling_log, concurrency
	Burst     int64
	Rate      float64 // units a second
	Limit     int64   // of a window
	Window    time.Duration
	Fallback  string // share, open, closed
	Spill     bool
	Roster    int           // nodes that share it when the home is out of reach, at least
	From      time.Duration // since the run began
	// Takeover is what a new home starts with: copy, what its copy of the home before says; empty, that and nothing left of a
	// token bucket; or fresh. Not given it is empty for a token bucket and fresh for the others.
	Takeover string
	Skew     time.Duration // by how much the clocks of two nodes differ at most: windows end by them
}
