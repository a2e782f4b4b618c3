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
	// Leaving members have their state and get nothing more; what they own goes to others as soon as these can take it.
	Leaving
	// Silent members may be lost: they keep what they own until that is known, and get nothing more.
	Silent
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
	case Leaving:
		return "leaving"
	case Silent:
		return "silent"
	}
	return "standing(" + strconv.Itoa(int(s)) + ")"
}

// Member is one place of the roster. Names are unique and never empty; an empty Zone is a zone like any other.
type Member struct {
	Name     string
	Zone     string
	Weight   uint8 // its share of the partitions, compared with the others'; 0 counts as 1
	Standing Standing
}

// Table says who owns each partition, by index into the roster. Once published it must not be modified.
type Table struct {
	// Homes, Deputies and Nexts never name a member twice for one partition. A deputy is None when nobody else is present, or
	// when the one that was deputy is the next home. A next home is None when no move is under way: until it has copied all,
	// the partition stays at its home.
	Homes, Deputies, Nexts [Partitions]uint16
	// Since is the epoch in which the present home began with the partition: it became home, or it came back without state.
	// It names the tenure. Priors is the Since of the tenure directly before; 0: there was none, or nobody knows.
	Since, Priors [Partitions]uint64
}

// Owns says whether the member is home of a partition.
func (t *Table) Owns(member uint16) bool {
	for _, home := range t.Homes {
		if home == member {
			return true
		}
	}
	return false
}

// Moving returns how many partitions have a next home.
func (t *Table) Moving() (n int) {
	for _, next := range t.Nexts {
		if next != None {
			n++
		}
	}
	return n
}

// Without returns the table for a roster from which a member was taken out: who stood behind it is one place further ahead.
// It is an error if the member owns or copies a partition.
func (t *Table) Without(member uint16) (*Table, error) {
	next := new(Table)
	*next = *t
	for _, column := range [][]uint16{next.Homes[:], next.Deputies[:], next.Nexts[:]} {
		for p, m := range column {
			switch {
			case m == member && m != None:
				return nil, fmt.Errorf("take member %d out of the table: partition %d is with it", member, p)
			case m != None && m > member:
				column[p]--
			}
		}
	}
	return next, nil
}

func checkRoster(last *Table, roster []Member) error {
	if len(roster) > None {
		return fmt.Errorf("roster of %d members, at most %d", len(roster), None)
	}
	takers := 0
	seen := make(map[string]bool, len(roster))
	for i, m := range roster {
		if m.Name == "" {
			return fmt.Errorf("member %d of the roster has no name", i)
		}
		if seen[m.Name] {
			return fmt.Errorf("member %s is twice in the roster", m.Name)
		}
		seen[m.Name] = true
		if m.takes() {
			takers++
		}
	}
	if takers == 0 {
		return fmt.Errorf("nobody of %d members is present", len(roster))
	}
	if last == nil {
		return nil
	}
	for p := range Partitions {
		for _, m := range []uint16{last.Homes[p], last.Deputies[p], last.Nexts[p]} {
			if m != None && int(m) >= len(roster) || m == None && last.Homes[p] == None {
				return fmt.Errorf("partition %d belongs to member %d of a roster of %d", p, m, len(roster))
			}
		}
	}
	return nil
}

// takes says whether the member may be given partitions.
func (m Member) takes() bool { return m.Standing == Steady || m.Standing == Joined }

// share is the member's part of what all that take share.
func (m Member) share() int {
	if !m.takes() {
		return 0
	}
	return max(1, int(m.Weight))
}
