package cluster

import (
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/weir-cluster/weir/ring"
)

// entry is the next view before its table is planned.
type entry struct {
	view      *View
	roster    []ring.Member // as the planner wants it
	epochs    []uint64      // of the view that each member is seen to go by, zero when it is not seen
	newcomers []string      // who would be let in that owned nothing, by name and boot
	urgent    bool          // something else has changed
	silent    bool          // somebody is not seen whose lease may go on
	returned  bool          // somebody is there again whose lease before may go on: it soon tells that it does not
}

// planned gives the view its table; it returns nil when nobody is there who could take over.
func (e *entry) planned(last *View, moves ring.Moves) (*View, error) {
	if !slices.ContainsFunc(e.roster, func(m ring.Member) bool { return m.Standing == ring.Steady || m.Standing == ring.Joined }) {
		return nil, nil
	}
	var table *ring.Table
	if last != nil {
		table = last.Table
	}
	var err error
	if e.view.Table, err = ring.Plan(table, e.roster, e.view.Epoch, moves); err != nil {
		return nil, fmt.Errorf("plan the owner table: %w", err)
	}
	for i, m := range e.roster {
		if m.Standing == ring.Leaving && !e.view.Table.Owns(uint16(i)) {
			e.view.Roster[i].Standing = ring.Absent
		}
	}
	return e.view, nil
}

// enter returns what the next view is but for its table. Nobody is ever struck off the roster here: absence is a standing. held
// says who is held down: it keeps what it has and is not let in.
func enter(last *View, alive []Sighting, ended func(name, boot string) bool, held func(name string) bool) (*entry, error) {
	next, err := successor(last)
	if err != nil {
		return nil, err
	}
	e := &entry{view: next, urgent: last == nil}
	seen := make(map[string]Sighting, len(alive))
	for _, m := range alive {
		seen[m.Name] = m
		if !m.Leaving && next.Find(m.Name) < 0 {
			next.Roster = append(next.Roster, Member{Name: m.Name, Joining: last != nil})
		}
	}
	for i, was := range next.Roster {
		m, ok := seen[was.Name]
		now, standing := stand(was, m, ok, ended, held)
		e.silent = e.silent || standing == ring.Silent
		e.returned = e.returned || standing == ring.Silent && ok
		switch {
		case last != nil && standing == ring.Joined && was.Standing == ring.Absent:
			e.newcomers = append(e.newcomers, now.Name+"/"+now.Boot)
		case now != was:
			e.urgent = true
		}
		next.Roster[i] = now
		e.roster = append(e.roster, ring.Member{Name: now.Name, Zone: now.Zone, Weight: now.Weight, Standing: standing})
		e.epochs = append(e.epochs, m.Epoch)
	}
	return e, nil
}

// successor is the view after last with the same roster, or the first one of a new cluster.
func successor(last *View) (*View, error) {
	if last != nil {
		return &View{Epoch: last.Epoch + 1, Cluster: last.Cluster, Secret: last.Secret, Roster: slices.Clone(last.Roster)}, nil
	}
	first := &View{Epoch: 1, Cluster: rand.Text()}
	if _, err := rand.Read(first.Secret[:]); err != nil {
		return nil, fmt.Errorf("draw the cluster's secret: %w", err)
	}
	return first, nil
}

// stand is what becomes of a member: as the view tells it, and as the planner wants it.
func stand(was Member, m Sighting, seen bool, ended func(name, boot string) bool, held func(name string) bool) (Member, ring.Standing) {
	if gone(was, m, seen) && !ended(was.Name, was.Boot) {
		return was, ring.Silent // it may decide still
	}
	same := was.Standing != ring.Absent && seen && m.Boot == was.Boot
	if !seen || !same && held(was.Name) {
		was.Standing = ring.Absent
		return was, ring.Absent
	}
	now := m.Member
	now.Joining = was.Joining
	switch {
	case m.Leaving && same:
		now.Standing = ring.Leaving
		return now, ring.Leaving
	case m.Leaving:
		now.Standing = ring.Absent
		return now, ring.Absent
	}
	now.Standing = ring.Steady
	if same {
		return now, ring.Steady
	}
	return now, ring.Joined // it brings no state
}

// gone says whether the process that the view names is not there: it is not seen, or another is in its place.
func gone(was Member, m Sighting, seen bool) bool {
	return was.Standing != ring.Absent && (!seen || m.Boot != was.Boot)
}

// acknowledged ends the joining of members when all of the roster go by a view that has them, and says whether it did.
func (e *entry) acknowledged() (some bool) {
	for _, epoch := range e.epochs {
		if epoch+1 < e.view.Epoch {
			return false
		}
	}
	for i := range e.view.Roster {
		some = some || e.view.Roster[i].Joining
		e.view.Roster[i].Joining = false
	}
	return some
}
