package ring

// placeDeputies keeps every deputy it can: a new one has to copy the whole partition. When a deputy became home, the home
// before it, if present, is the natural deputy: it knows the partition best.
func (pl *plan) placeDeputies() {
	l := &pl.deputies
	var vacant []int
	for p, home := range pl.next.Homes {
		deputy := uint16(None)
		if pl.last != nil {
			deputy = pl.last.Deputies[p]
			if deputy == home {
				deputy = pl.last.Homes[p]
			}
		}
		if pl.standing(deputy) == Absent {
			deputy = None
			vacant = append(vacant, p)
		} else {
			l.of[deputy]++
		}
		pl.next.Deputies[p] = deputy
	}
	if len(pl.present) == 1 {
		return
	}
	for _, p := range vacant {
		deputy := pl.choose(p)
		pl.next.Deputies[p] = deputy
		l.of[deputy]++
	}
}

// choose takes the second ring's member if it is in another zone and below the mean, else the least loaded of another zone
// that is not crowded, else the least loaded.
func (pl *plan) choose(p int) uint16 {
	l, home, second := &pl.deputies, pl.next.Homes[p], pl.seconds[p]
	if second != home && pl.apart(home, second) && l.of[second] < l.ceil {
		return second
	}
	if apart := pl.leastApart(home); apart != None {
		return apart
	}
	if second != home && l.of[second] < l.ceil {
		return second
	}
	best := uint16(None)
	for _, m := range pl.present {
		if m != home && (best == None || l.of[m] < l.of[best]) {
			best = m
		}
	}
	return best
}

// leastApart returns the least loaded member of another zone than home's, None if there is none that is not crowded.
func (pl *plan) leastApart(home uint16) uint16 {
	l, best := &pl.deputies, uint16(None)
	for _, m := range pl.present {
		if pl.apart(home, m) && l.of[m] < l.crowded() && (best == None || l.of[m] < l.of[best]) {
			best = m
		}
	}
	return best
}

func (pl *plan) apart(a, b uint16) bool { return pl.roster[a].Zone != pl.roster[b].Zone }

// crowded is where evenness wins over zones: a lone node in its zone is not made deputy of everybody.
func (l *load) crowded() int { return l.ceil * 6 / 5 }

// balanceDeputies works as balanceHomes does, but a move must not put home and deputy into one zone. Last it parts those that
// are in one, as the cluster may have got its second zone just now.
func (pl *plan) balanceDeputies() {
	if len(pl.present) == 1 {
		return
	}
	l := &pl.deputies
	for p, deputy := range pl.next.Deputies {
		if to := pl.seconds[p]; l.of[deputy] > l.ceil && pl.mayMove(p, to) {
			pl.next.Deputies[p] = to
			l.move(deputy, to)
		}
	}
	for p, deputy := range pl.next.Deputies {
		if l.of[deputy] <= l.ceil {
			continue
		}
		for _, to := range pl.present {
			if pl.mayMove(p, to) {
				pl.next.Deputies[p] = to
				l.move(deputy, to)
				break
			}
		}
	}
	for p, deputy := range pl.next.Deputies {
		if home := pl.next.Homes[p]; !pl.apart(home, deputy) {
			if to := pl.leastApart(home); to != None {
				pl.next.Deputies[p] = to
				l.move(deputy, to)
			}
		}
	}
}

func (pl *plan) mayMove(p int, to uint16) bool {
	l, home, deputy := &pl.deputies, pl.next.Homes[p], pl.next.Deputies[p]
	if to == home || l.of[to] >= l.floor {
		return false
	}
	return pl.apart(home, to) || !pl.apart(home, deputy) || l.of[deputy] > l.crowded()
}
