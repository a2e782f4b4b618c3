package ring

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"
)

// Plan returns the owner table of the epoch. last is the table before it, nil for the first placement; it is not modified.
// The roster is the one last was planned with, with other standings and perhaps new members at its end.
// The same arguments always give the same table.
//
// A partition stays with a Steady home. A lost home (Absent, or Joined, which has forgotten) is followed by its deputy if
// that is Steady, else by itself if it is back, else by its deputy if that is present, else by consistent's placement.
// Only when somebody Joined are members above the mean relieved of what exceeds it: a crash moves the dead home's partitions
// and no others, a join moves the newcomer's share. So a partition's state is at last's home if that is Steady, else at last's deputy
// if that is Steady, else lost.
//
// It is an error if no member is present, names are empty or double, or last names members outside the roster.
func Plan(last *Table, roster []Member, epoch uint64) (*Table, error) {
	if err := checkRoster(last, roster); err != nil {
		return nil, fmt.Errorf("plan epoch %d: %w", epoch, err)
	}
	pl := newPlan(last, roster)
	pl.placeHomes()
	if pl.joined {
		pl.balanceHomes()
	}
	pl.placeDeputies()
	if pl.joined {
		pl.balanceDeputies()
	}
	pl.stampSince(epoch)
	return pl.next, nil
}

// plan is the work in progress of one Plan.
type plan struct {
	last, next *Table
	roster     []Member
	present    []uint16 // indexes of the members that are not Absent, ascending
	joined     bool     // somebody Joined, or this is the first placement: balancing is due
	homes      load
	deputies   load
	preferred  [Partitions]uint16 // consistent's home for each partition
	seconds    [Partitions]uint16 // the same from a ring with another salt, for deputies
}

func newPlan(last *Table, roster []Member) *plan {
	pl := &plan{last: last, next: new(Table), roster: roster, joined: last == nil}
	for i, m := range roster {
		if m.Standing != Absent {
			pl.present = append(pl.present, uint16(i))
		}
		pl.joined = pl.joined || m.Standing == Joined
	}
	pl.homes = newLoad(len(roster), len(pl.present))
	pl.deputies = newLoad(len(roster), len(pl.present))
	pl.preferred = pl.placement(0)
	pl.seconds = pl.placement(1)
	return pl
}

// load counts the partitions of each member.
type load struct {
	of          []int
	floor, ceil int // of the mean over the present members
}

func newLoad(members, present int) load {
	return load{of: make([]int, members), floor: Partitions / present, ceil: (Partitions + present - 1) / present}
}

func (l *load) move(from, to uint16) {
	l.of[from]--
	l.of[to]++
}

func (l *load) least(among []uint16) uint16 {
	return slices.MinFunc(among, func(a, b uint16) int { return cmp.Compare(l.of[a], l.of[b]) })
}

func (pl *plan) placeHomes() {
	for p := range Partitions {
		home := pl.preferred[p]
		if pl.last != nil {
			home = pl.heir(p)
		}
		pl.next.Homes[p] = home
		pl.homes.of[home]++
	}
}

// heir prefers whoever has state over whoever is near.
func (pl *plan) heir(p int) uint16 {
	home, deputy := pl.last.Homes[p], pl.last.Deputies[p]
	switch {
	case pl.standing(home) == Steady:
		return home
	case pl.standing(deputy) == Steady:
		return deputy
	case pl.standing(home) == Joined:
		return home
	case pl.standing(deputy) == Joined:
		return deputy
	}
	return pl.preferred[p]
}

func (pl *plan) standing(member uint16) Standing {
	if member == None {
		return Absent
	}
	return pl.roster[member].Standing
}

// balanceHomes first moves partitions to where consistent places them, so that a member that comes back gets its own
// again, and then evens out what is left to within one partition.
func (pl *plan) balanceHomes() {
	l := &pl.homes
	for p, home := range pl.next.Homes {
		if to := pl.preferred[p]; l.of[home] > l.ceil && l.of[to] < l.floor {
			pl.next.Homes[p] = to
			l.move(home, to)
		}
	}
	pl.relieve(l.ceil)
	pl.relieve(l.floor)
}

// relieve moves partitions from members above the level to the member with the least while that is below it.
func (pl *plan) relieve(level int) {
	l := &pl.homes
	for p, home := range pl.next.Homes {
		if l.of[home] <= level {
			continue
		}
		to := l.least(pl.present)
		if l.of[to] >= level {
			return
		}
		pl.next.Homes[p] = to
		l.move(home, to)
	}
}

func (pl *plan) stampSince(epoch uint64) {
	for p, home := range pl.next.Homes {
		pl.next.Since[p] = epoch
		if pl.last != nil && pl.last.Homes[p] == home && pl.roster[home].Standing == Steady {
			pl.next.Since[p] = pl.last.Since[p]
		}
	}
}

// placement asks consistent. It panics when a full round of its ring finds no room; with unique names and a load factor
// of at least 1, ceil(Partitions/n * load) * n >= Partitions, so there always is: balancing evens out the rest.
func (pl *plan) placement(salt uint64) (owner [Partitions]uint16) {
	index := make(map[string]uint16, len(pl.present))
	names := make([]consistent.Member, 0, len(pl.present))
	for _, i := range pl.present {
		index[pl.roster[i].Name] = i
		names = append(names, name(pl.roster[i].Name))
	}
	c := consistent.New(names, consistent.Config{
		PartitionCount:    Partitions,
		ReplicationFactor: 20,
		Load:              1.1,
		Hasher:            hasher{salt},
	})
	for p := range owner {
		owner[p] = index[c.GetPartitionOwner(p).String()]
	}
	return owner
}

type name string

func (n name) String() string { return string(n) }

type hasher struct{ salt uint64 }

func (h hasher) Sum64(b []byte) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(h.salt)
	_, _ = d.Write(b) // never fails: its contract
	return d.Sum64()
}
