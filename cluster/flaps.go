package cluster

import (
	"time"

	"github.com/weir-cluster/weir/ring"
)

const (
	// flapMax leases lost within flapWindow have a node held down until it was seen for flapQuiet without interruption.
	flapMax    = 3
	flapWindow = 5 * time.Minute
	flapQuiet  = time.Minute
)

// flaps remembers which members lost their leases lately: they came back as another process, or were taken out as dead. Who left
// by itself lost nothing. It has at most a record for each member of the roster.
type flaps struct {
	of map[string]flap
	v  *View // that was followed last
}

type flap struct {
	losses [flapMax]time.Time // the newest first
	boot   string             // of the process that was lost last, and the epoch it was lost in
	epoch  uint64
	seen   string    // boot of the process that is there now, empty while none is
	since  time.Time // how long so
}

// look notes who has lost its lease, before a view says so. It returns who is held down since now.
func (f *flaps) look(last *View, alive []Sighting, ended func(name, boot string) bool, at time.Time) (held []string) {
	if last == nil {
		return nil
	}
	seen := make(map[string]Sighting, len(alive))
	for _, m := range alive {
		seen[m.Name] = m
	}
	for _, was := range last.Roster {
		m, ok := seen[was.Name]
		if was.Standing == ring.Steady && gone(was, m, ok) && ended(was.Name, was.Boot) && f.lost(was, last.Epoch, at) {
			held = append(held, was.Name)
		}
	}
	return held
}

// follow notes who has lost its lease as the views tell, whoever led, and for how long those that did are there. It forgets what
// is of no use any more.
func (f *flaps) follow(v *View, alive []Sighting, at time.Time) {
	if v == nil {
		return
	}
	if f.v != nil && f.v != v {
		f.changed(v, at)
	}
	f.v = v
	seen := make(map[string]string, len(alive))
	for _, m := range alive {
		seen[m.Name] = m.Boot
	}
	for name, r := range f.of {
		if boot := seen[name]; boot != r.seen {
			r.seen, r.since = boot, at
			f.of[name] = r
		}
		if at.Sub(r.losses[0]) > flapWindow && !r.held(at) || v.Find(name) < 0 {
			delete(f.of, name)
		}
	}
}

// changed notes who was steady, and in the next view is another process, or absent without having left.
func (f *flaps) changed(v *View, at time.Time) {
	for _, was := range f.v.Roster {
		i := v.Find(was.Name)
		if was.Standing != ring.Steady || i < 0 {
			continue
		}
		if is := v.Roster[i]; is.Boot != was.Boot || is.Standing == ring.Absent && !is.Leaving {
			f.lost(was, f.v.Epoch, at)
		}
	}
}

// lost notes a loss once, however often it is told of it before the view changes, and says whether the member is held down for it.
func (f *flaps) lost(m Member, epoch uint64, at time.Time) bool {
	r := f.of[m.Name]
	if r.boot == m.Boot && r.epoch == epoch {
		return false
	}
	copy(r.losses[1:], r.losses[:])
	r.losses[0], r.boot, r.epoch = at, m.Boot, epoch
	r.seen, r.since = "", at
	if f.of == nil {
		f.of = make(map[string]flap)
	}
	f.of[m.Name] = r
	return r.held(at)
}

// held says whether a member is to be kept out if it is seen.
func (f *flaps) held(name string, at time.Time) bool { return f.of[name].held(at) }

func (r flap) held(at time.Time) bool {
	oldest := r.losses[flapMax-1]
	return !oldest.IsZero() && r.losses[0].Sub(oldest) <= flapWindow && at.Sub(r.since) < flapQuiet
}
