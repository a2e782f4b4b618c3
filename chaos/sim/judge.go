package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-cluster/weir/chaos"
)

// Judge reads a history and says what it found. rules are of the workload's limits.
type Judge func(h *chaos.History, rules []chaos.Limit) []chaos.Result

const (
	// serveWithin is how much of the end of the liveness phase the core must have served in.
	serveWithin = 5 * time.Second
	// writesTried is how many writes the core must have been asked for in twice that time before none done is a finding: a
	// booker that waits for a node outside the core asks for none.
	writesTried = 3
)

// Judges returns all judges: those of package chaos, and those of what only a simulation promises.
func Judges() []Judge {
	return []Judge{chaos.Judge, alive, recovered, unharmed}
}

// alive judges the liveness phase: in its last seconds each node of the core must have decided checks, the core must
// have written to the ledger, and each node must have come to know what epoch any of it knew before.
func alive(h *chaos.History, _ []chaos.Limit) []chaos.Result {
	r := chaos.Result{Invariant: "S1", Status: chaos.Inconclusive, Why: "there was no liveness phase"}
	core, from, until := liveness(h)
	if until == 0 {
		return []chaos.Result{r}
	}
	r.Status, r.Why = chaos.Held, ""
	since := max(from, until-serveWithin)
	checks, tried, wrote, epochs, newest := make(map[string]int), 0, 0, make(map[string]uint64), uint64(0)
	for _, o := range h.Ops {
		if o.Invoked < from || o.Invoked > until || !slices.Contains(core, o.Node) {
			continue
		}
		if o.Kind.Writes() && o.Invoked >= since-serveWithin && o.Invoked < until-bookTimeout {
			tried++
			if o.Answered() {
				wrote++
			}
		}
		switch {
		case o.Outcome != chaos.OK:
		case o.Invoked < since:
			newest = max(newest, o.Reply.Epoch)
		case o.Kind == chaos.Check:
			checks[o.Node]++
		case o.Kind == chaos.View:
			epochs[o.Node] = max(epochs[o.Node], o.Reply.Epoch)
		}
	}
	for _, name := range core {
		switch {
		case checks[name] == 0:
			r = refuted(r, "%s decided nothing in the last %s of the liveness phase", name, serveWithin)
		case epochs[name] < newest:
			r = refuted(r, "%s is at epoch %d at the end of the liveness phase, others were at %d more than %s before", name, epochs[name], newest, serveWithin)
		}
	}
	if wrote == 0 && tried >= writesTried {
		r = refuted(r, "the core did none of %d writes to the ledger near the end of the liveness phase", tried)
	}
	return []chaos.Result{r}
}

// liveness returns the core, and from when until when it was on its own.
func liveness(h *chaos.History) (core []string, from, until time.Duration) {
	for _, e := range h.Events {
		words := strings.Fields(e.Detail)
		switch {
		case e.What != "phase":
		case words[0] == PhaseLiveness:
			core, from = words[1:], e.At
		case words[0] == PhaseRecovery && from > 0:
			until = e.At
		}
	}
	return core, from, until
}

// recovered judges that the cluster is one again, by itself, within a minute after all was healed.
func recovered(h *chaos.History, _ []chaos.Limit) []chaos.Result {
	r := chaos.Result{Invariant: "S2", Status: chaos.Inconclusive, Why: "the run did not get to its end", Bound: convergeWithin.Seconds(), Unit: "s"}
	var from time.Duration
	for _, e := range h.Events {
		switch {
		case e.What == "phase" && e.Detail == PhaseRecovery:
			from = e.At
		case e.What == "converged":
			r.Status, r.Why, r.Observed = chaos.Held, "", (e.At - from).Seconds()
			r.Margin = r.Bound - r.Observed
		case e.What == "diverged":
			r = refuted(r, "%s", e.Detail)
		}
	}
	return []chaos.Result{r}
}

// unharmed judges that no process ended by itself, but for one whose disk refused what it could not do without.
func unharmed(h *chaos.History, _ []chaos.Limit) []chaos.Result {
	r := chaos.Result{Invariant: "S3", Status: chaos.Held}
	for _, e := range h.Events {
		if e.What != "died" {
			continue
		}
		excused := false
		for _, f := range h.Faults {
			disk := slices.Contains([]string{"disk-error", "disk-full", "disk-tear"}, f.Kind)
			excused = excused || disk && slices.Contains(f.Nodes, e.Node) && f.From <= e.At && (f.Until < 0 || e.At <= f.Until+restartAfter)
		}
		if !excused {
			r = refuted(r, "%s ended by itself at %s: %s", e.Node, e.At, e.Detail)
		}
	}
	return []chaos.Result{r}
}

func refuted(r chaos.Result, format string, args ...any) chaos.Result {
	if r.Status != chaos.Refuted { // the first is told
		r.Status, r.Why = chaos.Refuted, fmt.Sprintf(format, args...)
	}
	return r
}
