package ring

// load counts the partitions of each member, and what its share of all is.
type load struct {
	of          []int
	floor, ceil []int // the share rounded down and up; 0 for who may get none
}

func newLoad(roster []Member) load {
	l := load{of: make([]int, len(roster)), floor: make([]int, len(roster)), ceil: make([]int, len(roster))}
	all := 0
	for _, m := range roster {
		all += m.share()
	}
	for i, m := range roster {
		l.floor[i] = Partitions * m.share() / all
		l.ceil[i] = (Partitions*m.share() + all - 1) / all
	}
	return l
}

func (l *load) move(from, to uint16) {
	l.of[from]--
	l.of[to]++
}

// even says whether all are within a twentieth of their share: less is not worth moving state.
func (l *load) even(among []uint16) bool {
	for _, m := range among {
		if slack := l.ceil[m] / 20; l.of[m] > l.ceil[m]+slack || l.of[m] < l.floor[m]-slack {
			return false
		}
	}
	return true
}

// relieves says whether a move brings both members nearer to their shares.
func (l *load) relieves(from, to uint16) bool {
	return l.of[from] > l.ceil[from] && l.of[to] < l.floor[to]
}

// emptier says whether a has less of its share than b.
func (l *load) emptier(a, b uint16) bool { return l.of[a]*l.ceil[b] < l.of[b]*l.ceil[a] }

// emptiest returns the member with the least of its share, other than two that it must not be; None if there is none.
func (l *load) emptiest(among []uint16, but, nor uint16) uint16 {
	best := uint16(None)
	for _, m := range among {
		if m != but && m != nor && (best == None || l.emptier(m, best)) {
			best = m
		}
	}
	return best
}

// crowded is where evenness wins over zones: a lone node in its zone is not made deputy of everybody.
func (l *load) crowded(m uint16) int { return l.ceil[m] * 6 / 5 }
