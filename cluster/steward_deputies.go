package cluster

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/weir-cluster/weir/ring"
)

const (
	// reliefWait is the least time between two views that replace deputies: a node that is cut off is behind for all the others.
	reliefWait = time.Second
	// reliefRest is for how long a home's partitions are not given a deputy anew that was behind for it.
	reliefRest = time.Minute
)

// link is a home and a deputy that it ships to.
type link struct{ home, deputy tenant }

// Behind returns the deputies, by their homes, that have not acknowledged for too long what these ship, as the homes say that hold
// a lease. Only a leader knows; any other returns none.
func (l *Lessor) Behind() (behind []link) {
	term, leading := l.cfg.Terms.Term()
	if !leading {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.cfg.Views.Current()
	if v == nil || !l.enter(term) {
		return nil
	}
	for k, t := range l.tenant {
		if t.epoch != v.Epoch || !t.holds || l.ended(t) || !v.names(k) {
			continue
		}
		for _, name := range t.behind {
			if i := v.Find(name); i >= 0 {
				behind = append(behind, link{k, tenantOf(v.Roster[i])})
			}
		}
	}
	return behind
}

// relief replaces deputies that do not acknowledge what they are shipped by others, and remembers whom it replaced.
type relief struct {
	shunned map[link]time.Time // until when
	at      time.Time          // of the last view that replaced some
}

// look notes who is behind, and says whether the table of the present view is to be mended now.
func (r *relief) look(behind []link, v *View, at time.Time) (due bool) {
	for k, until := range r.shunned {
		if !at.Before(until) {
			delete(r.shunned, k)
		}
	}
	if v == nil || !r.at.IsZero() && at.Sub(r.at) < reliefWait {
		return false
	}
	for _, k := range behind {
		if r.shunned == nil {
			r.shunned = make(map[link]time.Time)
		}
		r.shunned[k] = at.Add(reliefRest)
	}
	return len(behind) > 0
}

// mend has the planned view give no partition a deputy that is shunned by its home, if another member can be: the one before, or the
// least loaded, of another zone if there is one. What is on its way to a next home is left alone.
func (r *relief) mend(last *View, e *entry) {
	if len(r.shunned) == 0 {
		return
	}
	t := e.view.Table
	load := make([]int, len(e.roster))
	for _, m := range t.Deputies {
		if m != ring.None {
			load[m]++
		}
	}
	for p, deputy := range t.Deputies {
		home := t.Homes[p]
		if deputy == ring.None || t.Nexts[p] != ring.None || !r.shuns(e.view, home, deputy) {
			continue
		}
		to := r.choose(e, home, load)
		if before := last.Table.Deputies[p]; home == last.Table.Homes[p] && before != home && e.takes(before) && !r.shuns(e.view, home, before) {
			to = before // it has a copy
		}
		if to != ring.None {
			load[deputy]--
			load[to]++
			t.Deputies[p] = to
		}
	}
}

func (r *relief) shuns(v *View, home, deputy uint16) bool {
	_, some := r.shunned[link{tenantOf(v.Roster[home]), tenantOf(v.Roster[deputy])}]
	return some
}

// takes says whether the planner may give a member something.
func (e *entry) takes(m uint16) bool {
	return m != ring.None && (e.roster[m].Standing == ring.Steady || e.roster[m].Standing == ring.Joined)
}

// choose returns who may be deputy of a home, None if nobody may: of another zone, and then of the least load for its weight.
func (r *relief) choose(e *entry, home uint16, load []int) uint16 {
	best := uint16(ring.None)
	better := func(a, b uint16) bool {
		same := func(m uint16) int {
			if e.roster[m].Zone == e.roster[home].Zone {
				return 1
			}
			return 0
		}
		weight := func(m uint16) int { return max(1, int(e.roster[m].Weight)) }
		return cmp.Or(cmp.Compare(same(a), same(b)), cmp.Compare(load[a]*weight(b), load[b]*weight(a))) < 0
	}
	for i := range e.roster {
		if m := uint16(i); m != home && e.takes(m) && !r.shuns(e.view, home, m) && (best == ring.None || better(m, best)) {
			best = m
		}
	}
	return best
}

// planned is the next view with its table, in which nobody is deputy who is behind, if another can be.
func (s *Steward) planned(o *office, e *entry, last *View, moves ring.Moves) (*View, error) {
	next, err := e.planned(last, moves)
	if err == nil && next != nil && last != nil {
		o.relief.mend(last, e)
	}
	return next, err
}

// relieve replaces the deputies that are behind, and says whether it did.
func (s *Steward) relieve(ctx context.Context, o *office, e *entry, last *View) (done bool, err error) {
	was := len(o.relief.shunned)
	due := o.relief.look(s.Leases.Behind(), last, o.at)
	o.pace.resting = o.pace.resting && len(o.relief.shunned) >= was // who is shunned no more may get a part again
	if !due {
		return false, nil
	}
	next, err := s.planned(o, e, last, ring.Moves{Batch: moveBatch})
	if err != nil || next == nil || next.Table.Deputies == last.Table.Deputies && slices.Equal(next.Roster, last.Roster) {
		return false, err
	}
	o.relief.at = o.at
	return true, s.commit(ctx, next)
}
