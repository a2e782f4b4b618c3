package ring

import (
	"fmt"
	"strconv"
)

// None stands in a Table where there is no member.
const None = 0xFFFF

// Standing says what a member of the roster may own and what it brings along.
type Standing uint8

const (
	// Absent members own nothing; their place in the roster stays.
	Absent Standing = iota
	// Steady members may own partitions and still have the state of those they owned.
	Steady
	// Joined members may own partitions but bring no state: they are new, or restarted with nothing.
	Joined
)

// String returns the standing as it is written in logs.
func (s Standing) String() string {
	switch s {
	case Absent:
		return "absent"
	case Steady:
		return "steady"
	case Joined:
		return "joined"
	}
	return "standing(" + strconv.Itoa(int(s)) + ")"
}

// Member is one place of the roster. Names are unique and never empty; an empty Zone is a zone like any other.
type Member struct {
	Name     string
	Zone     string
	Standing Standing
}

// Table says who owns each partition, by index into the roster. Once published it must not be modified.
type Table struct {
	// Homes and Deputies never name the same member for one partition; a deputy is None when only one member is present.
	Homes, Deputies [Partitions]uint16
	// Since is the epoch in which the present home began with the partition: it became home, or it came back without state.
	Since [Partitions]uint64
}

func checkRoster(last *Table, roster []Member) error {
	if len(roster) > None {
		return fmt.Errorf("roster of %d members, at most %d", len(roster), None)
	}
	present := 0
	seen := make(map[string]bool, len(roster))
	for i, m := range roster {
		if m.Name == "" {
			return fmt.Errorf("member %d of the roster has no name", i)
		}
		if seen[m.Name] {
			return fmt.Errorf("member %s is twice in the roster", m.Name)
		}
		seen[m.Name] = true
		if m.Standing != Absent {
			present++
		}
	}
	if present == 0 {
		return fmt.Errorf("nobody of %d members is present", len(roster))
	}
	if last == nil {
		return nil
	}
	for p := range Partitions {
		home, deputy := last.Homes[p], last.Deputies[p]
		if int(home) >= len(roster) || deputy != None && int(deputy) >= len(roster) {
			return fmt.Errorf("partition %d belongs to members %d and %d of a roster of %d", p, home, deputy, len(roster))
		}
	}
	return nil
}
