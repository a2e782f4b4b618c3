package ring

// placeDeputies keeps every deputy it can: a new one has to copy the whole partition.
func (pl *plan) placeDeputies() {
	var vacant []int
	for p := range Partitions {
		deputy := uint16(None)
		if pl.last != nil {
			deputy = pl.natural(p)
		}
		if deputy == None {
			vacant = append(vacant, p)
		} else {
			pl.deputies.of[deputy]++
		}
		pl.next.Deputies[p] = deputy
	}
	for _, p := range vacant {
		if pl.last != nil && pl.handedOn(p) {
			continue
		}
		if deputy := pl.choose(p); deputy != None {
			pl.next.Deputies[p] = deputy
			pl.deputies.of[deputy]++
		}
	}
}

// natural returns who knows the partition best besides its home, if it is present: the deputy before; the home before, when the deputy
// became home, or when the new home is in the deputy's zone; else None.
func (pl *plan) natural(p int) uint16 {
	home, old, deputy := pl.next.Homes[p], pl.last.Homes[p], pl.last.Deputies[p]
	present := func(m uint16) bool {
		return m != home && m != pl.next.Nexts[p] && (pl.takes(m) || pl.standing(m) == Silent)
	}
	if home != old && present(old) && (!present(deputy) || !pl.apart(deputy, home) && pl.apart(old, home)) {
		return old
	}
	if present(deputy) {
		return deputy
	}
	return None
}

// handedOn says whether the partition has no deputy since that is its next home, as before.
func (pl *plan) handedOn(p int) bool {
	next := pl.next.Nexts[p]
	return next != None && next == pl.last.Nexts[p] && pl.last.Deputies[p] == None && pl.next.Homes[p] == pl.last.Homes[p]
}

// choose takes the emptiest member of another zone that is not crowded, else the emptiest.
func (pl *plan) choose(p int) uint16 {
	if apart := pl.emptiestApart(p); apart != None {
		return apart
	}
	return pl.deputies.emptiest(pl.takers, pl.next.Homes[p], pl.next.Nexts[p])
}

// emptiestApart returns the emptiest member of another zone than home's, None if there is none that is not crowded.
func (pl *plan) emptiestApart(p int) uint16 {
	l, home, next, best := &pl.deputies, pl.next.Homes[p], pl.next.Nexts[p], uint16(None)
	if !pl.zones {
		return None
	}
	for _, m := range pl.takers {
		if m != next && pl.apart(home, m) && l.of[m] < l.crowded(m) && (best == None || l.emptier(m, best)) {
			best = m
		}
	}
	return best
}

// balanceDeputies evens out the shares when somebody has too little or too much, but a change must not put home and deputy into
// one zone. Last it parts those that are in one, as the cluster may have got its second zone just now. What moves is left
// alone until it has moved.
func (pl *plan) balanceDeputies() {
	if l := &pl.deputies; pl.last == nil || !l.even(pl.takers) {
		pl.relieveDeputies()
	}
	for p, deputy := range pl.next.Deputies {
		home := pl.next.Homes[p]
		if !pl.mayChange(p) || pl.apart(home, deputy) {
			continue
		}
		if to := pl.emptiestApart(p); to != None {
			pl.reassign(p, to)
		}
	}
}

func (pl *plan) relieveDeputies() {
	l := &pl.deputies
	var short []uint16
	for _, m := range pl.takers {
		if l.of[m] < l.floor[m] {
			short = append(short, m)
		}
	}
	for p := range Partitions {
		for _, to := range short {
			if pl.depute(p, to) {
				break
			}
		}
	}
}

// depute changes a deputy that has too much for one that has too little, unless zones forbid it.
func (pl *plan) depute(p int, to uint16) bool {
	l, home, deputy := &pl.deputies, pl.next.Homes[p], pl.next.Deputies[p]
	if !pl.mayChange(p) || to == home || !l.relieves(deputy, to) {
		return false
	}
	if !pl.apart(home, to) && pl.apart(home, deputy) && l.of[deputy] <= l.crowded(deputy) {
		return false
	}
	pl.reassign(p, to)
	return true
}

func (pl *plan) mayChange(p int) bool {
	return pl.changes > 0 && pl.takes(pl.next.Deputies[p]) && pl.next.Nexts[p] == None
}

func (pl *plan) reassign(p int, to uint16) {
	pl.deputies.move(pl.next.Deputies[p], to)
	pl.next.Deputies[p] = to
	pl.changes--
}
