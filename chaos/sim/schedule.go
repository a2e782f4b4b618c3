package sim

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Schedule is a run as data: how many nodes, for how long, and what is done to them. It is written and read as YAML.
//
// In the safety phase anything may go wrong. Then a core of nodes, with a quorum of the voters, is healed and every fault
// outside it becomes permanent: in the liveness phase the core must converge and serve. At last all is healed and asked
// what it knows.
type Schedule struct {
	Why      string        `yaml:"why,omitempty"`   // what a kept schedule shows
	Finds    []string      `yaml:"finds,omitempty"` // invariants that it broke when it was kept
	Seed     uint64        `yaml:"seed"`            // of the network, the disks, the clocks and the workload
	Nodes    int           `yaml:"nodes"`           // 3 to 7, which found the cluster together
	Safety   time.Duration `yaml:"safety"`
	Liveness time.Duration `yaml:"liveness"`
	Checks   int           `yaml:"checks"`         // a second, from all clients together
	Log      int           `yaml:"log,omitempty"`  // entries that the log has before the safety phase; nodes take a snapshot after 8,192
	Wild     bool          `yaml:"wild,omitempty"` // faults may take more than a minority of the voters
	Steps    []Step        `yaml:"steps"`          // in the order of their times
}

// Step injects a fault.
type Step struct {
	At     time.Duration `yaml:"at"`
	Inject string        `yaml:"inject"` // a name of the fault table
	Nodes  []string      `yaml:"nodes,flow"`
	Peers  []string      `yaml:"peers,flow,omitempty"`  // the other ends of links; none: all others
	For    time.Duration `yaml:"for,omitempty"`         // until it is healed; zero: not by itself
	Delay  time.Duration `yaml:"delay,omitempty"`       // of slow and reordering links and slow disks, the longest
	Chance float64       `yaml:"probability,omitempty"` // of lossy, doubling and reordering links
	Jump   time.Duration `yaml:"jump,omitempty"`        // of a clock, ahead
	Rate   float64       `yaml:"rate,omitempty"`        // of a clock, 1 is right
}

const (
	nodesMin  = 3
	nodesMost = 7
	checksMax = 50
	phaseMax  = time.Hour
	stepsMax  = 1000
	logMax    = 100_000
)

// Validate returns what is wrong with the schedule.
func (s Schedule) Validate() error {
	var wrong []error
	say := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	say(s.Nodes < nodesMin || s.Nodes > nodesMost, "nodes: %d, expected %d to %d", s.Nodes, nodesMin, nodesMost)
	say(s.Safety <= 0 || s.Safety > phaseMax, "safety: %s, expected up to %s", s.Safety, phaseMax)
	say(s.Liveness < 0 || s.Liveness > phaseMax, "liveness: %s, expected 0 to %s", s.Liveness, phaseMax)
	say(s.Checks < 0 || s.Checks > checksMax, "checks: %d a second, expected 0 to %d", s.Checks, checksMax)
	say(s.Log < 0 || s.Log > logMax, "log: %d entries, expected 0 to %d", s.Log, logMax)
	say(len(s.Steps) > stepsMax, "steps: %d, at most %d", len(s.Steps), stepsMax)
	for i, t := range s.Steps {
		_, known := injectors[t.Inject]
		say(!known, "step %d: inject %q is not in the fault table: %s", i+1, t.Inject, strings.Join(injectorNames(), ", "))
		say(t.At < 0 || t.For < 0 || t.Delay < 0 || t.Jump < 0, "step %d: times are not below zero; a clock never goes back", i+1)
		say(t.Chance < 0 || t.Chance > 1, "step %d: probability %g, expected 0 to 1", i+1, t.Chance)
		say(t.Rate < 0, "step %d: rate %g is below zero", i+1, t.Rate)
		say(len(t.Nodes) == 0, "step %d: no nodes", i+1)
		for _, name := range append(slices.Clone(t.Nodes), t.Peers...) {
			var n int
			_, err := fmt.Sscanf(name, "n%d", &n)
			say(err != nil || n < 1 || n > 2*nodesMost || nodeName(n-1) != name, "step %d: node %q, expected n1, n2, ...", i+1, name)
		}
	}
	return errors.Join(wrong...)
}

// Write returns the schedule as YAML.
func (s Schedule) Write() ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(s), e.Close()); err != nil {
		return nil, fmt.Errorf("write schedule: %w", err)
	}
	return b.Bytes(), nil
}

// ReadSchedule reads what Write wrote. An unknown field is an error.
func ReadSchedule(text []byte) (Schedule, error) {
	var s Schedule
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("read schedule: %w", err)
	}
	if err := s.Validate(); err != nil {
		return s, fmt.Errorf("read schedule: %w", err)
	}
	return s, nil
}
