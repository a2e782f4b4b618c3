package ring

import "fmt"

// Moves says what a plan may do about planned moves.
type Moves struct {
	// Ready names partitions of the last table whose next home has copied all.
	Ready []uint16
	// Batch is how many partitions may have a next home at a time, and how many deputies may change for evenness in one plan.
	Batch int
	// Balance lets partitions move between members that are well. Without it only those are touched that a member
	// lost or leaves behind.
	Balance bool
}

// Plan returns the owner table of the epoch. last is the table before it, nil for the first placement; it is not modified.
// The roster is the one last was planned with, with other standings and perhaps new members at its end.
// The same arguments always give the same table.
//
// A partition stays with a Steady or Silent home until its next home is ready. A lost home (Absent, or Joined, which has
// forgotten) is followed by its next home if that is ready, else by its deputy if that is Steady, else by whoever has some of
// its state, else by itself if it is back, else by consistent's placement. A Leaving home is followed by a ready
// next home or a Steady deputy at once, and gets a next home if it has neither.
//
// With Balance, partitions get a next home until each member has its share, at most Batch at a time: repeated, with what is
// ready told, it comes to rest at an even table, and then returns last's again. A member that brings no state becomes
// home at once only of what nobody has.
//
// It is an error if nobody is Steady or Joined, names are empty or double, or last names members outside the roster.
func Plan(last *Table, roster []Member, epoch uint64, moves Moves) (*Table, error) {
	if err := checkRoster(last, roster); err != nil {
		return nil, fmt.Errorf("plan epoch %d: %w", epoch, err)
	}
	pl := newPlan(last, roster, moves)
	pl.placeHomes()
	if last == nil {
		pl.balanceHomes()
	}
	pl.placeDeputies()
	pl.evacuate()
	if last != nil && moves.Balance {
		pl.balanceHomes()
	}
	if last == nil || moves.Balance {
		pl.balanceDeputies()
	}
	pl.stamp(epoch)
	return pl.next, nil
}

// plan is the work in progress of one Plan.
type plan struct {
	last, next *Table // last is nil at the first placement
	roster     []Member
	takers     []uint16 // indexes of the members that may get partitions, ascending
	zones      bool     // they are of more than one
	balance    bool
	ready      [Partitions]bool
	room       int  // how many more partitions may get a next home
	changes    int  // how many more deputies may change for evenness
	homes      load // by who is home, or will be when the moves under way are over
	deputies   load
	consistent *[Partitions]uint16 // its placement, nil until asked for
}

func newPlan(last *Table, roster []Member, moves Moves) *plan {
	pl := &plan{
		last: last, next: new(Table), roster: roster, balance: moves.Balance,
		room: moves.Batch, changes: moves.Batch,
	}
	for i, m := range roster {
		if m.takes() {
			pl.takers = append(pl.takers, uint16(i))
			pl.zones = pl.zones || pl.apart(pl.takers[0], uint16(i))
		}
	}
	for _, p := range moves.Ready {
		if p < Partitions {
			pl.ready[p] = true
		}
	}
	if last == nil {
		pl.room, pl.changes = Partitions, Partitions
	}
	for p := range Partitions {
		pl.next.Deputies[p], pl.next.Nexts[p] = None, None
	}
	pl.homes, pl.deputies = newLoad(roster), newLoad(roster)
	return pl
}

func (pl *plan) standing(member uint16) Standing {
	if member == None {
		return Absent
	}
	return pl.roster[member].Standing
}

func (pl *plan) takes(member uint16) bool { return member != None && pl.roster[member].takes() }

func (pl *plan) apart(a, b uint16) bool { return pl.roster[a].Zone != pl.roster[b].Zone }

func (pl *plan) placeHomes() {
	for p := range Partitions {
		home, next := uint16(None), uint16(None)
		if pl.last != nil {
			home, next = pl.heir(p), pl.last.Nexts[p]
		}
		if home == None {
			home = pl.placed(p)
		}
		if next == home || !pl.takes(next) && pl.standing(next) != Silent {
			next = None
		}
		pl.next.Homes[p], pl.next.Nexts[p] = home, next
		if next == None {
			pl.homes.of[home]++
		} else {
			pl.homes.of[next]++
			pl.room--
		}
	}
}

// heir prefers whoever has state over whoever is near; None if nobody has any.
func (pl *plan) heir(p int) uint16 {
	home, deputy, next := pl.last.Homes[p], pl.last.Deputies[p], pl.last.Nexts[p]
	was := pl.standing(home)
	ready := pl.ready[p] && pl.standing(next) == Steady
	switch {
	case was == Silent, was == Steady && !(ready && pl.balance):
		return home
	case ready:
		return next
	case pl.standing(deputy) == Steady:
		return deputy
	case was == Leaving:
		return home
	case pl.standing(next) == Steady: // it has some, or all if it was the deputy
		return next
	case pl.standing(deputy) == Silent:
		return deputy
	case was == Joined: // its disk may have some
		return home
	case pl.takes(deputy):
		return deputy
	}
	return None
}

// evacuate gives what a Leaving member is still home of a next home.
func (pl *plan) evacuate() {
	for p, home := range pl.next.Homes {
		if pl.room <= 0 {
			return
		}
		if pl.standing(home) != Leaving || pl.next.Nexts[p] != None {
			continue
		}
		to := pl.next.Deputies[p]
		if !pl.takes(to) {
			to = pl.homes.emptiest(pl.takers, None, None)
		}
		pl.send(p, to)
	}
}

// balanceHomes evens out the shares when somebody has too little or too much, and then goes on to the last partition. It takes
// what the receiver is deputy of first, since that needs no new copy.
func (pl *plan) balanceHomes() {
	l := &pl.homes
	if pl.last != nil && pl.last.Moving() == 0 && l.even(pl.takers) {
		return
	}
	for p := range Partitions {
		if to := pl.next.Deputies[p]; to != None && l.relieves(pl.owner(p), to) {
			pl.send(p, to)
		}
	}
	pl.relieve(l.ceil)
	pl.relieve(l.floor)
}

// relieve moves partitions from members above the level to the emptiest while that is below it.
func (pl *plan) relieve(level []int) {
	l := &pl.homes
	to := l.emptiest(pl.takers, None, None)
	for p := range Partitions {
		from := pl.owner(p)
		if l.of[from] <= level[from] || from == to {
			continue
		}
		if l.of[to] >= level[to] {
			return
		}
		if pl.send(p, to) {
			to = l.emptiest(pl.takers, None, None)
		}
	}
}

// owner is who is home of a partition when its move is over.
func (pl *plan) owner(p int) uint16 {
	if next := pl.next.Nexts[p]; next != None {
		return next
	}
	return pl.next.Homes[p]
}

// send begins a move, and says whether it did. At the first placement there is nothing to copy.
func (pl *plan) send(p int, to uint16) bool {
	home := pl.next.Homes[p]
	if pl.room <= 0 || to == home || pl.next.Nexts[p] != None || pl.standing(home) == Silent {
		return false
	}
	pl.homes.move(home, to)
	pl.room--
	if pl.last == nil {
		pl.next.Homes[p] = to
	} else {
		pl.next.Nexts[p] = to
	}
	if pl.next.Deputies[p] != to {
		return true
	}
	pl.next.Deputies[p] = None // it goes on copying, and the home will be its deputy: another would copy for nothing
	pl.deputies.of[to]--
	return true
}

func (pl *plan) stamp(epoch uint64) {
	for p, home := range pl.next.Homes {
		switch {
		case pl.last == nil:
			pl.next.Since[p] = epoch
		case pl.last.Homes[p] == home && pl.standing(home) != Joined:
			pl.next.Since[p], pl.next.Priors[p] = pl.last.Since[p], pl.last.Priors[p]
		default:
			pl.next.Since[p], pl.next.Priors[p] = epoch, pl.last.Since[p]
		}
	}
}
