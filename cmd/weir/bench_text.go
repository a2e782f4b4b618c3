package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-cluster/weir/client/bench"
)

// progress tells what a bench does now: on a terminal one line that changes, elsewhere a line a message.
type progress struct {
	w        io.Writer
	now      func() time.Time
	began    time.Time
	terminal bool

	mu sync.Mutex // of w
}

func newProgress(w io.Writer, now func() time.Time) *progress {
	p := &progress{w: w, now: now, began: now()}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *progress) say(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Sprintf("%4.0fs  %s", p.now().Sub(p.began).Seconds(), what)
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K"+line)
	} else {
		fmt.Fprintln(p.w, line)
	}
}

// done clears the line that changed.
func (p *progress) done() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func reportText(w io.Writer, r bench.Report) {
	fmt.Fprintf(w, "%s\n%s on %s/%s, %d processors, %s\n", r.What, r.Version, r.Machine.OS, r.Machine.Arch, r.Machine.CPUs, r.Machine.Go)
	if r.Partial != "" {
		fmt.Fprintf(w, "Not whole: %s.\n", r.Partial)
	}
	if len(r.Figures) > 0 {
		figuresText(w, r.Figures)
	} else {
		stepsText(w, r.Steps)
	}
	if a := r.Audit; a != nil {
		auditText(w, *a)
	}
}

func figuresText(w io.Writer, all []bench.Figure) {
	fmt.Fprintln(w, "\nFIGURE\tBAR\tGOT\tROUNDS\tHELD\tNOTE")
	for _, f := range all {
		bar := "≥ " + quantity(f.Least, f.Unit)
		if f.Most != 0 {
			bar = "≤ " + quantity(f.Most, f.Unit)
		}
		held := "no"
		if f.Held {
			held = "yes"
		}
		got := "-"
		if len(f.Rounds) > 0 {
			got = fmt.Sprintf("%s ± %.0f %%", quantity(f.Got, f.Unit), 100*f.Spread)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", f.Name, bar, got, len(f.Rounds), held, f.Note)
	}
}

// quantity writes a number with three digits or so, and its unit.
func quantity(n float64, unit string) string {
	switch {
	case unit == "decisions/s", unit == "debits/s":
		return fmt.Sprintf("%.0f/s", n)
	case unit == "x":
		return fmt.Sprintf("%.2f x", n)
	case n < 10:
		return fmt.Sprintf("%.2f %s", n, unit)
	default:
		return fmt.Sprintf("%.0f %s", n, unit)
	}
}

func stepsText(w io.Writer, all []bench.Step) {
	fmt.Fprintln(w, "\nSTEP\tON\tCALLERS\tDECISIONS/S\tP50 µs\tP99 µs\tP99.9 µs\tSENT LATE P99 µs\tSERVER CPU µs\tGENERATOR CPU µs\tALLOCS\tALLOC B\tRSS MB\tAT FLOOR: RATE, P50, P99")
	for _, s := range all {
		late, cost, floor := "-", "-\t-\t-\t-\t-", "-"
		if s.Late != nil {
			late = fmt.Sprintf("%.0f", s.Late.P99)
		}
		if c := s.Cost; c != nil {
			cost = fmt.Sprintf("%.2f\t%.2f\t%.1f\t%.0f\t%.0f", c.CPUPerMillion, c.Generator, c.Mallocs, c.AllocBytes, float64(c.ResidentBytes)/1e6)
		}
		if f := s.AtFloor; f != nil {
			floor = fmt.Sprintf("%.2f x, %.2f x, %.2f x", f.PerSecond, f.P50, f.P99)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%.0f\t%.0f\t%.0f\t%.0f\t%s\t%s\t%s\n",
			s.Name, s.On, s.Callers, s.PerSecond, s.Latency.P50, s.Latency.P99, s.Latency.P999, late, cost, floor)
	}
	fmt.Fprintln(w, "\nSTEP\tON\tANSWERS")
	for _, s := range all {
		text := counts(s.Verdicts) + "; " + counts(s.Reasons)
		if s.Fallbacks > 0 {
			text += fmt.Sprintf("; %d fallbacks", s.Fallbacks)
		}
		if len(s.Errors) > 0 {
			text += "; errors: " + counts(s.Errors)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, s.On, text)
	}
}

func counts(of map[string]int64) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		all = append(all, fmt.Sprintf("%d %s", of[name], name))
	}
	return strings.Join(all, ", ")
}

func auditText(w io.Writer, a bench.Audit) {
	fmt.Fprintf(w, "\nExact limit, %.0f/s with a burst of %.0f, asked for through every node: %d of %d checks admitted in %.1f s,\n",
		a.Rate, a.Burst, a.Admitted, a.Asked, a.Seconds)
	fmt.Fprintf(w, "%d too many (at most %d were right, %d below that), %d too few (at least %d were due).\n",
		a.Over, a.Most, max(0, a.Most-a.Admitted), a.Under, a.Least)
	if a.Fallback+a.Errors > 0 {
		fmt.Fprintf(w, "%d of them were decided without the home, %d came back as errors.\n", a.Fallback, a.Errors)
	}
}
