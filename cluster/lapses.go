package cluster

import (
	"time"

	"github.com/weir-cluster/weir/ring"
)

const (
	// lapseLooks in a row must a member that is seen be without its lease, to be taken out: looks, since a leader that was stopped
	// for a while finds that nobody has asked it.
	lapseLooks = 5
	// yieldEvery is the least time between two tries to have another lead.
	yieldEvery = 10 * time.Second
)

// lapses tells members that are there from those that only seem to be: gossip sees them, and they do not ask the leader for their
// leases, or may not have them.
type lapses struct {
	looks map[tenant]int // in a row, of those that are seen now
}

// look returns those of alive that a view may name. Of those that serve never as many as half are left out: when that many do
// not ask the leader, the trouble is its own. Then deserted says whether it is so with more than half.
func (l *lapses) look(last *View, alive []Sighting, asks func(name, boot string) bool) (present []Sighting, deserted bool) {
	if last == nil {
		return alive, false
	}
	looks := make(map[tenant]int)
	serving, lapsed := 0, 0
	out := func(k tenant) bool { return looks[k] >= lapseLooks }
	for _, m := range alive {
		k := tenant{m.Name, m.Boot}
		serves := last.serves(k)
		if serves {
			serving++
		}
		if !asks(m.Name, m.Boot) {
			looks[k] = min(l.looks[k]+1, lapseLooks)
			if !serves {
				looks[k] = lapseLooks
			}
			if serves && out(k) {
				lapsed++
			}
		}
	}
	l.looks = looks
	for _, m := range alive {
		if k := (tenant{m.Name, m.Boot}); !out(k) || last.serves(k) && 2*lapsed >= serving {
			present = append(present, m)
		}
	}
	return present, 2*lapsed > serving
}

// serves says whether the process is in the roster and not absent.
func (v *View) serves(k tenant) bool {
	i := v.Find(k.name)
	return i >= 0 && v.Roster[i].Boot == k.boot && v.Roster[i].Standing != ring.Absent
}
