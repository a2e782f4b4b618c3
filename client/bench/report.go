package bench

import (
	"encoding/json"
	"fmt"
	"runtime"
	"time"
)

// reportFormat changes when a field changes its meaning; fields may be added without.
const reportFormat = 1

// Report is what a bench did. Its JSON is what `weir bench compare` reads.
type Report struct {
	Format  int       `json:"format"`
	Version string    `json:"version"` // of Weir
	At      time.Time `json:"at"`
	Machine Machine   `json:"machine"`
	What    string    `json:"what"`              // the load in words, or the suite
	Partial string    `json:"partial,omitempty"` // why it ended early; empty when it is whole
	Steps   []Step    `json:"steps,omitempty"`
	Figures []Figure  `json:"figures,omitempty"`
	Audit   *Audit    `json:"audit,omitempty"` // of the account with an exact limit; nil when there was none
}

// Machine is what the bench ran on, load generator and servers alike unless they were remote.
type Machine struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`
	Go   string `json:"go"`
}

func newReport(version, what string, now time.Time) Report {
	return Report{
		Format: reportFormat, Version: version, At: now.UTC().Truncate(time.Second), What: what,
		Machine: Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version()},
	}
}

// ParseReport reads what a bench saved.
func ParseReport(text []byte) (Report, error) {
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read a report: %w", err)
	}
	if r.Format != reportFormat {
		return r, fmt.Errorf("a report of format %d: this program reads %d", r.Format, reportFormat)
	}
	return r, nil
}

// OverAdmitted reports whether more was admitted than an exact limit allows.
func (r Report) OverAdmitted() bool { return r.Audit != nil && r.Audit.Over > 0 }

// Step is one load, on Weir or on the floor.
type Step struct {
	Name       string           `json:"name"` // such as maximum or 50 %
	On         string           `json:"on"`   // weir or floor
	Loop       Loop             `json:"loop"`
	Callers    int              `json:"callers"`
	Rate       float64          `json:"rate,omitempty"` // decisions a second that were asked for, in an open loop
	Seconds    float64          `json:"seconds"`
	Decisions  int64            `json:"decisions"` // in that time
	PerSecond  float64          `json:"decisions_per_second"`
	Spread     float64          `json:"spread"`         // of the rounds, of throughput or in an open loop of p50
	TailSpread float64          `json:"tail_spread"`    // of p99
	Latency    Quantiles        `json:"latency"`        // of messages; in an open loop from when they were due
	Late       *Quantiles       `json:"late,omitempty"` // how late the load generator sent what was due
	Cost       *Cost            `json:"cost,omitempty"` // what the servers spent
	Verdicts   map[string]int64 `json:"verdicts"`
	Reasons    map[string]int64 `json:"reasons"`
	Fallbacks  int64            `json:"fallbacks"` // decided without the home
	Errors     map[string]int64 `json:"errors,omitempty"`
	AtFloor    *Against         `json:"at_floor,omitempty"` // on Weir: relative to the floor's step of that name
}

// Against is a step relative to the floor's: the median over rounds in alternation where there are several.
type Against struct {
	PerSecond float64 `json:"decisions_per_second"`
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
}

// Figure is something that was promised, and what became of it.
type Figure struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"` // x, decisions/s, µs, %, MB
	Least  float64   `json:"least,omitempty"`
	Most   float64   `json:"most,omitempty"` // the bar: either Least or Most
	Got    float64   `json:"got"`            // the median of Rounds
	Spread float64   `json:"spread"`         // of the rounds: half the distance of their quartiles over the median
	Held   bool      `json:"held"`
	Rounds []float64 `json:"rounds"`
	Note   string    `json:"note,omitempty"`
}

// atLeast is a figure that should not fall below the bar.
func atLeast(name, unit string, bar float64, rounds []float64, note string) Figure {
	f := Figure{Name: name, Unit: unit, Least: bar, Got: median(rounds), Spread: spread(rounds), Rounds: rounds, Note: note}
	f.Held = len(rounds) > 0 && f.Got >= bar
	return f
}

// atMost is a figure that should not exceed the bar.
func atMost(name, unit string, bar float64, rounds []float64, note string) Figure {
	f := Figure{Name: name, Unit: unit, Most: bar, Got: median(rounds), Spread: spread(rounds), Rounds: rounds, Note: note}
	f.Held = len(rounds) > 0 && f.Got <= bar
	return f
}
